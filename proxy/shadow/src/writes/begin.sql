CREATE OR REPLACE FUNCTION pgwarden.writes_begin_{oid}() RETURNS trigger
LANGUAGE plpgsql STABLE AS $body$
-- Made by pgwarden: notes that a statement has begun to write. An INSERT is one for which proposed rows count, and not one
-- half of an UPDATE that moves a row to another partition; UPDATE and DELETE may be a referential action's.
-- Those that have begun inside of each other are noted in lines, the innermost first: how deep it is, and bad rows.
DECLARE
    noted text;
    place text;
BEGIN
    IF coalesce(pg_catalog.current_setting('pgwarden.nonce', true), '') = '' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        noted := pg_catalog.set_config('pgwarden.writes_{oid}',
            pg_catalog.concat(pg_catalog.pg_trigger_depth(), E' \n', pg_catalog.current_setting('pgwarden.writes_{oid}', true)), true);
        RETURN NULL;
    END IF;
    -- A referential action is itself a trigger's; to ask where one is takes long.
    IF pg_catalog.pg_trigger_depth() > 1 THEN
        GET DIAGNOSTICS place = PG_CONTEXT;
    END IF;
    noted := pg_catalog.set_config('pgwarden.cascades_{oid}',
        pg_catalog.concat(pg_catalog.current_setting('pgwarden.cascades_{oid}', true),
            CASE WHEN place ~ E'^[^\n]*\n[^\n]*(DELETE FROM|UPDATE) (ONLY )?"([^"\n]|"")+"\\."([^"\n]|"")+" (SET [^\n]*)?WHERE \\$[0-9]+ OPERATOR\\('
                 THEN 'c' ELSE 'd' END), true);
    RETURN NULL;
END $body$;
