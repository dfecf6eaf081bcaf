-- Sample data: two organisations, `acme` and `globex`, with keys that are easy to read.
-- Idempotent; run after 03-active-organisation.sql as a superuser or as platform_service.
--
--   user                    id            role in acme   role in globex   session token (its SHA-256 is stored)
--   owner@acme.example      a0…-0000a1    owner          –                acme-owner-session
--   member@acme.example     a0…-0000a2    member         –                acme-member-session
--   owner@globex.example    b0…-0000a1    –              owner            globex-owner-session
--   member@globex.example   b0…-0000a2    –              member           globex-member-session, expired
--   both@shared.example     c0…-0000a1    developer      admin            shared-session
--   none@nowhere.example    d0…-0000a1    –              –                nowhere-session
--
--   organisation acme   a0000000-0000-4000-8000-000000000001   3 projects, 4 databases
--   organisation globex b0000000-0000-4000-8000-000000000001   2 projects, 2 databases

BEGIN;
SET LOCAL client_min_messages = warning;

INSERT INTO platform.organizations (id, name, slug, billing_email) VALUES
    ('a0000000-0000-4000-8000-000000000001', 'Acme', 'acme', 'billing@acme.example'),
    ('b0000000-0000-4000-8000-000000000001', 'Globex', 'globex', 'billing@globex.example')
ON CONFLICT DO NOTHING;

INSERT INTO platform.users (id, email, username) VALUES
    ('a0000000-0000-4000-8000-0000000000a1', 'owner@acme.example', 'acme-owner'),
    ('a0000000-0000-4000-8000-0000000000a2', 'member@acme.example', 'acme-member'),
    ('b0000000-0000-4000-8000-0000000000a1', 'owner@globex.example', 'globex-owner'),
    ('b0000000-0000-4000-8000-0000000000a2', 'member@globex.example', 'globex-member'),
    ('c0000000-0000-4000-8000-0000000000a1', 'both@shared.example', 'shared'),
    ('d0000000-0000-4000-8000-0000000000a1', 'none@nowhere.example', 'nowhere')
ON CONFLICT DO NOTHING;

INSERT INTO platform.organization_members (organization_id, user_id, role, joined_at) VALUES
    ('a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-0000000000a1', 'owner', '2024-01-01 00:00Z'),
    ('a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-0000000000a2', 'member', '2024-01-02 00:00Z'),
    ('b0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-0000000000a1', 'owner', '2024-01-01 00:00Z'),
    ('b0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-0000000000a2', 'member', '2024-01-02 00:00Z'),
    -- Joined globex first, so the backfill makes globex the active organisation.
    ('a0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-0000000000a1', 'developer', '2024-03-01 00:00Z'),
    ('b0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-0000000000a1', 'admin', '2024-02-01 00:00Z')
ON CONFLICT DO NOTHING;

DO $$ BEGIN PERFORM platform.backfill_active_org(); END $$;

INSERT INTO platform.user_preferences (user_id, theme) VALUES
    ('a0000000-0000-4000-8000-0000000000a1', 'dark'),
    ('b0000000-0000-4000-8000-0000000000a1', 'light')
ON CONFLICT DO NOTHING;

-- Running the file again gives the sessions new life.
INSERT INTO platform.user_sessions (id, user_id, token_hash, ip_address, user_agent, expires_at)
SELECT s.id::uuid, s.user_id::uuid, encode(sha256(convert_to(s.token, 'UTF8')), 'hex'), '192.0.2.1', 'sample',
       now() + s.life::interval
FROM (VALUES
    ('a0000000-0000-4000-8000-0000000000e1', 'a0000000-0000-4000-8000-0000000000a1', 'acme-owner-session', '30 days'),
    ('a0000000-0000-4000-8000-0000000000e2', 'a0000000-0000-4000-8000-0000000000a2', 'acme-member-session', '30 days'),
    ('b0000000-0000-4000-8000-0000000000e1', 'b0000000-0000-4000-8000-0000000000a1', 'globex-owner-session', '30 days'),
    ('b0000000-0000-4000-8000-0000000000e2', 'b0000000-0000-4000-8000-0000000000a2', 'globex-member-session', '-1 day'),
    ('c0000000-0000-4000-8000-0000000000e1', 'c0000000-0000-4000-8000-0000000000a1', 'shared-session', '30 days'),
    ('d0000000-0000-4000-8000-0000000000e1', 'd0000000-0000-4000-8000-0000000000a1', 'nowhere-session', '30 days')
) AS s (id, user_id, token, life)
ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at;

INSERT INTO platform.projects (id, organization_id, name, slug, ref, database_host, database_port, database_name) VALUES
    ('a0000000-0000-4000-8000-0000000000b1', 'a0000000-0000-4000-8000-000000000001', 'Acme Shop', 'shop', 'acme-shop', 'db1.acme.example', 5432, 'shop'),
    ('a0000000-0000-4000-8000-0000000000b2', 'a0000000-0000-4000-8000-000000000001', 'Acme Blog', 'blog', 'acme-blog', 'db1.acme.example', 5432, 'blog'),
    ('a0000000-0000-4000-8000-0000000000b3', 'a0000000-0000-4000-8000-000000000001', 'Acme Lab', 'lab', 'acme-lab', 'db2.acme.example', 5432, 'lab'),
    ('b0000000-0000-4000-8000-0000000000b1', 'b0000000-0000-4000-8000-000000000001', 'Globex Portal', 'portal', 'globex-portal', 'db1.globex.example', 5432, 'portal'),
    ('b0000000-0000-4000-8000-0000000000b2', 'b0000000-0000-4000-8000-000000000001', 'Globex Data', 'data', 'globex-data', 'db1.globex.example', 5432, 'data')
ON CONFLICT DO NOTHING;

INSERT INTO platform.project_members (project_id, user_id, role) VALUES
    ('a0000000-0000-4000-8000-0000000000b1', 'a0000000-0000-4000-8000-0000000000a1', 'admin'),
    ('a0000000-0000-4000-8000-0000000000b1', 'c0000000-0000-4000-8000-0000000000a1', 'editor'),
    ('b0000000-0000-4000-8000-0000000000b1', 'b0000000-0000-4000-8000-0000000000a1', 'admin')
ON CONFLICT DO NOTHING;

INSERT INTO platform.project_addons (project_id, addon)
SELECT id, 'daily-backup' FROM platform.projects WHERE ref IN ('acme-shop', 'acme-blog', 'globex-portal')
ON CONFLICT DO NOTHING;

INSERT INTO platform.project_metrics (project_id, metric, recorded_at, value)
SELECT p.id, 'requests', '2024-06-01 00:00Z'::timestamptz + h * interval '1 hour', 100 + h
FROM platform.projects p, generate_series(0, 23) AS h
WHERE p.ref IN ('acme-shop', 'acme-blog', 'acme-lab', 'globex-portal', 'globex-data')
ON CONFLICT DO NOTHING;

INSERT INTO platform.credentials (project_id, anon_key, service_role_key, jwt_secret)
SELECT id, ref || '-anon', ref || '-service', ref || '-secret' FROM platform.projects
WHERE ref IN ('acme-shop', 'acme-blog', 'acme-lab', 'globex-portal', 'globex-data')
ON CONFLICT DO NOTHING;

INSERT INTO platform.databases (id, project_id, name, type, connection_string_encrypted, size_bytes) VALUES
    ('a0000000-0000-4000-8000-0000000000d1', 'a0000000-0000-4000-8000-0000000000b1', 'shop', 'primary', '\x01', 1000),
    ('a0000000-0000-4000-8000-0000000000d2', 'a0000000-0000-4000-8000-0000000000b1', 'shop-replica', 'replica', '\x02', 1000),
    ('a0000000-0000-4000-8000-0000000000d3', 'a0000000-0000-4000-8000-0000000000b2', 'blog', 'primary', '\x03', 200),
    ('a0000000-0000-4000-8000-0000000000d4', 'a0000000-0000-4000-8000-0000000000b3', 'lab', 'primary', '\x04', 30),
    ('b0000000-0000-4000-8000-0000000000d1', 'b0000000-0000-4000-8000-0000000000b1', 'portal', 'primary', '\x05', 5000),
    ('b0000000-0000-4000-8000-0000000000d2', 'b0000000-0000-4000-8000-0000000000b2', 'data', 'primary', '\x06', 600)
ON CONFLICT DO NOTHING;

INSERT INTO platform.database_backups (id, database_id, size_bytes, finished_at) VALUES
    ('a0000000-0000-4000-8000-0000000000f1', 'a0000000-0000-4000-8000-0000000000d1', 900, '2024-06-01 03:00Z'),
    ('a0000000-0000-4000-8000-0000000000f2', 'a0000000-0000-4000-8000-0000000000d3', 150, '2024-06-01 03:00Z'),
    ('b0000000-0000-4000-8000-0000000000f1', 'b0000000-0000-4000-8000-0000000000d1', 4500, '2024-06-01 03:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO platform.billing_plans (id, name, monthly_cents, limits) VALUES
    ('f0000000-0000-4000-8000-000000000001', 'free', 0, '{"projects": 2}'),
    ('f0000000-0000-4000-8000-000000000002', 'team', 2500, '{"projects": 20}')
ON CONFLICT DO NOTHING;

INSERT INTO platform.feature_flags (key, enabled, description) VALUES
    ('branching', true, 'Database branches'),
    ('read-replicas', false, 'Read replicas')
ON CONFLICT DO NOTHING;

INSERT INTO platform.subscriptions (organization_id, plan_id) VALUES
    ('a0000000-0000-4000-8000-000000000001', 'f0000000-0000-4000-8000-000000000002'),
    ('b0000000-0000-4000-8000-000000000001', 'f0000000-0000-4000-8000-000000000001')
ON CONFLICT DO NOTHING;

INSERT INTO platform.invoices (id, organization_id, number, total_cents, issued_at) VALUES
    ('a0000000-0000-4000-8000-0000000000c1', 'a0000000-0000-4000-8000-000000000001', '2024-001', 2500, '2024-05-01 00:00Z'),
    ('a0000000-0000-4000-8000-0000000000c2', 'a0000000-0000-4000-8000-000000000001', '2024-002', 2500, '2024-06-01 00:00Z'),
    ('b0000000-0000-4000-8000-0000000000c1', 'b0000000-0000-4000-8000-000000000001', '2024-001', 0, '2024-06-01 00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO platform.invoice_items (id, invoice_id, description, amount_cents) VALUES
    ('a0000000-0000-4000-8000-0000000001c1', 'a0000000-0000-4000-8000-0000000000c1', 'team plan', 2500),
    ('a0000000-0000-4000-8000-0000000001c2', 'a0000000-0000-4000-8000-0000000000c2', 'team plan', 2500),
    ('b0000000-0000-4000-8000-0000000001c1', 'b0000000-0000-4000-8000-0000000000c1', 'free plan', 0)
ON CONFLICT DO NOTHING;

INSERT INTO platform.payment_methods (id, organization_id, provider, last_four, is_default) VALUES
    ('a0000000-0000-4000-8000-000000000fa1', 'a0000000-0000-4000-8000-000000000001', 'card', '0001', true),
    ('b0000000-0000-4000-8000-000000000fa1', 'b0000000-0000-4000-8000-000000000001', 'card', '0002', true)
ON CONFLICT DO NOTHING;

INSERT INTO platform.usage_metrics (organization_id, metric, day, quantity)
SELECT o.id, 'egress_bytes', '2024-06-01'::date + d, 1000 * (d + 1)
FROM platform.organizations o, generate_series(0, 6) AS d
WHERE o.slug IN ('acme', 'globex')
ON CONFLICT DO NOTHING;

INSERT INTO platform.api_keys (id, organization_id, name, key_hash, created_by) VALUES
    ('a0000000-0000-4000-8000-0000000000ac', 'a0000000-0000-4000-8000-000000000001', 'ci', encode(sha256('acme-ci-key'), 'hex'), 'a0000000-0000-4000-8000-0000000000a1'),
    ('b0000000-0000-4000-8000-0000000000ac', 'b0000000-0000-4000-8000-000000000001', 'ci', encode(sha256('globex-ci-key'), 'hex'), 'b0000000-0000-4000-8000-0000000000a1')
ON CONFLICT DO NOTHING;

INSERT INTO platform.organization_invitations (id, organization_id, email, token_hash, invited_by, expires_at) VALUES
    ('a0000000-0000-4000-8000-000000000ea1', 'a0000000-0000-4000-8000-000000000001', 'invited@acme.example', encode(sha256('acme-invitation'), 'hex'), 'a0000000-0000-4000-8000-0000000000a1', now() + interval '7 days'),
    ('b0000000-0000-4000-8000-000000000ea1', 'b0000000-0000-4000-8000-000000000001', 'invited@globex.example', encode(sha256('globex-invitation'), 'hex'), 'b0000000-0000-4000-8000-0000000000a1', now() + interval '7 days')
ON CONFLICT DO NOTHING;

INSERT INTO platform.webhooks (id, organization_id, url, secret) VALUES
    ('a0000000-0000-4000-8000-00000000acaa', 'a0000000-0000-4000-8000-000000000001', 'https://hooks.acme.example/', 'acme-webhook-secret'),
    ('b0000000-0000-4000-8000-00000000acaa', 'b0000000-0000-4000-8000-000000000001', 'https://hooks.globex.example/', 'globex-webhook-secret')
ON CONFLICT DO NOTHING;

INSERT INTO platform.webhook_deliveries (id, webhook_id, status_code) VALUES
    ('a0000000-0000-4000-8000-00000000ade1', 'a0000000-0000-4000-8000-00000000acaa', 200),
    ('a0000000-0000-4000-8000-00000000ade2', 'a0000000-0000-4000-8000-00000000acaa', 500),
    ('b0000000-0000-4000-8000-00000000ade1', 'b0000000-0000-4000-8000-00000000acaa', 200)
ON CONFLICT DO NOTHING;

INSERT INTO platform.audit_logs (id, organization_id, user_id, action) VALUES
    ('a0000000-0000-4000-8000-00000000a0d1', 'a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-0000000000a1', 'project.create'),
    ('a0000000-0000-4000-8000-00000000a0d2', 'a0000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-0000000000a1', 'database.create'),
    ('b0000000-0000-4000-8000-00000000a0d1', 'b0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-0000000000a1', 'project.create')
ON CONFLICT DO NOTHING;

INSERT INTO platform.background_jobs (id, organization_id, kind) VALUES
    ('a0000000-0000-4000-8000-0000000000b0', 'a0000000-0000-4000-8000-000000000001', 'backup'),
    ('b0000000-0000-4000-8000-0000000000b0', 'b0000000-0000-4000-8000-000000000001', 'backup')
ON CONFLICT DO NOTHING;

COMMIT;
