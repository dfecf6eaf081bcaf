GRANT USAGE, CREATE ON SCHEMA pgwarden TO {role};
ALTER FUNCTION pgwarden.writes_begin_{oid}() OWNER TO {role};
ALTER FUNCTION pgwarden.writes_insert_{oid}() OWNER TO {role};
ALTER FUNCTION pgwarden.writes_proposed_{oid}() OWNER TO {role};
ALTER FUNCTION pgwarden.writes_{oid}() OWNER TO {role};
DROP TRIGGER IF EXISTS "~pgwarden_writes_begin" ON {table};
CREATE TRIGGER "~pgwarden_writes_begin" BEFORE {begin_events} ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.writes_begin_{oid}();
DROP TRIGGER IF EXISTS {proposed} ON {table};
CREATE TRIGGER {proposed} BEFORE INSERT ON {table}
    FOR EACH ROW EXECUTE FUNCTION pgwarden.writes_proposed_{oid}();
DROP TRIGGER IF EXISTS "~pgwarden_writes_insert" ON {table};
CREATE TRIGGER "~pgwarden_writes_insert" AFTER INSERT ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.writes_insert_{oid}();
DROP TRIGGER IF EXISTS "~pgwarden_writes_update" ON {table};
CREATE TRIGGER "~pgwarden_writes_update" AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.writes_{oid}();
DROP TRIGGER IF EXISTS "~pgwarden_writes_delete" ON {table};
CREATE TRIGGER "~pgwarden_writes_delete" AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION pgwarden.writes_{oid}();
