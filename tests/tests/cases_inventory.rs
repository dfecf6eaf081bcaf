//! The example `deploy/examples/inventory`, step by step and with its own files: an application of one company becomes
//! multi-tenant, on Prisma, SQLAlchemy and Django.

#[path = "cases_inventory/application.rs"]
mod application;
#[path = "cases_inventory/migration.rs"]
mod migration;
#[path = "cases_inventory/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::sync::Mutex;

use application::{Application, Kind, Tenant};
use pgwarden_tests::tokens::Value;
use pgwarden_tests::{Pgwarden, Server, Version, for_each_version, for_version, versions};
use stage::{ACME, DATABASE, DEFAULT, asked, asked_by, service, start};

/// Requests at once, and how many each client makes.
const CLIENTS: usize = 12;
const REQUESTS: usize = 30;

/// An application before three organisations; to the applications, all versions of the server are the same.
fn with_application(kind: Kind, test: impl Fn(&Server, &Pgwarden, &Application)) {
    let versions = versions();
    let home = versions.iter().find(|version| **version == Version(15)).unwrap_or(&versions[0]);
    for_version(*home, async |server| {
        let pgwarden = start(server);
        let application = Application::start(kind, &pgwarden);
        test(server, &pgwarden, &application);
    });
}

#[track_caller]
fn organisations(rows: &[Value]) -> Vec<&str> {
    let mut all: Vec<&str> =
        rows.iter().map(|row| row["org"].as_str().expect("a row says whose it is")).collect();
    all.dedup();
    all
}

/// Who acts for whom sees, and what is refused.
fn serves_each_tenant(server: &Server, _: &Pgwarden, application: &Application) {
    for tenant in Tenant::ALL {
        let items = application.ask(tenant, "GET /items");
        assert_eq!((items.status, items.rows.len()), (200, 3), "{tenant:?}: {}", application.said());
        assert_eq!(organisations(&items.rows), [tenant.organisation()], "{tenant:?}");
    }
    let foreign =
        asked(server, DATABASE, &format!("SELECT id FROM items WHERE org_id = '{}' LIMIT 1", ACME[0]));
    let request = format!("GET /item?id={foreign}");
    assert_eq!(application.ask(Tenant::Acme, &request).rows.len(), 1);
    for other in [Tenant::Default, Tenant::Globex] {
        let answer = application.ask(other, &request);
        assert_eq!((answer.status, answer.rows.len()), (200, 0), "an item of acme, for {other:?}");
    }
    let refused = application.ask(Tenant::Nobody, "GET /items");
    assert!([401, 403].contains(&refused.status) && refused.rows.is_empty(), "{refused:?}");
    assert_eq!(application.ask(Tenant::Default, "GET /items").rows.len(), 3, "nothing is left of it");
}

/// An interactive transaction: all of it, or nothing.
fn books_movements(server: &Server, _: &Pgwarden, application: &Application) {
    let movements =
        || asked(server, DATABASE, "SELECT count(*) FROM inventory_ledger WHERE reason = 'moved'");
    let booked = application.ask(Tenant::Acme, "POST /move?item=A-1&qty=-30");
    assert_eq!((booked.status, &booked.rows[0]["balance"]), (200, &Value::from(70)));
    assert_eq!(application.ask(Tenant::Acme, "POST /move?item=A-1&qty=-71").status, 409);
    assert_eq!(movements(), "1", "what was not enough is rolled back");
    let refused = application.ask(Tenant::Nobody, "POST /move?item=A-1&qty=1");
    assert!([401, 403].contains(&refused.status), "{refused:?}");
    let others = application.ask(Tenant::Globex, "POST /move?item=A-1&qty=1");
    assert_eq!(&others.rows[0]["balance"], &Value::from(101), "of its own");
    assert_eq!(movements(), "2");
}

/// Many requests of all tenants at once, over one pool of the application and one of pgwarden; every row is looked at.
fn keeps_tenants_apart_under_load(server: &Server, pgwarden: &Pgwarden, application: &Application) {
    let foreign =
        asked(server, DATABASE, &format!("SELECT id FROM items WHERE org_id = '{}' LIMIT 1", ACME[0]));
    let booked: Booked = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (booked, foreign) = (&booked, &foreign);
            scope.spawn(move || {
                for round in 0..REQUESTS {
                    one_of_many(application, (client, round), foreign, booked);
                }
            });
        }
    });
    let sums = "SELECT org_id, sum(qty_canonical) FROM inventory_ledger WHERE reason = 'moved' GROUP BY 1 ORDER BY 1";
    let booked = booked.into_inner().expect("nobody panics with it");
    let expected: Vec<String> = booked.iter().map(|(org, sum)| format!("{org}|{sum}")).collect();
    assert_eq!(asked(server, DATABASE, sums), expected.join("\n"), "what was booked, by organisation");
    assert_eq!(asked(server, DATABASE, "SELECT count(*) FROM balance_differences()"), "0");
    assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(0.0), "{}", pgwarden.stderr());
    assert!(pgwarden.metric("pgwarden_backends").is_some_and(|count| count <= 4.0), "one pool for all");
}

/// How much was booked, by organisation.
type Booked = Mutex<BTreeMap<&'static str, i64>>;

/// One request of many; `foreign` is an item of acme.
#[track_caller]
fn one_of_many(application: &Application, (client, round): (usize, usize), foreign: &str, booked: &Booked) {
    let tenant = Tenant::ALL[(client + round) % 3];
    let own = tenant.organisation();
    let quantity = 1 + round % 5;
    let (request, rows) = match (client + round / 3) % 4 {
        0 => (format!("POST /move?item=A-{}&qty={quantity}", 1 + round % 3), 1),
        1 => (format!("GET /item?id={foreign}"), usize::from(tenant == Tenant::Acme)),
        _ => ("GET /items".to_owned(), 3),
    };
    let answer = application.ask(tenant, &request);
    assert_eq!((answer.status, answer.rows.len()), (200, rows), "{request} of {tenant:?}");
    assert!(answer.rows.iter().all(|row| row["org"] == own), "{tenant:?} reads {answer:?}");
    if request.starts_with("POST") {
        let quantity = i64::try_from(quantity).expect("a few");
        *booked.lock().expect("nobody panics with it").entry(own).or_default() += quantity;
    }
}

/// A module of tests for each application.
macro_rules! of_each {
    ($($module:ident: $kind:ident,)*) => { $(
        mod $module {
            use super::*;

            #[test]
            fn serves_each_tenant_its_own_rows_and_nobody_else_any() {
                with_application(Kind::$kind, serves_each_tenant);
            }

            #[test]
            fn books_movements_in_interactive_transactions() {
                with_application(Kind::$kind, books_movements);
            }

            #[test]
            fn keeps_tenants_apart_under_load_over_one_pool() {
                with_application(Kind::$kind, keeps_tenants_apart_under_load);
            }
        }
    )* };
}

of_each! { prisma: Prisma, sqlalchemy: Sqlalchemy, django: Django, }

#[test]
fn a_job_without_an_organisation_works_for_the_default_one() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let url = pgwarden.url("inventory", "", DATABASE);
        assert_eq!(asked_by(&url, "SELECT DISTINCT org_id FROM items"), DEFAULT);
        asked_by(&url, "INSERT INTO feature_flags (key) VALUES ('new')");
        assert_eq!(asked(server, DATABASE, "SELECT org_id FROM feature_flags WHERE key = 'new'"), DEFAULT);
        assert_eq!(asked_by(&url, "SELECT * FROM reconcile_balances()"), "");
        asked(server, DATABASE, "UPDATE inventory_balances SET qty_canonical = qty_canonical + 1");
        let all = asked(server, DATABASE, "SELECT count(*) FROM balance_differences()");
        let found = asked_by(&url, "SELECT DISTINCT org_id FROM reconcile_balances()");
        assert_eq!((found.as_str(), all.parse::<u32>().is_ok_and(|all| all > 6)), (DEFAULT, true), "{all}");
        let left = format!("SELECT DISTINCT org_id = '{DEFAULT}' FROM balance_differences()");
        let left = asked(server, DATABASE, &left);
        assert_eq!(left, "f", "those of the others are theirs");
        let all = asked_by(&service(&pgwarden), "SELECT count(DISTINCT org_id) FROM reconcile_balances()");
        assert_eq!(all, "2", "a service's job is for all");
        assert_eq!(asked(server, DATABASE, "SELECT count(*) FROM balance_differences()"), "0");
    });
}
