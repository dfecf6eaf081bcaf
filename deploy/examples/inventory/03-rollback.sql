-- Takes 03-organisations.sql back, in one transaction: the single unique keys are there again, and the columns gone.
-- Where two organisations have the same e-mail, item number, … this fails, and nothing has changed. Run as
-- `inventory_service`, after 04-rollback.sql.

BEGIN;
SET LOCAL client_min_messages = warning;

DROP TRIGGER IF EXISTS keep_balance ON inventory_ledger;
DROP FUNCTION IF EXISTS keep_balance(), balance_differences(), reconcile_balances();
DROP TABLE IF EXISTS inventory_balances;

DO $$
DECLARE
    wanted record;
    name text;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('users', 'users_email_key', 'UNIQUE (email)'),
            ('items', 'items_item_number_key', 'UNIQUE (item_number)'),
            ('locations', 'locations_site_name_key', 'UNIQUE (site, name)'),
            ('count_sheets', 'count_sheets_count_number_key', 'UNIQUE (count_number)'),
            ('feature_flags', 'feature_flags_key_key', 'UNIQUE (key)'),
            ('inventory_ledger', 'inventory_ledger_item_id_fkey', 'FOREIGN KEY (item_id) REFERENCES items (id)'),
            ('inventory_ledger', 'inventory_ledger_location_id_fkey', 'FOREIGN KEY (location_id) REFERENCES locations (id)'),
            ('count_lines', 'count_lines_count_sheet_id_fkey', 'FOREIGN KEY (count_sheet_id) REFERENCES count_sheets (id) ON DELETE CASCADE'),
            ('count_lines', 'count_lines_item_id_fkey', 'FOREIGN KEY (item_id) REFERENCES items (id)'),
            ('count_lines', 'count_lines_location_id_fkey', 'FOREIGN KEY (location_id) REFERENCES locations (id)')
        ) AS list (tab, name, definition)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = wanted.tab::regclass AND conname = wanted.name) THEN
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I %s', wanted.tab, wanted.name, wanted.definition);
        END IF;
    END LOOP;
    -- With the columns go the composite keys, and what refers to them.
    FOREACH name IN ARRAY '{users,items,locations,inventory_ledger,count_sheets,count_lines,audit_logs,feature_flags}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I DROP COLUMN IF EXISTS org_id CASCADE', name);
    END LOOP;
END $$;

DROP TABLE IF EXISTS api_keys, organizations;
REVOKE SELECT (id) ON users FROM inventory_lookup;
COMMIT;
