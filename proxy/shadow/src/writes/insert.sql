CREATE OR REPLACE FUNCTION pgwarden.writes_insert_{oid}() RETURNS trigger
LANGUAGE plpgsql STABLE AS $body$
-- Made by pgwarden: tells what was noted of an INSERT that is done. It evaluates no policy, and so needs nobody's rights.
DECLARE
    noted text := pg_catalog.current_setting('pgwarden.writes_{oid}', true);
    outer_ones text;
    groups json;
    total bigint;
    failed text;
BEGIN
    IF coalesce(noted, '') = '' THEN
        RETURN NULL;
    END IF;
    outer_ones := pg_catalog.set_config('pgwarden.writes_{oid}', pg_catalog.substr(noted, pg_catalog.strpos(noted, E'\n') + 1), true);
    noted := pg_catalog.substr(pg_catalog.split_part(noted, E'\n', 1), pg_catalog.strpos(noted, ' ') + 1);
    IF noted = '' OR coalesce(pg_catalog.current_setting('pgwarden.nonce', true), '') = '' THEN
        RETURN NULL;
    END IF;
    BEGIN
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                   pg_catalog.substring(found.key, '^[0-9]+')::pg_catalog.int4, NULL,
                   CASE WHEN found.key ~ '^[0-9]+:' THEN pg_catalog.substr(found.key, pg_catalog.strpos(found.key, ':') + 1) END,
                   found.value::pg_catalog.int8)) FILTER (WHERE found.key !~ '^e'),
               pg_catalog.sum(found.value::pg_catalog.int8),
               pg_catalog.min(pg_catalog.substr(found.key, 2)) FILTER (WHERE found.key ~ '^e')
        INTO groups, total, failed
        FROM pg_catalog.json_each_text(noted::pg_catalog.json) AS found;
    EXCEPTION WHEN OTHERS THEN
        failed := SQLSTATE;
    END;
    RAISE INFO USING ERRCODE = 'WS001', MESSAGE = pg_catalog.current_setting('pgwarden.nonce', true), DETAIL = pg_catalog.json_build_object(
            'v', 1, 'table', {oid}, 'schema', TG_TABLE_SCHEMA, 'name', TG_TABLE_NAME, 'command', TG_OP, 'cascade', false,
            'depth', pg_catalog.pg_trigger_depth(),
            'upsert', false, 'rows', total, 'looked', total, 'groups', groups, 'failed', failed)::pg_catalog.text;
    RETURN NULL;
END $body$;
