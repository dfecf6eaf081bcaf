//! TLS towards clients: the three modes, every `sslmode` of libpq, direct TLS, and what comes through it.

use std::io::ErrorKind;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::encryption::{Way, assert_refused, before, conninfo, way};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{
    Frontend, Message, Pgwarden, Server, Version, Wire, for_each_version, psql, psql_with_libpq, until,
    versions,
};

/// pgwarden in a mode of `tls.mode`, with the certificate of `localhost`.
fn speaking(server: &Server, mode: &str, authority: &Authority) -> Pgwarden {
    before(server).tls(mode, &authority.server()).start()
}

fn start_up() -> Frontend {
    Frontend::new().startup(PROTOCOL_3_0, &[("user", "postgres"), ("database", "postgres")])
}

/// A client through TLS after an SSLRequest.
#[track_caller]
fn encrypted(pgwarden: &Pgwarden, authority: &Authority) -> Wire {
    let mut wire = Wire::connect(pgwarden.port());
    wire.request_tls(&authority.client(None, &[]));
    wire.log_in("postgres", "", "postgres");
    wire
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_tls_as_well() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "require", &authority);
        let mut wire = encrypted(&pgwarden, &authority);
        wire.send(&Frontend::new().terminate());
        // Without close_notify this is an error: the rest may have been cut off.
        assert!(wire.try_receive().expect("close_notify").is_none());
    });
}

#[test]
fn a_pgwarden_without_tls_says_so_to_every_sslmode() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "disable", &authority);
        for parameters in ["sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
            assert_eq!(way(&conninfo(&pgwarden, parameters)), Way::Clear, "{parameters}");
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let parameters = format!("sslmode={mode}&sslrootcert={}", authority.path());
            let found = way(&conninfo(&pgwarden, &parameters));
            assert_refused(&found, "server does not support SSL", &parameters);
        }
    });
}

#[test]
fn where_tls_is_allowed_the_client_decides() {
    for_each_version(async |server| {
        let (authority, other) = (Authority::create(), Authority::create());
        let pgwarden = speaking(server, "allow", &authority);
        for mode in ["disable", "allow"] {
            assert_eq!(way(&conninfo(&pgwarden, &format!("sslmode={mode}"))), Way::Clear, "{mode}");
        }
        for mode in ["prefer", "require"] {
            assert_eq!(way(&conninfo(&pgwarden, &format!("sslmode={mode}"))), Way::Encrypted, "{mode}");
        }
        for mode in ["verify-ca", "verify-full"] {
            let trusted = format!("sslmode={mode}&sslrootcert={}", authority.path());
            assert_eq!(way(&conninfo(&pgwarden, &trusted)), Way::Encrypted, "{mode}");
            let distrusted = format!("sslmode={mode}&sslrootcert={}", other.path());
            assert_refused(&way(&conninfo(&pgwarden, &distrusted)), "certificate verify failed", mode);
        }
    });
}

#[test]
fn the_name_in_pgwardens_certificate_matters_to_verify_full_alone() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = before(server).tls("allow", &authority.stranger()).start();
        let trusted = |mode: &str| format!("sslmode={mode}&sslrootcert={}", authority.path());
        assert_eq!(way(&conninfo(&pgwarden, &trusted("verify-ca"))), Way::Encrypted);
        assert_refused(
            &way(&conninfo(&pgwarden, &trusted("verify-full"))),
            "does not match host",
            "verify-full",
        );
    });
}

#[test]
fn where_tls_is_required_a_client_in_clear_is_told_and_one_that_may_try_again_gets_in() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "require", &authority);
        let refused = way(&conninfo(&pgwarden, "sslmode=disable"));
        assert_refused(&refused, "requires TLS", "sslmode=disable");
        for mode in ["allow", "prefer", "require"] {
            assert_eq!(way(&conninfo(&pgwarden, &format!("sslmode={mode}"))), Way::Encrypted, "{mode}");
        }

        let error = Wire::connect(pgwarden.port()).fatal(&start_up());
        assert_eq!((error.severity(), error.code()), ("FATAL", "28000"), "{error}");
        assert!(error.hint().contains("sslmode=require"), "{error}");
        let refusals = "pgwarden_logins_total{outcome=\"refused_feature\"}";
        assert!(pgwarden.metric(refusals) >= Some(2.0), "{:?}", pgwarden.admin("/metrics"));
    });
}

#[test]
fn an_ssl_request_is_answered_with_one_byte() {
    for_each_version(async |server| {
        let authority = Authority::create();
        for (mode, answer) in [("disable", b"N"), ("allow", b"S"), ("require", b"S")] {
            let pgwarden = speaking(server, mode, &authority);
            let mut wire = Wire::connect(pgwarden.port());
            wire.send(&Frontend::new().ssl_request());
            assert_eq!(wire.receive_bytes(1), answer, "{mode}");
            assert_eq!(wire.receive_at_once(), None, "{mode}: nothing comes behind the answer");
            if answer == b"N" {
                wire.log_in("postgres", "", "postgres");
                assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
            }
        }
    });
}

#[test]
fn encryption_by_gssapi_is_declined_and_the_client_goes_on_with_tls_or_in_clear() {
    for_each_version(async |server| {
        let authority = Authority::create();
        for mode in ["disable", "allow"] {
            let pgwarden = speaking(server, mode, &authority);
            let mut plain = Wire::connect(pgwarden.port());
            plain.send(&Frontend::new().gssenc_request());
            assert_eq!(plain.receive_bytes(1), b"N", "{mode}");
            plain.log_in("postgres", "", "postgres");
            assert_eq!(plain.rows("SELECT 1"), [[Some("1".to_owned())]]);

            let mut tls = Wire::connect(pgwarden.port());
            tls.send(&Frontend::new().gssenc_request());
            assert_eq!(tls.receive_bytes(1), b"N", "{mode}");
            if mode == "allow" {
                tls.request_tls(&authority.client(None, &[]));
            } else {
                tls.send(&Frontend::new().ssl_request());
                assert_eq!(tls.receive_bytes(1), b"N");
            }
            tls.log_in("postgres", "", "postgres");
            assert_eq!(tls.rows("SELECT 1"), [[Some("1".to_owned())]]);
        }
    });
}

#[test]
fn direct_tls_needs_the_name_of_the_protocol() {
    for_each_version(async |server| {
        let authority = Authority::create();
        for mode in ["allow", "require"] {
            let pgwarden = speaking(server, mode, &authority);
            let mut wire = Wire::connect(pgwarden.port());
            wire.start_tls(&authority.client(None, &["http/1.1", "postgresql"])).expect("direct TLS");
            wire.log_in("postgres", "", "postgres");
            assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
            for protocols in [&[][..], &["http/1.1"], &["postgres"], &["POSTGRESQL"]] {
                let refused = Wire::connect(pgwarden.port()).start_tls(&authority.client(None, protocols));
                let error = refused.expect_err("a handshake without the protocol's name");
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{protocols:?}: no alert but {error}");
            }
        }
    });
}

#[test]
fn after_an_ssl_request_the_name_of_the_protocol_may_be_left_out_but_not_be_another() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "allow", &authority);
        for (protocols, accepted) in [(&[][..], true), (&["postgresql"], true), (&["http/1.1"], false)] {
            let mut wire = Wire::connect(pgwarden.port());
            wire.send(&Frontend::new().ssl_request());
            assert_eq!(wire.receive_bytes(1), b"S");
            let shaken = wire.start_tls(&authority.client(None, protocols));
            assert_eq!(shaken.is_ok(), accepted, "{protocols:?}: {shaken:?}");
        }
    });
}

/// libpq 17 and 18, whose libraries come with those servers, under Debian's psql.
#[test]
fn libpq_connects_by_direct_tls() {
    let newer = versions().into_iter().filter(|version| *version >= Version(17));
    for version in newer {
        let (server, authority) = (Server::start(version), Authority::create());
        let pgwarden = speaking(&server, "require", &authority);
        for negotiation in ["postgres", "direct"] {
            let url = format!(
                "{}?sslmode=verify-full&sslrootcert={}&sslnegotiation={negotiation}",
                pgwarden.url("postgres", "", "postgres"),
                authority.path()
            );
            let output = psql_with_libpq(version, &url, &["-c", "\\conninfo", "-c", "SELECT 40 + 2"]);
            assert_eq!(way(&output), Way::Encrypted, "libpq {version} {negotiation}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stdout).ends_with("42\n"), "{output:?}");
        }
    }
}

/// Rows of many sizes: far below a TLS record, around one, and far above.
const LARGE: &str = "SELECT n, repeat(chr(97 + n % 26), CASE WHEN n % 100 = 0 THEN 300000 ELSE n * 7 END) \
                     FROM generate_series(1, 2500) n";

#[test]
fn large_results_are_the_same_encrypted_and_in_clear() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "allow", &authority);
        let mut direct = Wire::open(server.port(), "postgres", "", "postgres");
        let mut plain = Wire::open(pgwarden.port(), "postgres", "", "postgres");
        let mut tls = encrypted(&pgwarden, &authority);
        let expected = direct.query(LARGE);
        let same = |found: Vec<Message>, how: &str| {
            assert!(found == expected, "{how}: {} messages, {} expected", found.len(), expected.len());
        };
        same(plain.query(LARGE), "in clear");
        same(tls.query(LARGE), "encrypted");
        assert_eq!(expected.len(), 2503);
    });
}

#[test]
fn large_statements_arrive_whole_through_tls() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "allow", &authority);
        let mut tls = encrypted(&pgwarden, &authority);
        let text: String =
            (0..1_000_000).map(|number: u32| format!("{:08x}", number.wrapping_mul(2_654_435_761))).collect();
        let sql = format!("SELECT md5('{text}')");
        let mut direct = Wire::open(server.port(), "postgres", "", "postgres");
        assert_eq!(tls.rows(&sql), direct.rows(&sql));

        // Two batches at once: replies are written while the client's bytes are still coming.
        let batch = |_| Frontend::new().parse("", "SELECT $1", &[25]).bind("", "", &[Some(&text)]);
        let batches = (0..2).map(batch).map(|batch| batch.execute("", 0).sync());
        let both = batches.fold(Frontend::new(), |all, batch| all.raw(batch.bytes()));
        tls.send(&both);
        for _ in 0..2 {
            assert!(tls.expect("12DCZ")[2].row() == [Some(text.clone())], "the value has changed");
        }
    });
}

/// A way to send a cancel, and its name.
type Opening<'a> = (&'a str, &'a dyn Fn(&mut Wire));

#[test]
fn a_cancel_request_works_through_tls_and_beside_it() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "require", &authority);
        let through: [Opening<'_>; 3] = [
            ("SSLRequest", &|wire| wire.request_tls(&authority.client(None, &[]))),
            ("direct TLS", &|wire| wire.start_tls(&authority.client(None, &["postgresql"])).expect("TLS")),
            // As libpq before 17 sends it, and PostgreSQL takes it: it carries nothing but the key.
            ("in clear", &|_| ()),
        ];
        for (how, open) in through {
            let mut running = encrypted(&pgwarden, &authority);
            running.send(&Frontend::new().query("SELECT pg_sleep(60)"));
            let active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            until("the query runs", || (server.psql(active) == "1").then_some(()));
            let mut other = Wire::connect(pgwarden.port());
            open(&mut other);
            other.send(&Frontend::new().cancel(running.key.0, &running.key.1));
            // Without close_notify, libpq from 17 on takes the cancel for a failure.
            let end = other.try_receive().unwrap_or_else(|error| panic!("{how}: {error}"));
            assert_eq!(end, None, "{how}");
            let answers = running.until_ready();
            let error = answers.iter().find(|message| message.tag == b'E').expect("an error");
            assert_eq!(error.fields().code(), "57014", "{how}: {answers:?}");
            assert_eq!(running.rows("SELECT 1"), [[Some("1".to_owned())]], "{how}");
        }
        let forwarded = pgwarden.metric("pgwarden_cancels_total{outcome=\"forwarded\"}");
        assert_eq!(forwarded, Some(3.0));
    });
}

#[test]
fn what_comes_through_a_unix_socket_needs_no_encryption() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let builder = before(server).tls("require", &authority.server());
        let pgwarden = builder.env("PGWARDEN_LISTEN", "127.0.0.1:{port},{dir}:{port}").start();
        for mode in ["disable", "prefer"] {
            let url = format!(
                "postgres://postgres@/postgres?host={}&port={}&sslmode={mode}",
                pgwarden.directory().display(),
                pgwarden.port()
            );
            assert_eq!(way(&psql(&url, &["-c", "\\conninfo"])), Way::Clear, "{mode}");
        }
        assert_refused(&way(&conninfo(&pgwarden, "sslmode=disable")), "requires TLS", "by TCP");
    });
}

#[test]
fn tls_1_2_is_spoken_and_nothing_older() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = speaking(server, "allow", &authority);
        for version in ["TLSv1.2", "TLSv1.3"] {
            let only = format!(
                "sslmode=require&ssl_min_protocol_version={version}&ssl_max_protocol_version={version}"
            );
            let output = conninfo(&pgwarden, &only);
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(shown.contains(&format!("protocol: {version}")), "{output:?}");
        }
        let older = "sslmode=require&ssl_min_protocol_version=TLSv1.1&ssl_max_protocol_version=TLSv1.1";
        assert!(matches!(way(&conninfo(&pgwarden, older)), Way::Refused(_)));
    });
}
