-- Phase 2: every table gets an org_id that may be empty, a foreign key that is not checked yet, and an index. The old
-- application goes on: what it inserts is filled in by a trigger.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';

-- The organisation of the token. Never read it from user_metadata: users write that themselves.
CREATE OR REPLACE FUNCTION public.auth_org_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (auth.jwt() -> 'app_metadata' ->> 'org_id')::uuid
$$;

-- Fills in the organisation of a new row: that of its user, or of the row that it hangs below.
CREATE OR REPLACE FUNCTION org_migration.fill() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.org_id IS NOT NULL THEN
        RETURN NEW;
    ELSIF TG_ARGV[0] = 'user' THEN
        NEW.org_id := (SELECT m.org_id FROM public.organization_members m WHERE m.user_id = NEW.user_id);
    ELSE
        EXECUTE format('SELECT p.org_id FROM public.%I p WHERE p.id = $1', TG_ARGV[1])
            INTO NEW.org_id USING (to_jsonb(NEW) ->> TG_ARGV[2])::pg_catalog.int8;
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE
    t org_migration.tables;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables WHERE way <> 'person' LOOP
        EXECUTE format('ALTER TABLE public.%I ADD COLUMN IF NOT EXISTS org_id uuid', t.name);
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = t.name || '_org_id_fkey') THEN
            EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I FOREIGN KEY (org_id) '
                           'REFERENCES public.organizations ON DELETE CASCADE NOT VALID',
                           t.name, t.name || '_org_id_fkey');
        END IF;
        EXECUTE format('CREATE OR REPLACE TRIGGER fill_org_id BEFORE INSERT ON public.%I '
                       'FOR EACH ROW EXECUTE FUNCTION org_migration.fill(%L, %L, %L)',
                       t.name, t.way, coalesce(t.parent, ''), coalesce(t.parent_key, ''));
    END LOOP;
END $$;

COMMIT;

-- Each outside of a transaction, so that nobody waits for it. One that broke off before is made anew.
SELECT format('DROP INDEX CONCURRENTLY public.%I', c.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relname IN (SELECT name || '_org_id_idx' FROM org_migration.tables) \gexec
SELECT format('CREATE INDEX CONCURRENTLY IF NOT EXISTS %I ON public.%I (org_id)', name || '_org_id_idx', name)
FROM org_migration.tables WHERE way <> 'person' \gexec
