-- Makes the inventory multi-tenant: every row belongs to an organisation, and what was there before to the default one.
-- Additive: the application of today goes on working, before, between and behind the steps. Each step is a transaction
-- of its own and may be run again, so that a run that was interrupted is simply repeated. Run as `inventory_service`,
-- with psql: the backfill commits in between.

SET client_min_messages = warning;

-- 1. Organisations, and the keys by which their requests are known. ------------------------------------------------
BEGIN;
CREATE TABLE IF NOT EXISTS organizations (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL,
    slug       text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO organizations (id, name, slug)
VALUES ('d0000000-0000-4000-8000-000000000001', 'Default Organization', 'default') ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS api_keys (
    key_hash   text PRIMARY KEY,
    org_id     uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    expires_at timestamptz
);
ALTER TABLE organizations OWNER TO inventory;
ALTER TABLE api_keys OWNER TO inventory;
COMMIT;

-- 2. The columns. They may be empty for now; whatever is inserted from here on is not. ------------------------------
BEGIN;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{users,items,locations,inventory_ledger,count_sheets,count_lines,audit_logs,feature_flags}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN IF NOT EXISTS org_id uuid', name);
        EXECUTE format($default$ALTER TABLE %I ALTER COLUMN org_id SET DEFAULT coalesce(
            nullif(current_setting('app.current_org_id', true), '')::uuid, 'd0000000-0000-4000-8000-000000000001')$default$, name);
    END LOOP;
END $$;
COMMIT;

-- 3. The rows of today, in batches: no lock is held for long. --------------------------------------------------------
DO $$
DECLARE
    name text;
    changed bigint;
BEGIN
    FOREACH name IN ARRAY '{users,items,locations,inventory_ledger,count_sheets,count_lines,audit_logs,feature_flags}'::text[]
    LOOP
        LOOP
            EXECUTE format($batch$UPDATE %I SET org_id = 'd0000000-0000-4000-8000-000000000001'
                WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE org_id IS NULL LIMIT 10000))$batch$, name);
            GET DIAGNOSTICS changed = ROW_COUNT;
            EXIT WHEN changed = 0;
            COMMIT;
        END LOOP;
    END LOOP;
END $$;

-- 4. Orphans would stop the foreign keys of step 6: what was done stays, by nobody. ----------------------------------
BEGIN;
UPDATE audit_logs SET user_id = NULL
WHERE user_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE users.id = audit_logs.user_id);
COMMIT;

-- 5. No row without an organisation: looked at without a lock that stops others, then only noted. --------------------
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{users,items,locations,inventory_ledger,count_sheets,count_lines,audit_logs,feature_flags}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS org_id_is_known', name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT org_id_is_known CHECK (org_id IS NOT NULL) NOT VALID', name);
        COMMIT;
        EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT org_id_is_known', name);
        COMMIT;
        EXECUTE format('ALTER TABLE %I ALTER COLUMN org_id SET NOT NULL', name);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT org_id_is_known', name);
        COMMIT;
    END LOOP;
END $$;

-- 6. Keys: unique within an organisation, and references that cannot leave it. ---------------------------------------
BEGIN;
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            -- table, what it takes the place of, its name, its definition
            ('users', 'users_email_key', 'users_org_id_email_key', 'UNIQUE (org_id, email)'),
            ('items', 'items_item_number_key', 'items_org_id_item_number_key', 'UNIQUE (org_id, item_number)'),
            ('locations', 'locations_site_name_key', 'locations_org_id_site_name_key', 'UNIQUE (org_id, site, name)'),
            ('count_sheets', 'count_sheets_count_number_key', 'count_sheets_org_id_count_number_key', 'UNIQUE (org_id, count_number)'),
            ('feature_flags', 'feature_flags_key_key', 'feature_flags_org_id_key_key', 'UNIQUE (org_id, key)'),
            ('users', NULL, 'users_org_id_id_key', 'UNIQUE (org_id, id)'),
            ('items', NULL, 'items_org_id_id_key', 'UNIQUE (org_id, id)'),
            ('locations', NULL, 'locations_org_id_id_key', 'UNIQUE (org_id, id)'),
            ('count_sheets', NULL, 'count_sheets_org_id_id_key', 'UNIQUE (org_id, id)'),
            ('users', NULL, 'users_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('items', NULL, 'items_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('locations', NULL, 'locations_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('feature_flags', NULL, 'feature_flags_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('count_sheets', NULL, 'count_sheets_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('audit_logs', NULL, 'audit_logs_org_id_fkey', 'FOREIGN KEY (org_id) REFERENCES organizations'),
            ('inventory_ledger', 'inventory_ledger_item_id_fkey', 'inventory_ledger_org_id_item_id_fkey', 'FOREIGN KEY (org_id, item_id) REFERENCES items (org_id, id)'),
            ('inventory_ledger', 'inventory_ledger_location_id_fkey', 'inventory_ledger_org_id_location_id_fkey', 'FOREIGN KEY (org_id, location_id) REFERENCES locations (org_id, id)'),
            ('count_lines', 'count_lines_count_sheet_id_fkey', 'count_lines_org_id_count_sheet_id_fkey', 'FOREIGN KEY (org_id, count_sheet_id) REFERENCES count_sheets (org_id, id) ON DELETE CASCADE'),
            ('count_lines', 'count_lines_item_id_fkey', 'count_lines_org_id_item_id_fkey', 'FOREIGN KEY (org_id, item_id) REFERENCES items (org_id, id)'),
            ('count_lines', 'count_lines_location_id_fkey', 'count_lines_org_id_location_id_fkey', 'FOREIGN KEY (org_id, location_id) REFERENCES locations (org_id, id)'),
            ('audit_logs', NULL, 'audit_logs_org_id_user_id_fkey', 'FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)')
        ) AS list (tab, before, name, definition)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = wanted.tab::regclass AND conname = wanted.name) THEN
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I %s', wanted.tab, wanted.name, wanted.definition);
        END IF;
        IF wanted.before IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS %I', wanted.tab, wanted.before);
        END IF;
    END LOOP;
END $$;
COMMIT;

-- 7. What is on stock, kept by a trigger on the ledger. ---------------------------------------------------------------
BEGIN;
CREATE TABLE IF NOT EXISTS inventory_balances (
    org_id         uuid NOT NULL,
    item_id        uuid NOT NULL,
    location_id    uuid NOT NULL,
    lot_id         text NOT NULL DEFAULT '',
    qty_canonical  numeric NOT NULL,
    last_updated   timestamptz NOT NULL DEFAULT now(),
    last_ledger_id bigint NOT NULL,
    PRIMARY KEY (org_id, item_id, location_id, lot_id),
    FOREIGN KEY (org_id, item_id) REFERENCES items (org_id, id),
    FOREIGN KEY (org_id, location_id) REFERENCES locations (org_id, id)
);
ALTER TABLE inventory_balances OWNER TO inventory;

CREATE OR REPLACE FUNCTION keep_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO inventory_balances AS balance (org_id, item_id, location_id, lot_id, qty_canonical, last_ledger_id)
    VALUES (NEW.org_id, NEW.item_id, NEW.location_id, NEW.lot_id, NEW.qty_canonical, NEW.id)
    ON CONFLICT (org_id, item_id, location_id, lot_id) DO UPDATE
    SET qty_canonical = balance.qty_canonical + EXCLUDED.qty_canonical,
        last_updated = now(),
        last_ledger_id = greatest(balance.last_ledger_id, EXCLUDED.last_ledger_id);
    RETURN NEW;
END $$;

-- What differs between the balances and the ledger: nothing, as long as only the ledger is written to.
CREATE OR REPLACE FUNCTION balance_differences()
RETURNS TABLE (org_id uuid, item_id uuid, location_id uuid, lot_id text, expected numeric, found numeric)
LANGUAGE sql STABLE AS $$
    SELECT org_id, item_id, location_id, lot_id, coalesce(ledger.qty, 0), coalesce(balance.qty_canonical, 0)
    FROM (SELECT l.org_id, l.item_id, l.location_id, l.lot_id, sum(l.qty_canonical) AS qty
          FROM inventory_ledger l GROUP BY 1, 2, 3, 4) ledger
    FULL JOIN inventory_balances balance USING (org_id, item_id, location_id, lot_id)
    WHERE coalesce(ledger.qty, 0) <> coalesce(balance.qty_canonical, 0)
$$;

-- The job: reports what differs, and puts it right.
CREATE OR REPLACE FUNCTION reconcile_balances()
RETURNS TABLE (org_id uuid, item_id uuid, location_id uuid, lot_id text, expected numeric, found numeric)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    LOCK TABLE inventory_ledger IN SHARE MODE;
    RETURN QUERY SELECT * FROM balance_differences();
    INSERT INTO inventory_balances AS balance (org_id, item_id, location_id, lot_id, qty_canonical, last_ledger_id)
    SELECT d.org_id, d.item_id, d.location_id, d.lot_id, d.expected,
           coalesce((SELECT max(l.id) FROM inventory_ledger l
                     WHERE (l.org_id, l.item_id, l.location_id, l.lot_id) = (d.org_id, d.item_id, d.location_id, d.lot_id)), 0)
    FROM balance_differences() d
    ON CONFLICT (org_id, item_id, location_id, lot_id) DO UPDATE
    SET qty_canonical = EXCLUDED.qty_canonical, last_updated = now(), last_ledger_id = EXCLUDED.last_ledger_id;
END $$;
ALTER FUNCTION keep_balance() OWNER TO inventory;
ALTER FUNCTION balance_differences() OWNER TO inventory;
ALTER FUNCTION reconcile_balances() OWNER TO inventory;

-- The trigger and the movements of before together: nothing is counted twice, or not at all.
LOCK TABLE inventory_ledger IN SHARE ROW EXCLUSIVE MODE;
DROP TRIGGER IF EXISTS keep_balance ON inventory_ledger;
CREATE TRIGGER keep_balance AFTER INSERT ON inventory_ledger FOR EACH ROW EXECUTE FUNCTION keep_balance();
SELECT count(*) AS balances_put_right FROM reconcile_balances();
COMMIT;

-- 8. What pgwarden asks. ------------------------------------------------------------------------------------------------
GRANT SELECT (key_hash, org_id, expires_at) ON api_keys TO inventory_lookup;
GRANT SELECT (id, org_id) ON users TO inventory_lookup;
