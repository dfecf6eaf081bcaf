-- What people write by hand: locks, blocks, policies, functions that set the variables, and an index made beside the work.
\set ON_ERROR_STOP on
SELECT pg_advisory_lock(4711);
SET lock_timeout = '5s';
CREATE TEMP TABLE progress (step text);
BEGIN;
ALTER TABLE notes ADD COLUMN title text;
INSERT INTO progress VALUES ('column');
DO $$
DECLARE org uuid;
BEGIN
    FOR org IN SELECT DISTINCT org_id FROM notes LOOP
        UPDATE notes SET title = upper(body) WHERE org_id = org;
    END LOOP;
END
$$;
ALTER TABLE notes ALTER COLUMN title SET NOT NULL, ALTER COLUMN title SET DEFAULT '';
SAVEPOINT before_policy;
CREATE POLICY all_of_them ON notes USING (true);
ROLLBACK TO before_policy;
COMMIT;
CREATE INDEX CONCURRENTLY notes_title ON notes (title);
CREATE FUNCTION set_tenant(org uuid) RETURNS text LANGUAGE sql AS $$
    SELECT set_config('app.current_org_id', org::text, true)
$$;
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO labels (org_id, name) SELECT DISTINCT org_id, 'of ' || org_id FROM notes;
    COMMIT;
END $$;
CREATE TABLE labels (id serial PRIMARY KEY, org_id uuid NOT NULL DEFAULT org(), name text);
ALTER TABLE labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE labels FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON labels USING (org_id = org());
CALL fill();
COPY labels (org_id, name) FROM stdin;
a0000000-0000-4000-8000-000000000001	copied
\.
DELETE FROM labels WHERE name = 'copied';
VACUUM ANALYZE notes;
SELECT pg_advisory_unlock(4711) AND (SELECT count(*) = 1 FROM progress) AS done;
