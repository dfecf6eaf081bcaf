-- A call-centre product as it was: every table belongs to the user who made the row. Some of its 43 tables are here.
-- Idempotent; run as a superuser.

BEGIN;
SET LOCAL client_min_messages = warning;

-- Roles: `authenticator` logs in and may do nothing by itself; a transaction becomes `authenticated` with a token and
-- `anon` without. Jobs and migrations are `service_role`, whom policies do not bind.
DO $$
BEGIN
    IF to_regrole('anon') IS NULL THEN CREATE ROLE anon; END IF;
    IF to_regrole('authenticated') IS NULL THEN CREATE ROLE authenticated; END IF;
    IF to_regrole('service_role') IS NULL THEN CREATE ROLE service_role; END IF;
    IF to_regrole('authenticator') IS NULL THEN CREATE ROLE authenticator; END IF;
END $$;
ALTER ROLE anon NOLOGIN NOINHERIT;
ALTER ROLE authenticated NOLOGIN NOINHERIT;
ALTER ROLE service_role LOGIN BYPASSRLS;
ALTER ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated TO authenticator;

-- What the platform brings: its users, and functions that read the token of the request.
CREATE SCHEMA IF NOT EXISTS auth;
CREATE TABLE IF NOT EXISTS auth.users (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email              text NOT NULL UNIQUE,
    raw_app_meta_data  jsonb NOT NULL DEFAULT '{}',   -- becomes the claim app_metadata
    raw_user_meta_data jsonb NOT NULL DEFAULT '{}'    -- becomes user_metadata: users change it themselves
);

-- A setting that was set once on a connection reads '' afterwards, and ''::jsonb is an error: hence nullif.
CREATE OR REPLACE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;
CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''), auth.jwt() ->> 'sub')::uuid
$$;

-- The product.
CREATE TABLE IF NOT EXISTS public.campaigns (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    name text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.leads (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    name text NOT NULL, phone text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.campaign_leads (                       -- whose it is says the campaign
    campaign_id bigint NOT NULL REFERENCES public.campaigns ON DELETE CASCADE,
    lead_id bigint NOT NULL REFERENCES public.leads ON DELETE CASCADE,
    PRIMARY KEY (campaign_id, lead_id)
);
CREATE TABLE IF NOT EXISTS public.contacts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    name text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.calls (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    phone text NOT NULL,
    status text NOT NULL DEFAULT 'open',
    started_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS public.call_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    call_id bigint NOT NULL REFERENCES public.calls ON DELETE CASCADE,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    line text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.knowledge_base (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    title text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.knowledge_base_documents (             -- whose it is says the knowledge base
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    knowledge_base_id bigint NOT NULL REFERENCES public.knowledge_base ON DELETE CASCADE,
    name text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.knowledge_base_chunks (                -- two steps away
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id bigint REFERENCES public.knowledge_base_documents ON DELETE CASCADE,
    content text NOT NULL
);
CREATE TABLE IF NOT EXISTS public.usage_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL DEFAULT auth.uid(),
    seconds integer NOT NULL
);
-- These belong to a person, whatever the organisation.
CREATE TABLE IF NOT EXISTS public.user_credits (user_id uuid PRIMARY KEY DEFAULT auth.uid(), credits integer NOT NULL);
CREATE TABLE IF NOT EXISTS public.user_subscriptions (user_id uuid PRIMARY KEY DEFAULT auth.uid(), plan text NOT NULL);
CREATE TABLE IF NOT EXISTS public.customers (user_id uuid PRIMARY KEY DEFAULT auth.uid(), billing_id text NOT NULL);

GRANT USAGE ON SCHEMA public, auth TO anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO authenticated, service_role;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO authenticated, service_role;

COMMIT;
