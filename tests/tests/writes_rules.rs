//! What triggers say of written rows, asked without pgwarden in between: masks of which expressions were true.
//!
//! 1 and 2 stand for the old row (the command's policy and that of SELECT), 4 and 8 for the new one, 16 for no context.

use pgwarden_tests::staged::{SHADOW, Said, Signed, install, own, stage, writes};
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants};
use pgwarden_tests::{Server, for_each_version, until};

const THINGS: &str = "
CREATE TABLE things (id int PRIMARY KEY, org_id uuid, name text);
GRANT ALL ON things TO tenants;
";

fn said(command: &str, masks: &[(u64, u64)]) -> Said {
    (command.to_owned(), false, masks.to_vec())
}

/// The tables and staged policies, and a connection for `acme` whose triggers speak.
fn staged(server: &Server, schema: &str, tables: &[&str]) -> Signed {
    Tenants::load(server);
    server.psql(SHADOW);
    server.psql(schema);
    for table in tables {
        server.psql(&stage(table, &own("org_id")));
    }
    install(server);
    Signed::open(server)
}

fn things(server: &Server) -> Signed {
    let signed = staged(server, THINGS, &["things"]);
    server.psql(&format!(
        "INSERT INTO things VALUES (1, '{ACME}', 'a'), (2, '{ACME}', 'b'), (3, '{GLOBEX}', 'c'), (4, NULL, 'd')"
    ));
    signed
}

#[test]
fn own_rows_are_not_worth_a_word() {
    for_each_version(async |server| {
        let mut signed = things(server);
        for sql in [
            &format!("INSERT INTO things VALUES (5, '{ACME}', 'e'), (6, '{ACME}', 'f')"),
            "UPDATE things SET name = 'x' WHERE id = 1",
            "UPDATE things SET name = 'y' WHERE id IN (1, 2)",
            &format!(
                "INSERT INTO things VALUES (1, '{ACME}', 'u') ON CONFLICT (id) DO UPDATE SET name = 'z'"
            ),
            "DELETE FROM things WHERE id IN (5, 6)",
            "DELETE FROM things WHERE id = 99",
            "UPDATE things SET name = 'n' WHERE false",
        ] {
            assert_eq!(signed.run(sql), [], "{sql}");
        }
    });
}

#[test]
fn foreign_rows_are_told_by_what_the_policies_say_of_them() {
    for_each_version(async |server| {
        let mut signed = things(server);
        let insert =
            format!("INSERT INTO things VALUES (5, '{GLOBEX}', 'e'), (6, NULL, 'f'), (7, '{ACME}', 'g')");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 2)])]);
        let moved = format!("UPDATE things SET org_id = '{GLOBEX}' WHERE id = 7");
        assert_eq!(signed.run(&moved), [said("UPDATE", &[(3, 1)])]);
        assert_eq!(signed.run("UPDATE things SET name = 'x' WHERE id = 3"), [said("UPDATE", &[(0, 1)])]);
        assert_eq!(signed.run("UPDATE things SET name = 'x'"), [said("UPDATE", &[(0, 5)])]);
        assert_eq!(signed.run("DELETE FROM things WHERE id = 3"), [said("DELETE", &[(12, 1)])]);
        assert_eq!(signed.run("DELETE FROM things"), [said("DELETE", &[(12, 4)])]);
    });
}

#[test]
fn columns_may_be_called_what_the_triggers_call_their_own() {
    const ODD: &str = "
        CREATE TABLE total (total uuid, mask int, groups text, failed int, noted int, looked int, cascade int);
        GRANT ALL ON total TO tenants;
    ";
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(ODD);
        let predicate = own("total") + " AND total.mask > 0 AND groups = 'g' AND failed IS NULL";
        server.psql(&stage("total", &predicate));
        install(server);
        let mut signed = Signed::open(server);
        // A few rows, and more than are asked about one by one.
        for (many, mask) in [(3, 1), (30, 0)] {
            let insert = format!("INSERT INTO total SELECT '{ACME}', 1, 'g' FROM generate_series(1, {many})");
            assert_eq!(signed.run(&insert), []);
            assert_eq!(signed.run("UPDATE total SET looked = 1"), []);
            let spoilt = signed.run(&format!("UPDATE total SET mask = {mask}, failed = 1"));
            assert_eq!(spoilt, [said("UPDATE", &[(3, many)])]);
            assert_eq!(signed.run("DELETE FROM total"), [said("DELETE", &[(12, many)])]);
        }
    });
}

#[test]
fn on_conflict_checks_the_row_that_is_proposed_and_the_row_that_is_there() {
    for_each_version(async |server| {
        let mut signed = things(server);
        let nothing = format!("INSERT INTO things VALUES (1, '{GLOBEX}', 'x') ON CONFLICT DO NOTHING");
        assert_eq!(signed.run(&nothing), [said("INSERT", &[(3, 1)])], "which no transition table ever holds");
        let theirs =
            format!("INSERT INTO things VALUES (3, '{ACME}', 'x') ON CONFLICT (id) DO UPDATE SET name = 'x'");
        let documents = signed.documents(&theirs);
        assert_eq!(documents.len(), 1, "{documents:?}");
        assert_eq!((&documents[0]["command"], &documents[0]["upsert"]), (&"UPDATE".into(), &true.into()));
        let plain = signed.documents("UPDATE things SET name = 'x' WHERE id = 3");
        assert_ne!(plain[0]["upsert"], true);
    });
}

#[test]
fn policies_see_what_the_statement_saw() {
    // A statement that makes its user a member of another organisation cannot use that itself.
    const SCHEMA: &str = "
        CREATE TABLE members (org_id uuid, person text);
        CREATE TABLE papers (id int, org_id uuid);
        CREATE FUNCTION is_member(uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
            $$ SELECT EXISTS (SELECT FROM public.members m WHERE m.org_id = $1) $$;
        GRANT ALL ON members, papers TO tenants;
    ";
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(SCHEMA);
        server.psql(&stage("papers", "is_member(org_id)"));
        server.psql(&stage("members", "is_member(org_id)"));
        install(server);
        let mut signed = Signed::open(server);
        server.psql(&format!("INSERT INTO members VALUES ('{ACME}', 'ann')"));
        let own = format!("INSERT INTO papers VALUES (1, '{ACME}')");
        assert_eq!(signed.run(&own), []);
        let grant = format!("INSERT INTO members VALUES ('{GLOBEX}', 'ann')");
        assert_eq!(signed.run(&grant), [said("INSERT", &[(3, 1)])], "a self-grant");
        assert_eq!(
            signed.run(&format!("INSERT INTO papers VALUES (2, '{GLOBEX}')")),
            [],
            "it is in force by now"
        );
    });
}

#[test]
fn without_a_context_there_is_one_count_per_table() {
    for_each_version(async |server| {
        let mut signed = things(server);
        signed.wire().query("SET app.current_org_id = ''");
        let insert = format!("INSERT INTO things VALUES (5, '{ACME}', 'e'), (6, '{GLOBEX}', 'f')");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(16, 2)])]);
        assert_eq!(signed.run("UPDATE things SET name = 'x'"), [said("UPDATE", &[(16, 6)])]);
        assert_eq!(signed.run("DELETE FROM things"), [said("DELETE", &[(16, 6)])]);
    });
}

#[test]
fn referential_actions_are_told_apart() {
    const SCHEMA: &str = "
        CREATE TABLE parents (id int PRIMARY KEY, org_id uuid);
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
                               org_id uuid);
        GRANT ALL ON parents, children TO tenants;
    ";
    for_each_version(async |server| {
        let mut signed = staged(server, SCHEMA, &["parents", "children"]);
        server.psql(&format!(
            "INSERT INTO parents VALUES (1, '{ACME}'), (2, '{ACME}'), (3, '{ACME}');
             INSERT INTO children VALUES (1, 1, '{GLOBEX}'), (2, 2, '{GLOBEX}'), (3, 3, '{GLOBEX}'), (4, 3, '{ACME}')"
        ));
        let cascade = |command: &str, masks: &[(u64, u64)]| (command.to_owned(), true, masks.to_vec());
        assert_eq!(signed.run("DELETE FROM parents WHERE id < 3"), [cascade("DELETE", &[(12, 2)])]);
        assert_eq!(signed.run("UPDATE parents SET id = 30 WHERE id = 3"), [cascade("UPDATE", &[(0, 1)])]);
        assert_eq!(
            signed.run("DELETE FROM children WHERE id = 3"),
            [said("DELETE", &[(12, 1)])],
            "and not a cascade"
        );
    });
}

#[test]
fn partitions_are_looked_at_through_their_root_and_rows_may_move() {
    const SCHEMA: &str = "
        CREATE TABLE parts (id int, org_id uuid, name text) PARTITION BY RANGE (id);
        CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
        CREATE TABLE parts_high (name text, org_id uuid, id int);
        ALTER TABLE parts ATTACH PARTITION parts_high FOR VALUES FROM (10) TO (20);
        GRANT ALL ON parts, parts_low, parts_high TO tenants;
    ";
    for_each_version(async |server| {
        let mut signed = staged(server, SCHEMA, &["parts", "parts_high"]);
        let insert = format!(
            "INSERT INTO parts VALUES (1, '{ACME}', 'a'), (2, '{GLOBEX}', 'b'), (11, '{GLOBEX}', 'c')"
        );
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 2)])]);
        assert_eq!(signed.run("UPDATE parts SET id = id + 10 WHERE id = 1"), [], "an own row moves");
        assert_eq!(signed.run("UPDATE parts SET id = id + 10 WHERE id = 2"), [said("UPDATE", &[(0, 1)])]);
        let moved =
            format!("UPDATE parts SET id = 1, org_id = '{GLOBEX}' WHERE id = 11 AND org_id = '{ACME}'");
        assert_eq!(signed.run(&moved), [said("UPDATE", &[(3, 1)])]);
        let direct = format!("INSERT INTO parts_high VALUES ('d', '{GLOBEX}', 12)");
        assert_eq!(signed.run(&direct), [said("INSERT", &[(3, 1)])], "by the partition's own");
        assert_eq!(signed.run("DELETE FROM parts WHERE id = 1"), [said("DELETE", &[(12, 1)])]);
    });
}

#[test]
fn a_trigger_of_the_application_comes_first_and_a_later_one_is_refused() {
    const SCHEMA: &str = "
        CREATE FUNCTION give_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.org_id := '00000000-0000-4000-8000-00000000000b'; RETURN NEW; END $$;
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RETURN CASE WHEN NEW.name = 'skipped' THEN NULL ELSE NEW END; END $$;
        CREATE TRIGGER zzz BEFORE INSERT ON things FOR EACH ROW WHEN (NEW.name = 'given') EXECUTE FUNCTION give_away();
        CREATE TRIGGER yyy BEFORE INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION skip();
    ";
    for_each_version(async |server| {
        let mut signed = things(server);
        server.psql(SCHEMA);
        assert_eq!(
            signed.run(&format!("INSERT INTO things VALUES (5, '{ACME}', 'given')")),
            [said("INSERT", &[(3, 1)])]
        );
        assert_eq!(signed.run(&format!("INSERT INTO things VALUES (6, '{GLOBEX}', 'skipped')")), []);
        assert_eq!(signed.run("UPDATE things SET name = 'skipped'"), []);
        server.psql(
            "CREATE TRIGGER \"~zzz\" BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION give_away()",
        );
        let (done, said) = writes(server, &["install"]);
        assert!(!done && said.contains("~zzz comes behind"), "{said}");
    });
}

#[test]
fn a_statement_of_a_trigger_is_not_half_of_the_one_around_it() {
    const SCHEMA: &str = "
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE things SET name = name WHERE id = 3; RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION touch();
    ";
    for_each_version(async |server| {
        let mut signed = things(server);
        server.psql(SCHEMA);
        let documents = signed.documents(&format!("INSERT INTO things VALUES (5, '{GLOBEX}', 'x')"));
        let told: Vec<_> =
            documents.iter().map(|one| (one["command"].as_str(), one["upsert"] == true)).collect();
        assert_eq!(told, [(Some("UPDATE"), false), (Some("INSERT"), false)]);
    });
}

#[test]
fn a_policy_that_fails_never_breaks_the_write() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(THINGS);
        server.psql(&stage("things", "1 / (id - 5) > 100"));
        install(server);
        let mut signed = Signed::open(server);
        let documents = signed.documents(&format!("INSERT INTO things VALUES (5, '{ACME}', 'x')"));
        assert_eq!(documents.len(), 1, "{documents:?}");
        assert_eq!(documents[0]["failed"], "22012");
        for sql in ["UPDATE things SET name = 'y'", "DELETE FROM things"] {
            let documents = signed.documents(sql);
            assert_eq!(documents[0]["failed"], "22012", "{sql}");
        }
    });
}

#[test]
fn more_rows_than_the_limit_are_counted_and_not_looked_at() {
    for_each_version(async |server| {
        let mut signed = things(server);
        server
            .psql(&format!("INSERT INTO things SELECT n, '{GLOBEX}', 'n' FROM generate_series(10, 20009) n"));
        let documents = signed.documents("UPDATE things SET name = 'y' WHERE id >= 10");
        assert_eq!((&documents[0]["rows"], &documents[0]["looked"]), (&20_000.into(), &10_000.into()));
        assert_eq!(documents[0]["groups"][0][3], 10_000);
        let insert =
            format!("INSERT INTO things SELECT n, '{GLOBEX}', 'n' FROM generate_series(30000, 30999) n");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 1000)])]);
    });
}

#[test]
fn who_is_not_pgwardens_is_told_nothing() {
    for_each_version(async |server| {
        let mut signed = things(server);
        signed.wire().query("SET pgwarden.nonce = ''");
        let messages = signed.wire().query(&format!("INSERT INTO things VALUES (5, '{GLOBEX}', 'e')"));
        assert!(messages.iter().all(|message| message.tag != b'N'), "{messages:?}");
    });
}

#[test]
fn nothing_stands_in_the_way_of_the_schema() {
    for_each_version(async |server| {
        let _signed = things(server);
        server.psql("ALTER TABLE things DROP COLUMN name");
        server.psql("ALTER TABLE things ADD COLUMN more int");
        server.psql("ALTER TABLE things ALTER COLUMN id TYPE bigint");
        server.psql("ALTER TABLE things RENAME TO goods");
        let mut signed = Signed::open(server);
        let insert = format!("INSERT INTO goods VALUES (5, '{GLOBEX}', 1)");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 1)])]);
        server.psql("DROP TABLE goods");
        let functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'writes%'";
        assert_eq!(server.psql(functions), "4");
        let (done, said) = writes(server, &["remove"]);
        assert!(done && server.psql(functions) == "0", "{said}");
    });
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_the_reason() {
    const SCHEMA: &str = "
        CREATE FUNCTION moody(uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN true; END $$;
        CREATE TABLE moods (id int, org_id uuid);
        CREATE TABLE dice (id int, org_id uuid);
        CREATE TABLE made (id int, org_id uuid, twice int GENERATED ALWAYS AS (id * 2) STORED);
        CREATE EXTENSION IF NOT EXISTS file_fdw;
        CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
        CREATE TABLE parts (id int, org_id uuid) PARTITION BY RANGE (id);
        CREATE FOREIGN TABLE parts_far PARTITION OF parts FOR VALUES FROM (0) TO (10)
            SERVER files OPTIONS (filename '/dev/null');
    ";
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(SCHEMA);
        server.psql(&stage("moods", "moody(org_id)"));
        server.psql(&stage("dice", "random() < 2"));
        server.psql(&stage("made", "twice > 0"));
        server.psql(&stage("parts", &own("org_id")));
        let (done, said) = writes(server, &["install"]);
        assert!(!done);
        for reason in [
            "public.moods: not installed: the policy pgwarden_delete calls public.moody(uuid), which is VOLATILE",
            "public.dice: not installed: the policy pgwarden_delete calls random, which is VOLATILE",
            "public.made: not installed: the policy pgwarden_delete reads the generated column twice",
            "public.parts: not installed: a partition or a child of it is a foreign table",
        ] {
            assert!(said.contains(reason), "{reason}: {said}");
        }
        let (_, status) = writes(server, &["status"]);
        assert!(status.contains("public.moods: not installed: the policy"), "{status}");
        assert_eq!(server.psql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgwarden%'"), "0");
    });
}

#[test]
fn a_virtual_column_is_refused_and_others_beside_it_are_no_matter() {
    for_each_version(async |server| {
        if server.version().0 < 18 {
            return;
        }
        Tenants::load(server);
        server.psql(SHADOW);
        server
            .psql("CREATE TABLE made (id int, org_id uuid, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)");
        server.psql(
            "CREATE TABLE beside (id int, org_id uuid, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)",
        );
        server.psql("GRANT ALL ON made, beside TO tenants");
        server.psql(&stage("made", "twice > 0"));
        server.psql(&stage("beside", &own("org_id")));
        let (done, said_of) = writes(server, &["install"]);
        assert!(!done && said_of.contains("public.made: not installed"), "{said_of}");
        let mut signed = Signed::open(server);
        let insert = format!("INSERT INTO beside VALUES (1, '{GLOBEX}'), (2, '{ACME}')");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 1)])]);
        assert_eq!(signed.run("UPDATE beside SET id = 3"), [said("UPDATE", &[(0, 1)])]);
    });
}

#[test]
fn merge_and_copy_are_writes_like_others() {
    for_each_version(async |server| {
        let mut signed = things(server);
        if server.version().0 >= 15 {
            let merge = format!(
                "MERGE INTO things USING (VALUES (1), (3), (8)) s (id) ON things.id = s.id
                 WHEN MATCHED THEN UPDATE SET name = 'm'
                 WHEN NOT MATCHED THEN INSERT VALUES (s.id, '{GLOBEX}', 'n')"
            );
            let mut told = signed.run(&merge);
            told.sort();
            assert_eq!(told, [said("INSERT", &[(3, 1)]), said("UPDATE", &[(0, 1)])]);
        }
        server.psql("ALTER TABLE things DISABLE ROW LEVEL SECURITY");
        let copied = format!("COPY things FROM PROGRAM 'echo 9,{GLOBEX},c' CSV");
        server.psql("GRANT pg_execute_server_program TO app");
        assert_eq!(signed.run(&copied), [said("INSERT", &[(3, 1)])]);
    });
}

#[test]
fn quotes_braces_and_dollars_in_names_and_policies_are_no_code() {
    const SCHEMA: &str = r#"
        CREATE SCHEMA "odd $body$ {oid}";
        GRANT USAGE ON SCHEMA "odd $body$ {oid}" TO tenants;
        CREATE TABLE "odd $body$ {oid}"."a ""b"" {label}" (id int, "org_id" uuid, "x ""y"" $body$" text);
        GRANT ALL ON "odd $body$ {oid}"."a ""b"" {label}" TO tenants;
    "#;
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(SCHEMA);
        let table = r#""odd $body$ {oid}"."a ""b"" {label}""#;
        let predicate =
            format!(r#"{} AND "x ""y"" $body$" <> '$body$ {{rows}} $pgwarden$ ; SELECT 1'"#, own("org_id"));
        server.psql(&stage(table, &predicate));
        install(server);
        let mut signed = Signed::open(server);
        let insert = format!("INSERT INTO {table} VALUES (1, '{ACME}', 'x'), (2, '{GLOBEX}', 'x')");
        assert_eq!(signed.run(&insert), [said("INSERT", &[(3, 1)])]);
        assert_eq!(signed.run(&format!("UPDATE {table} SET id = 3")), [said("UPDATE", &[(0, 1)])]);
    });
}

#[test]
fn triggers_that_are_disabled_are_said_to_be() {
    for_each_version(async |server| {
        let _signed = things(server);
        let status = || writes(server, &["status"]).1;
        assert!(status().contains("public.things: installed\n"), "{}", status());
        server.psql("ALTER TABLE things DISABLE TRIGGER USER");
        assert!(status().contains("public.things: disabled"), "{}", status());
        server.psql("ALTER TABLE things ENABLE TRIGGER USER; DROP POLICY pgwarden_delete ON things");
        let changed = "installed, with other policies than there are now";
        until("the status says so", || status().contains(changed).then_some(()));
    });
}
