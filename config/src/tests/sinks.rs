//! `[audit.postgres]`, `[audit.otlp]`, `[audit.syslog]`.

use std::time::Duration;

use super::from_file_with_upstream as read;
use crate::{Facility, SyslogAddress, effective};

const DIRECTORY: &str = "audit.directory = '/var/lib/pgwarden/trail'\n";

#[test]
fn there_is_no_sink_without_an_address() {
    assert!(read("").expect("nothing said").sinks.is_empty());
}

#[test]
fn a_sink_needs_its_address_and_is_never_shown_with_its_secrets() {
    let text = format!(
        "{DIRECTORY}
        [audit.postgres]
        url = 'postgres://writer@db/audit?sslmode=require'
        password = 'env:A_SECRET'
        [audit.otlp]
        endpoint = 'http://collector:4318/'
        headers = ['Authorization = env:B_SECRET', 'x-tenant=file:/some']
        resource = 'deployment.environment.name=production'
        batch = 10
        [audit.syslog]
        address = 'tls://[::1]:6514'
        facility = 'audit'
        timeout = '2s'\n"
    );
    let settings = read(&text).expect("right");
    let sinks = &settings.sinks;
    let postgres = sinks.postgres.as_ref().expect("a table");
    assert_eq!(postgres.server.user.as_deref(), Some("writer"));
    assert_eq!((postgres.timeout, postgres.batch), (Duration::from_secs(30), 500));
    let otlp = sinks.otlp.as_ref().expect("a receiver");
    assert_eq!(otlp.endpoint, "http://collector:4318/v1/logs");
    let names: Vec<&str> = otlp.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["authorization", "x-tenant"]);
    let syslog = sinks.syslog.as_ref().expect("a receiver");
    assert_eq!(syslog.address, SyslogAddress::Tls("::1".to_owned(), 6514));
    assert_eq!((syslog.facility, syslog.timeout), (Facility::Audit, Duration::from_secs(2)));
    let shown = effective(&settings);
    for line in [
        "url = \"postgres://writer@db:5432/audit?sslmode=require&channel_binding=prefer\"",
        "headers = [\"authorization=[hidden]\", \"x-tenant=[hidden]\"]",
        "address = \"tls://[::1]:6514\"",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_a_sink_cannot_do_is_said_with_its_place() {
    for (text, expected) in [
        ("audit.otlp.batch = 3", "audit.otlp.endpoint: is missing"),
        ("audit.postgres.url = 'postgres://db/audit'", "audit.postgres.url: names no user"),
        (
            "audit.postgres.url = 'postgres://w:x@db/a'\naudit.postgres.password = 'env:A_SECRET'",
            "the URL has a password already",
        ),
        (
            "audit.postgres.url = 'postgres://w@db/a?sslmode=verify-full'",
            "verify-full without a root certificate",
        ),
        ("audit.postgres.url = 'postgres://w@%2Ftmp/a?sslmode=require'", "there is no TLS on a unix socket"),
        (
            "audit.postgres.batch = 0\naudit.postgres.url = 'postgres://w@db/a'",
            "audit.postgres.batch: 0 is out of range",
        ),
        ("audit.otlp.endpoint = 'collector:4318'", "audit.otlp.endpoint: is no HTTP address"),
        ("audit.otlp.endpoint = 'https://me@collector/'", "audit.otlp.endpoint: has a login"),
        ("audit.otlp.endpoint = 'https://c/?key=1'", "audit.otlp.endpoint: has a query"),
        (
            "audit.otlp.endpoint = 'http://c'\naudit.otlp.headers = 'a b=env:A_SECRET'",
            "audit.otlp.headers: is no header",
        ),
        (
            "audit.otlp.endpoint = 'http://c'\naudit.otlp.headers = 'a=secret'",
            "a secret may not stand here itself",
        ),
        ("audit.otlp.endpoint = 'http://c'\naudit.otlp.resource = 'a'", "\"a\" is no attribute"),
        (
            "audit.otlp.endpoint = 'http://c'\naudit.otlp.root_cert = '/absent'",
            "audit.otlp.root_cert: cannot read",
        ),
        ("audit.syslog.address = '/dev/log'", "is no address of a syslog receiver"),
        ("audit.syslog.address = 'tcp://host'", "is no address of a syslog receiver"),
        ("audit.syslog.address = 'udp://*:514'", "is no address of a syslog receiver"),
        ("audit.syslog.address = 'unix:dev/log'", "audit.syslog.address: is no path for a socket"),
        ("audit.syslog.address = 'udp://h:514'\naudit.syslog.facility = 'kern'", "\"kern\" is not known"),
    ] {
        let mistakes = read(&format!("{DIRECTORY}{text}\n")).expect_err(text);
        assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{text}: {mistakes:?}");
    }
}

#[test]
fn a_sink_without_a_trail_has_nothing_to_follow() {
    let mistakes = read("audit.syslog.address = 'udp://h:514'\n").expect_err("nothing to follow");
    assert!(mistakes.len() == 1 && mistakes[0].contains("audit.directory: is missing"), "{mistakes:?}");
}
