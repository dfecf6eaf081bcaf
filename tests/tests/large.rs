//! Rows, COPY and parameters of any size pass in flat memory, in both directions, however slow a reader is.
//!
//! What the server sends is made up as it goes, and what it gets is thrown away: nothing of it is stored.

#[path = "large/flow.rs"]
mod flow;

use flow::{Flow, Watch};
use pgwarden_tests::certificates::Authority;
use pgwarden_tests::tenants::{Tenants, run};
use pgwarden_tests::{Frontend, Server, for_each_version, until, versions};

const MEGABYTE: usize = 1024 * 1024;

/// How many backends of pgwarden wait until somebody reads.
const BLOCKED: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'ClientWrite'";

/// A line of 64 kB for the table `notes`.
fn line() -> Frontend {
    Frontend::new().copy_data(&[vec![b'x'; 65_534], b"\t\n".to_vec()].concat())
}

#[test]
fn a_row_of_256_megabytes_passes_in_flat_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        client.query("SELECT org()");
        let watch = Watch::begin(&stage.pgwarden);
        let (tags, bytes) = client.query(&format!("SELECT repeat('x', {})", 256 * MEGABYTE));
        assert_eq!(tags, "TDCZ");
        assert!(bytes > 256 * MEGABYTE, "{bytes}");
        client.send(run(&format!("SELECT repeat('x', {})", 256 * MEGABYTE)).sync().bytes());
        assert_eq!(client.until_ready().0, "12DCZ");
        watch.assert_flat("a row");
        assert_eq!(client.query("SELECT org()").0, "TDCZ");
    });
}

#[test]
fn copy_out_of_a_gigabyte_passes_in_flat_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        let watch = Watch::begin(&stage.pgwarden);
        let lines = 16 * 1024;
        let sql = format!("COPY (SELECT repeat('x', 65536) FROM generate_series(1, {lines})) TO STDOUT");
        let (tags, bytes) = client.query(&sql);
        assert!(bytes > 1024 * MEGABYTE, "{bytes}");
        assert_eq!(tags, format!("H{}cCZ", "d".repeat(lines)));
        watch.assert_flat("COPY out");
    });
}

#[test]
fn copy_in_of_a_gigabyte_passes_in_flat_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        let watch = Watch::begin(&stage.pgwarden);
        client.send(Frontend::new().query("COPY notes FROM STDIN WHERE false").bytes());
        assert_eq!(client.until(b'G').0, "G");
        let data = line();
        for _ in 0..16 * 1024 {
            client.send(data.bytes());
        }
        client.send(Frontend::new().copy_done().bytes());
        assert_eq!(client.until_ready().0, "CZ");
        watch.assert_flat("COPY in");
    });
}

#[test]
fn a_parameter_of_256_megabytes_passes_in_flat_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        client.query("SELECT org()");
        let watch = Watch::begin(&stage.pgwarden);
        let value = vec![b'x'; 256 * MEGABYTE];
        client.send(Frontend::new().parse("", "SELECT length($1), org()", &[25]).bytes());
        client.send(Frontend::new().bind_formats("", "", &[], &[Some(&value)], &[]).bytes());
        client.send(Frontend::new().execute("", 0).sync().bytes());
        assert_eq!(client.until_ready().0, "12DCZ");
        watch.assert_flat("a parameter");
    });
}

#[test]
fn a_client_that_stops_reading_stops_the_server_and_costs_no_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        let watch = Watch::begin(&stage.pgwarden);
        let rows = 8 * 1024;
        let sql = format!("SELECT repeat('x', 65536) FROM generate_series(1, {rows})");
        client.send(Frontend::new().query(&sql).bytes());
        until("the server cannot write any more", || (server.psql(BLOCKED) == "1").then_some(()));
        watch.assert_flat("a client that does not read");
        let (tags, bytes) = client.until_ready();
        assert_eq!(tags, format!("T{}CZ", "D".repeat(rows)));
        assert!(bytes > 512 * MEGABYTE, "{bytes}");
        watch.assert_flat("a client that reads late");
    });
}

#[test]
fn a_server_that_stops_reading_stops_the_client_and_costs_no_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut blocker = stage.direct("postgres");
        blocker.query("BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE");
        let mut client = Flow::open(stage.pgwarden.port());
        client.query("SELECT org()");
        let watch = Watch::begin(&stage.pgwarden);
        client.send(Frontend::new().query("COPY notes FROM STDIN WHERE false").bytes());
        let data = line();
        let taken = client.send_until_it_stops(data.bytes());
        assert!(taken < 64 * MEGABYTE, "{taken} bytes were taken for a server that reads nothing");
        watch.assert_flat("a server that does not read");
        blocker.query("COMMIT");
        let begun = taken % data.bytes().len();
        client.send(&data.bytes()[begun..]);
        client.send(Frontend::new().copy_done().bytes());
        assert_eq!(client.until_ready().0, "GCZ");
    });
}

#[test]
fn a_pipeline_of_many_queries_whose_answers_nobody_reads_costs_no_memory() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut client = Flow::open(stage.pgwarden.port());
        client.query("SELECT org()");
        let watch = Watch::begin(&stage.pgwarden);
        let padding = "-".repeat(65_536);
        let query = Frontend::new().query(&format!("SELECT repeat('x', 65536) --{padding}"));
        let taken = client.send_until_it_stops(query.bytes());
        assert!(taken < 64 * MEGABYTE, "{taken} bytes were taken from a client that reads nothing");
        watch.assert_flat("a pipeline nobody reads");
        let whole = taken / query.bytes().len();
        for _ in 0..whole {
            assert_eq!(client.until_ready().0, "TDCZ");
        }
    });
}

#[test]
fn through_tls_on_both_sides_memory_is_flat_too() {
    let authority = Authority::create();
    let identity = authority.server();
    for version in versions() {
        let server = Server::builder(version).tls(&identity.certificate, &identity.key).start();
        let upstream = format!("{}?sslmode=require", server.url_for("app", "", "postgres"));
        let stage =
            Tenants::start_with(&server, |builder| builder.upstream(&upstream).tls("require", &identity));
        let mut client = Flow::open_encrypted(stage.pgwarden.port(), authority.client(None, &["postgresql"]));
        let watch = Watch::begin(&stage.pgwarden);
        let rows = 4 * 1024;
        let sql = format!("SELECT repeat('x', 65536) FROM generate_series(1, {rows})");
        client.send(Frontend::new().query(&sql).bytes());
        until("the server cannot write any more", || (server.psql(BLOCKED) == "1").then_some(()));
        watch.assert_flat("a client that does not read");
        let (tags, bytes) = client.until_ready();
        assert_eq!(tags, format!("T{}CZ", "D".repeat(rows)));
        assert!(bytes > 256 * MEGABYTE, "{bytes}");
        client.send(Frontend::new().query("COPY notes FROM STDIN WHERE false").bytes());
        assert_eq!(client.until(b'G').0, "G");
        let data = line();
        (0..rows).for_each(|_| client.send(data.bytes()));
        client.send(Frontend::new().copy_done().bytes());
        assert_eq!(client.until_ready().0, "CZ");
        watch.assert_flat("COPY in");
    }
}
