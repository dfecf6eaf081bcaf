-- Behind the six phases: the database keeps organisations apart. Apply it when every transaction carries its token.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
    t    org_migration.tables;
    mine text;
BEGIN
    FOR t IN SELECT * FROM org_migration.tables LOOP
        -- In a sub-select, so that it is asked once for a statement and not for each row.
        mine := CASE t.way WHEN 'person' THEN 'user_id = (SELECT auth.uid())'
                           ELSE 'org_id = (SELECT public.auth_org_id())' END;
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', t.name);
        EXECUTE format('DROP POLICY IF EXISTS organization ON public.%I', t.name);
        EXECUTE format('CREATE POLICY organization ON public.%I TO authenticated USING (%s) WITH CHECK (%s)',
                       t.name, mine, mine);
    END LOOP;
END $$;

ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.organization_members ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON public.organizations;
CREATE POLICY own ON public.organizations FOR SELECT TO authenticated USING (id = (SELECT public.auth_org_id()));
DROP POLICY IF EXISTS own ON public.organization_members;
CREATE POLICY own ON public.organization_members FOR SELECT TO authenticated
    USING (org_id = (SELECT public.auth_org_id()));
GRANT SELECT ON public.organizations, public.organization_members TO authenticated;
GRANT ALL ON public.organizations, public.organization_members TO service_role;

COMMIT;
