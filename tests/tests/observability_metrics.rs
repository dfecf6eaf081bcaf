//! `/metrics`: valid Prometheus text with the names that the README lists, numbers that real traffic moves, and no
//! tenant, user or statement in any of it.

use std::collections::{BTreeMap, BTreeSet};

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::lane::MIGRATIONS;
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, Version, Wire, for_each_version, until, versions};

/// One family of samples.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

/// A trail with a sink; nobody listens there.
const SINK: &str = "[audit]\ndirectory = \"{dir}/trail\"\n[audit.syslog]\naddress = \"udp://127.0.0.1:9\"\n";

/// One line: name, labels as (name, value), value.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads the text form strictly, and panics where it is not valid: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let rest = words.next().unwrap_or_default().to_owned();
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "{line}: behind samples of the family");
            match what {
                "HELP" => assert!(std::mem::replace(&mut family.help, rest).is_empty(), "{line}: twice"),
                "TYPE" => assert!(std::mem::replace(&mut family.kind, rest).is_empty(), "{line}: twice"),
                _ => panic!("{line}: neither HELP nor TYPE"),
            }
            current = name.to_owned();
            continue;
        }
        let sample = sample(line);
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line}: no family"));
        let bare = match family.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end)),
            _ => Some(sample.name.as_str()),
        };
        assert_eq!(bare, Some(current.as_str()), "{line}: not of the family in front");
        let same = |known: &Sample| (&known.name, &known.labels) == (&sample.name, &sample.labels);
        assert!(!family.samples.iter().any(same), "{line}: twice");
        family.samples.push(sample);
    }
    families
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}: no value"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line}: {value} is no number"));
    let (name, labels) = match series.split_once('{') {
        None => (series, Vec::new()),
        Some((name, rest)) => {
            let inner = rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}: no closing brace"));
            let label = |text: &str| {
                let (name, value) = text.split_once("=\"").unwrap_or_else(|| panic!("{line}: {text}"));
                let value = value.strip_suffix('"').unwrap_or_else(|| panic!("{line}: {text}"));
                assert!(!value.contains(['"', '\\', '\n']), "{line}: nothing here needs an escape");
                (name.to_owned(), value.to_owned())
            };
            (name, inner.split(',').filter(|text| !text.is_empty()).map(label).collect())
        }
    };
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
    };
    assert!(is_name(name) && labels.iter().all(|(name, _)| is_name(name)), "{line}: a name");
    Sample { name: name.to_owned(), labels, value }
}

/// Traffic of every kind that the counters know.
fn traffic(stage: &Tenants<'_>) {
    let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
    acme.query("SELECT * FROM items");
    globex.send(&run("SELECT * FROM items").sync());
    globex.until_ready();
    acme.query("VACUUM notes");
    acme.query("LISTEN news");
    acme.query("DISCARD ALL");
    stage.client("nobody").query("SELECT * FROM items");
    acme.query("SET app.current_org_id = 'x'");
    acme.cancel();
    let mut stranger = Wire::connect(stage.pgwarden.port());
    stranger.send(&Frontend::new().raw(b"\0\0\0\x08\0\x01\0\0"));
    stranger.until_closed();
}

#[test]
fn the_metrics_are_valid_prometheus_text_with_the_names_of_the_readme() {
    for_each_version(async |server| {
        // What services and sinks do is shown while there are any.
        let config = format!("{MIGRATIONS}{SINK}");
        let stage = Tenants::start_with(server, |builder| builder.config(&config));
        for round in 0..2 {
            let families = parse(&stage.pgwarden.admin("/metrics").1);
            for (name, family) in &families {
                assert!(!family.help.is_empty(), "{name} has no help");
                assert!(name.starts_with("pgwarden_"), "{name}");
                assert!(
                    ["counter", "gauge", "histogram"].contains(&family.kind.as_str()),
                    "{name}: {}",
                    family.kind
                );
                assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}: {}", family.kind);
                assert!(family.kind != "histogram" || name.ends_with("_seconds"), "{name}: base units");
                assert!(!family.samples.is_empty(), "{name} shows 0 before it moves");
                assert!(family.samples.iter().all(|sample| sample.value >= 0.0), "round {round}: {family:?}");
            }
            traffic(&stage);
        }
        let exposed: BTreeSet<String> = parse(&stage.pgwarden.admin("/metrics").1).into_keys().collect();
        assert_eq!(exposed, of_the_readme(), "exposed on the left, the README's on the right");
    });
}

/// The names between backquotes in the README, without their labels; those of alert rules and modes are no metrics.
fn of_the_readme() -> BTreeSet<String> {
    let readme = include_str!("../../README.md");
    let quoted = readme.split('`').skip(1).step_by(2).filter(|text| text.starts_with("pgwarden_"));
    quoted.map(|text| text.split('{').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_histogram_is_cumulative_and_ends_with_its_count() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        traffic(&stage);
        let families = parse(&stage.pgwarden.admin("/metrics").1);
        let histograms = families.iter().filter(|(_, family)| family.kind == "histogram");
        for (name, family) in histograms {
            let of = |end: &str| -> Vec<&Sample> {
                let wanted = format!("{name}{end}");
                family.samples.iter().filter(|sample| sample.name == wanted).collect()
            };
            let bounds: Vec<f64> = of("_bucket")
                .iter()
                .map(|sample| match sample.labels.as_slice() {
                    [(label, bound)] if label == "le" => bound.parse().expect("a bound is a number"),
                    other => panic!("{name}: {other:?}"),
                })
                .collect();
            let counts: Vec<f64> = of("_bucket").iter().map(|sample| sample.value).collect();
            assert!(bounds.is_sorted() && counts.is_sorted(), "{name}: {bounds:?} {counts:?}");
            assert_eq!(bounds.last(), Some(&f64::INFINITY), "{name}");
            assert_eq!(counts.last(), of("_count").first().map(|sample| &sample.value), "{name}");
            assert!(of("_sum").first().is_some_and(|sum| sum.value.is_finite()), "{name}");
        }
        let logins = stage.pgwarden.metric("pgwarden_login_duration_seconds_count");
        assert!(logins >= Some(3.0), "{logins:?}");
    });
}

#[test]
fn nothing_in_the_metrics_names_a_tenant_a_user_or_a_statement() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        traffic(&stage);
        let (_, text) = stage.pgwarden.admin("/metrics");
        for word in
            [ACME, GLOBEX, ANN, BOB, "acme", "globex", "nobody", "items", "current_org_id", "news", "VACUUM"]
        {
            assert!(!text.contains(word), "{word} in\n{text}");
        }
    });
}

/// What `work` adds to samples. The numbers are waited for, because a session counts after it has answered; those of
/// counters may not go beyond.
#[track_caller]
fn assert_adds(stage: &Tenants<'_>, samples: &[(&str, f64)], work: impl FnOnce(&Tenants<'_>)) {
    let now = |name: &str| stage.pgwarden.metric(name).unwrap_or_else(|| panic!("there is no {name}"));
    let before: Vec<f64> = samples.iter().map(|(name, _)| now(name)).collect();
    work(stage);
    for ((name, added), before) in samples.iter().zip(before) {
        until(&format!("{name} goes from {before} up by {added}"), || {
            let value = now(name);
            assert!(
                !name.contains("_total") || value <= before + added,
                "{name} went from {before} to {value}"
            );
            (value == before + added).then_some(())
        });
    }
}

#[test]
fn injections_are_counted_by_form() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("SELECT 1");
        let [front, text, session] =
            ["front", "text", "session"].map(|form| format!("pgwarden_injections_total{{form=\"{form}\"}}"));
        let simple = if server.version() >= Version(18) { (0.0, 1.0) } else { (1.0, 0.0) };
        let first = if server.version() >= Version(18) { &text } else { &front };
        until("the first one is counted", || (stage.pgwarden.metric(first) == Some(1.0)).then_some(()));
        let mut adds = |sql: Frontend, counts: [f64; 3]| {
            let samples =
                [(front.as_str(), counts[0]), (text.as_str(), counts[1]), (session.as_str(), counts[2])];
            assert_adds(&stage, &samples, |_| {
                acme.send(&sql);
                assert_eq!(error_code(&acme.until_ready()), "");
            });
        };
        adds(Frontend::new().query("SELECT org()"), [simple.0, simple.1, 0.0]);
        adds(run("SELECT org()").sync(), [1.0, 0.0, 0.0]);
        adds(Frontend::new().query("SHOW TimeZone"), [0.0, 0.0, 0.0]);
        adds(Frontend::new().query("VACUUM notes"), [0.0, 0.0, 1.0]);
    });
}

#[test]
fn refusals_and_findings_are_counted_by_kind_and_mode() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let finding = |kind: &str| format!("pgwarden_findings_total{{kind=\"{kind}\",mode=\"enforce\"}}");
        let refusals = "pgwarden_refusals_total";
        for (user, sql, kind) in [
            ("nobody", "SELECT * FROM items", "context_missing"),
            ("acme", "SET app.current_org_id = 'x'", "setting_touched"),
            ("acme", "SET ROLE tenants", "role_touched"),
            ("acme", r"SELECT 'a\' || 'b", "unreadable"),
        ] {
            let kind = finding(kind);
            assert_adds(&stage, &[(refusals, 1.0), (&kind, 1.0)], |stage| {
                let code = error_code(&stage.client(user).query(sql));
                assert!(["42501", "42601"].contains(&code.as_str()), "{sql}: {code}");
            });
        }
        assert_adds(&stage, &[(refusals, 0.0)], |stage| {
            assert_eq!(error_code(&stage.client("acme").query("SELECT * FROM items")), "");
        });
    });
}

#[test]
fn shadow_counts_what_enforce_would_refuse() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_MODE", "shadow"));
        let finding = "pgwarden_findings_total{kind=\"context_missing\",mode=\"shadow\"}";
        assert_adds(&stage, &[(finding, 1.0), ("pgwarden_refusals_total", 0.0)], |stage| {
            assert_eq!(error_code(&stage.client("nobody").query("SELECT * FROM items")), "");
        });
    });
}

#[test]
fn clients_and_logins_are_counted() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            let builder =
                builder.file("users.txt", "\"acme\" \"secret\"\n").env("PGWARDEN_AUTH", "scram-sha-256");
            builder.env("PGWARDEN_USERS_FILE", "users.txt")
        });
        let login = |outcome: &str| format!("pgwarden_logins_total{{outcome=\"{outcome}\"}}");
        let (accepted, refused) = (login("accepted"), login("refused_authentication"));
        let port = stage.pgwarden.port();
        let mut held = Vec::new();
        assert_adds(&stage, &[(&accepted, 3.0), ("pgwarden_clients", 3.0), (&refused, 0.0)], |_| {
            held.extend((0..3).map(|_| Wire::open(port, "acme", "secret", "postgres")));
        });
        assert_adds(&stage, &[(&accepted, 0.0), ("pgwarden_clients", 0.0), (&refused, 2.0)], |_| {
            for user in ["acme", "stranger"] {
                let parameters = [("user", user), ("database", "postgres")];
                let error = Wire::connect(port).try_log_in("wrong", &parameters).expect_err("no login");
                assert_eq!(error.fields().code(), "28P01");
            }
        });
        let (protocol, feature) = (login("protocol_error"), login("refused_feature"));
        assert_adds(&stage, &[(&protocol, 1.0), (&feature, 1.0)], |_| {
            let mut stranger = Wire::connect(port);
            stranger.send(&Frontend::new().raw(b"\0\0\0\x04"));
            stranger.until_closed();
            let parameters = [("user", "acme"), ("database", "postgres"), ("replication", "true")];
            drop(Wire::connect(port).try_log_in("secret", &parameters).expect_err("no replication"));
        });
        assert_adds(&stage, &[(&login("abandoned"), 1.0)], |_| drop(Wire::connect(port)));
        drop(held);
        until("all have left", || (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
    });
}

#[test]
fn backends_transactions_and_checkouts_are_counted() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut acme = stage.client("acme");
        acme.query("SELECT 1");
        let connected = "pgwarden_backend_connects_total{outcome=\"ok\"}";
        let count = |sample| stage.pgwarden.metric(sample);
        // A session counts after it has answered.
        until("one transaction", || (count("pgwarden_transactions_total") == Some(1.0)).then_some(()));
        assert_eq!(count("pgwarden_backends"), Some(1.0));
        let samples =
            [("pgwarden_transactions_total", 3.0), ("pgwarden_checkouts_total", 3.0), (connected, 0.0)];
        assert_adds(&stage, &samples, |_| {
            acme.query("SELECT org()");
            acme.query("BEGIN");
            acme.query("SELECT org()");
            acme.query("COMMIT");
            acme.query("SELECT org()");
        });
        let bytes = ["pgwarden_frontend_bytes_total", "pgwarden_backend_bytes_total"].map(count);
        acme.query("SELECT repeat('x', 100000)");
        assert!(count("pgwarden_frontend_bytes_total") > bytes[0]);
        assert!(count("pgwarden_backend_bytes_total") >= bytes[1].map(|before| before + 100_000.0));
        assert_adds(&stage, &[("pgwarden_backends", 1.0), (connected, 1.0)], |stage| {
            acme.query("BEGIN");
            acme.query("SELECT 1");
            assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        });
        let tainted = "pgwarden_backends_closed_total{reason=\"tainted\"}";
        assert_adds(&stage, &[("pgwarden_backends", -1.0), (tainted, 1.0)], |_| drop(acme));
        let lost = "pgwarden_backends_closed_total{reason=\"lost\"}";
        assert_adds(&stage, &[("pgwarden_backends", -1.0), (lost, 1.0)], |stage| {
            stage.server.terminate("usename = 'app'");
        });
        assert_eq!(count("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn pins_and_waiting_are_counted() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        let (pinned, pins) =
            ("pgwarden_pinned_clients{reason=\"listen\"}", "pgwarden_pins_total{reason=\"listen\"}");
        assert_adds(&stage, &[(pinned, 1.0), (pins, 1.0)], |_| drop(acme.query("LISTEN news")));
        let mut globex = stage.client("globex");
        globex.send(&Frontend::new().query("SELECT org()"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        assert_adds(&stage, &[(pinned, -1.0), (pins, 0.0), ("pgwarden_waiting_clients", -1.0)], |_| {
            drop(acme.query("DISCARD ALL"));
            globex.until_ready();
        });
        assert!(stage.pgwarden.metric("pgwarden_checkout_wait_seconds_count") >= Some(1.0));
    });
}

fn errors(class: &str) -> String {
    format!("pgwarden_errors_total{{class=\"{class}\"}}")
}

#[test]
fn errors_that_clients_are_told_are_counted_by_class() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for (user, sql, class) in [
            ("acme", "SELECT 1/0", "22"),
            ("acme", "SELECT", ""),
            ("acme", "SELEC 1", "42"),
            ("acme", "SELECT * FROM absent", "42"),
            ("acme", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'ZZ123'; END $$", "other"),
            ("acme", "DO $$ BEGIN RAISE EXCEPTION 'x'; END $$", "P0"),
            ("acme", "SET app.current_org_id = 'x'", "42"),
            ("nobody", "SELECT * FROM items", "42"),
        ] {
            let mut samples: Vec<(String, f64)> =
                ["22", "42", "P0", "XX", "other"].iter().map(|one| (errors(one), 0.0)).collect();
            samples.iter_mut().filter(|(name, _)| *name == errors(class)).for_each(|(_, added)| *added = 2.0);
            let samples: Vec<(&str, f64)> =
                samples.iter().map(|(name, added)| (name.as_str(), *added)).collect();
            assert_adds(&stage, &samples, |stage| {
                let mut client = stage.client(user);
                for messages in [Frontend::new().query(sql), run(sql).sync()] {
                    client.send(&messages);
                    assert_eq!(error_code(&client.until_ready()).is_empty(), class.is_empty(), "{sql}");
                }
            });
        }
        assert_adds(&stage, &[(&errors("3D"), 1.0)], |stage| {
            let parameters = [("user", "acme"), ("database", "absent")];
            let told =
                Wire::connect(stage.pgwarden.port()).try_log_in("", &parameters).expect_err("no database");
            assert_eq!(told.fields().code(), "3D000");
        });
        assert_adds(&stage, &[(&errors("57"), 1.0)], |stage| {
            let mut client = stage.client("acme");
            client.query("BEGIN");
            client.query("SELECT 1");
            stage.server.terminate("usename = 'app'");
            client.until_closed();
        });
    });
}

#[test]
fn connections_to_the_server_are_timed_and_their_failures_have_a_cause() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let failures = |cause: &str| format!("pgwarden_backend_connect_failures_total{{cause=\"{cause}\"}}");
        let timed = "pgwarden_backend_connect_duration_seconds_count";
        let failed = "pgwarden_backend_connects_total{outcome=\"failed\"}";
        let ask = |database: &str| {
            let parameters = [("user", "acme"), ("database", database)];
            Wire::connect(stage.pgwarden.port()).try_log_in("", &parameters).is_ok()
        };
        let (refused, unreachable) = (failures("refused"), failures("unreachable"));
        assert_adds(&stage, &[(timed, 1.0), (failed, 0.0)], |_| assert!(ask("postgres")));
        assert_adds(&stage, &[(timed, 1.0), (failed, 1.0), (&refused, 1.0), (&unreachable, 0.0)], |_| {
            assert!(!ask("absent"));
        });
        server.stop_fast();
        assert_adds(&stage, &[(timed, 1.0), (failed, 1.0), (&refused, 0.0), (&unreachable, 1.0)], |_| {
            assert!(!ask("absent"));
        });
        server.start_again();
    });
}

/// One in 61 is measured: of so many, some are, whichever worker they came to, and by far not all.
#[test]
fn the_own_part_of_the_time_is_measured_for_some() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for _ in 0..200 {
            acme.query("SELECT 1");
        }
        for side in ["frontend", "backend"] {
            let count = stage.pgwarden.metric(&format!("pgwarden_{side}_overhead_seconds_count"));
            assert!(count.is_some_and(|count| (3.0..=20.0).contains(&count)), "{side}: {count:?}");
        }
    });
}

#[test]
fn tls_handshakes_are_counted_on_both_sides() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version).tls(&identity.certificate, &identity.key).start();
        let upstream = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=require", server.port());
        let pgwarden = Pgwarden::builder()
            .upstream(&upstream)
            .env("PGWARDEN_AUTH", "trust")
            .tls("allow", &identity)
            .start();
        let count = |side: &str, outcome: &str| {
            let name = format!("pgwarden_tls_handshakes_total{{side=\"{side}\",outcome=\"{outcome}\"}}");
            pgwarden.metric(&name).expect("it is there from the start")
        };
        let mut client = Wire::connect(pgwarden.port());
        client.request_tls(&authority.client(None, &[]));
        client.log_in("postgres", "", "postgres");
        client.query("SELECT 1");
        assert_eq!((count("client", "ok"), count("client", "failed")), (1.0, 0.0));
        assert_eq!(pgwarden.metric("pgwarden_tls_handshake_duration_seconds_count"), Some(1.0));
        assert!(count("server", "ok") >= 1.0 && count("server", "failed") == 0.0);
        let mut stranger = Wire::connect(pgwarden.port());
        stranger.send(&Frontend::new().ssl_request());
        assert_eq!(stranger.receive_bytes(1), b"S");
        stranger.send_bytes(b"this is no handshake");
        until("it has failed", || (count("client", "failed") == 1.0).then_some(()));
        assert_eq!(pgwarden.metric("pgwarden_tls_handshake_duration_seconds_count"), Some(1.0));
    }
}
