use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::labels::Label;
use super::*;
use crate::sinks::SinkKind;

/// What one line says, the labels as written.
fn value(meters: &Meters, series: &str) -> f64 {
    let text = meters.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

/// Every metric with its type; panics at a name that is not as it should be.
fn types(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(name.starts_with("pgwarden_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

#[test]
fn every_metric_is_rendered_with_help_and_type_before_anything_happened() {
    let types = types(&Meters::new().render());
    let expected = [
        ("pgwarden_audit_dropped_total", "counter"),
        ("pgwarden_audit_failures_total", "counter"),
        ("pgwarden_audit_records_total", "counter"),
        ("pgwarden_audit_unwritable", "gauge"),
        ("pgwarden_backend_bytes_total", "counter"),
        ("pgwarden_backend_connect_duration_seconds", "histogram"),
        ("pgwarden_backend_connect_failures_total", "counter"),
        ("pgwarden_backend_connects_total", "counter"),
        ("pgwarden_backend_overhead_seconds", "histogram"),
        ("pgwarden_backends", "gauge"),
        ("pgwarden_backends_closed_total", "counter"),
        ("pgwarden_build_info", "gauge"),
        ("pgwarden_cancels_total", "counter"),
        ("pgwarden_checkout_wait_seconds", "histogram"),
        ("pgwarden_checkouts_total", "counter"),
        ("pgwarden_clients", "gauge"),
        ("pgwarden_delayed_logins_total", "counter"),
        ("pgwarden_desyncs_total", "counter"),
        ("pgwarden_errors_total", "counter"),
        ("pgwarden_findings_total", "counter"),
        ("pgwarden_frontend_bytes_total", "counter"),
        ("pgwarden_frontend_overhead_seconds", "histogram"),
        ("pgwarden_identity_changes_total", "counter"),
        ("pgwarden_identity_listening", "gauge"),
        ("pgwarden_identity_lookup_duration_seconds", "histogram"),
        ("pgwarden_identity_lookups_total", "counter"),
        ("pgwarden_identity_requests_total", "counter"),
        ("pgwarden_injections_total", "counter"),
        ("pgwarden_login_duration_seconds", "histogram"),
        ("pgwarden_logins_total", "counter"),
        ("pgwarden_pinned_clients", "gauge"),
        ("pgwarden_pins_total", "counter"),
        ("pgwarden_refusals_total", "counter"),
        ("pgwarden_reloads_total", "counter"),
        ("pgwarden_secret_lookups_total", "counter"),
        ("pgwarden_shadow_findings_total", "counter"),
        ("pgwarden_shadow_notices_dropped_total", "counter"),
        ("pgwarden_tls_handshake_duration_seconds", "histogram"),
        ("pgwarden_tls_handshakes_total", "counter"),
        ("pgwarden_transactions_total", "counter"),
        ("pgwarden_waiting_clients", "gauge"),
    ];
    let types: Vec<_> = types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(types, expected);
}

#[test]
fn counters_and_only_counters_end_in_total() {
    for (name, kind) in types(&Meters::new().render()) {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    }
}

#[test]
fn every_line_is_a_comment_or_a_series_with_a_number() {
    for line in Meters::new().render().lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (series, number) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with("pgwarden_"), "{line}");
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn every_label_value_is_there_from_the_start() {
    let meters = Meters::new();
    for outcome in LoginOutcome::ALL {
        assert_eq!(value(&meters, &format!("pgwarden_logins_total{{outcome=\"{}\"}}", outcome.label())), 0.0);
    }
    for pin in Pin::ALL {
        assert_eq!(value(&meters, &format!("pgwarden_pinned_clients{{reason=\"{}\"}}", pin.label())), 0.0);
    }
    let finding = "pgwarden_findings_total{kind=\"unreadable\",mode=\"enforce\"}";
    assert_eq!(value(&meters, finding), 0.0);
    let version = concat!("pgwarden_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(value(&meters, version), 1.0);
}

#[test]
fn guards_let_go_when_dropped() {
    let meters = Meters::new();
    let guards =
        (meters.client(), meters.client(), meters.backend(), meters.waiting(), meters.pin(Pin::Listen));
    let series = [
        ("pgwarden_clients", 2.0),
        ("pgwarden_backends", 1.0),
        ("pgwarden_waiting_clients", 1.0),
        ("pgwarden_pinned_clients{reason=\"listen\"}", 1.0),
    ];
    for (name, held) in series {
        assert_eq!(value(&meters, name), held, "{name}");
    }
    drop(guards);
    for (name, _) in series {
        assert_eq!(value(&meters, name), 0.0, "{name}");
    }
    assert_eq!(value(&meters, "pgwarden_pins_total{reason=\"listen\"}"), 1.0);
}

#[test]
fn a_guard_lets_go_when_its_task_panics() {
    let meters = Meters::new();
    let panicked = std::thread::scope(|scope| {
        let task = scope.spawn(|| {
            let _client = meters.client();
            panic!("on purpose");
        });
        task.join().is_err()
    });
    assert!(panicked);
    assert_eq!(value(&meters, "pgwarden_clients"), 0.0);
}

#[test]
fn each_event_moves_its_own_series() {
    let meters = Meters::new();
    meters.login(LoginOutcome::RefusedContext);
    meters.timings.login.record(Duration::from_millis(3));
    meters.timings.from_client.record(Duration::from_micros(7));
    meters.login_delayed();
    meters.transaction();
    meters.frontend_bytes(10);
    meters.backend_bytes(20);
    meters.activity(Activity { text: 1, ..Activity::default() });
    meters.activity(Activity { front: 1, refused: 1, ..Activity::default() });
    pgwarden_tenant::Observer::found(
        &meters,
        pgwarden_tenant::Offence::RoleTouched,
        pgwarden_tenant::Mode::Shadow,
    );
    meters.backend_connect_failed(ConnectFailure::TimedOut);
    meters.tls_handshake(Side::Server, HandshakeOutcome::Failed);
    meters.errors(&[*b"42", *b"42", *b"ZZ"]);
    meters.backend_closed(CloseReason::Tainted);
    meters.checkout();
    meters.timings.checkout_wait.record(Duration::from_millis(500));
    meters.cancel(CancelOutcome::Idle);
    meters.desync();
    meters.reloaded(ReloadOutcome::Failed);
    for (series, expected) in [
        ("pgwarden_logins_total{outcome=\"refused_context\"}", 1.0),
        ("pgwarden_login_duration_seconds_bucket{le=\"0.005\"}", 1.0),
        ("pgwarden_login_duration_seconds_sum", 0.003),
        ("pgwarden_delayed_logins_total", 1.0),
        ("pgwarden_transactions_total", 1.0),
        ("pgwarden_frontend_bytes_total", 10.0),
        ("pgwarden_backend_bytes_total", 20.0),
        ("pgwarden_injections_total{form=\"text\"}", 1.0),
        ("pgwarden_refusals_total", 1.0),
        ("pgwarden_findings_total{kind=\"role_touched\",mode=\"shadow\"}", 1.0),
        ("pgwarden_findings_total{kind=\"role_touched\",mode=\"enforce\"}", 0.0),
        ("pgwarden_backend_connects_total{outcome=\"failed\"}", 1.0),
        ("pgwarden_backend_connect_failures_total{cause=\"timed_out\"}", 1.0),
        ("pgwarden_backend_connect_failures_total{cause=\"refused\"}", 0.0),
        ("pgwarden_tls_handshakes_total{side=\"server\",outcome=\"failed\"}", 1.0),
        ("pgwarden_tls_handshakes_total{side=\"client\",outcome=\"failed\"}", 0.0),
        ("pgwarden_errors_total{class=\"42\"}", 2.0),
        ("pgwarden_errors_total{class=\"other\"}", 1.0),
        ("pgwarden_frontend_overhead_seconds_bucket{le=\"0.000005\"}", 0.0),
        ("pgwarden_frontend_overhead_seconds_bucket{le=\"0.00001\"}", 1.0),
        ("pgwarden_backend_overhead_seconds_count", 0.0),
        ("pgwarden_backends_closed_total{reason=\"tainted\"}", 1.0),
        ("pgwarden_checkouts_total", 1.0),
        ("pgwarden_checkout_wait_seconds_count", 1.0),
        ("pgwarden_cancels_total{outcome=\"idle\"}", 1.0),
        ("pgwarden_desyncs_total", 1.0),
        ("pgwarden_reloads_total{outcome=\"failed\"}", 1.0),
    ] {
        assert_eq!(value(&meters, series), expected, "{series}");
    }
}

/// The names that begin with `pgwarden_` in `text`, without what a histogram adds.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("pgwarden_"));
    words
        .map(|word| {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            histogram.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_exist() {
    let meters = Meters::new();
    let _sink = meters.sinks.of(SinkKind::Otlp);
    let known = types(&meters.render());
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for file in ["grafana-dashboard.json", "prometheus-alerts.yml"] {
        let text = fs::read_to_string(deploy.join(file)).unwrap();
        let named = names(&text);
        assert!(!named.is_empty(), "{file} names no metric");
        for name in named {
            assert!(known.contains_key(&name), "{file}: {name} is no metric");
        }
    }
}

#[test]
fn the_dashboard_is_json() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let text = fs::read_to_string(deploy.join("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| !panels.is_empty()));
}
