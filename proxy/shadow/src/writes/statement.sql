CREATE OR REPLACE FUNCTION pgwarden.writes_{oid}() RETURNS trigger
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {path} AS $body$
-- Made by pgwarden, digest {digest}: what the policies would refuse of the rows that a statement has written, and what they would hide.
-- Each row counts under a mask: 1 the old one passes USING of the command, 2 that of SELECT, 4 the new one passes WITH CHECK
-- of the command, 8 USING of SELECT; 16 nothing of it is known, because there is no context. STABLE: the policies see what
-- the statement saw.
<<"#">>
DECLARE
    nonce text := pg_catalog.current_setting('pgwarden.nonce', true);
    noted text;
    cascade bool := false;
    pair record;
    total bigint;
    looked bigint;
    mask int;
    failed text;
    groups json;
BEGIN
    IF coalesce("#".nonce, '') = '' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        "#".noted := pg_catalog.current_setting('pgwarden.writes_{oid}', true);
        "#".failed := pg_catalog.set_config('pgwarden.writes_{oid}',
            pg_catalog.regexp_replace("#".noted, E'\n[^\n]*$', ''), true);
        "#".failed := NULL;
        IF coalesce("#".noted, '') = '' OR pg_catalog.right("#".noted, 1) = ' ' THEN
            RETURN NULL;
        END IF;
    ELSIF {cascades} THEN
        "#".noted := pg_catalog.current_setting('pgwarden.cascades_{oid}', true);
        "#".cascade := pg_catalog.left("#".noted, 1) = 'c';
        "#".noted := pg_catalog.set_config('pgwarden.cascades_{oid}', pg_catalog.substr("#".noted, 2), true);
    END IF;
    BEGIN
        CASE TG_OP
        WHEN 'INSERT' THEN
            SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                       pg_catalog.substring(found.key, '^[0-9]+')::pg_catalog.int4, NULL,
                       CASE WHEN found.key ~ '^[0-9]+:' THEN pg_catalog.substr(found.key, pg_catalog.strpos(found.key, ':') + 1) END,
                       found.value::pg_catalog.int8)) FILTER (WHERE found.key !~ '^e'),
                   pg_catalog.sum(found.value::pg_catalog.int8),
                   pg_catalog.min(pg_catalog.substr(found.key, 2)) FILTER (WHERE found.key ~ '^e')
            INTO "#".groups, "#".total, "#".failed
            FROM pg_catalog.json_each_text(pg_catalog.substring("#".noted, E'[0-9] ([^\n]*)$')::pg_catalog.json) AS found;
            "#".looked := "#".total;
        WHEN 'UPDATE' THEN
            SELECT (SELECT pg_catalog.count(*) FROM old_rows) AS "#total"{old_keys_o}{new_keys_n} INTO "#".pair
            FROM old_rows AS "#o", new_rows AS "#n" LIMIT 1;
            "#".total := coalesce("#".pair."#total", 0);
        WHEN 'DELETE' THEN
            SELECT (SELECT pg_catalog.count(*) FROM old_rows) AS "#total"{old_keys_o} INTO "#".pair
            FROM old_rows AS "#o" LIMIT 1;
            "#".total := coalesce("#".pair."#total", 0);
        END CASE;
        IF TG_OP IN ('UPDATE', 'DELETE') THEN
            IF "#".total = 0 THEN
                RETURN NULL;
            END IF;
            "#".looked := LEAST("#".total, {rows});
            IF {no_context} THEN
                "#".groups := pg_catalog.json_build_array(pg_catalog.json_build_array(16, NULL, NULL, "#".total));
            ELSIF "#".total = 1 THEN
                <<{label}>>
                DECLARE
{old_variables}                BEGIN
                    IF TG_OP = 'UPDATE' THEN
                        "#".mask := CASE WHEN {update_using} THEN 1 ELSE 0 END;
                    ELSE
                        "#".mask := 12 + CASE WHEN {delete_using} THEN 1 ELSE 0 END;
                    END IF;
                    "#".mask := "#".mask + CASE WHEN {select_using} THEN 2 ELSE 0 END;
                END;
                IF TG_OP = 'UPDATE' THEN
                    <<{label}>>
                    DECLARE
{pair_variables}                    BEGIN
                        "#".mask := "#".mask + CASE WHEN {update_check} THEN 4 ELSE 0 END
                            + CASE WHEN {select_using} THEN 8 ELSE 0 END;
                    END;
                END IF;
                IF "#".mask = 15 THEN
                    RETURN NULL;
                END IF;
                -- Apart, because the record of a DELETE has no new row to be named.
                IF TG_OP = 'UPDATE' THEN
                    "#".groups := pg_catalog.json_build_array(pg_catalog.json_build_array(
                        "#".mask, {pair_old_tenant}, {pair_new_tenant}, 1));
                ELSE
                    "#".groups := pg_catalog.json_build_array(pg_catalog.json_build_array(
                        "#".mask, {pair_old_tenant}, NULL, 1));
                END IF;
            ELSIF TG_OP = 'UPDATE' THEN
                WITH "#old" AS MATERIALIZED (
                    SELECT pg_catalog.row_number() OVER () AS "#"{old_keys} FROM old_rows LIMIT {rows}
                ), "#new" AS MATERIALIZED (
                    SELECT pg_catalog.row_number() OVER () AS "#"{new_keys} FROM new_rows LIMIT {rows}
                ), "#pair" AS MATERIALIZED (
                    SELECT pg_catalog.count(*) AS "#count", pg_catalog.count("#old"."#") AS "#olds", pg_catalog.count("#new"."#") AS "#news"{pair_keys}
                    FROM "#old" FULL JOIN "#new" USING ("#") GROUP BY ({pair_keys_grouped})
                ), "#judged" AS MATERIALIZED (
                    SELECT "#count", {pair_tenants}, "#olds" = "#news" AS "#paired",
                           (SELECT CASE WHEN {update_using} THEN 1 ELSE 0 END + CASE WHEN {select_using} THEN 2 ELSE 0 END
                            FROM (SELECT {old_row}) AS {label})
                         + (SELECT CASE WHEN {update_check} THEN 4 ELSE 0 END + CASE WHEN {select_using} THEN 8 ELSE 0 END
                            FROM (SELECT {new_row}) AS {label}) AS "#mask"
                    FROM "#pair"
                ), "#counted" AS (
                    SELECT "#mask", "#t", "#u", pg_catalog.sum("#count") AS "#sum",
                           pg_catalog.row_number() OVER (ORDER BY pg_catalog.sum("#count") DESC, "#mask", "#t", "#u") AS "#rank"
                    FROM "#judged" WHERE "#mask" <> 15 GROUP BY "#mask", "#t", "#u"
                )
                SELECT (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(found.m, found.t, found.u, found.c)) FROM (
                           SELECT "#mask" AS m, CASE WHEN "#rank" <= 20 THEN "#t" END AS t,
                                  CASE WHEN "#rank" <= 20 THEN "#u" END AS u, pg_catalog.sum("#sum") AS c
                           FROM "#counted" GROUP BY 1, 2, 3) AS found),
                       CASE WHEN NOT (SELECT pg_catalog.bool_and("#paired") FROM "#judged")
                              OR "#".total <> (SELECT pg_catalog.count(*) FROM new_rows) THEN 'unpaired' END
                INTO "#".groups, "#".failed;
            ELSE
                WITH "#old" AS MATERIALIZED (
                    SELECT pg_catalog.count(*) AS "#count"{old_keys} FROM (SELECT * FROM old_rows LIMIT {rows}) AS old_rows
                    GROUP BY ({old_keys_grouped})
                ), "#judged" AS MATERIALIZED (
                    SELECT "#count", {old_tenant} AS "#t",
                           (SELECT 12 + CASE WHEN {delete_using} THEN 1 ELSE 0 END + CASE WHEN {select_using} THEN 2 ELSE 0 END
                            FROM (SELECT {old_row}) AS {label}) AS "#mask"
                    FROM "#old"
                ), "#counted" AS (
                    SELECT "#mask", "#t", pg_catalog.sum("#count") AS "#sum",
                           pg_catalog.row_number() OVER (ORDER BY pg_catalog.sum("#count") DESC, "#mask", "#t") AS "#rank"
                    FROM "#judged" WHERE "#mask" <> 15 GROUP BY "#mask", "#t"
                )
                SELECT pg_catalog.json_agg(pg_catalog.json_build_array(found.m, found.t, NULL, found.c)) INTO "#".groups FROM (
                    SELECT "#mask" AS m, CASE WHEN "#rank" <= 20 THEN "#t" END AS t, pg_catalog.sum("#sum") AS c
                    FROM "#counted" GROUP BY 1, 2) AS found;
            END IF;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        "#".failed := SQLSTATE;
    END;
    IF "#".groups IS NOT NULL OR "#".failed IS NOT NULL OR "#".looked < "#".total THEN
        RAISE INFO USING ERRCODE = 'WS001', MESSAGE = "#".nonce, DETAIL = pg_catalog.json_build_object(
            'v', 1, 'table', {oid}, 'schema', TG_TABLE_SCHEMA, 'name', TG_TABLE_NAME, 'command', TG_OP,
            'cascade', "#".cascade, 'depth', pg_catalog.pg_trigger_depth(), 'upsert', TG_OP = 'UPDATE' AND pg_catalog.substring(pg_catalog.current_setting('pgwarden.writes_{oid}', true),
                E'\n([0-9]+) [^\n]*$') = pg_catalog.pg_trigger_depth()::pg_catalog.text, 'rows', "#".total, 'looked', "#".looked, 'groups', "#".groups, 'failed', "#".failed)::pg_catalog.text;
    END IF;
    RETURN NULL;
END $body$;
