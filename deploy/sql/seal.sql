-- The sealed context: readers that believe a setting only if pgwarden has sealed it.
--
-- Run it once in every database, and again after an upgrade of pgwarden: it replaces what is there and keeps the keys.
-- It needs a superuser, or a role with CREATEROLE that may create schemas. Nothing is compiled, no extension is needed.
--
--     pgwarden seal install | psql -d app
--     pgwarden seal keygen --out /etc/pgwarden/seal.key
--     pgwarden seal key --config /etc/pgwarden/pgwarden.toml | psql -d app
--
-- Policies wrap the readers, so that they run once in a statement and not once in a row:
--
--     USING (org_id = (SELECT pgwarden.current_org_id()))
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;

-- The owner of all this is nobody's login: whoever has its rights can read the keys.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgwarden_kit') THEN
        CREATE ROLE pgwarden_kit NOLOGIN;
    END IF;
    -- Who is no superuser acts as the owner by a membership, which ends with this script.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper)
        AND (current_setting('server_version_num')::int >= 160000 OR NOT pg_has_role('pgwarden_kit', 'MEMBER')) THEN
        GRANT pgwarden_kit TO CURRENT_USER;
        PERFORM set_config('pgwarden.installer', 'member', true);
    ELSE
        PERFORM set_config('pgwarden.installer', '', true);
    END IF;
    -- Where it was taken from everybody, to harden the server.
    IF NOT has_language_privilege('pgwarden_kit', 'plpgsql', 'USAGE') THEN
        GRANT USAGE ON LANGUAGE plpgsql TO pgwarden_kit;
    END IF;
END
$$;

-- A process behind a unix socket is told from an earlier one of the same number by the time it began, which this role
-- may read of every session. Behind TCP it is not needed.
DO $$
BEGIN
    GRANT pg_read_all_stats TO pgwarden_kit;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'pgwarden_kit may not read statistics: sealed contexts will be refused behind unix sockets'
        USING HINT = 'Have a superuser GRANT pg_read_all_stats TO pgwarden_kit.';
END
$$;

CREATE SCHEMA IF NOT EXISTS pgwarden;
ALTER SCHEMA pgwarden OWNER TO pgwarden_kit;
GRANT USAGE ON SCHEMA pgwarden TO PUBLIC;

SET LOCAL ROLE pgwarden_kit;

-- One row for each key that is good at the moment. Which variables a key seals, and in which order, is said with the
-- key: other variables are another key.
CREATE TABLE IF NOT EXISTS pgwarden.seal_key (
    id text PRIMARY KEY CHECK (length(id) = 8),
    inner_pad bytea NOT NULL CHECK (octet_length(inner_pad) = 64),
    outer_pad bytea NOT NULL CHECK (octet_length(outer_pad) = 64),
    variables text[] NOT NULL CHECK (cardinality(variables) > 0),
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pgwarden.seal_key IS
    'Keys of sealed contexts: the key of HMAC-SHA256, exclusive-or with 0x36 and with 0x5c (RFC 2104).';
REVOKE ALL ON pgwarden.seal_key FROM PUBLIC;
-- For members of pg_read_all_data, who may read every table. There is no policy, and the owner needs none.
ALTER TABLE pgwarden.seal_key ENABLE ROW LEVEL SECURITY;
-- No samples of keys in pg_statistic.
ALTER TABLE pgwarden.seal_key ALTER COLUMN inner_pad SET STATISTICS 0, ALTER COLUMN outer_pad SET STATISTICS 0;

-- The value of a variable, verified: SQLSTATE 42501 unless pgwarden has sealed all of them for this process and a
-- transaction that begins now. Where pgwarden knows that there is none, it is an empty text.
--
-- The seal is text: version (1 character), id of the key (8), the time from which on no transaction may begin with it
-- (16 hexadecimal digits, microseconds since 2000), a number that is used once (16), and HMAC-SHA256 (64) over all of
-- that, the database and the process, and SHA-256 of all names and values; each with its length in front unless that is
-- always the same.
--
-- A later process of the same number is told apart by the client's end of its TCP connection; behind a unix socket,
-- which has none, by the time it began. That is dearer: PostgreSQL looks at all its processes for it.
CREATE OR REPLACE FUNCTION pgwarden.verified_setting(setting text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    seal CONSTANT pg_catalog.text := pg_catalog.current_setting('app.context_seal', true);
    key_id CONSTANT pg_catalog.text := pg_catalog.substr(seal, 2, 8);
    inner_pad pg_catalog.bytea;
    outer_pad pg_catalog.bytea;
    variables pg_catalog.text[];
    variable pg_catalog.text;
    value pg_catalog.text;
    bytes pg_catalog.bytea;
    place pg_catalog.bytea;
    content pg_catalog.bytea := '';
    verified pg_catalog.text;
BEGIN
    IF seal IS NULL OR seal = '' THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = 'the tenant context is not sealed',
            HINT = 'Connect through pgwarden, with context.seal in its configuration.';
    END IF;
    SELECT key.inner_pad, key.outer_pad, key.variables INTO inner_pad, outer_pad, variables
        FROM pgwarden.seal_key AS key WHERE key.id = key_id;
    IF NOT FOUND OR pg_catalog.substr(seal, 1, 1) <> '1' THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = 'the tenant context is sealed with a key that is not known here',
            DETAIL = pg_catalog.format('The seal names the key "%s".', key_id),
            HINT = 'Insert it with what "pgwarden seal key" prints.';
    END IF;
    FOREACH variable IN ARRAY variables LOOP
        value := COALESCE(pg_catalog.current_setting(variable, true), '');
        bytes := pg_catalog.convert_to(value, 'UTF8');
        content := content || pg_catalog.int4send(pg_catalog.octet_length(variable))
            || pg_catalog.convert_to(variable, 'UTF8') || pg_catalog.int4send(pg_catalog.octet_length(bytes)) || bytes;
        IF variable = setting THEN
            verified := value;
        END IF;
    END LOOP;
    IF pg_catalog.inet_client_port() IS NULL THEN
        place := (SELECT pg_catalog.timestamptz_send(me.backend_start)
            FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS me);
    ELSE
        place := pg_catalog.inet_send(pg_catalog.inet_client_addr())
            || pg_catalog.int4send(pg_catalog.inet_client_port());
    END IF;
    bytes := pg_catalog.convert_to(pg_catalog.current_database(), 'UTF8');
    bytes := pg_catalog.sha256(outer_pad || pg_catalog.sha256(inner_pad
        || pg_catalog.convert_to(pg_catalog.substr(seal, 1, 41), 'UTF8')
        || pg_catalog.int4send(pg_catalog.octet_length(bytes)) || bytes
        || pg_catalog.int4send(pg_catalog.pg_backend_pid())
        || pg_catalog.int4send(pg_catalog.octet_length(place)) || place
        || pg_catalog.sha256(content)));
    -- Hashed with the key once more: how long the comparison takes says nothing about the digits that were expected.
    -- What is not known (NULL) is different from every seal.
    IF pg_catalog.sha256(outer_pad || pg_catalog.convert_to(pg_catalog.encode(bytes, 'hex'), 'UTF8'))
        IS DISTINCT FROM pg_catalog.sha256(outer_pad || pg_catalog.convert_to(pg_catalog.substr(seal, 42), 'UTF8')) THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = 'the seal does not fit the tenant context',
            DETAIL = 'A variable has been changed, or the seal was made for another session, or with another key.',
            HINT = 'Only pgwarden can set the context. If every statement fails, its context.variables are not those of the key.';
    END IF;
    -- In a procedure that commits, the statement is older than its transactions.
    IF pg_catalog.substr(seal, 10, 16) COLLATE pg_catalog."C" <= pg_catalog.encode(pg_catalog.timestamptz_send(
        LEAST(pg_catalog.transaction_timestamp(), pg_catalog.statement_timestamp())), 'hex') THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = 'the seal of the tenant context has expired',
            DETAIL = 'It was made for an earlier transaction.',
            HINT = 'Only pgwarden can set the context. If every statement fails, raise context.seal.lifetime.';
    END IF;
    IF verified IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = pg_catalog.format('"%s" is not among the sealed variables', setting),
            HINT = 'Name it in context.variables of pgwarden, and begin a new key with the new list.';
    END IF;
    RETURN verified;
END
$$;

-- What policies call. Their bodies are parsed here and now, so that no search_path of a caller has a say, and
-- PostgreSQL puts them in place of the call. For a variable of another name or type, write another like these.
CREATE OR REPLACE FUNCTION pgwarden.current_org_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN NULLIF(pgwarden.verified_setting('app.current_org_id'), '')::uuid;

CREATE OR REPLACE FUNCTION pgwarden.current_user_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN NULLIF(pgwarden.verified_setting('app.current_user_id'), '')::uuid;

CREATE OR REPLACE FUNCTION pgwarden.jwt_claims() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN NULLIF(pgwarden.verified_setting('request.jwt.claims'), '')::jsonb;

GRANT EXECUTE ON FUNCTION pgwarden.verified_setting(text), pgwarden.current_org_id(), pgwarden.current_user_id(),
    pgwarden.jwt_claims() TO PUBLIC;

RESET ROLE;
DO $$
BEGIN
    IF current_setting('pgwarden.installer') = 'member' THEN
        REVOKE pgwarden_kit FROM CURRENT_USER;
    END IF;
END
$$;
COMMIT;
