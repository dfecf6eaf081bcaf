-- The platform schema as it is today: every table has row level security switched on and one policy that lets
-- everything through, so the application alone keeps tenants apart.
-- Idempotent; run as a superuser, once per database. PostgreSQL 14 to 18.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS platform;

-- Tenants and people ------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS platform.organizations (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL,
    slug          text NOT NULL UNIQUE,
    billing_email text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS platform.users (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email        text NOT NULL UNIQUE,
    username     text,
    full_name    text,
    avatar_url   text,
    banned_until timestamptz,
    deleted_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
-- The organisation a user works in now. 03-active-organisation.sql keeps it; its rollback removes it.
ALTER TABLE platform.users ADD COLUMN IF NOT EXISTS active_org_id uuid
    REFERENCES platform.organizations (id) ON DELETE SET NULL;
CREATE INDEX IF NOT EXISTS users_active_org_id_idx
    ON platform.users (active_org_id) WHERE active_org_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS platform.user_preferences (
    user_id    uuid PRIMARY KEY REFERENCES platform.users (id) ON DELETE CASCADE,
    theme      text NOT NULL DEFAULT 'system',
    locale     text NOT NULL DEFAULT 'en',
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Who belongs where. A row means "is a member"; who has only been asked is in organization_invitations.
CREATE TABLE IF NOT EXISTS platform.organization_members (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    user_id         uuid NOT NULL REFERENCES platform.users (id) ON DELETE CASCADE,
    role            text NOT NULL DEFAULT 'member'
                    CHECK (role IN ('owner', 'admin', 'developer', 'billing_admin', 'member')),
    invited_at      timestamptz,
    invited_by      uuid REFERENCES platform.users (id) ON DELETE SET NULL,
    joined_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, user_id)
);
CREATE INDEX IF NOT EXISTS organization_members_user_id_idx
    ON platform.organization_members (user_id, organization_id);

CREATE TABLE IF NOT EXISTS platform.organization_invitations (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    email           text NOT NULL,
    role            text NOT NULL DEFAULT 'member'
                    CHECK (role IN ('owner', 'admin', 'developer', 'billing_admin', 'member')),
    token_hash      text NOT NULL UNIQUE,
    invited_by      uuid REFERENCES platform.users (id) ON DELETE SET NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    accepted_at     timestamptz,
    UNIQUE (organization_id, email)
);

-- A session is found by the hash of its token; the token itself is stored nowhere.
CREATE TABLE IF NOT EXISTS platform.user_sessions (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id          uuid NOT NULL REFERENCES platform.users (id) ON DELETE CASCADE,
    token_hash       text NOT NULL UNIQUE,
    ip_address       inet,
    user_agent       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS user_sessions_user_id_idx ON platform.user_sessions (user_id);

CREATE TABLE IF NOT EXISTS platform.api_keys (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    name            text NOT NULL,
    key_hash        text NOT NULL UNIQUE,
    created_by      uuid REFERENCES platform.users (id) ON DELETE SET NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    last_used_at    timestamptz
);
CREATE INDEX IF NOT EXISTS api_keys_organization_id_idx ON platform.api_keys (organization_id);

CREATE TABLE IF NOT EXISTS platform.audit_logs (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid REFERENCES platform.organizations (id) ON DELETE CASCADE,
    user_id         uuid REFERENCES platform.users (id) ON DELETE SET NULL,
    action          text NOT NULL,
    resource_type   text,
    resource_id     uuid,
    details         jsonb NOT NULL DEFAULT '{}',
    ip_address      inet,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS audit_logs_organization_id_idx
    ON platform.audit_logs (organization_id, created_at);

-- Projects, and what hangs below them --------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS platform.projects (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    name            text NOT NULL,
    slug            text NOT NULL,
    ref             text NOT NULL UNIQUE,
    database_host   text,
    database_port   integer,
    database_name   text,
    database_user   text,
    status          text NOT NULL DEFAULT 'active'
                    CHECK (status IN ('creating', 'active', 'paused', 'deleted')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, slug)
);

CREATE TABLE IF NOT EXISTS platform.project_members (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES platform.projects (id) ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES platform.users (id) ON DELETE CASCADE,
    role       text NOT NULL DEFAULT 'viewer' CHECK (role IN ('admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, user_id)
);

CREATE TABLE IF NOT EXISTS platform.project_addons (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL REFERENCES platform.projects (id) ON DELETE CASCADE,
    addon      text NOT NULL,
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, addon)
);

CREATE TABLE IF NOT EXISTS platform.project_metrics (
    project_id  uuid NOT NULL REFERENCES platform.projects (id) ON DELETE CASCADE,
    metric      text NOT NULL,
    recorded_at timestamptz NOT NULL,
    value       double precision NOT NULL,
    PRIMARY KEY (project_id, metric, recorded_at)
);

CREATE TABLE IF NOT EXISTS platform.credentials (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id       uuid NOT NULL UNIQUE REFERENCES platform.projects (id) ON DELETE CASCADE,
    anon_key         text NOT NULL,
    service_role_key text NOT NULL,
    jwt_secret       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS platform.databases (
    id                          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id                  uuid NOT NULL REFERENCES platform.projects (id) ON DELETE CASCADE,
    name                        text NOT NULL,
    type                        text NOT NULL DEFAULT 'primary' CHECK (type IN ('primary', 'replica', 'branch')),
    connection_string_encrypted bytea,
    size_bytes                  bigint NOT NULL DEFAULT 0,
    deleted_at                  timestamptz,
    created_at                  timestamptz NOT NULL DEFAULT now(),
    updated_at                  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);

CREATE TABLE IF NOT EXISTS platform.database_backups (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    database_id uuid NOT NULL REFERENCES platform.databases (id) ON DELETE CASCADE,
    size_bytes  bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS database_backups_database_id_idx ON platform.database_backups (database_id);

CREATE TABLE IF NOT EXISTS platform.webhooks (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    url             text NOT NULL,
    secret          text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS webhooks_organization_id_idx ON platform.webhooks (organization_id);

CREATE TABLE IF NOT EXISTS platform.webhook_deliveries (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    webhook_id   uuid NOT NULL REFERENCES platform.webhooks (id) ON DELETE CASCADE,
    status_code  integer,
    delivered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS webhook_deliveries_webhook_id_idx ON platform.webhook_deliveries (webhook_id);

-- Billing --------------------------------------------------------------------------------------------------------

-- Global: the same for every tenant, readable by all.
CREATE TABLE IF NOT EXISTS platform.billing_plans (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL UNIQUE,
    monthly_cents integer NOT NULL,
    limits        jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS platform.feature_flags (
    key         text PRIMARY KEY,
    enabled     boolean NOT NULL DEFAULT false,
    description text
);

CREATE TABLE IF NOT EXISTS platform.subscriptions (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL UNIQUE REFERENCES platform.organizations (id) ON DELETE CASCADE,
    plan_id         uuid NOT NULL REFERENCES platform.billing_plans (id),
    status          text NOT NULL DEFAULT 'active',
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS platform.invoices (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    number          text NOT NULL,
    total_cents     bigint NOT NULL,
    issued_at       timestamptz NOT NULL DEFAULT now(),
    paid_at         timestamptz,
    UNIQUE (organization_id, number)
);

CREATE TABLE IF NOT EXISTS platform.invoice_items (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    invoice_id   uuid NOT NULL REFERENCES platform.invoices (id) ON DELETE CASCADE,
    description  text NOT NULL,
    amount_cents bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS invoice_items_invoice_id_idx ON platform.invoice_items (invoice_id);

CREATE TABLE IF NOT EXISTS platform.payment_methods (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    provider        text NOT NULL,
    last_four       text NOT NULL CHECK (last_four ~ '^[0-9]{4}$'),
    is_default      boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS payment_methods_organization_id_idx ON platform.payment_methods (organization_id);

CREATE TABLE IF NOT EXISTS platform.usage_metrics (
    organization_id uuid NOT NULL REFERENCES platform.organizations (id) ON DELETE CASCADE,
    metric          text NOT NULL,
    day             date NOT NULL,
    quantity        numeric NOT NULL,
    PRIMARY KEY (organization_id, metric, day)
);

-- Work for background processes: no tenant may ever read it.
CREATE TABLE IF NOT EXISTS platform.background_jobs (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid REFERENCES platform.organizations (id) ON DELETE CASCADE,
    kind            text NOT NULL,
    payload         jsonb NOT NULL DEFAULT '{}',
    run_at          timestamptz NOT NULL DEFAULT now()
);

-- Triggers and views of `databases` ------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION platform.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := pg_catalog.now();
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION platform.databases_check() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.project_id IS DISTINCT FROM OLD.project_id THEN
        RAISE EXCEPTION 'a database cannot move to another project'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.name := pg_catalog.lower(pg_catalog.btrim(NEW.name));
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER databases_touch BEFORE UPDATE ON platform.databases
    FOR EACH ROW EXECUTE FUNCTION platform.touch_updated_at();
CREATE OR REPLACE TRIGGER databases_check BEFORE INSERT OR UPDATE ON platform.databases
    FOR EACH ROW EXECUTE FUNCTION platform.databases_check();
CREATE OR REPLACE TRIGGER organizations_touch BEFORE UPDATE ON platform.organizations
    FOR EACH ROW EXECUTE FUNCTION platform.touch_updated_at();
CREATE OR REPLACE TRIGGER projects_touch BEFORE UPDATE ON platform.projects
    FOR EACH ROW EXECUTE FUNCTION platform.touch_updated_at();

CREATE OR REPLACE VIEW platform.active_databases AS
    SELECT d.id, p.organization_id, d.project_id, p.ref AS project_ref, d.name, d.type, d.size_bytes
    FROM platform.databases d
    JOIN platform.projects p ON p.id = d.project_id
    WHERE d.deleted_at IS NULL AND p.status <> 'deleted';

CREATE OR REPLACE VIEW platform.project_database_totals AS
    SELECT p.id AS project_id, p.organization_id, p.name AS project_name,
           count(d.id) AS databases, coalesce(sum(d.size_bytes), 0) AS size_bytes
    FROM platform.projects p
    LEFT JOIN platform.databases d ON d.project_id = p.id AND d.deleted_at IS NULL
    GROUP BY p.id;

-- A view reads with its owner's rights, and the owner of the tables is not bound by policies. From version 15 a view
-- can read with the caller's rights; 02-roles.sql has the answer for 14.
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 150000 THEN
        ALTER VIEW platform.active_databases SET (security_invoker = true);
        ALTER VIEW platform.project_database_totals SET (security_invoker = true);
    END IF;
END $$;

-- Row level security on, everything permitted. Only where it is still off: running this file again must not open
-- what 04-restrictive-policies.sql has closed.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'platform'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity
    LOOP
        EXECUTE format('ALTER TABLE platform.%I ENABLE ROW LEVEL SECURITY', t.relname);
        EXECUTE format('CREATE POLICY %I ON platform.%I FOR ALL TO PUBLIC USING (true) WITH CHECK (true)',
                       'permissive_all_' || t.relname, t.relname);
    END LOOP;
END $$;

COMMIT;
