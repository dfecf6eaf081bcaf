-- Phase 5: every user's next token says the organisation: the identity provider copies this column into the claim
-- app_metadata.

BEGIN;

UPDATE auth.users u
SET raw_app_meta_data = u.raw_app_meta_data || jsonb_build_object('org_id', coalesce(
    (SELECT m.org_id FROM public.organization_members m WHERE m.user_id = u.id),
    'a0000000-0000-0000-0000-000000000001'))
WHERE u.raw_app_meta_data ->> 'org_id' IS NULL;

COMMIT;
