-- What the company has today: two users, three items, two locations, some movements, a count. Idempotent.

BEGIN;

INSERT INTO users (id, email, name) VALUES
    ('d0000000-0000-4000-8000-0000000000a1', 'dora@example.test', 'Dora'),
    ('d0000000-0000-4000-8000-0000000000a2', 'dave@example.test', 'Dave')
ON CONFLICT DO NOTHING;

INSERT INTO items (id, item_number, description) VALUES
    ('d0000000-0000-4000-8000-0000000000b1', 'A-1', 'Bolt'),
    ('d0000000-0000-4000-8000-0000000000b2', 'A-2', 'Nut'),
    ('d0000000-0000-4000-8000-0000000000b3', 'A-3', 'Washer')
ON CONFLICT DO NOTHING;

INSERT INTO locations (id, site, name) VALUES
    ('d0000000-0000-4000-8000-0000000000c1', 'Main', 'Shelf 1'),
    ('d0000000-0000-4000-8000-0000000000c2', 'Main', 'Shelf 2')
ON CONFLICT DO NOTHING;

INSERT INTO inventory_ledger (id, item_id, location_id, qty_canonical, reason)
SELECT number,
       ('d0000000-0000-4000-8000-0000000000b' || 1 + number % 3)::uuid,
       ('d0000000-0000-4000-8000-0000000000c' || 1 + number % 2)::uuid,
       number % 7 + 1, 'received'
FROM generate_series(1, 60) number
ON CONFLICT DO NOTHING;
SELECT setval(pg_get_serial_sequence('inventory_ledger', 'id'), max(id)) FROM inventory_ledger;

INSERT INTO count_sheets (id, count_number) VALUES ('d0000000-0000-4000-8000-0000000000e1', 'C-1')
ON CONFLICT DO NOTHING;
INSERT INTO count_lines (id, count_sheet_id, item_id, location_id, qty_counted) VALUES
    ('d0000000-0000-4000-8000-0000000000f1', 'd0000000-0000-4000-8000-0000000000e1',
     'd0000000-0000-4000-8000-0000000000b1', 'd0000000-0000-4000-8000-0000000000c1', 40)
ON CONFLICT DO NOTHING;

-- The last one is an orphan: its user is gone.
INSERT INTO audit_logs (id, user_id, action) VALUES
    (1, 'd0000000-0000-4000-8000-0000000000a1', 'counted'),
    (2, 'd0000000-0000-4000-8000-0000000000ff', 'left')
ON CONFLICT DO NOTHING;
SELECT setval(pg_get_serial_sequence('audit_logs', 'id'), max(id)) FROM audit_logs;

INSERT INTO feature_flags (key, enabled) VALUES ('lots', true) ON CONFLICT DO NOTHING;

COMMIT;
