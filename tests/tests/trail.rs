//! The audit trail: what is in it, who may write it, and what is noticed of who alters it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pgwarden_audit::Record;
use pgwarden_tests::lane::{self, enter};
use pgwarden_tests::records::Records;
use pgwarden_tests::trail::{
    assert_broken, assert_intact, directory, files, of_kind, records, reload, told, until_recorded,
};
use pgwarden_tests::{Frontend, Pgwarden, Signal, for_each_version, for_version, until, versions};

/// Ends a pgwarden as an operator does.
#[track_caller]
fn stop(pgwarden: &Pgwarden) {
    pgwarden.signal(Signal::TERM);
    assert_eq!(pgwarden.wait_exit().code(), Some(0), "{}", pgwarden.stderr());
}

/// Replaces the text of the one file of a trail.
#[track_caller]
fn rewrite(directory: &Path, change: impl FnOnce(Vec<&str>) -> String) {
    let file = files(directory).remove(0);
    let text = fs::read_to_string(&file).expect("the trail can be read");
    fs::write(&file, change(text.lines().collect())).expect("the trail can be written");
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_trail_begins_with_the_start_and_ends_with_the_stop() {
    for_each_version(async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        let started = until_recorded(&trail, "started");
        assert_eq!(started["detail"]["started"], "new");
        assert_eq!(started["mode"], "enforce");
        assert_eq!(started["proxy"]["config_hash"].as_str().map(str::len), Some(64));
        assert!(!of_kind(&trail, "segment").is_empty());
        stop(&pgwarden);
        let all = records(&trail);
        assert_eq!(all.last().expect("records")["kind"], "stopped");
        for (number, record) in (1_u64..).zip(&all) {
            assert_eq!((&record["seq"], &record["v"]), (&number.into(), &1.into()));
        }
        assert_intact(&trail, &[]);
    });
}

#[test]
fn nobody_else_may_read_a_trail() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        until_recorded(&trail, "started");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&trail), 0o700);
        files(&trail).iter().for_each(|file| assert_eq!(mode(file), 0o600));
    });
}

#[test]
fn sessions_of_services_are_recorded() {
    for_each_version(async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        let mut service = enter(&pgwarden, "migrator", "OPS-1").expect("it is a service");
        service.query("INSERT INTO notes (name, org) VALUES ('secret', 'x')");
        service.send(&Frontend::new().terminate());
        let ended = until("the session has ended", || {
            of_kind(&trail, "service").into_iter().find(|record| record["service"]["stage"] == "ended")
        });
        let account = &ended["service"]["account"];
        assert_eq!((&account["service"], &account["user"]), (&"migrations".into(), &"migrator".into()));
        assert_eq!(account["reason"], "OPS-1");
        assert_eq!(account["written"], serde_json::json!(["notes"]));
        assert!(!records(&trail).iter().any(|record| record.to_string().contains("secret")));
        assert_intact(&trail, &[]);
    });
}

#[test]
fn a_reload_is_recorded_with_the_hash_of_its_configuration() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        let started = until_recorded(&trail, "started");
        reload(&pgwarden, server, "window = \"20s\"");
        let reloaded = until_recorded(&trail, "reloaded");
        assert_ne!(reloaded["proxy"]["config_hash"], started["proxy"]["config_hash"]);
        // Where the trail is stays as it is.
        reload(&pgwarden, server, "window = \"20s\"\ninstance = \"another\"");
        pgwarden.until_logged("audit.instance", 0);
        until("there are two", || (of_kind(&trail, "reloaded").len() == 2).then_some(()));
        let names =
            records(&trail).iter().map(|record| record["proxy"]["instance"].clone()).collect::<Vec<_>>();
        assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
    });
}

#[test]
fn another_mode_is_recorded() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        let path = pgwarden.directory().join("pgwarden.toml");
        let text = fs::read_to_string(&path).expect("the configuration").replace("\"enforce\"", "\"shadow\"");
        fs::write(&path, text).expect("a file can be written");
        pgwarden_tests::reload::reload(&pgwarden, pgwarden_tests::reload::OK);
        let changed = until_recorded(&trail, "mode_changed");
        assert_eq!(changed["detail"]["mode_changed"], serde_json::json!(["enforce", "shadow"]));
        assert_eq!(changed["mode"], "shadow");
        // What has a mode of its own is recorded by its name, and where it loses it the general one is in force.
        let more = |more: &str| {
            let text = fs::read_to_string(&path).expect("the configuration");
            let text = text.split("[users.").next().unwrap_or_default().to_owned();
            fs::write(&path, text + more).expect("a file can be written");
            pgwarden_tests::reload::reload(&pgwarden, pgwarden_tests::reload::OK);
        };
        more("[users.acme]\nmode = \"enforce\"\n");
        more("");
        let changes = until("all three are recorded", || {
            Some(of_kind(&trail, "mode_changed")).filter(|changes| changes.len() == 3)
        });
        let details: Vec<_> =
            changes.iter().skip(1).map(|change| &change["detail"]["mode_changed"]).collect();
        let (to, back) = (["shadow", "enforce", "user acme"], ["enforce", "shadow", "user acme"]);
        assert_eq!(details, [&serde_json::json!(to), &serde_json::json!(back)]);
    });
}

#[test]
fn two_pgwardens_do_not_write_to_one_directory() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let first = told(server, "").start();
        until_recorded(&directory(&first), "started");
        let place = directory(&first).to_string_lossy().into_owned();
        let exit = lane::told(server, &format!("[audit]\ndirectory = \"{place}\"")).try_start();
        let exit = exit.expect_err("it is refused");
        assert_eq!(exit.status.code(), Some(71), "{}", exit.stderr);
        assert!(exit.stderr.contains("another pgwarden keeps its audit trail"), "{}", exit.stderr);
        assert!(exit.stderr.contains("audit.directory of its own"), "{}", exit.stderr);
    });
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_at_the_start() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let more = "[audit]\ndirectory = \"{dir}/pgwarden.toml/audit\"";
        let exit = lane::told(server, more).try_start().expect_err("it is refused");
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains("cannot keep the audit trail in"), "{}", exit.stderr);
        assert!(exit.stderr.contains("give the user of pgwarden the right"), "{}", exit.stderr);
    });
}

#[test]
fn whoever_alters_a_trail_is_noticed_and_told_where() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        for _ in 0..3 {
            enter(&pgwarden, "migrator", "OPS-1")
                .expect("it is a service")
                .send(&Frontend::new().terminate());
        }
        until("all have ended", || (of_kind(&trail, "service").len() == 6).then_some(()));
        stop(&pgwarden);
        let file = files(&trail).remove(0);
        let good = fs::read(&file).expect("the trail can be read");
        assert_intact(&trail, &[]);
        rewrite(&trail, |lines| joined(&lines).replacen("OPS-1", "OPS-2", 1));
        assert_broken(&trail, &[], ":3: record 3: altered");
        fs::write(&file, &good).expect("the trail can be written");
        rewrite(&trail, |mut lines| {
            lines.remove(3);
            joined(&lines)
        });
        assert_broken(&trail, &[], ":4: record 5: missing: record 4");
        fs::write(&file, &good).expect("the trail can be written");
        rewrite(&trail, |mut lines| {
            lines.swap(3, 4);
            joined(&lines)
        });
        assert_broken(&trail, &[], "out of order");
        fs::write(&file, &good).expect("the trail can be written");
        rewrite(&trail, |lines| joined(&lines[2..]));
        assert_broken(&trail, &[], "the records before are missing");
        // A line of another chain, in the place of the one that has its number.
        let other = Records::since(1).later(1).add(Record::service("OPS-2".into())).text();
        let other = other.lines().nth(1).expect("a second record").to_owned() + "\n";
        fs::write(&file, &good).expect("the trail can be written");
        rewrite(&trail, |lines| [joined(&lines[..1]), other, joined(&lines[2..])].concat());
        assert_broken(&trail, &[], ":2: record 2: spliced");
    });
}

#[test]
fn the_last_records_are_shown_to_people_and_programs() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        until_recorded(&trail, "started");
        stop(&pgwarden);
        let place = trail.to_string_lossy();
        let shown = Pgwarden::builder().run(&["audit", "tail", &place]);
        assert!(shown.stderr.contains(" started detail="), "{}", shown.stderr);
        let shown = Pgwarden::builder().run(&["audit", "tail", &place, "-n", "1", "--json"]);
        let last: serde_json::Value = serde_json::from_str(&shown.stderr).expect("one record");
        assert_eq!(last["kind"], "stopped");
        let follower = Pgwarden::builder().start_command(&["audit", "tail", &place, "-f", "-n", "1"]);
        follower.until_logged(" stopped", 0);
        let _again = told(server, "").in_place_of(&pgwarden).start();
        follower.until_logged("after_stop", 0);
        let none = Pgwarden::builder().run(&["audit", "tail", "/absent"]);
        assert_eq!(none.status.code(), Some(71), "{}", none.stderr);
    });
}
