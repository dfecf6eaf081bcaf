-- Checks phases 1 to 6. Changes nothing (rolls back), stops at the first thing that is wrong.

BEGIN;

DO $$
DECLARE
    t     org_migration.tables;
    empty bigint;
    found bigint;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' ORDER BY name LOOP
        EXECUTE format('SELECT count(*) FILTER (WHERE org_id IS NULL), count(*) FROM public.%I', t.name) INTO empty, found;
        IF empty > 0 OR found < t.rows_before THEN
            RAISE EXCEPTION '%: % rows without an organisation, % of % rows', t.name, empty, found, t.rows_before;
        END IF;
        -- A row without an organisation: a copy, as good as the original but for that.
        BEGIN
            EXECUTE format(
                'INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE '
                'SELECT (jsonb_populate_record(NULL::public.%1$I, to_jsonb(r) || ''{"org_id": null}'')).* '
                'FROM public.%1$I r LIMIT 1', t.name);
            RAISE EXCEPTION '%: a row without an organisation was inserted', t.name;
        EXCEPTION WHEN not_null_violation THEN
            NULL;
        END;
        -- A row that moves, and one that only changes.
        BEGIN
            EXECUTE format('UPDATE public.%I SET org_id = gen_random_uuid()', t.name);
            RAISE EXCEPTION '%: a row has changed its organisation', t.name;
        EXCEPTION WHEN integrity_constraint_violation THEN
            IF SQLERRM <> format('org_id of public.%s cannot change', t.name) THEN RAISE; END IF;
        END;
        EXECUTE format('UPDATE public.%I SET org_id = org_id', t.name);
    END LOOP;
    IF EXISTS (SELECT FROM auth.users WHERE raw_app_meta_data ->> 'org_id' IS NULL) THEN
        RAISE EXCEPTION 'a user has no organisation';
    END IF;
END $$;

SELECT 'every row has its organisation, and keeps it' AS result;

ROLLBACK;
