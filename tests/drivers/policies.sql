-- Two tenants and a table with a policy, for the programs that run every scenario of drivers_with_policies.rs.
-- The body of a row begins with the name of the tenant that wrote it: the test looks for rows in the wrong place.

CREATE ROLE app LOGIN;
GRANT CREATE, USAGE ON SCHEMA public TO app;

CREATE FUNCTION org() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('app.current_org_id', true), '')::uuid $$;

CREATE TABLE notes (
    id bigserial PRIMARY KEY,
    org_id uuid NOT NULL DEFAULT org(),
    body text NOT NULL
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notes USING (org_id = org());
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO app;
GRANT USAGE ON SEQUENCE notes_id_seq TO app;

-- COPY FROM is refused by PostgreSQL where a policy applies: it goes into a table without, and on from there.
CREATE TABLE inbox (
    org_id uuid NOT NULL DEFAULT org(),
    body text NOT NULL
);
GRANT SELECT, INSERT, DELETE ON inbox TO app;
CREATE FUNCTION take_in() RETURNS bigint LANGUAGE sql AS $$
    WITH taken AS (DELETE FROM inbox WHERE org_id = org() RETURNING org_id, body),
    stored AS (INSERT INTO notes (org_id, body) SELECT org_id, body FROM taken RETURNING 1)
    SELECT count(*) FROM stored
$$;

INSERT INTO notes (org_id, body) VALUES
    ('a0000000-0000-4000-8000-000000000001', 'acme: first'),
    ('b0000000-0000-4000-8000-000000000001', 'globex: first'),
    ('a0000000-0000-4000-8000-000000000001', 'acme: second'),
    ('b0000000-0000-4000-8000-000000000001', 'globex: second'),
    ('a0000000-0000-4000-8000-000000000001', 'acme: third');
