//! Steps that are cut off, and tables that others hold: what is done stays done, nobody waits, and the same command goes
//! on.

use pgwarden_tests::staging::Staging;
use pgwarden_tests::{Pgwarden, for_each_version, until};

const SCHEMA: &str = "
CREATE ROLE app LOGIN;
CREATE TABLE a (id int, org_id int);
CREATE TABLE b (id int, org_id int);
ALTER TABLE a ENABLE ROW LEVEL SECURITY;
ALTER TABLE b ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON a USING (true);
CREATE POLICY everything ON b USING (true);
GRANT SELECT ON a, b TO app;
";

/// A trigger that ends the session in which the next of so many commands begins.
const CUT: &str = "
CREATE SCHEMA cut;
CREATE SEQUENCE cut.commands;
CREATE TABLE cut.last (number bigint);
INSERT INTO cut.last VALUES (0);
CREATE FUNCTION cut.off() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('cut.commands') >= (SELECT number FROM cut.last) THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(10);
    END IF;
END $$;
CREATE EVENT TRIGGER cut ON ddl_command_start EXECUTE FUNCTION cut.off();
ALTER EVENT TRIGGER cut DISABLE;
";

/// All that is staged and in force.
const STATE: &str = "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies \
     UNION ALL SELECT relation::text, state, source, NULL, NULL, NULL, NULL FROM pgwarden.staged ORDER BY 1, 2";

#[test]
fn a_command_that_is_cut_off_anywhere_is_finished_by_the_same_command() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "cut_off", &format!("{SCHEMA}{CUT}"));
        let migration = "CREATE FUNCTION mine() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
             DROP POLICY everything ON a; CREATE POLICY own ON a USING (org_id = (SELECT mine()));
             DROP POLICY everything ON b; CREATE POLICY own ON b USING (org_id IN (SELECT id FROM a))"
            .replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION");
        let file = staging.file("migration.sql", &migration);
        let file = file.to_string_lossy();
        let stage = ["stage", "--from", &*file];
        let promote = ["promote", "--all", "--force", "--reason", "a test"];
        let commands: [&[&str]; 4] = [&stage, &promote, &["demote", "--all"], &["unstage", "--all"]];
        let mut states: Vec<String> = Vec::new();
        for command in &commands[..3] {
            staging.done(command);
            states.push(staging.sql(STATE));
        }
        staging.done(commands[3]);
        let mut cuts = 0;
        for number in 1.. {
            let mut cut_now = 0;
            for (command, state) in commands.iter().zip(states.iter().map(Some).chain([None])) {
                staging.sql(&format!(
                    "UPDATE cut.last SET number = {number}; SELECT setval('cut.commands', 1, false); ALTER EVENT TRIGGER cut ENABLE"
                ));
                let exit = staging.run(command);
                staging.sql("ALTER EVENT TRIGGER cut DISABLE");
                if !exit.status.success() {
                    assert_eq!(exit.status.code(), Some(69), "{command:?}: {}", exit.stderr);
                    assert!(exit.stderr.contains("57P01"), "{command:?}: {}", exit.stderr);
                    cut_now += 1;
                    staging.done(command);
                }
                if let Some(state) = state {
                    assert_eq!(&staging.sql(STATE), state, "{command:?}, cut off at {number}");
                }
            }
            cuts += cut_now;
            if cut_now == 0 {
                break;
            }
        }
        assert!(cuts > 20, "{cuts} places");
    });
}

#[test]
fn a_table_that_is_held_is_tried_again_while_nobody_waits_behind() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "held", SCHEMA);
        let holder = staging.connect().await;
        holder.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM a").await.expect("a cursor");
        let said = staging.refused(
            &["stage", "--column", "public.a.org_id", "--patience", "0.5"],
            1,
            "the lock of \"public\".\"a\" did not come",
        );
        assert!(said.contains("idle in transaction"), "{said}");
        assert_eq!(staging.sql("SELECT count(*) FROM pg_policies WHERE policyname ~ '^pgwarden'"), "0");
        let url = staging.url("postgres");
        let running = Pgwarden::builder().start_command(&["stage", "--url", &url, "--column", "org_id"]);
        // It asks for the lock again and again, and each of these gets through.
        for _ in 0..20 {
            staging.sql("SET lock_timeout = '2s'; SELECT count(*) FROM a");
        }
        holder.batch_execute("COMMIT").await.expect("the cursor is closed");
        assert!(running.wait_exit().success(), "{}", running.stderr());
        until("both are staged", || {
            (staging.sql("SELECT count(*) FROM pgwarden.staged WHERE state = 'staged'") == "2").then_some(())
        });
    });
}
