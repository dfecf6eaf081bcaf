-- Checks that policies keep the sample tenants apart. Run after 01 to 05 with a login that may become `app`: a
-- superuser. It changes nothing (rolls back), stops at the first thing that is wrong, and says "isolation holds" when
-- nothing is. It sets the context itself, the way pgwarden does for the application.

BEGIN;

-- Sets the context of the rest of the transaction.
CREATE FUNCTION pg_temp.act_as(p_user text, p_org text) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('app.current_user_id', p_user, true), set_config('app.current_org_id', p_org, true);
$$;

-- Fails unless `query` returns `expected`.
CREATE FUNCTION pg_temp.expect(what text, query text, expected bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    got bigint;
BEGIN
    EXECUTE query INTO got;
    IF got IS DISTINCT FROM expected THEN
        RAISE EXCEPTION '%: expected %, got %', what, expected, got;
    END IF;
END $$;

-- Fails unless `statement` is refused with `expected` as its SQLSTATE.
CREATE FUNCTION pg_temp.expect_error(what text, statement text, expected text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE <> expected THEN
            RAISE EXCEPTION '%: expected SQLSTATE %, got % (%)', what, expected, SQLSTATE, SQLERRM;
        END IF;
        RETURN;
    END;
    RAISE EXCEPTION '%: expected SQLSTATE %, but it went through', what, expected;
END $$;

-- Fails unless `statement` touches exactly `expected` rows.
CREATE FUNCTION pg_temp.expect_rows(what text, statement text, expected bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    got bigint;
BEGIN
    EXECUTE statement;
    GET DIAGNOSTICS got = ROW_COUNT;
    IF got <> expected THEN
        RAISE EXCEPTION '%: expected % rows, got %', what, expected, got;
    END IF;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO app', pg_my_temp_schema()::regnamespace);
END $$;

-- The meta-check: who is asked below really is bound by policies.
SET LOCAL ROLE app;
DO $$
BEGIN
    IF NOT row_security_active('platform.projects') THEN
        RAISE EXCEPTION 'role "app" is not bound by the policies of platform.projects';
    END IF;
END $$;

-- Without a context: nothing, and nothing can be written; what is public stays public.
DO $$
DECLARE
    t name;
    c record;
BEGIN
    FOR c IN SELECT * FROM (VALUES ('', ''), (NULL, NULL)) AS v (u, o) LOOP
        PERFORM pg_temp.act_as(c.u, c.o);
        FOR t IN
            SELECT relname FROM pg_class
            WHERE relnamespace = 'platform'::regnamespace AND relkind IN ('r', 'p', 'v')
              AND relname NOT IN ('billing_plans', 'feature_flags')
        LOOP
            PERFORM pg_temp.expect('no context, ' || t, format('SELECT count(*) FROM platform.%I', t), 0);
        END LOOP;
        PERFORM pg_temp.expect('no context, plans', 'SELECT count(*) FROM platform.billing_plans', 2);
        PERFORM pg_temp.expect_error('no context, insert',
            $q$INSERT INTO platform.projects (organization_id, name, slug, ref)
               VALUES ('a0000000-0000-4000-8000-000000000001', 'x', 'x', 'x')$q$, '42501');
    END LOOP;
END $$;

-- Each owner sees the rows of their own organisation, all of them, and no others, in every table and view.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT tenant, relation, rows FROM (VALUES
            ('a0', 'organizations', 1), ('b0', 'organizations', 1),
            ('a0', 'users', 1), ('b0', 'users', 1),
            ('a0', 'user_preferences', 1), ('b0', 'user_preferences', 1),
            ('a0', 'user_sessions', 1), ('b0', 'user_sessions', 1),
            ('a0', 'organization_members', 3), ('b0', 'organization_members', 3),
            ('a0', 'organization_invitations', 1), ('b0', 'organization_invitations', 1),
            ('a0', 'api_keys', 1), ('b0', 'api_keys', 1),
            ('a0', 'audit_logs', 2), ('b0', 'audit_logs', 1),
            ('a0', 'projects', 3), ('b0', 'projects', 2),
            ('a0', 'project_members', 2), ('b0', 'project_members', 1),
            ('a0', 'project_addons', 2), ('b0', 'project_addons', 1),
            ('a0', 'project_metrics', 72), ('b0', 'project_metrics', 48),
            ('a0', 'credentials', 3), ('b0', 'credentials', 2),
            ('a0', 'databases', 4), ('b0', 'databases', 2),
            ('a0', 'database_backups', 2), ('b0', 'database_backups', 1),
            ('a0', 'active_databases', 4), ('b0', 'active_databases', 2),
            ('a0', 'project_database_totals', 3), ('b0', 'project_database_totals', 2),
            ('a0', 'webhooks', 1), ('b0', 'webhooks', 1),
            ('a0', 'webhook_deliveries', 2), ('b0', 'webhook_deliveries', 1),
            ('a0', 'subscriptions', 1), ('b0', 'subscriptions', 1),
            ('a0', 'usage_metrics', 7), ('b0', 'usage_metrics', 7),
            ('a0', 'invoices', 2), ('b0', 'invoices', 1),
            ('a0', 'invoice_items', 2), ('b0', 'invoice_items', 1),
            ('a0', 'payment_methods', 1), ('b0', 'payment_methods', 1),
            ('a0', 'background_jobs', 0), ('b0', 'background_jobs', 0),
            ('a0', 'billing_plans', 2), ('b0', 'feature_flags', 2)
        ) AS v (tenant, relation, rows)
    LOOP
        PERFORM pg_temp.act_as(c.tenant || '000000-0000-4000-8000-0000000000a1',
                               c.tenant || '000000-0000-4000-8000-000000000001');
        PERFORM pg_temp.expect(c.tenant || ' owner, ' || c.relation,
                               format('SELECT count(*) FROM platform.%I', c.relation), c.rows);
    END LOOP;
END $$;

-- An owner of acme against globex: cannot see, insert, move, change or remove.
DO $$
BEGIN
    PERFORM pg_temp.act_as('a0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('by key', $q$SELECT count(*) FROM platform.projects
        WHERE id = 'b0000000-0000-4000-8000-0000000000b1'$q$, 0);
    PERFORM pg_temp.expect_rows('own insert', $q$INSERT INTO platform.projects (organization_id, name, slug, ref)
        VALUES ('a0000000-0000-4000-8000-000000000001', 'new', 'new', 'acme-new')$q$, 1);
    PERFORM pg_temp.expect_error('insert for the other', $q$INSERT INTO platform.projects (organization_id, name, slug, ref)
        VALUES ('b0000000-0000-4000-8000-000000000001', 'new', 'new', 'globex-new')$q$, '42501');
    PERFORM pg_temp.expect_error('insert below the other''s project', $q$INSERT INTO platform.databases (project_id, name)
        VALUES ('b0000000-0000-4000-8000-0000000000b1', 'stolen')$q$, '42501');
    PERFORM pg_temp.expect_error('move to the other', $q$UPDATE platform.projects
        SET organization_id = 'b0000000-0000-4000-8000-000000000001'
        WHERE id = 'a0000000-0000-4000-8000-0000000000b1'$q$, '42501');
    PERFORM pg_temp.expect_rows('change the other''s', $q$UPDATE platform.projects SET name = 'x'
        WHERE id = 'b0000000-0000-4000-8000-0000000000b1'$q$, 0);
    PERFORM pg_temp.expect_rows('remove the other''s', $q$DELETE FROM platform.databases
        WHERE id = 'b0000000-0000-4000-8000-0000000000d1'$q$, 0);
    PERFORM pg_temp.expect_error('upsert onto the other''s', $q$INSERT INTO platform.projects (id, organization_id, name, slug, ref)
        VALUES ('b0000000-0000-4000-8000-0000000000b1', 'a0000000-0000-4000-8000-000000000001', 'x', 'x', 'x')
        ON CONFLICT (id) DO UPDATE SET name = 'x'$q$, '42501');
    PERFORM pg_temp.expect_error('audit in another''s name', $q$INSERT INTO platform.audit_logs (organization_id, user_id, action)
        VALUES ('a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-0000000000a2', 'x')$q$, '42501');
    PERFORM pg_temp.expect_rows('own audit', $q$INSERT INTO platform.audit_logs (organization_id, user_id, action)
        VALUES ('a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-0000000000a1', 'x')$q$, 1);
    PERFORM pg_temp.expect_rows('audit stays', 'UPDATE platform.audit_logs SET action = ''y''', 0);
    PERFORM pg_temp.expect_error('truncate', 'TRUNCATE platform.projects CASCADE', '42501');
    PERFORM pg_temp.expect_error('own ban', 'UPDATE platform.users SET banned_until = NULL', '42501');

    -- The right user, but an organisation they do not belong to.
    PERFORM pg_temp.act_as('a0000000-0000-4000-8000-0000000000a1', 'b0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('not a member', 'SELECT count(*) FROM platform.projects', 0);
    PERFORM pg_temp.expect_error('not a member, insert', $q$INSERT INTO platform.projects (organization_id, name, slug, ref)
        VALUES ('b0000000-0000-4000-8000-000000000001', 'new', 'new', 'globex-new')$q$, '42501');
    -- An organisation and no user.
    PERFORM pg_temp.act_as('', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('no user', 'SELECT count(*) FROM platform.projects', 0);
END $$;

-- Roles within an organisation.
DO $$
BEGIN
    PERFORM pg_temp.act_as('a0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect_rows('owner renames', 'UPDATE platform.organizations SET name = ''Acme Ltd''', 1);
    PERFORM pg_temp.act_as('a0000000-0000-4000-8000-0000000000a2', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect_rows('member does not', 'UPDATE platform.organizations SET name = ''x''', 0);
    PERFORM pg_temp.expect('member reads projects', 'SELECT count(*) FROM platform.projects', 4);
    PERFORM pg_temp.expect('member, credentials', 'SELECT count(*) FROM platform.credentials', 0);
    PERFORM pg_temp.expect('member, invoices', 'SELECT count(*) FROM platform.invoices', 0);
    PERFORM pg_temp.expect('member, audit', 'SELECT count(*) FROM platform.audit_logs', 0);
    PERFORM pg_temp.expect_error('member does not promote themselves', $q$INSERT INTO platform.organization_members (organization_id, user_id, role)
        VALUES ('a0000000-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-0000000000a1', 'owner')$q$, '42501');

    -- One user, two organisations, a role in each.
    PERFORM pg_temp.act_as('c0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('shared in acme', 'SELECT count(*) FROM platform.credentials', 3);
    PERFORM pg_temp.expect('shared in acme, keys', 'SELECT count(*) FROM platform.api_keys', 0);
    PERFORM pg_temp.act_as('c0000000-0000-4000-8000-0000000000a1', 'b0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('shared in globex', 'SELECT count(*) FROM platform.credentials', 2);
    PERFORM pg_temp.expect('shared in globex, keys', 'SELECT count(*) FROM platform.api_keys', 1);
    -- An admin makes members, but no owners, and does not touch the owner.
    PERFORM pg_temp.expect_rows('admin adds', $q$INSERT INTO platform.organization_members (organization_id, user_id, role)
        VALUES ('b0000000-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-0000000000a1', 'member')$q$, 1);
    PERFORM pg_temp.expect_error('admin makes no owner', $q$UPDATE platform.organization_members SET role = 'owner'
        WHERE user_id = 'd0000000-0000-4000-8000-0000000000a1'$q$, '42501');
    PERFORM pg_temp.expect_rows('admin keeps the owner', $q$DELETE FROM platform.organization_members
        WHERE user_id = 'b0000000-0000-4000-8000-0000000000a1'$q$, 0);
END $$;

-- The active organisation: only for oneself, only where one is a member.
DO $$
BEGIN
    PERFORM pg_temp.act_as('c0000000-0000-4000-8000-0000000000a1', 'b0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('backfilled with the first joined', $q$SELECT count(*)
        FROM platform.get_user_active_org('c0000000-0000-4000-8000-0000000000a1') WHERE slug = 'globex' AND role = 'admin'$q$, 1);
    PERFORM pg_temp.expect('switched', $q$SELECT platform.set_user_active_org(
        'c0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001')::int$q$, 1);
    PERFORM pg_temp.expect('active now', $q$SELECT count(*)
        FROM platform.get_user_active_org('c0000000-0000-4000-8000-0000000000a1') WHERE slug = 'acme' AND role = 'developer'$q$, 1);
    PERFORM pg_temp.act_as('a0000000-0000-4000-8000-0000000000a1', 'a0000000-0000-4000-8000-000000000001');
    PERFORM pg_temp.expect('not a member, not switched', $q$SELECT platform.set_user_active_org(
        'a0000000-0000-4000-8000-0000000000a1', 'b0000000-0000-4000-8000-000000000001')::int$q$, 0);
END $$;
RESET ROLE;

-- A superuser is let through by the functions above, because it is the login that counts; app is not. So that `app`
-- cannot switch another user is checked through a login as app: README.md.

-- Deleting an organisation leaves its users, without an active organisation.
DELETE FROM platform.organizations WHERE slug = 'globex';
DO $$
BEGIN
    PERFORM pg_temp.expect('deleted organisation', $q$SELECT count(*) FROM platform.users
        WHERE email = 'owner@globex.example' AND active_org_id IS NULL$q$, 1);
END $$;

ROLLBACK;

SELECT 'isolation holds' AS result;
