-- Undoes 03-active-organisation.sql, the chosen organisations included. Idempotent.
-- Nothing of 04-restrictive-policies.sql depends on it: the two can be rolled back in either order.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE platform_owner;

DROP FUNCTION IF EXISTS platform.backfill_active_org();
DROP FUNCTION IF EXISTS platform.get_user_active_org(uuid);
DROP FUNCTION IF EXISTS platform.set_user_active_org(uuid, uuid);
DROP FUNCTION IF EXISTS platform.may_act_for_user(uuid);
DROP INDEX IF EXISTS platform.users_active_org_id_idx;
ALTER TABLE platform.users DROP COLUMN IF EXISTS active_org_id;

COMMIT;
