-- Restrictive policies ("007"): the database keeps tenants apart from here on.
-- Every permissive_all_<table> goes; in its place one policy per table and command. A table without a policy for a
-- command refuses it (reads: no rows), and background_jobs has none at all: both are meant.
-- Do not apply before every transaction carries a context: without one, each of these policies is false.
-- Idempotent; run after 03-active-organisation.sql as a superuser or as platform_service. Undo: 04-rollback.sql.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE platform_owner;

-- The gate: what has to be in place first.
DO $$
BEGIN
    IF to_regprocedure('platform.set_user_active_org(uuid, uuid)') IS NULL THEN
        RAISE EXCEPTION 'the active organisation is missing' USING HINT = 'Run 03-active-organisation.sql first.';
    END IF;
    IF to_regrole('app') IS NULL OR to_regrole('platform_service') IS NULL THEN
        RAISE EXCEPTION 'the roles are missing' USING HINT = 'Run 02-roles.sql first.';
    END IF;
    IF EXISTS (SELECT FROM pg_roles r
               WHERE (r.rolsuper OR r.rolbypassrls OR r.rolname = 'platform_owner')
                 AND pg_has_role('app', r.oid, 'MEMBER')) THEN
        RAISE EXCEPTION 'role "app" would not be bound by policies'
            USING HINT = 'It must not be, or be a member of, a superuser, a role with BYPASSRLS or the owner.';
    END IF;
END $$;

-- Helpers ------------------------------------------------------------------------------------------------------------
-- SECURITY DEFINER: they belong to the owner of the tables, whom policies do not bind, so a policy that asks about
-- membership does not set off the policies of organization_members. STABLE: asked once per statement when wrapped in
-- (SELECT …). The path ends in pg_temp, because otherwise pg_temp is searched first for types and tables.

-- NULL without a context. A variable that was set once reads '' afterwards, hence nullif.
CREATE OR REPLACE FUNCTION platform.current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(current_setting('app.current_user_id', true), '')::pg_catalog.uuid
$$;

CREATE OR REPLACE FUNCTION platform.current_org_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(current_setting('app.current_org_id', true), '')::pg_catalog.uuid
$$;

-- Is the current user a member of `org`, neither banned nor deleted? Never NULL.
CREATE OR REPLACE FUNCTION platform.user_is_org_member(org uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM platform.organization_members m
        JOIN platform.users u ON u.id = m.user_id
        WHERE m.organization_id = org
          AND m.user_id = platform.current_user_id()
          AND u.deleted_at IS NULL
          AND (u.banned_until IS NULL OR u.banned_until <= now()))
$$;

-- Has the current user at least the role `required` in `org`? Never NULL; an unknown role is nobody's.
--
--     owner ─► admin ─┬─► developer ─────┬─► member
--                     └─► billing_admin ─┘
CREATE OR REPLACE FUNCTION platform.user_has_org_role(org uuid, required text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT platform.user_is_org_member(org) AND EXISTS (
        SELECT FROM platform.organization_members m
        WHERE m.organization_id = org
          AND m.user_id = platform.current_user_id()
          AND CASE required
                  WHEN 'owner' THEN m.role = 'owner'
                  WHEN 'admin' THEN m.role IN ('owner', 'admin')
                  WHEN 'developer' THEN m.role IN ('owner', 'admin', 'developer')
                  WHEN 'billing_admin' THEN m.role IN ('owner', 'admin', 'billing_admin')
                  WHEN 'member' THEN true
                  ELSE false
              END)
$$;

-- A query that reaches a policy must be able to call these; each answers about the caller's own context only.
GRANT EXECUTE ON FUNCTION platform.current_user_id(), platform.current_org_id(),
    platform.user_is_org_member(uuid), platform.user_has_org_role(uuid, text) TO PUBLIC;

-- Out with the permissive policies ------------------------------------------------------------------------------------

DO $$
DECLARE
    p record;
BEGIN
    FOR p IN
        SELECT tablename, policyname FROM pg_policies
        WHERE schemaname = 'platform' AND policyname = 'permissive_all_' || tablename
    LOOP
        EXECUTE format('DROP POLICY %I ON platform.%I', p.policyname, p.tablename);
    END LOOP;
END $$;

-- Tenants and people ------------------------------------------------------------------------------------------------
-- A tenant sees itself. Organisations are made and removed by the service role.
DROP POLICY IF EXISTS organizations_select ON platform.organizations;
CREATE POLICY organizations_select ON platform.organizations FOR SELECT TO PUBLIC
    USING (id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS organizations_update ON platform.organizations;
CREATE POLICY organizations_update ON platform.organizations FOR UPDATE TO PUBLIC
    USING (id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')))
    WITH CHECK (id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));

-- Self: people see and change their own row (02-roles.sql says which columns), nobody else's.
DROP POLICY IF EXISTS users_select ON platform.users;
CREATE POLICY users_select ON platform.users FOR SELECT TO PUBLIC
    USING (id = (SELECT platform.current_user_id()));
DROP POLICY IF EXISTS users_update ON platform.users;
CREATE POLICY users_update ON platform.users FOR UPDATE TO PUBLIC
    USING (id = (SELECT platform.current_user_id()))
    WITH CHECK (id = (SELECT platform.current_user_id()));

DROP POLICY IF EXISTS user_preferences_select ON platform.user_preferences;
CREATE POLICY user_preferences_select ON platform.user_preferences FOR SELECT TO PUBLIC
    USING (user_id = (SELECT platform.current_user_id()));
DROP POLICY IF EXISTS user_preferences_insert ON platform.user_preferences;
CREATE POLICY user_preferences_insert ON platform.user_preferences FOR INSERT TO PUBLIC
    WITH CHECK (user_id = (SELECT platform.current_user_id()));
DROP POLICY IF EXISTS user_preferences_update ON platform.user_preferences;
CREATE POLICY user_preferences_update ON platform.user_preferences FOR UPDATE TO PUBLIC
    USING (user_id = (SELECT platform.current_user_id()))
    WITH CHECK (user_id = (SELECT platform.current_user_id()));

-- Self: a session can be ended by its user; it is opened and extended by the service role.
DROP POLICY IF EXISTS user_sessions_select ON platform.user_sessions;
CREATE POLICY user_sessions_select ON platform.user_sessions FOR SELECT TO PUBLIC
    USING (user_id = (SELECT platform.current_user_id()));
DROP POLICY IF EXISTS user_sessions_delete ON platform.user_sessions;
CREATE POLICY user_sessions_delete ON platform.user_sessions FOR DELETE TO PUBLIC
    USING (user_id = (SELECT platform.current_user_id()));

-- Admins manage members; only an owner makes, changes or removes an owner.
DROP POLICY IF EXISTS organization_members_select ON platform.organization_members;
CREATE POLICY organization_members_select ON platform.organization_members FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS organization_members_insert ON platform.organization_members;
CREATE POLICY organization_members_insert ON platform.organization_members FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin'))
                AND (role <> 'owner' OR (SELECT platform.user_has_org_role(platform.current_org_id(), 'owner'))));
DROP POLICY IF EXISTS organization_members_update ON platform.organization_members;
CREATE POLICY organization_members_update ON platform.organization_members FOR UPDATE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin'))
           AND (role <> 'owner' OR (SELECT platform.user_has_org_role(platform.current_org_id(), 'owner'))))
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin'))
                AND (role <> 'owner' OR (SELECT platform.user_has_org_role(platform.current_org_id(), 'owner'))));
DROP POLICY IF EXISTS organization_members_delete ON platform.organization_members;
CREATE POLICY organization_members_delete ON platform.organization_members FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin'))
           AND (role <> 'owner' OR (SELECT platform.user_has_org_role(platform.current_org_id(), 'owner'))));

DROP POLICY IF EXISTS organization_invitations_select ON platform.organization_invitations;
CREATE POLICY organization_invitations_select ON platform.organization_invitations FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS organization_invitations_insert ON platform.organization_invitations;
CREATE POLICY organization_invitations_insert ON platform.organization_invitations FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin'))
                AND (role <> 'owner' OR (SELECT platform.user_has_org_role(platform.current_org_id(), 'owner'))));
DROP POLICY IF EXISTS organization_invitations_delete ON platform.organization_invitations;
CREATE POLICY organization_invitations_delete ON platform.organization_invitations FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));

DROP POLICY IF EXISTS api_keys_select ON platform.api_keys;
CREATE POLICY api_keys_select ON platform.api_keys FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS api_keys_insert ON platform.api_keys;
CREATE POLICY api_keys_insert ON platform.api_keys FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS api_keys_delete ON platform.api_keys;
CREATE POLICY api_keys_delete ON platform.api_keys FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));

-- Everybody writes about themselves, admins read, nobody changes or removes.
-- INSERT … RETURNING reads the new row, so it is for admins too.
DROP POLICY IF EXISTS audit_logs_select ON platform.audit_logs;
CREATE POLICY audit_logs_select ON platform.audit_logs FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS audit_logs_insert ON platform.audit_logs;
CREATE POLICY audit_logs_insert ON platform.audit_logs FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND user_id = (SELECT platform.current_user_id())
                AND (SELECT platform.user_is_org_member(platform.current_org_id())));

-- Projects, and what hangs below them -------------------------------------------------------------------------------
DROP POLICY IF EXISTS projects_select ON platform.projects;
CREATE POLICY projects_select ON platform.projects FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS projects_insert ON platform.projects;
CREATE POLICY projects_insert ON platform.projects FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS projects_update ON platform.projects;
CREATE POLICY projects_update ON platform.projects FOR UPDATE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')))
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS projects_delete ON platform.projects;
CREATE POLICY projects_delete ON platform.projects FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));

-- The tenant of these is the project's. Membership is asked here too, so that each table stands by itself when
-- policies are put in force one table at a time.
DROP POLICY IF EXISTS project_members_select ON platform.project_members;
CREATE POLICY project_members_select ON platform.project_members FOR SELECT TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS project_members_insert ON platform.project_members;
CREATE POLICY project_members_insert ON platform.project_members FOR INSERT TO PUBLIC
    WITH CHECK (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
                AND user_id IN (SELECT m.user_id FROM platform.organization_members m
                                WHERE m.organization_id = (SELECT platform.current_org_id()))
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS project_members_delete ON platform.project_members;
CREATE POLICY project_members_delete ON platform.project_members FOR DELETE TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS project_addons_select ON platform.project_addons;
CREATE POLICY project_addons_select ON platform.project_addons FOR SELECT TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS project_metrics_select ON platform.project_metrics;
CREATE POLICY project_metrics_select ON platform.project_metrics FOR SELECT TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS credentials_select ON platform.credentials;
CREATE POLICY credentials_select ON platform.credentials FOR SELECT TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS databases_select ON platform.databases;
CREATE POLICY databases_select ON platform.databases FOR SELECT TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS databases_insert ON platform.databases;
CREATE POLICY databases_insert ON platform.databases FOR INSERT TO PUBLIC
    WITH CHECK (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS databases_update ON platform.databases;
CREATE POLICY databases_update ON platform.databases FOR UPDATE TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')))
    WITH CHECK (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS databases_delete ON platform.databases;
CREATE POLICY databases_delete ON platform.databases FOR DELETE TO PUBLIC
    USING (project_id IN (SELECT p.id FROM platform.projects p
                       WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));

-- Two joins away: backup, database, project.
DROP POLICY IF EXISTS database_backups_select ON platform.database_backups;
CREATE POLICY database_backups_select ON platform.database_backups FOR SELECT TO PUBLIC
    USING (database_id IN (SELECT d.id FROM platform.databases d
                        JOIN platform.projects p ON p.id = d.project_id
                        WHERE p.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));

DROP POLICY IF EXISTS webhooks_select ON platform.webhooks;
CREATE POLICY webhooks_select ON platform.webhooks FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));
DROP POLICY IF EXISTS webhooks_insert ON platform.webhooks;
CREATE POLICY webhooks_insert ON platform.webhooks FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS webhooks_delete ON platform.webhooks;
CREATE POLICY webhooks_delete ON platform.webhooks FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'admin')));
DROP POLICY IF EXISTS webhook_deliveries_select ON platform.webhook_deliveries;
CREATE POLICY webhook_deliveries_select ON platform.webhook_deliveries FOR SELECT TO PUBLIC
    USING (webhook_id IN (SELECT w.id FROM platform.webhooks w
                       WHERE w.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'developer')));

-- Billing -----------------------------------------------------------------------------------------------------------
-- Public read.
DROP POLICY IF EXISTS billing_plans_select ON platform.billing_plans;
CREATE POLICY billing_plans_select ON platform.billing_plans FOR SELECT TO PUBLIC
    USING (true);
DROP POLICY IF EXISTS feature_flags_select ON platform.feature_flags;
CREATE POLICY feature_flags_select ON platform.feature_flags FOR SELECT TO PUBLIC
    USING (true);

DROP POLICY IF EXISTS subscriptions_select ON platform.subscriptions;
CREATE POLICY subscriptions_select ON platform.subscriptions FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS usage_metrics_select ON platform.usage_metrics;
CREATE POLICY usage_metrics_select ON platform.usage_metrics FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
DROP POLICY IF EXISTS invoices_select ON platform.invoices;
CREATE POLICY invoices_select ON platform.invoices FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'billing_admin')));
DROP POLICY IF EXISTS invoice_items_select ON platform.invoice_items;
CREATE POLICY invoice_items_select ON platform.invoice_items FOR SELECT TO PUBLIC
    USING (invoice_id IN (SELECT i.id FROM platform.invoices i
                       WHERE i.organization_id = (SELECT platform.current_org_id()))
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'billing_admin')));
DROP POLICY IF EXISTS payment_methods_select ON platform.payment_methods;
CREATE POLICY payment_methods_select ON platform.payment_methods FOR SELECT TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'billing_admin')));
DROP POLICY IF EXISTS payment_methods_insert ON platform.payment_methods;
CREATE POLICY payment_methods_insert ON platform.payment_methods FOR INSERT TO PUBLIC
    WITH CHECK (organization_id = (SELECT platform.current_org_id())
                AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'billing_admin')));
DROP POLICY IF EXISTS payment_methods_delete ON platform.payment_methods;
CREATE POLICY payment_methods_delete ON platform.payment_methods FOR DELETE TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_has_org_role(platform.current_org_id(), 'billing_admin')));

-- Nothing forgotten --------------------------------------------------------------------------------------------------

DO $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(relname, ', ' ORDER BY relname) INTO wrong FROM pg_class
    WHERE relnamespace = 'platform'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'tables without row level security: %', wrong;
    END IF;
    SELECT string_agg(tablename || '.' || policyname, ', ' ORDER BY tablename, policyname) INTO wrong FROM pg_policies
    WHERE schemaname = 'platform' AND policyname IS DISTINCT FROM tablename || '_' || lower(cmd);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'policies that do not belong here, and would let more through: %', wrong;
    END IF;
END $$;

COMMIT;
