//! `[service.NAME]`: what it means, and every mistake in it.

use std::net::IpAddr;

use super::{from_file, from_file_with_upstream};
use crate::{Moment, PoolMode, effective};

const BY_NAME: &str = "service.jobs.user = \"jobs\"\nservice.jobs.upstream_user = \"owner\"\n";

/// The mistakes of a service by name with this line more, without the place.
#[track_caller]
fn mistakes(more: &str) -> Vec<String> {
    let read = from_file_with_upstream(&format!("{BY_NAME}{more}"));
    let lines = read.expect_err("mistakes");
    lines.iter().map(|line| line.splitn(4, ':').nth(3).unwrap_or(line).trim().to_owned()).collect()
}

#[test]
fn a_service_has_a_login_of_its_own_and_keeps_its_backend() {
    let settings = from_file_with_upstream(BY_NAME).unwrap();
    let service = &settings.services["jobs"];
    assert_eq!((service.signs.user.as_deref(), service.upstream_user.as_str()), (Some("jobs"), "owner"));
    assert_eq!((service.max_sessions, service.pooling, service.expires), (5, PoolMode::Session, None));
    assert!(service.reason.is_none() && service.may_come_from(None), "nothing was said");
}

#[test]
fn a_service_can_say_what_its_sessions_need() {
    let more = "[service.jobs]\nuser = \"jobs\"\nupstream_user = \"owner\"\nupstream_password = \"env:SECRET\"\n\
                reason = \"OPS-\\\\d+\"\naddresses = [\"10.0.0.0/8\", \"unix\"]\nexpires = 2030-01-31T23:59:59Z\n\
                max_sessions = 1\npooling = \"transaction\"\n";
    let settings = from_file_with_upstream(more).unwrap();
    let service = &settings.services["jobs"];
    let ten: IpAddr = "10.1.2.3".parse().unwrap();
    assert!(service.may_come_from(Some(ten)) && service.may_come_from(None));
    assert!(!service.may_come_from("192.0.2.1".parse().ok()));
    assert!(service.reason.as_ref().is_some_and(|reason| reason.fits("OPS-7") && !reason.fits("psql")));
    assert_eq!(service.expires, Some(Moment(1_896_134_399)));
    assert_eq!((service.max_sessions, service.pooling), (1, PoolMode::Transaction));
    assert!(service.upstream_password.is_some());
}

#[test]
fn the_effective_services_read_back_as_they_were() {
    let first = from_file(
        r#"
        upstream.url = "postgres://proxy@h"
        [tls]
        cert = "/c"
        key = "/k"
        client_ca = "/ca"
        [auth]
        jwt.key = "file:/key"
        method = "jwt"
        [service.jobs]
        user = "jobs"
        claim = "app_metadata.service='it''s = odd'"
        certificate = "jobs.example"
        upstream_user = "owner"
        reason = 'OPS-\d+'
        addresses = "10.0.0.0/8, ::1"
        expires = "2030-01-31 23:59:59+01:00"
        "#,
    )
    .unwrap();
    assert_eq!(from_file(&effective(&first)).unwrap(), first);
}

#[test]
fn each_mistake_in_a_service_is_named() {
    for (more, expected) in [
        ("service.jobs.role = \"x\"", "service.jobs.role: unknown key; expected one of user, certificate"),
        ("service.jobs.reason = \"(\"", "service.jobs.reason: \"(\" is no regular expression"),
        ("service.jobs.expires = 2030-01-31", "service.jobs.expires: \"2030-01-31\" is only a part"),
        ("service.jobs.max_sessions = 0", "service.jobs.max_sessions: 0 is out of range"),
        ("service.jobs.pooling = \"statement\"", "service.jobs.pooling: \"statement\" is not known"),
        ("service.jobs.addresses = []", "service.jobs.addresses: is an empty list"),
        ("service.jobs.addresses = [\"host\"]", "service.jobs.addresses: \"host\" is no range of addresses"),
        (
            "service.jobs.upstream_password = \"secret\"",
            "service.jobs.upstream_password: a secret may not stand",
        ),
        ("service.jobs.claim = \"service\"", "service.jobs.claim: \"service\" has no `=`"),
        ("service.jobs.claim = \"service=x\"", "service.jobs.claim: clients bring no token"),
        ("service.jobs.certificate = \"x\"", "service.jobs.certificate: clients bring no certificate"),
        ("service.\"a b\".user = \"x\"", "service.a b: \"a b\" is not a name for a service"),
        ("service.x.user = \"x\"", "service.x.upstream_user: is missing"),
        ("service.x.upstream_user = \"x\"", "service.x.user: nothing tells who this is"),
        (
            "service.x.user = \"jobs\"\nservice.x.upstream_user = \"y\"",
            "service.x: is recognised by the same as service.jobs",
        ),
        (
            "service.x.user = \"x\"\nservice.x.upstream_user = \"proxy\"",
            "service.x.upstream_user: is the login of all clients in upstream.url",
        ),
        (
            "mode = \"shadow\"\ncontext.variables = \"a.b=tenant\"\ncontext.fixed = \"jobs=tenant:1\"",
            "service.jobs.user: has a tenant in context.fixed",
        ),
        (
            "upstream.downstream_pooler = \"transaction\"",
            "service.jobs.pooling: a pooler in between gives each transaction another backend",
        ),
        ("auth.trust_remote = true", "service.jobs.user: auth.trust_remote lets everybody be this user"),
    ] {
        let found = mistakes(more);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{more}: {found:?}");
    }
}

#[test]
fn a_name_that_no_login_proves_recognises_nobody() {
    let file = "[upstream]\nurl = \"postgres://proxy@h\"\n[auth]\nmethod = \"jwt\"\njwt.key = \"file:/key\"\n\
                [service.jobs]\nuser = \"jobs\"\nupstream_user = \"owner\"\n";
    let lines = from_file(file).unwrap_err();
    assert!(
        lines.len() == 1 && lines[0].contains("service.jobs.user: no login proves the name"),
        "{lines:?}"
    );
}
