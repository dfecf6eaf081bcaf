-- Roles: who owns, who serves requests, who migrates.
-- Idempotent; run as a superuser after 01-schema.sql. No passwords here: set them with ALTER ROLE … PASSWORD.

BEGIN;
SET LOCAL client_min_messages = warning;

DO $$
BEGIN
    IF to_regrole('platform_owner') IS NULL THEN CREATE ROLE platform_owner; END IF;
    IF to_regrole('platform_service') IS NULL THEN CREATE ROLE platform_service; END IF;
    IF to_regrole('app') IS NULL THEN CREATE ROLE app; END IF;
END $$;

-- Owns every object. Policies do not bind an owner (there is no FORCE here), which is what lets the helper functions
-- of 04-restrictive-policies.sql read organization_members without calling their own policies again.
ALTER ROLE platform_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Migrations and jobs: sees every tenant. Nothing that serves requests may log in as this role.
ALTER ROLE platform_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;
-- The application: bound by every policy.
ALTER ROLE app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

GRANT platform_owner TO platform_service;

-- Ownership.
ALTER SCHEMA platform OWNER TO platform_owner;
DO $$
DECLARE
    o record;
BEGIN
    FOR o IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = 'platform'::regnamespace AND relkind IN ('r', 'p', 'v')
    LOOP
        EXECUTE format('ALTER %s platform.%I OWNER TO platform_owner',
                       CASE o.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, o.relname);
    END LOOP;
    FOR o IN
        SELECT oid::regprocedure AS signature FROM pg_proc WHERE pronamespace = 'platform'::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO platform_owner', o.signature);
    END LOOP;
END $$;

-- Rights.
REVOKE ALL ON SCHEMA platform FROM PUBLIC;
GRANT USAGE ON SCHEMA platform TO app, platform_service;
GRANT ALL ON ALL TABLES IN SCHEMA platform TO platform_service;
ALTER DEFAULT PRIVILEGES FOR ROLE platform_owner IN SCHEMA platform GRANT ALL ON TABLES TO platform_service;

-- Rows only: no TRUNCATE (policies do not see it), no REFERENCES, no TRIGGER.
REVOKE ALL ON ALL TABLES IN SCHEMA platform FROM app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA platform TO app;
-- The same for every tenant: the application only reads them.
REVOKE INSERT, UPDATE, DELETE ON platform.billing_plans, platform.feature_flags FROM app;
REVOKE INSERT, UPDATE, DELETE ON platform.active_databases, platform.project_database_totals FROM app;
-- What a user may change in their own row. A ban is lifted by the service role, and the active organisation changes
-- through set_user_active_org(), which checks membership.
REVOKE UPDATE ON platform.users FROM app;
GRANT UPDATE (email, username, full_name, avatar_url, updated_at) ON platform.users TO app;

-- PostgreSQL 14 has no security_invoker: there, the views belong to a role that policies do bind.
DO $$
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        IF to_regrole('platform_views') IS NULL THEN CREATE ROLE platform_views; END IF;
        ALTER ROLE platform_views NOLOGIN NOSUPERUSER NOBYPASSRLS;
        GRANT USAGE ON SCHEMA platform TO platform_views;
        GRANT SELECT ON platform.projects, platform.databases TO platform_views;
        ALTER VIEW platform.active_databases OWNER TO platform_views;
        ALTER VIEW platform.project_database_totals OWNER TO platform_views;
    END IF;
END $$;

COMMIT;
