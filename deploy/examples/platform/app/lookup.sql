-- The login with which pgwarden asks whose session a token is, where a user works, and who belongs where.
-- Idempotent; run as a superuser after 02-roles.sql. It reads three tables and nothing else; policies do not bind it,
-- because it asks before anybody has a context.

BEGIN;
SET LOCAL client_min_messages = warning;

DO $$
BEGIN
    IF to_regrole('pgwarden_lookup') IS NULL THEN CREATE ROLE pgwarden_lookup; END IF;
END $$;
ALTER ROLE pgwarden_lookup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;

GRANT USAGE ON SCHEMA platform TO pgwarden_lookup;
GRANT SELECT (id, active_org_id, banned_until, deleted_at) ON platform.users TO pgwarden_lookup;
GRANT SELECT (organization_id, user_id, role) ON platform.organization_members TO pgwarden_lookup;
GRANT SELECT (user_id, token_hash, expires_at) ON platform.user_sessions TO pgwarden_lookup;

COMMIT;
