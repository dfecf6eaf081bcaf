//! The files of an audit trail: when another one begins, which are removed, who has signed them, and whose they are.

use std::fs;
use std::path::Path;

use pgwarden_tests::lane::{self, enter};
use pgwarden_tests::trail::{
    assert_broken, assert_intact, directory, files, of_kind, records, told, until_recorded, verify,
};
use pgwarden_tests::{Frontend, Pgwarden, Signal, for_version, until, versions};

/// Sessions of the service, from begin to end: two records each.
fn sessions(pgwarden: &Pgwarden, count: usize) {
    for _ in 0..count {
        let mut wire = enter(pgwarden, "migrator", "OPS-1").expect("it is a service");
        wire.send(&Frontend::new().terminate());
    }
}

fn until_ended(trail: &Path, count: usize) {
    until("all sessions have ended", || {
        let all = of_kind(trail, "service");
        let ended = all.iter().filter(|record| record["service"]["stage"] == "ended").count();
        (ended == count).then_some(())
    });
}

#[track_caller]
fn stop(pgwarden: &Pgwarden) {
    pgwarden.signal(Signal::TERM);
    assert_eq!(pgwarden.wait_exit().code(), Some(0), "{}", pgwarden.stderr());
}

/// Makes a key: the configuration that names it, and the public key.
fn keygen(path: &Path) -> (String, String) {
    let made = Pgwarden::builder().run(&["audit", "keygen", "--out", &path.to_string_lossy()]);
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    (format!("signing_key = \"file:{}\"", path.display()), made.stderr.trim().to_owned())
}

/// A directory that is gone at the end of the test.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgwarden-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_that_is_long_enough_is_followed_by_another() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "segment_bytes = \"4kB\"").start();
        let trail = directory(&pgwarden);
        sessions(&pgwarden, 30);
        until_ended(&trail, 30);
        stop(&pgwarden);
        let files = files(&trail);
        assert!(files.len() > 3, "{files:?}");
        for file in &files {
            let text = fs::read_to_string(file).expect("it can be read");
            let first: serde_json::Value =
                serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
            assert_eq!(first["kind"], "segment");
            let name = format!("trail-{:020}.jsonl", first["seq"].as_u64().expect("a number"));
            assert!(file.ends_with(name), "{}", file.display());
            assert!(text.len() < 8_192, "{} bytes", text.len());
        }
        assert_intact(&trail, &[]);
        fs::remove_file(&files[1]).expect("it can be removed");
        assert_broken(&trail, &[], "missing: records");
    });
}

#[test]
fn what_need_not_be_kept_is_removed_and_the_rest_is_still_a_chain() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let audit = "segment_bytes = \"2kB\"\nkeep_bytes = \"8kB\"\ncheckpoint_interval = \"100ms\"";
        let pgwarden = told(server, audit).start();
        let trail = directory(&pgwarden);
        until("files are removed", || {
            sessions(&pgwarden, 5);
            (!of_kind(&trail, "retention").is_empty()).then_some(())
        });
        stop(&pgwarden);
        let first = records(&trail)[0]["seq"].as_u64().expect("a number");
        assert!(first > 1, "{first}");
        let kept: u64 = files(&trail).iter().map(|file| fs::metadata(file).expect("it is there").len()).sum();
        assert!(kept < 16_384, "{kept}");
        assert_intact(&trail, &[]);
    });
}

#[test]
fn the_end_of_a_trail_is_signed_and_known_in_a_second_place() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let place = Place::new("signed");
        let (key, public) = keygen(&place.0.join("key"));
        let (_, other) = keygen(&place.0.join("other"));
        let second = place.0.join("checkpoints").to_string_lossy().into_owned();
        let audit = format!("{key}\ncheckpoints = \"{second}\"\ncheckpoint_interval = \"100ms\"");
        let pgwarden = told(server, &audit).start();
        let trail = directory(&pgwarden);
        until_recorded(&trail, "checkpoint");
        sessions(&pgwarden, 3);
        until_ended(&trail, 3);
        let proof = ["--public-key", public.as_str(), "--checkpoints", second.as_str()];
        // While it is written to.
        assert_intact(&trail, &proof);
        stop(&pgwarden);
        assert_intact(&trail, &proof);
        let exit = verify(&trail, &proof);
        assert!(exit.stderr.contains(", by the one behind it"), "the checkpoint itself: {}", exit.stderr);
        assert_broken(&trail, &["--public-key", &other], "not signed with this key");
        // Without the end, up to a record that was the last one of a checkpoint.
        let file = files(&trail).remove(0);
        let text = fs::read_to_string(&file).expect("it can be read");
        let lines: Vec<&str> = text.lines().collect();
        let shorter: String = lines[..lines.len() - 2].iter().map(|line| format!("{line}\n")).collect();
        fs::write(&file, shorter).expect("it can be written");
        assert_intact(&trail, &proof[..2]);
        assert_broken(&trail, &proof, "truncated: a checkpoint knows records up to");
    });
}

#[test]
fn checkpoints_can_go_to_standard_output() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let place = Place::new("stdout");
        let (key, public) = keygen(&place.0.join("key"));
        let audit = format!("{key}\ncheckpoints = \"stdout\"");
        let pgwarden = told(server, &audit).start();
        let trail = directory(&pgwarden);
        sessions(&pgwarden, 1);
        until_ended(&trail, 1);
        stop(&pgwarden);
        let said = pgwarden.stderr();
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("{\"seq\":")).collect();
        assert!(!lines.is_empty(), "{said}");
        let second = place.0.join("checkpoints");
        fs::write(&second, lines.join("\n")).expect("it can be written");
        assert_intact(&trail, &["--public-key", &public, "--checkpoints", &second.to_string_lossy()]);
    });
}

#[test]
fn a_process_that_takes_over_goes_on_with_the_trail_when_the_one_before_has_left() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let builder = || told(server, "").env("PGWARDEN_TAKEOVER", "{before}/takeover");
        let before = builder().start();
        let trail = directory(&before);
        // A client that keeps the old process alive.
        let mut busy = enter(&before, "migrator", "OPS-old").expect("it is a service");
        busy.query("BEGIN");
        let after = builder().in_place_of(&before).start_unasked();
        after.until_logged("taken over from the process before", 0);
        let mut early = enter(&after, "migrator", "OPS-new").expect("it is a service");
        early.query("SELECT 1");
        assert_eq!(of_kind(&trail, "started").len(), 1);
        busy.query("COMMIT");
        drop(busy);
        assert_eq!(before.wait_exit().code(), Some(0), "{}", before.stderr());
        until("it goes on", || (of_kind(&trail, "started").len() == 2).then_some(()));
        let begun = until("the early session is there", || {
            of_kind(&trail, "service")
                .into_iter()
                .find(|record| record["service"]["account"]["reason"] == "OPS-new")
        });
        assert_eq!(begun["service"]["stage"], "begun");
        assert_eq!(of_kind(&trail, "started")[1]["detail"]["started"], "after_stop");
        stop(&after);
        assert_intact(&trail, &[]);
    });
}

#[test]
fn a_key_that_is_none_is_a_mistake_of_the_configuration() {
    for_version(versions()[0], async |server| {
        let place = Place::new("nokey");
        let path = place.0.join("key");
        fs::write(&path, "0123\n").expect("it can be written");
        let audit = format!("signing_key = \"file:{}\"", path.display());
        let exit = told(server, &audit).try_start().expect_err("it is refused");
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains("audit.signing_key"), "{}", exit.stderr);
        assert!(exit.stderr.contains("pgwarden audit keygen"), "{}", exit.stderr);
    });
}
