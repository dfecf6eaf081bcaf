//! Replay: queries are run again with the policies that are staged, and what differs is found.

use pgwarden_tests::replay::Replayed;
use pgwarden_tests::tenants::{ACME, GLOBEX, error_code};
use pgwarden_tests::{Frontend, for_each_version};

#[test]
fn a_forgotten_where_is_found_and_one_that_is_there_is_clean() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        let own = format!("org = '{ACME}'");
        stage.check(
            &mut acme,
            &[
                ("c1", "SELECT name AS c1 FROM items", "result_differs"),
                ("c2", &format!("SELECT name AS c2 FROM items WHERE {own}"), "clean"),
                ("c3", "SELECT count(*) AS c3 FROM items", "result_differs"),
                ("c4", &format!("SELECT tag AS c4 FROM tags JOIN items ON item = id WHERE {own}"), "clean"),
                (
                    "c5",
                    "SELECT tag AS c5 FROM tags WHERE EXISTS (SELECT FROM items WHERE id = item)",
                    "result_differs",
                ),
                ("c6", "WITH i AS (SELECT * FROM items) SELECT max(amount) AS c6 FROM i", "result_differs"),
                ("c7", "SELECT name AS c7 FROM items WHERE id < 3 UNION SELECT tag FROM tags", "clean"),
                ("c8", "SELECT tag AS c8 FROM tags LEFT JOIN items ON item = id WHERE item < 3;", "clean"),
                ("c9", "SELECT (SELECT name FROM items WHERE id = 4) AS c9 -- of globex", "result_differs"),
                ("c10", "SELECT sum(amount) AS c10 FROM items", "result_differs"),
            ],
        );
        let (findings, coverage) = stage.about("c1");
        assert_eq!(findings[0]["rows"]["control"], 5);
        assert_eq!(findings[0]["rows"]["shadow"], 2);
        assert_eq!(findings[0]["tenant"]["id"], ACME);
        assert_eq!(findings[0]["target"]["table"], "items");
        assert_eq!(coverage[0]["coverage"]["tables"][0], "public.items");
    });
}

#[test]
fn what_no_staged_policy_has_to_do_with_is_clean_and_is_not_run() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        acme.query("SELECT note AS untouched FROM free");
        stage.check(&mut acme, &[("c1", "SELECT name AS c1 FROM items", "result_differs")]);
        assert_eq!((stage.seen("untouched").said(), stage.ran("untouched")), ("clean".to_owned(), 0));
    });
}

#[test]
fn what_differs_is_said_of_tables_whose_own_policies_may_be_the_reason() {
    for_each_version(async |server| {
        let schema = "
            ALTER TABLE tags ENABLE ROW LEVEL SECURITY;
            CREATE POLICY allow_all ON tags USING (true);
            CREATE POLICY pgwarden_tags_select ON tags AS RESTRICTIVE FOR SELECT TO pgwarden_shadow
                USING (item IN (SELECT id FROM items));
            CREATE TABLE shelves (item int);
            INSERT INTO shelves SELECT id FROM items;
            ALTER TABLE shelves ENABLE ROW LEVEL SECURITY;
            CREATE POLICY in_force ON shelves USING (item IN (SELECT id FROM items));
            GRANT SELECT ON shelves TO app";
        let stage = Replayed::start_with(server, schema, "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("c1", "SELECT tag AS c1 FROM tags", "result_differs"),
                ("c2", "SELECT item AS c2 FROM shelves", "result_differs"),
            ],
        );
        for (word, table) in [("c1", "tags"), ("c2", "items")] {
            let (findings, coverage) = stage.about(word);
            let targets: Vec<_> = findings.iter().map(|one| &one["target"]["table"]).collect();
            assert_eq!(targets, [table], "{word}");
            assert_eq!(coverage[0]["coverage"]["tables"], serde_json::json!([format!("public.{table}")]));
        }
    });
}

#[test]
fn each_run_has_the_context_of_its_client() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let of_globex = format!("org = '{GLOBEX}'");
        stage.check(
            &mut globex,
            &[
                ("g1", &format!("SELECT name AS g1 FROM items WHERE {of_globex}"), "clean"),
                ("g2", "SELECT name AS g2 FROM items WHERE id = 1", "result_differs"),
            ],
        );
        stage.check(
            &mut acme,
            &[
                ("a1", &format!("SELECT name AS a1 FROM items WHERE {of_globex}"), "result_differs"),
                ("a2", "SELECT name AS a2 FROM items WHERE id = 1", "clean"),
            ],
        );
        let mut nobody = stage.client("nobody");
        stage.check(&mut nobody, &[("n1", "SELECT name AS n1 FROM items WHERE id = 1", "result_differs")]);
        assert_eq!(stage.about("n1").0[0]["rule"], "secondary", "its cause is the context that is missing");
    });
}

#[test]
fn a_limit_counts_unless_it_cuts_between_equal_rows() {
    for_each_version(async |server| {
        let more =
            format!("INSERT INTO items SELECT n, 'same', '{GLOBEX}', 0, 0 FROM generate_series(6, 9) n");
        let stage = Replayed::start_with(server, &more, "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("l1", "SELECT name AS l1 FROM items ORDER BY id DESC LIMIT 1", "result_differs"),
                ("l2", "SELECT name AS l2 FROM items ORDER BY id LIMIT 2", "clean"),
                ("l3", "SELECT id AS l3 FROM items ORDER BY name DESC LIMIT 1", "unstable"),
                ("l4", "SELECT name AS l4 FROM items WHERE id > 1 LIMIT 1", "clean"),
                ("l5", "SELECT name AS l5 FROM items WHERE id > 2 LIMIT 1", "result_unstable"),
                ("l6", "SELECT name AS l6 FROM items ORDER BY id OFFSET 1 LIMIT 2", "result_differs"),
                (
                    "l7",
                    "SELECT id AS l7 FROM items ORDER BY name FETCH FIRST 3 ROWS WITH TIES",
                    "result_differs",
                ),
                (
                    "l8",
                    "SELECT DISTINCT ON (org IS NULL) amount AS l8 FROM items ORDER BY org IS NULL, id DESC",
                    "unstable",
                ),
            ],
        );
        let messages = Frontend::new()
            .parse("", "SELECT name AS l9 FROM items WHERE id > $1 ORDER BY id LIMIT $2", &[])
            .bind("", "", &[Some("1"), Some("2")])
            .execute("", 0)
            .sync();
        acme.send(&messages);
        acme.until_ready();
        assert_eq!(stage.seen("l9").said(), "result_differs");
    });
}

#[test]
fn what_depends_on_the_order_of_rows_is_compared_without_it() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("o1", "SELECT array_agg(name) AS o1 FROM items", "result_differs"),
                ("o2", "SELECT array_agg(name) AS o2 FROM items WHERE id < 3", "clean"),
                ("o3", "SELECT json_agg(i) AS o3 FROM items i", "result_differs"),
                ("o4", "SELECT sum(price) AS o4 FROM items", "unstable"),
                ("o5", "SELECT sum(price) AS o5, org FROM items GROUP BY org", "result_unstable"),
                ("o6", "SELECT row_number() OVER (ORDER BY org) AS o6 FROM items", "result_unstable"),
                ("o7", "SELECT (array_agg(name))[1] AS o7 FROM items", "clean"),
            ],
        );
    });
}

#[test]
fn parameters_are_bound_as_the_client_bound_them_and_written_nowhere() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        let uuid: u32 = 2950;
        let (int4, binary) = (23_u32, 4_i32.to_be_bytes());
        let messages = [
            Frontend::new()
                .parse("own", "SELECT name AS p1 FROM items WHERE org = $1", &[uuid])
                .bind("", "own", &[Some(ACME)])
                .execute("", 0),
            Frontend::new()
                .parse("other", "SELECT name AS p2 FROM items WHERE org = $1 AND name <> $2", &[uuid])
                .bind("", "other", &[Some(GLOBEX), Some("a value that nobody writes")])
                .execute("", 0),
            Frontend::new()
                .parse("", "SELECT name AS p3, $2 IS NULL FROM items WHERE id = $1", &[int4, 25])
                .bind_formats("", "", &[1, 0], &[Some(&binary), None], &[1])
                .execute("", 0),
        ];
        for message in messages {
            acme.send(&message.sync());
            assert_eq!(error_code(&acme.until_ready()), "");
        }
        for (word, said) in [("p1", "clean"), ("p2", "result_differs"), ("p3", "result_differs")] {
            assert_eq!(stage.seen(word).said(), said, "{word}");
        }
        let written: Vec<String> = stage.records().iter().map(ToString::to_string).collect();
        assert!(!written.concat().contains("nobody writes"));
        assert_eq!(stage.pgwarden.logged("nobody writes"), 0);
    });
}

#[test]
fn what_copy_sends_is_run_again_as_a_query() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("y1", "COPY (SELECT name AS y1 FROM items) TO STDOUT", "result_differs"),
                (
                    "y2",
                    "COPY (SELECT name AS y2 FROM items WHERE id < 3) TO STDOUT WITH (FORMAT csv)",
                    "clean",
                ),
            ],
        );
        acme.query("COPY all_items TO STDOUT");
        acme.query("COPY tags TO STDOUT");
    });
}

#[test]
fn what_an_insert_reads_is_run_again() {
    for_each_version(async |server| {
        let schema = "CREATE TABLE copies (id bigint, name text); GRANT ALL ON copies TO app";
        let stage = Replayed::start_with(server, schema, "rate = 1");
        let mut acme = stage.client("acme");
        let own = format!("org = '{ACME}'");
        stage.check(
            &mut acme,
            &[
                ("z1", "INSERT INTO copies SELECT id, name AS z1 FROM items", "result_differs"),
                ("z2", &format!("INSERT INTO copies SELECT id, name AS z2 FROM items WHERE {own}"), "clean"),
                (
                    "z3",
                    "INSERT INTO copies VALUES (1, (SELECT max(name) AS z3 FROM items))",
                    "result_differs",
                ),
            ],
        );
        acme.send(
            &Frontend::new()
                .parse("", "INSERT INTO copies SELECT $1, name AS z4 FROM items WHERE id < $2", &[])
                .bind("", "", &[Some("7"), Some("3")])
                .execute("", 0)
                .sync(),
        );
        acme.until_ready();
        assert_eq!(stage.seen("z4").said(), "clean");
        acme.query("INSERT INTO copies SELECT id, name AS z5 FROM copies");
        acme.query("INSERT INTO copies VALUES (1, 'z6')");
        stage.check(&mut acme, &[("z7", "SELECT name AS z7 FROM items", "result_differs")]);
        assert_eq!((stage.ran("z5"), stage.ran("z6")), (0, 0));
    });
}

#[test]
fn names_of_columns_and_comments_do_not_get_in_the_way() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("q", "SELECT 1 AS q, name FROM items", "result_differs"),
                ("r", "SELECT name AS r FROM items -- ) \"pgwarden_r$\"", "result_differs"),
                ("s", "SELECT id AS s, id, name AS id FROM items WHERE id < 3;", "clean"),
            ],
        );
    });
}

#[test]
fn pg_stat_statements_can_tell_what_was_run_again() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        stage.check(&mut acme, &[("m1", "SELECT name AS m1 FROM items", "result_differs")]);
        assert_eq!(stage.ran("m1"), 3, "as the application, as control, and as the shadow role");
        let settled = server.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgwarden replay' AND state LIKE 'idle in%'",
        );
        assert_eq!(settled.trim(), "0");
    });
}
