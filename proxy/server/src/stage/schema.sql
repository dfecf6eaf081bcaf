CREATE SCHEMA IF NOT EXISTS pgwarden;
CREATE TABLE IF NOT EXISTS pgwarden.journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    step text NOT NULL,
    by_user text NOT NULL DEFAULT session_user,
    tables text[] NOT NULL,
    reason text,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS pgwarden.shadow_role (
    role name PRIMARY KEY,
    acts_as name NOT NULL UNIQUE,
    rights text NOT NULL CHECK (rights IN ('member', 'copied'))
);
CREATE TABLE IF NOT EXISTS pgwarden.staged (
    relation regclass PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('staged', 'promoted', 'refused')),
    source text NOT NULL,
    reason text,
    change jsonb NOT NULL DEFAULT '{}',
    today jsonb NOT NULL DEFAULT '{}',
    sql text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_user text NOT NULL DEFAULT session_user
);
ALTER TABLE pgwarden.staged ADD COLUMN IF NOT EXISTS made text NOT NULL DEFAULT '';
CREATE TABLE IF NOT EXISTS pgwarden.helper (signature text PRIMARY KEY);
