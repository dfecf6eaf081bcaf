-- The policies: who acts for an organisation sees and writes its rows alone. From here on, a statement without an
-- organisation finds nothing, so pgwarden has to be in front first. Idempotent; run as `inventory_service`.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE OR REPLACE FUNCTION current_org_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(pg_catalog.current_setting('app.current_org_id', true), '')::uuid
$$;
ALTER FUNCTION current_org_id() OWNER TO inventory;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY
        '{users,items,locations,inventory_ledger,inventory_balances,count_sheets,count_lines,audit_logs,feature_flags,api_keys,organizations}'::text[]
    LOOP
        EXECUTE format('DROP POLICY IF EXISTS tenant ON %I', name);
        -- (SELECT …): once per statement, not once per row. Without WITH CHECK, USING counts for what is written, too.
        EXECUTE format('CREATE POLICY tenant ON %I USING (%I = (SELECT current_org_id()))', name,
                       CASE name WHEN 'organizations' THEN 'id' ELSE 'org_id' END);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        -- The application is the owner, whom policies do not bind otherwise.
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        IF name <> 'organizations' THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN org_id SET DEFAULT current_org_id()', name);
        END IF;
    END LOOP;
END $$;
COMMIT;
