-- Phase 1: which tables get an organisation, and how each row's is found. Changes nothing of the product.
-- Stops at a table of which it cannot tell: none is forgotten.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS org_migration;
CREATE TABLE IF NOT EXISTS org_migration.tables (
    name        name PRIMARY KEY,
    way         text NOT NULL CHECK (way IN ('user', 'parent', 'person')),
    parent      name,                       -- for 'parent': the table that says it,
    parent_key  name,                       -- and the column that refers to its id
    depth       integer NOT NULL DEFAULT 0,
    rows_before bigint
);

-- These belong to a person: they keep user_id alone.
INSERT INTO org_migration.tables (name, way)
SELECT name, 'person' FROM unnest('{user_credits, user_subscriptions, customers}'::name[]) AS name
WHERE to_regclass('public.' || quote_ident(name)) IS NOT NULL
ON CONFLICT DO NOTHING;

INSERT INTO org_migration.tables (name, way)
SELECT c.relname, 'user'
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attname = 'user_id' AND NOT a.attisdropped AND c.relname <> 'organization_members'
ON CONFLICT DO NOTHING;

DO $$
DECLARE
    step  integer := 0;
    wrong text;
    t     record;
BEGIN
    -- Tables that refer to one of those, then those that refer to these, and so on.
    LOOP
        step := step + 1;
        INSERT INTO org_migration.tables (name, way, parent, parent_key, depth)
        SELECT DISTINCT ON (child.relname) child.relname, 'parent', parent.relname, a.attname, step
        FROM pg_constraint k
        JOIN pg_class child ON child.oid = k.conrelid
        JOIN pg_class parent ON parent.oid = k.confrelid
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        JOIN pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = k.confkey[1] AND r.attname = 'id'
        JOIN org_migration.tables known ON known.name = parent.relname AND known.way <> 'person'
        WHERE k.contype = 'f' AND cardinality(k.conkey) = 1
          AND child.relnamespace = 'public'::regnamespace AND parent.relnamespace = 'public'::regnamespace
          AND child.relname NOT IN (SELECT name FROM org_migration.tables)
        ORDER BY child.relname, k.conname;
        EXIT WHEN NOT FOUND;
    END LOOP;

    SELECT string_agg(c.relname, ', ' ORDER BY c.relname) INTO wrong FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relname NOT IN ('organizations', 'organization_members')
      AND c.relname NOT IN (SELECT name FROM org_migration.tables);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'nobody knows whose rows these are: %', wrong
            USING HINT = 'Give each a user_id or a foreign key, or list it in org_migration.tables.';
    END IF;
    -- The same question, asked of the standard's catalog.
    SELECT string_agg(c.table_name, ', ') INTO wrong
    FROM information_schema.columns c JOIN information_schema.tables i USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND c.column_name = 'user_id' AND i.table_type = 'BASE TABLE'
      AND c.table_name <> 'organization_members'
      AND c.table_name NOT IN (SELECT name FROM org_migration.tables WHERE way IN ('user', 'person'));
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'tables with user_id that were missed: %', wrong;
    END IF;

    FOR t IN SELECT name FROM org_migration.tables WHERE rows_before IS NULL LOOP
        EXECUTE format('UPDATE org_migration.tables SET rows_before = (SELECT count(*) FROM public.%I) WHERE name = %L',
                       t.name, t.name);
    END LOOP;
END $$;

COMMIT;

SELECT name, way, parent, rows_before FROM org_migration.tables ORDER BY depth, name;
