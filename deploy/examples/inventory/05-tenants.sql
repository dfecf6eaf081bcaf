-- Two organisations more, acme and globex, with the same e-mails, item numbers and places as the first: unique keys are
-- unique within an organisation. Their API keys are `acme-key` and `globex-key`. Idempotent; run as `inventory_service`.

BEGIN;
INSERT INTO organizations (id, name, slug) VALUES
    ('a0000000-0000-4000-8000-000000000001', 'Acme', 'acme'),
    ('b0000000-0000-4000-8000-000000000001', 'Globex', 'globex')
ON CONFLICT DO NOTHING;

-- The key itself is stored nowhere.
INSERT INTO api_keys (key_hash, org_id) VALUES
    (encode(sha256('acme-key'), 'hex'), 'a0000000-0000-4000-8000-000000000001'),
    (encode(sha256('globex-key'), 'hex'), 'b0000000-0000-4000-8000-000000000001')
ON CONFLICT DO NOTHING;

INSERT INTO users (id, org_id, email, name) VALUES
    ('a0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001', 'dora@example.test', 'Ann'),
    ('b0000000-0000-4000-8000-0000000000a1', 'b0000000-0000-4000-8000-000000000001', 'dora@example.test', 'Bob')
ON CONFLICT DO NOTHING;

INSERT INTO items (org_id, item_number, description)
SELECT organizations.id, 'A-' || number, organizations.name || '''s number ' || number
FROM organizations, generate_series(1, 3) number WHERE slug IN ('acme', 'globex')
ON CONFLICT DO NOTHING;

INSERT INTO locations (org_id, site, name)
SELECT id, 'Main', 'Shelf 1' FROM organizations WHERE slug IN ('acme', 'globex')
ON CONFLICT DO NOTHING;

INSERT INTO inventory_ledger (org_id, item_id, location_id, qty_canonical, reason)
SELECT items.org_id, items.id, locations.id, 100, 'opening balance'
FROM items JOIN locations USING (org_id)
WHERE items.org_id <> 'd0000000-0000-4000-8000-000000000001'
  AND NOT EXISTS (SELECT FROM inventory_ledger earlier WHERE earlier.item_id = items.id);
COMMIT;
