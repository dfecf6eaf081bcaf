-- Who belongs where. Here, an organisation is an e-mail domain, and its id follows from the name, so that every run
-- gives the same one; yours will come from sign-up or billing. Idempotent; run as a superuser, like all files here.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE TABLE IF NOT EXISTS public.organizations (
    id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS public.organization_members (
    user_id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE,
    org_id  uuid NOT NULL REFERENCES public.organizations ON DELETE CASCADE
);

-- Rows of whom nobody knows go here, and so does a user without an organisation.
INSERT INTO public.organizations (id, name) VALUES ('a0000000-0000-0000-0000-000000000001', 'Default Organization')
ON CONFLICT DO NOTHING;

INSERT INTO public.organizations (id, name)
SELECT DISTINCT md5('organization ' || split_part(email, '@', 2))::uuid, split_part(email, '@', 2) FROM auth.users
ON CONFLICT DO NOTHING;
INSERT INTO public.organization_members (user_id, org_id)
SELECT u.id, o.id FROM auth.users u JOIN public.organizations o ON o.name = split_part(u.email, '@', 2)
ON CONFLICT DO NOTHING;

COMMIT;
