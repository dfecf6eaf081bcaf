CREATE OR REPLACE FUNCTION pgwarden.writes_{oid}() RETURNS trigger
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {path} AS $body$
-- Made by pgwarden, digest {digest}: what the policies would refuse of the rows that a statement has written, and what they would hide.
-- Each row counts under a mask: 1 the old one passes USING of the command, 2 that of SELECT, 4 the new one passes WITH CHECK
-- of the command, 8 USING of SELECT; 16 nothing of it is known, because there is no context. STABLE: the policies see what
-- the statement saw.
#variable_conflict use_column
<<"#">>
DECLARE
    noted text;
    cascade bool := false;
    total bigint;
    looked bigint;
    failed text;
    groups json;
BEGIN
    IF coalesce(pg_catalog.current_setting('pgwarden.nonce', true), '') = '' THEN
        RETURN NULL;
    END IF;
    IF {cascades} THEN
        "#".noted := pg_catalog.current_setting('pgwarden.cascades_{oid}', true);
        "#".cascade := pg_catalog.left("#".noted, 1) = 'c';
        "#".noted := pg_catalog.set_config('pgwarden.cascades_{oid}', pg_catalog.substr("#".noted, 2), true);
    END IF;
    BEGIN
        -- Most statements write a few rows that are all right. Then nothing has to be paired, grouped or told, and one
        -- query says so: what a trigger costs is mostly the beginning of queries.
        IF TG_OP = 'UPDATE' THEN
            IF NOT ({no_context}) AND NOT EXISTS (SELECT FROM old_rows OFFSET {few})
               AND NOT EXISTS (SELECT FROM old_rows AS {label} WHERE ({update_old_passes}) IS NOT TRUE)
               AND NOT EXISTS (SELECT FROM new_rows AS {label} WHERE ({update_new_passes}) IS NOT TRUE) THEN
                RETURN NULL;
            END IF;
            "#".total := (SELECT pg_catalog.count(*) FROM old_rows WHERE EXISTS (SELECT FROM new_rows));
        ELSE
            IF NOT ({no_context}) AND NOT EXISTS (SELECT FROM old_rows OFFSET {few})
               AND NOT EXISTS (SELECT FROM old_rows AS {label} WHERE ({delete_passes}) IS NOT TRUE) THEN
                RETURN NULL;
            END IF;
            "#".total := (SELECT pg_catalog.count(*) FROM old_rows);
        END IF;
        "#".looked := LEAST("#".total, {rows});
        IF "#".total = 0 THEN
            RETURN NULL;
        ELSIF {no_context} THEN
            "#".groups := pg_catalog.json_build_array(pg_catalog.json_build_array(16, NULL, NULL, "#".total));
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
                       (SELECT {update_old_mask} FROM (SELECT {old_row}) AS {label})
                     + (SELECT {update_new_mask} FROM (SELECT {new_row}) AS {label}) AS "#mask"
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
                       (SELECT 12 + {delete_mask} FROM (SELECT {old_row}) AS {label}) AS "#mask"
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
    EXCEPTION WHEN OTHERS THEN
        "#".failed := SQLSTATE;
        "#".total := coalesce("#".total, (SELECT pg_catalog.count(*) FROM old_rows));
        "#".looked := LEAST("#".total, {rows});
        IF "#".total = 0 THEN
            RETURN NULL;
        END IF;
    END;
    IF "#".groups IS NOT NULL OR "#".failed IS NOT NULL OR "#".looked < "#".total THEN
        RAISE INFO USING ERRCODE = 'WS001', MESSAGE = pg_catalog.current_setting('pgwarden.nonce', true), DETAIL = pg_catalog.json_build_object(
            'v', 1, 'table', {oid}, 'schema', TG_TABLE_SCHEMA, 'name', TG_TABLE_NAME, 'command', TG_OP,
            'cascade', "#".cascade, 'depth', pg_catalog.pg_trigger_depth(), 'upsert', TG_OP = 'UPDATE' AND pg_catalog.split_part(pg_catalog.current_setting('pgwarden.writes_{oid}', true), ' ', 1)
                = pg_catalog.pg_trigger_depth()::pg_catalog.text,
            'rows', "#".total, 'looked', "#".looked, 'groups', "#".groups, 'failed', "#".failed)::pg_catalog.text;
    END IF;
    RETURN NULL;
END $body$;
