-- Phase 4: no row without an organisation any more. A new row is that of the token, or else what the trigger of phase 2
-- finds. Each step holds its lock for a moment only: the rows are looked at under a weaker one.

DO $$
DECLARE
    t     org_migration.tables;
    empty bigint;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' LOOP
        EXECUTE format('SELECT count(*) FROM public.%I WHERE org_id IS NULL', t.name) INTO empty;
        IF empty > 0 THEN
            RAISE EXCEPTION 'table % has % rows without an organisation', t.name, empty USING HINT = 'Run phase 3 again.';
        END IF;
    END LOOP;
END $$;

SET client_min_messages = warning;
SET lock_timeout = '5s';
SELECT format('ALTER TABLE public.%I DROP CONSTRAINT IF EXISTS org_id_is_set', t.name),
       format('ALTER TABLE public.%I ADD CONSTRAINT org_id_is_set CHECK (org_id IS NOT NULL) NOT VALID', t.name),
       format('ALTER TABLE public.%I VALIDATE CONSTRAINT org_id_is_set', t.name),
       format('ALTER TABLE public.%I ALTER COLUMN org_id SET NOT NULL', t.name),
       format('ALTER TABLE public.%I DROP CONSTRAINT org_id_is_set', t.name),
       format('ALTER TABLE public.%I VALIDATE CONSTRAINT %I', t.name, t.name || '_org_id_fkey'),
       format('ALTER TABLE public.%I ALTER COLUMN org_id SET DEFAULT public.auth_org_id()', t.name)
FROM org_migration.tables t
JOIN pg_attribute a ON a.attrelid = ('public.' || quote_ident(t.name))::regclass AND a.attname = 'org_id'
WHERE t.way <> 'person' AND NOT a.attnotnull \gexec
