//! `[audit]`.

use super::{from_file_with_upstream, with};
use crate::{Fsync, Required, SecondPlace};
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn without_a_directory_no_trail_is_kept() {
    let audit = with(&[]).audit;
    assert_eq!((audit.directory, audit.required, audit.fsync), (None, Required::No, Fsync::Interval));
    assert_eq!(with(&[("PGWARDEN_AUDIT", "/trail")]).audit.directory, Some(PathBuf::from("/trail")));
}

#[test]
fn everything_can_be_said() {
    let audit = from_file_with_upstream(
        "audit = { directory = \"/trail\", required = true, window = \"1s\", keep_for = \"30d\", keep_bytes = \"1GB\", \
         fsync = \"always\", signing_key = \"env:SECRET\", checkpoints = \"stdout\" }",
    );
    let audit = audit.unwrap().audit;
    assert_eq!(
        (audit.required, audit.window, audit.fsync),
        (Required::Yes, Duration::from_secs(1), Fsync::Always)
    );
    assert_eq!((audit.keep_for, audit.keep_bytes), (Some(Duration::from_secs(30 * 86_400)), Some(1 << 30)));
    assert_eq!(audit.checkpoints, Some(SecondPlace::Stdout));
}

#[test]
fn what_does_not_fit_together_is_named() {
    for (text, mistake) in [
        (
            "[audit]\nrequired = true",
            "pgwarden.toml:2:12: audit.directory: is missing, no trail is kept; expected a directory",
        ),
        (
            "[audit]\ndirectory = \"/t\"\ncheckpoints = \"stdout\"",
            "pgwarden.toml:3:15: audit.checkpoints: nothing signs checkpoints; expected audit.signing_key as well",
        ),
        (
            "[audit]\nfsync = \"never\"",
            "pgwarden.toml:2:9: audit.fsync: \"never\" is not known; expected one of always, interval, off",
        ),
        (
            "[audit]\ninstance = \"a b\"",
            "pgwarden.toml:2:12: audit.instance: \"a b\" is no name; expected at most 128 letters, digits or signs, without \
             spaces",
        ),
        (
            "[audit]\nsigning_key = \"00ff\"",
            "pgwarden.toml:2:15: audit.signing_key: a secret may not stand here itself; expected file:PATH or env:NAME",
        ),
    ] {
        assert_eq!(from_file_with_upstream(text).unwrap_err(), [mistake]);
    }
}
