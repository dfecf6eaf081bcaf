//! What a client tries in order to read as another tenant.

/// One thing that an attacker sends.
#[derive(Clone, Copy)]
pub enum Step {
    /// A simple query; `{b}` stands for the other tenant.
    Query(&'static str),
    /// A statement in the extended protocol, with its values.
    Bound(&'static str, &'static [&'static str]),
    /// FunctionCall of `set_config`.
    Function,
    /// A connection of its own, with this parameter in its startup packet.
    Startup(&'static str, &'static str),
}

/// A way to another tenant's rows.
pub struct Vector {
    /// What the table calls it.
    pub name: &'static str,
    /// In a transaction; an error ends it. Each is followed by a look at the rows.
    pub steps: &'static [Step],
}

use Step::{Bound, Function, Query, Startup};

const fn vector(name: &'static str, steps: &'static [Step]) -> Vector {
    Vector { name, steps }
}

const SET_CONFIG: &str = "SELECT set_config('app.current_org_id', '{b}', true)";

/// All of them, in the order of the table.
pub const VECTORS: &[Vector] = &[
    vector("`SET LOCAL`", &[Query("SET LOCAL app.current_org_id = '{b}'")]),
    vector(
        "`SET` and a query in one string",
        &[Query("SET LOCAL app.current_org_id = '{b}'; SELECT name FROM items")],
    ),
    vector(
        "`SET` of a name in `U&` and quotes",
        &[Query("SET LOCAL U&\"!0061pp\" UESCAPE '!' . \"current_org_id\" = '{b}'")],
    ),
    vector("`RESET ALL`", &[Query("RESET ALL")]),
    vector("startup packet: `options`", &[Startup("options", "-c app.current_org_id={b}")]),
    vector("startup packet: the parameter itself", &[Startup("app.current_org_id", "{b}")]),
    vector("`ALTER ROLE … SET`", &[Query("ALTER ROLE CURRENT_USER SET app.current_org_id = '{b}'")]),
    vector("`SET ROLE` to a role with BYPASSRLS", &[Query("SET LOCAL ROLE auditor")]),
    vector("`set_config('role', …)`", &[Query("SELECT set_config('role', 'auditor', true)")]),
    vector("`set_config`", &[Query(SET_CONFIG)]),
    vector("`set_config`, prepared", &[Bound(SET_CONFIG, &[])]),
    vector(
        "`set_config` with a bound name",
        &[Bound("SELECT set_config($1, $2, true)", &["app.current_org_id", "{b}"])],
    ),
    vector(
        "`set_config` with a computed name",
        &[Query("SELECT set_config('app.' || 'current_org_id', '{b}', true)")],
    ),
    vector(
        "`set_config` in `U&` quotes",
        &[Query("SELECT U&\"!0073et_config\" UESCAPE '!' ('app.current_org_id', '{b}', true)")],
    ),
    vector(
        "`set_config` of an escaped name",
        &[Query("SELECT set_config(E'app\\x2ecurrent_org_id', '{b}', true)")],
    ),
    vector(
        "an escape that `standard_conforming_strings = off` makes one",
        &[
            Query("SET standard_conforming_strings = off"),
            Query("SELECT set_config('app\\056current_org_id', '{b}', true)"),
        ],
    ),
    vector(
        "`set_config` in FROM, under an alias",
        &[Query("SELECT f FROM pg_catalog.set_config('app.current_org_id', '{b}', true) f")],
    ),
    vector(
        "`set_config` in RETURNING",
        &[Query("INSERT INTO notes VALUES ('x') RETURNING set_config('app.current_org_id', '{b}', true)")],
    ),
    vector(
        "`PREPARE` and `EXECUTE`",
        &[Query("PREPARE p AS SELECT set_config('app.current_org_id', '{b}', true)"), Query("EXECUTE p")],
    ),
    vector(
        "`EXPLAIN ANALYZE`",
        &[Query("EXPLAIN ANALYZE SELECT set_config('app.current_org_id', '{b}', true)")],
    ),
    vector(
        "`COPY (query)`",
        &[Query("COPY (SELECT set_config('app.current_org_id', '{b}', true)) TO STDOUT")],
    ),
    vector(
        "a cursor",
        &[
            Query("DECLARE c CURSOR FOR SELECT set_config('app.current_org_id', '{b}', true)"),
            Query("FETCH c"),
        ],
    ),
    vector(
        "a view",
        &[
            Query("CREATE VIEW v AS SELECT set_config('app.current_org_id', '{b}', true)"),
            Query("SELECT * FROM v"),
        ],
    ),
    vector(
        "the default of a temporary table's column",
        &[
            Query(
                "CREATE TEMP TABLE t (a int, b text DEFAULT set_config('app.current_org_id', '{b}', true))",
            ),
            Query("INSERT INTO t (a) VALUES (1)"),
        ],
    ),
    vector("FunctionCall of `set_config`", &[Function]),
    vector(
        "`UPDATE pg_settings`",
        &[Query("UPDATE pg_settings SET setting = '{b}' WHERE name = 'app.current_org_id'")],
    ),
    vector(
        "`query_to_xml`",
        &[Query(
            "SELECT query_to_xml('SELECT set_config(''app.current_org_id'', ''{b}'', true)', true, true, '')",
        )],
    ),
    vector(
        "`query_to_xml` of a computed text",
        &[Query(
            "SELECT query_to_xml('SELECT set_con' || 'fig(''app.current_' || 'org_id'', ''{b}'', true)', true, true, '')",
        )],
    ),
    vector(
        "`cursor_to_xml`",
        &[
            Query("DECLARE c CURSOR FOR SELECT set_config('app.current_org_id', '{b}', true)"),
            Query("SELECT cursor_to_xml('c', 1, true, true, '')"),
        ],
    ),
    vector(
        "`ts_stat`",
        &[Query(
            "SELECT * FROM ts_stat('SELECT to_tsvector(set_config(''app.current_org_id'', ''{b}'', true))')",
        )],
    ),
    vector(
        "`ts_rewrite`",
        &[Query(
            "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, \
             plainto_tsquery(set_config(''app.current_org_id'', ''{b}'', true))')",
        )],
    ),
    vector(
        "`DO`",
        &[Query(
            "DO $$ BEGIN PERFORM set_config('app.current_org_id', '{b}', true); \
             RAISE NOTICE '%', (SELECT string_agg(name, ',') FROM items); END $$",
        )],
    ),
    vector(
        "`DO` with `SET`",
        &[Query(
            "DO $$ BEGIN SET LOCAL app.current_org_id = '{b}'; \
             RAISE NOTICE '%', (SELECT string_agg(name, ',') FROM items); END $$",
        )],
    ),
    vector(
        "`DO` with a computed `EXECUTE`",
        &[Query(
            "DO $$ BEGIN EXECUTE 'SET LOCAL app.' || 'current_org_id = ''{b}'''; \
             RAISE NOTICE '%', (SELECT string_agg(name, ',') FROM items); END $$",
        )],
    ),
    vector("`DO` with `SET ROLE`", &[Query("DO $$ BEGIN SET LOCAL ROLE auditor; END $$")]),
    vector(
        "a temporary function in PL/pgSQL",
        &[
            Query(
                "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM set_config('app.current_org_id', '{b}', true); END $$",
            ),
            Query("SELECT pg_temp.f()"),
        ],
    ),
    vector(
        "a function that executes its argument",
        &[
            Query("CREATE FUNCTION f(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$"),
            Query("SELECT f('SET LOCAL app.' || 'current_org_id = ''{b}''')"),
        ],
    ),
    vector(
        "a function in SQL",
        &[
            Query(
                "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS \
                 'SELECT set_config(''app.current_org_id'', ''{b}'', true)'",
            ),
            Query("SELECT f()"),
        ],
    ),
    vector(
        "a function with a body of the SQL standard",
        &[
            Query("CREATE FUNCTION f() RETURNS text RETURN set_config('app.current_org_id', '{b}', true)"),
            Query("SELECT f()"),
        ],
    ),
    vector(
        "a function with a SET clause",
        &[
            Query(
                "CREATE FUNCTION f() RETURNS SETOF text LANGUAGE sql SET app.current_org_id = '{b}' \
                 AS 'SELECT name FROM items'",
            ),
            Query("SELECT f()"),
        ],
    ),
    vector(
        "`ALTER FUNCTION … SET`",
        &[
            Query("CREATE FUNCTION f() RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM items'"),
            Query("ALTER FUNCTION f SET app.current_org_id = '{b}'"),
            Query("SELECT f()"),
        ],
    ),
    vector(
        "a function in `internal`",
        &[Query(
            "CREATE FUNCTION f(text, text, boolean) RETURNS text LANGUAGE internal AS 'set_config_by_name'",
        )],
    ),
    vector(
        "an aggregate of `set_config`",
        &[
            Query(
                "CREATE AGGREGATE a(text, boolean) \
                 (sfunc = set_config, stype = text, initcond = 'app.current_org_id')",
            ),
            Query("SELECT a('{b}', true)"),
        ],
    ),
    vector(
        "the same, with the name as a string",
        &[
            Query(
                "CREATE AGGREGATE a(text, boolean) \
                 (sfunc = 'set_config', stype = text, initcond = E'app\\056current_org_id')",
            ),
            Query("SELECT a('{b}', true)"),
        ],
    ),
    vector("a helper of the database (`guard.functions`)", &[Query("SELECT become('{b}')")]),
    vector(
        "an operator made of that helper",
        &[Query("CREATE OPERATOR !! (rightarg = text, function = become)"), Query("SELECT !! '{b}'::text")],
    ),
    vector(
        "a helper that runs SQL: the name in a constant",
        &[Query("SELECT run_sql('SET LOCAL app.current_org_id = ''{b}''')")],
    ),
    vector(
        "a helper that runs SQL: the name in a bound value",
        &[Bound("SELECT run_sql($1)", &["SET LOCAL app.current_org_id = '{b}'"])],
    ),
    vector(
        "a helper that runs SQL, not in `guard.functions`: a computed name",
        &[Query("SELECT run_sql('SET LOCAL app.' || 'current_org_id = ''{b}''')")],
    ),
    vector(
        "a value left on the session, in the next transaction",
        &[Query("SELECT become('{b}')"), Query("COMMIT"), Query("BEGIN")],
    ),
];
