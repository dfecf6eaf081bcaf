-- Tells every pgwarden when something changes that it looks up: who works where, who belongs where, whose session a
-- token is. Without it, what was looked up holds for context.lookup.ttl.
--
-- Idempotent, PostgreSQL 14 to 18. Run it as the owner of the tables; again whenever a table was made anew. The tables
-- of deploy/examples/platform are found by themselves; for others, say at the end of a migration of your own what
-- pgwarden.watch() says of those below.
--
-- A notification is told when its transaction is committed, and names whom it is about: user:ID, org:ID, token:SHA-256
-- in hexadecimal digits, or all. It holds no secret. Anybody who is connected can send one as well, which costs pgwarden
-- a look-up and gives away nothing.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS pgwarden;

-- The trigger. Its first argument is the channel, its second names the columns whose change matters, as an array; then
-- come pairs: of what kind the value of a column is (user, org, token for a hash in hexadecimal digits or bytea, raw_token
-- for the token itself), and the column. It needs no right but that to notify, which everybody has, so it runs with those of whoever changes a row.
CREATE OR REPLACE FUNCTION pgwarden.tell_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before  pg_catalog.jsonb;
    after   pg_catalog.jsonb;
    value   pg_catalog.text;
    payload pg_catalog.text;
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        PERFORM pg_notify(TG_ARGV[0], 'all');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN before := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN after := to_jsonb(NEW); END IF;
    IF TG_OP = 'UPDATE' AND NOT EXISTS (
        SELECT FROM unnest(TG_ARGV[1]::pg_catalog.text[]) AS watched (name)
        WHERE before -> watched.name IS DISTINCT FROM after -> watched.name)
    THEN
        RETURN NULL;
    END IF;
    FOR pair IN 0 .. (TG_NARGS - 2) / 2 - 1 LOOP
        FOR value IN
            SELECT DISTINCT side.row ->> TG_ARGV[2 * pair + 3]
            FROM (VALUES (before), (after)) AS side (row)
            WHERE side.row ->> TG_ARGV[2 * pair + 3] IS NOT NULL
        LOOP
            payload := CASE TG_ARGV[2 * pair + 2]
                WHEN 'raw_token' THEN 'token:' || encode(sha256(convert_to(value, 'UTF8')), 'hex')
                WHEN 'token' THEN 'token:' || CASE WHEN starts_with(value, '\x') THEN substr(value, 3) ELSE value END
                ELSE TG_ARGV[2 * pair + 2] || ':' || value
            END;
            -- A payload is shorter than 8000 bytes (async.c).
            PERFORM pg_notify(TG_ARGV[0], CASE WHEN octet_length(payload) < 7900 THEN payload ELSE 'all' END);
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;

-- Tells changes of a table: `subjects` are pairs of kind and column, `watched` further columns whose change matters.
-- Nothing is told of an update that changes none of them, such as the time of the last activity of a session. The channel
-- is that of context.lookup.channel.
CREATE OR REPLACE FUNCTION pgwarden.watch(
    relation pg_catalog.regclass, subjects pg_catalog.text[], watched pg_catalog.text[] DEFAULT '{}',
    channel pg_catalog.text DEFAULT 'pgwarden'
) RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    columns pg_catalog.text[] := watched;
    listed  pg_catalog.text;
    passed  pg_catalog.text;
BEGIN
    IF cardinality(subjects) = 0 OR cardinality(subjects) % 2 <> 0 THEN
        RAISE EXCEPTION 'pairs of kind and column are expected' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR pair IN 1 .. cardinality(subjects) BY 2 LOOP
        IF subjects[pair] <> ALL (ARRAY['user', 'org', 'token', 'raw_token']) THEN
            RAISE EXCEPTION 'the kind "%" is not known', subjects[pair]
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Kinds are user, org, token and raw_token.';
        END IF;
        columns := columns || subjects[pair + 1];
    END LOOP;
    SELECT string_agg(DISTINCT quote_ident(name), ', ') INTO listed FROM unnest(columns) AS name;
    SELECT string_agg(quote_literal(argument), ', ' ORDER BY place) INTO passed
    FROM unnest(channel || (columns::pg_catalog.text || subjects)) WITH ORDINALITY AS passed (argument, place);
    EXECUTE format('CREATE OR REPLACE TRIGGER pgwarden_changes AFTER INSERT OR DELETE OR UPDATE OF %s ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION pgwarden.tell_change(%s)', listed, relation, passed);
    EXECUTE format('CREATE OR REPLACE TRIGGER pgwarden_truncated AFTER TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.tell_change(%L)', relation, channel);
END $$;

REVOKE ALL ON FUNCTION pgwarden.watch(pg_catalog.regclass, pg_catalog.text[], pg_catalog.text[], pg_catalog.text)
    FROM PUBLIC;

-- The platform schema, where it is there.
DO $$
BEGIN
    IF to_regclass('platform.users') IS NOT NULL THEN
        PERFORM pgwarden.watch('platform.users', '{user, id}', '{active_org_id, banned_until, deleted_at}');
    END IF;
    IF to_regclass('platform.organization_members') IS NOT NULL THEN
        PERFORM pgwarden.watch('platform.organization_members', '{user, user_id}', '{organization_id, role}');
    END IF;
    IF to_regclass('platform.user_sessions') IS NOT NULL THEN
        PERFORM pgwarden.watch('platform.user_sessions', '{token, token_hash}', '{user_id, expires_at}');
    END IF;
END $$;

COMMIT;
