-- Takes 04-isolation.sql back: everybody sees everything again, and what is inserted goes to the default organisation
-- unless pgwarden says otherwise. Idempotent; run as `inventory_service`.

BEGIN;
SET LOCAL client_min_messages = warning;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY
        '{users,items,locations,inventory_ledger,inventory_balances,count_sheets,count_lines,audit_logs,feature_flags,api_keys,organizations}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name);
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', name);
        CONTINUE WHEN name = 'organizations';
        EXECUTE format('ALTER TABLE %I ALTER COLUMN org_id DROP DEFAULT', name);
        CONTINUE WHEN name IN ('inventory_balances', 'api_keys');
        EXECUTE format($default$ALTER TABLE %I ALTER COLUMN org_id SET DEFAULT coalesce(
            nullif(current_setting('app.current_org_id', true), '')::uuid, 'd0000000-0000-4000-8000-000000000001')$default$, name);
    END LOOP;
END $$;
DROP FUNCTION IF EXISTS current_org_id();
COMMIT;
