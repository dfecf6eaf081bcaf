-- Phase 3: every row that was there gets its organisation, a batch per transaction. May break off and go on later.

CREATE OR REPLACE PROCEDURE org_migration.backfill(batch integer) LANGUAGE plpgsql AS $$
DECLARE
    t       org_migration.tables;
    source  text;
    changed bigint;
BEGIN
    -- Parents before what hangs below them.
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' ORDER BY depth, name LOOP
        source := CASE t.way
            WHEN 'user' THEN 'SELECT m.org_id FROM public.organization_members m WHERE m.user_id = r.user_id'
            ELSE format('SELECT p.org_id FROM public.%I p WHERE p.id = r.%I', t.parent, t.parent_key)
        END;
        LOOP
            EXECUTE format(
                'UPDATE public.%1$I r SET org_id = coalesce((%2$s), %3$L) '
                'WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM public.%1$I WHERE org_id IS NULL LIMIT $1))',
                t.name, source, 'a0000000-0000-0000-0000-000000000001') USING batch;
            GET DIAGNOSTICS changed = ROW_COUNT;
            COMMIT;
            EXIT WHEN changed = 0;
        END LOOP;
    END LOOP;
END $$;

CALL org_migration.backfill(1000);

DO $$
DECLARE
    t     org_migration.tables;
    empty bigint;
    found bigint;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' LOOP
        EXECUTE format('SELECT count(*) FILTER (WHERE org_id IS NULL), count(*) FROM public.%I', t.name) INTO empty, found;
        IF empty > 0 OR found < t.rows_before THEN
            RAISE EXCEPTION 'table %: % rows without an organisation, % of % rows', t.name, empty, found, t.rows_before;
        END IF;
    END LOOP;
END $$;
