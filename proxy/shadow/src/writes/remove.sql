DROP FUNCTION IF EXISTS pgwarden.writes_begin_{oid}();
DROP FUNCTION IF EXISTS pgwarden.writes_insert_{oid}();
DROP FUNCTION IF EXISTS pgwarden.writes_proposed_{oid}();
DROP FUNCTION IF EXISTS pgwarden.writes_{oid}();
