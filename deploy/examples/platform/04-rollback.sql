-- Undoes 04-restrictive-policies.sql: one policy per table that lets everything through, as before. Idempotent.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE platform_owner;

DO $$
DECLARE
    t record;
    p record;
BEGIN
    FOR t IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'platform'::regnamespace AND relkind IN ('r', 'p') AND relrowsecurity
    LOOP
        FOR p IN
            SELECT policyname FROM pg_policies
            WHERE schemaname = 'platform' AND tablename = t.relname AND policyname = t.relname || '_' || lower(cmd)
        LOOP
            EXECUTE format('DROP POLICY %I ON platform.%I', p.policyname, t.relname);
        END LOOP;
        EXECUTE format('DROP POLICY IF EXISTS %I ON platform.%I', 'permissive_all_' || t.relname, t.relname);
        EXECUTE format('CREATE POLICY %I ON platform.%I FOR ALL TO PUBLIC USING (true) WITH CHECK (true)',
                       'permissive_all_' || t.relname, t.relname);
    END LOOP;
END $$;

DROP FUNCTION IF EXISTS platform.user_has_org_role(uuid, text);
DROP FUNCTION IF EXISTS platform.user_is_org_member(uuid);
DROP FUNCTION IF EXISTS platform.current_org_id();
DROP FUNCTION IF EXISTS platform.current_user_id();

COMMIT;
