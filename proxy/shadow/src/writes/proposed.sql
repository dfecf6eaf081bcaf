CREATE OR REPLACE FUNCTION pgwarden.writes_proposed_{oid}() RETURNS trigger
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {path} AS $body$
-- Made by pgwarden: whether the policies would take a row that is about to be inserted. ON CONFLICT checks such a row even
-- where it never gets into the table, and so into no transition table.
#variable_conflict use_column
<<"#">>
DECLARE
    noted text := pg_catalog.current_setting('pgwarden.writes_{oid}', true);
    mask int;
    groups jsonb;
    entry text;
BEGIN
    IF coalesce("#".noted, '') = '' OR pg_catalog.split_part("#".noted, ' ', 1) <> pg_catalog.pg_trigger_depth()::pg_catalog.text THEN
        RETURN NEW;
    END IF;
    BEGIN
        IF NOT ({no_context}) AND (SELECT {insert_passes} FROM (SELECT {proposed_row}) AS {label}) THEN
            RETURN NEW;
        END IF;
        IF {no_context} THEN
            "#".mask := 16;
        ELSE
            "#".mask := (SELECT 3 + {insert_mask} FROM (SELECT {proposed_row}) AS {label});
        END IF;
        "#".entry := "#".mask::pg_catalog.text;
        IF "#".mask <> 16 THEN
            "#".entry := pg_catalog.concat("#".entry, ':' || {new_tenant});
        END IF;
    EXCEPTION WHEN OTHERS THEN
        "#".entry := 'e' || SQLSTATE;
    END;
    "#".groups := coalesce(nullif(pg_catalog.substring("#".noted, E'^[0-9]+ ([^\n]*)\n'), ''), '{}')::pg_catalog.jsonb;
    IF NOT "#".groups OPERATOR(pg_catalog.?) "#".entry AND pg_catalog.length("#".groups::pg_catalog.text) > 2000 THEN
        "#".entry := coalesce("#".mask::pg_catalog.text, "#".entry);
    END IF;
    "#".groups := "#".groups OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("#".entry,
        coalesce(("#".groups OPERATOR(pg_catalog.->>) "#".entry)::pg_catalog.int8, 0) + 1);
    "#".noted := pg_catalog.set_config('pgwarden.writes_{oid}', pg_catalog.concat(pg_catalog.pg_trigger_depth(), ' ', "#".groups::pg_catalog.text,
        pg_catalog.substr("#".noted, pg_catalog.strpos("#".noted, E'\n'))), true);
    RETURN NEW;
END $body$;
