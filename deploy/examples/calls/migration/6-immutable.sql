-- Phase 6: a row never changes its organisation. What filled in the organisation for the old application goes: from here
-- on, it is the token's.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF EXISTS (SELECT FROM auth.users WHERE raw_app_meta_data ->> 'org_id' IS NULL) THEN
        RAISE EXCEPTION 'there are users without an organisation' USING HINT = 'Run phase 5 first.';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION public.keep_org_id() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'org_id of %.% cannot change', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'A row stays with its organisation; make a new one.';
END $$;

DO $$
DECLARE
    t org_migration.tables;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER keep_org_id BEFORE UPDATE ON public.%I FOR EACH ROW '
                       'WHEN (OLD.org_id IS DISTINCT FROM NEW.org_id) EXECUTE FUNCTION public.keep_org_id()', t.name);
        EXECUTE format('DROP TRIGGER IF EXISTS fill_org_id ON public.%I', t.name);
    END LOOP;
END $$;

COMMIT;
