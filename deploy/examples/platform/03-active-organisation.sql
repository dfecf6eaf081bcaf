-- The active organisation of a user: which tenant the user works in now.
-- Idempotent; run after 02-roles.sql as a superuser or as platform_service.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE platform_owner;

ALTER TABLE platform.users ADD COLUMN IF NOT EXISTS active_org_id uuid
    REFERENCES platform.organizations (id) ON DELETE SET NULL;
CREATE INDEX IF NOT EXISTS users_active_org_id_idx
    ON platform.users (active_org_id) WHERE active_org_id IS NOT NULL;

-- May this session act for the user? Everybody for themselves; for others, and without a user in the context, only a
-- login that policies do not bind (jobs, migrations). The functions below run as their owner, so it is the *session's*
-- user that counts here.
CREATE OR REPLACE FUNCTION platform.may_act_for_user(p_user uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(p_user = nullif(current_setting('app.current_user_id', true), '')::pg_catalog.uuid, false)
        OR EXISTS (SELECT FROM pg_catalog.pg_roles r
                   WHERE r.rolname = session_user AND (r.rolsuper OR r.rolbypassrls))
$$;

-- Makes `p_org` the active organisation of `p_user`; false, and nothing changed, when the user is not a member of it.
CREATE OR REPLACE FUNCTION platform.set_user_active_org(p_user uuid, p_org uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT platform.may_act_for_user(p_user) THEN
        RAISE EXCEPTION 'permission denied to change the active organisation of another user'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The lock keeps the membership from being revoked between this check and the end of the transaction.
    PERFORM FROM platform.organization_members m
        WHERE m.organization_id = p_org AND m.user_id = p_user FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE platform.users u SET active_org_id = p_org WHERE u.id = p_user AND u.deleted_at IS NULL;
    RETURN FOUND;
END $$;

-- The active organisation of `p_user` with the user's role in it; no row when there is none, or when the membership
-- has been revoked since.
CREATE OR REPLACE FUNCTION platform.get_user_active_org(p_user uuid)
    RETURNS TABLE (organization_id uuid, name text, slug text, role text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.id, o.name, o.slug, m.role
    FROM platform.users u
    JOIN platform.organizations o ON o.id = u.active_org_id
    JOIN platform.organization_members m ON m.organization_id = o.id AND m.user_id = u.id
    WHERE u.id = p_user AND u.deleted_at IS NULL AND platform.may_act_for_user(p_user)
$$;

-- Gives every user without an active organisation the one they joined first (the smaller id when two were joined in
-- the same instant, so that every run gives the same answer). Who is a member of none stays NULL. Returns how many
-- users were changed.
CREATE OR REPLACE FUNCTION platform.backfill_active_org() RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    UPDATE platform.users u SET active_org_id = first_joined.organization_id
    FROM (SELECT DISTINCT ON (m.user_id) m.user_id, m.organization_id
          FROM platform.organization_members m
          ORDER BY m.user_id, m.joined_at, m.organization_id) first_joined
    WHERE first_joined.user_id = u.id AND u.active_org_id IS NULL;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$;

REVOKE ALL ON FUNCTION platform.backfill_active_org() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.backfill_active_org() TO platform_service;
REVOKE ALL ON FUNCTION platform.set_user_active_org(uuid, uuid), platform.get_user_active_org(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.set_user_active_org(uuid, uuid), platform.get_user_active_org(uuid)
    TO app, platform_service;

DO $$ BEGIN PERFORM platform.backfill_active_org(); END $$;

COMMIT;
