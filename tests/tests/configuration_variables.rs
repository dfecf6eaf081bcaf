//! Each environment variable does what the README says, observed from outside.

use std::net::TcpStream;

use pgwarden_tests::certificates::{Authority, Identity};
use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::{
    Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version, until, versions,
};

const PID: &str = "SELECT pg_backend_pid()";

fn upstream(server: &Server) -> String {
    format!("{}?sslmode=disable", server.url_for("app", "", "postgres"))
}

/// pgwarden in front of the tables of two tenants, without anything that is not needed.
fn plain(server: &Server) -> PgwardenBuilder {
    Pgwarden::builder().upstream(&upstream(server)).env("PGWARDEN_AUTH", "trust")
}

fn log_in(pgwarden: &Pgwarden, user: &str, password: &str) -> Result<Vec<Message>, String> {
    let login =
        Wire::connect(pgwarden.port()).try_log_in(password, &[("user", user), ("database", "postgres")]);
    login.map_err(|error| error.fields().code().to_owned())
}

#[test]
fn listen_takes_several_addresses() {
    for_each_version(async |server| {
        Tenants::load(server);
        let second = pgwarden_tests::free_port();
        let listen = format!("127.0.0.1:{{port}}, [::1]:{{port}},localhost:{second}, {{dir}}:7");
        let pgwarden = plain(server).env("PGWARDEN_LISTEN", &listen).start();
        Wire::open(pgwarden.port(), "a", "", "postgres");
        Wire::open(second, "a", "", "postgres");
        assert!(TcpStream::connect(("::1", pgwarden.port())).is_ok());
        assert!(pgwarden.directory().join(".s.PGSQL.7").exists());
    });
}

#[test]
fn upstream_names_the_login_and_leaves_the_database_to_the_client() {
    for_each_version(async |server| {
        Tenants::load(server);
        let elsewhere = server.database().await;
        let pgwarden = plain(server).start();
        let mut wire = Wire::open(pgwarden.port(), "anybody", "", &elsewhere.name);
        let row = [Some("app".to_owned()), Some(elsewhere.name.clone())];
        assert_eq!(wire.rows("SELECT current_user, current_database()"), [row]);
    });
}

#[test]
fn upstream_without_a_user_logs_in_as_the_client_with_its_secret() {
    for version in versions() {
        let server = Server::builder(version).access("host all acme 127.0.0.1/32 scram-sha-256").start();
        Tenants::load(&server);
        server.psql("ALTER ROLE acme PASSWORD 'secret'");
        let url = format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port());
        let pgwarden = Pgwarden::builder()
            .upstream(&url)
            .file("users.txt", "\"acme\" \"secret\"\n\"globex\" \"\"\n")
            .env("PGWARDEN_USERS_FILE", "users.txt")
            .env("PGWARDEN_AUTH", "password")
            .start();
        let mut acme = Wire::open(pgwarden.port(), "acme", "secret", "postgres");
        assert_eq!(acme.rows("SELECT current_user"), [[Some("acme".to_owned())]]);
    }
}

#[test]
fn mode_says_what_happens_to_a_statement_without_a_context() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (mode, code, counted) in
            [("passthrough", "", 0.0), ("shadow", "", 1.0), ("enforce", "42501", 0.0)]
        {
            let pgwarden = Tenants::builder(&upstream(server)).env("PGWARDEN_MODE", mode).start();
            let mut nobody = Wire::open(pgwarden.port(), "nobody", "", "postgres");
            let answer = nobody.query("SELECT * FROM items");
            assert_eq!((error_code(&answer).as_str(), values(&answer)), (code, vec![]), "{mode}");
            let found = pgwarden.metric("pgwarden_findings_total{kind=\"context_missing\",mode=\"shadow\"}");
            assert_eq!(found, Some(counted), "{mode}");
        }
    });
}

#[test]
fn pool_mode_says_for_how_long_a_backend_is_kept() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = plain(server).env("PGWARDEN_POOL_SIZE", "1").start();
        let mut clients = [(); 2].map(|()| Wire::open(pgwarden.port(), "a", "", "postgres"));
        let [one, two] = clients.each_mut().map(|client| values(&client.query(PID)));
        assert_eq!(one, two, "transaction is the default");
        let pgwarden = plain(server).env("PGWARDEN_POOL_MODE", "session").start();
        let mut clients = [(); 2].map(|()| Wire::open(pgwarden.port(), "a", "", "postgres"));
        let [one, two] = clients.each_mut().map(|client| values(&client.query(PID)));
        assert_ne!(one, two);
        assert_eq!(values(&clients[0].query(PID)), one);
    });
}

#[test]
fn pool_size_is_the_most_that_is_opened() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = plain(server).env("PGWARDEN_POOL_SIZE", "2").start();
        let mut clients = [(); 3].map(|()| Wire::open(pgwarden.port(), "a", "", "postgres"));
        for client in &mut clients[..2] {
            client.query("BEGIN");
            client.query("SELECT 1");
        }
        clients[2].send(&Frontend::new().query("SELECT 1"));
        until("the third waits", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(2.0));
        clients[0].query("COMMIT");
        assert_eq!(values(&clients[2].until_ready()), ["1"]);
    });
}

#[test]
fn pins_can_be_refused() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (pins, code) in [("allow", ""), ("refuse", "0A000")] {
            let pgwarden = plain(server).env("PGWARDEN_PINS", pins).start();
            let mut wire = Wire::open(pgwarden.port(), "a", "", "postgres");
            assert_eq!(error_code(&wire.query("LISTEN news")), code, "{pins}");
        }
    });
}

#[test]
fn auth_and_the_users_file_say_who_is_let_in() {
    for_each_version(async |server| {
        Tenants::load(server);
        for method in ["trust", "password", "md5", "scram-sha-256"] {
            let builder =
                plain(server).env("PGWARDEN_AUTH", method).file("users.txt", "\"acme\" \"secret\"\n");
            let pgwarden = builder.env("PGWARDEN_USERS_FILE", "users.txt").start();
            let refused = (method != "trust").then(|| "28P01".to_owned());
            assert_eq!(log_in(&pgwarden, "acme", "secret").err(), None, "{method}");
            assert_eq!(log_in(&pgwarden, "acme", "wrong").err(), refused, "{method}");
            assert_eq!(log_in(&pgwarden, "stranger", "secret").err(), refused, "{method}");
        }
    });
}

#[test]
fn the_variables_about_tokens_say_which_ones_are_good() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let token = |claims: Value| {
            let mut all = json!({"exp": seconds_from_now(600), "iss": "me", "aud": "you"});
            all.as_object_mut().expect("an object").extend(claims.as_object().expect("an object").clone());
            issuer.sign(&all)
        };
        let builder = || {
            let builder = plain(server).env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "env:KEY");
            builder.env("KEY", issuer.public())
        };
        let good = token(json!({}));
        let refused = Some("28000".to_owned());
        for (name, value, other) in [
            ("PGWARDEN_JWT_ISSUER", "me", token(json!({"iss": "somebody"}))),
            ("PGWARDEN_JWT_AUDIENCE", "us,you", token(json!({"aud": "them"}))),
        ] {
            let free = builder().start();
            assert_eq!(log_in(&free, "a", &other).err(), None, "{name} is not checked unless it is set");
            let bound = builder().env(name, value).start();
            assert_eq!(log_in(&bound, "a", &other).err(), refused, "{name}");
            assert_eq!(log_in(&bound, "a", &good).err(), None, "{name}");
        }
        for (algorithms, error) in [("HS256, RS256", None), ("HS384", refused.clone())] {
            let pgwarden = builder().env("PGWARDEN_JWT_ALGORITHMS", algorithms).start();
            assert_eq!(log_in(&pgwarden, "a", &good).err(), error, "{algorithms}");
        }
        let other = Issuer::of_secret(Algorithm::HS256, "another secret of more than thirty-two bytes");
        let pgwarden = builder().env("PGWARDEN_JWT_KEY", "file:key").file("key", other.public()).start();
        assert_eq!(log_in(&pgwarden, "a", &good).err(), refused, "PGWARDEN_JWT_KEY");
    });
}

#[test]
fn context_and_fixed_say_what_is_set_for_whom() {
    for_each_version(async |server| {
        Tenants::load(server);
        let context =
            "app.current_org_id=tenant:uuid, app.current_user_id=user, app.region=literal:'eu, west'";
        let fixed = format!("acme=tenant:{ACME};user:{ANN}, globex=tenant:{GLOBEX}");
        let builder = plain(server).env("PGWARDEN_MODE", "enforce").env("PGWARDEN_CONTEXT", context);
        let pgwarden = builder.env("PGWARDEN_FIXED", &fixed).start();
        for (user, org, who) in [("acme", ACME, ANN), ("globex", GLOBEX, ""), ("nobody", "", "")] {
            let mut wire = Wire::open(pgwarden.port(), user, "", "postgres");
            let row = [org, who, "eu, west"].map(|value| Some(value.to_owned()));
            assert_eq!(wire.rows("SELECT org(), who(), current_setting('app.region')"), [row], "{user}");
        }
    });
}

#[test]
fn the_variables_about_tls_say_how_clients_may_come() {
    for_each_version(async |server| {
        Tenants::load(server);
        let authority = Authority::create();
        let identity = authority.server();
        let with = |variables: &[(&str, &str)]| {
            let builder =
                plain(server).file("cert.pem", &identity.certificate).file("key.pem", &identity.key);
            let builder = builder.file("ca.pem", authority.certificate());
            let builder = builder.env("PGWARDEN_TLS_CERT", "cert.pem").env("PGWARDEN_TLS_KEY", "key.pem");
            variables.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start()
        };
        let encrypted = |pgwarden: &Pgwarden, own: Option<Identity>| {
            let mut wire = Wire::connect(pgwarden.port());
            wire.send(&Frontend::new().ssl_request());
            assert_eq!(wire.receive_bytes(1), b"S");
            wire.start_tls(&authority.client(own.as_ref(), &[])).ok()?;
            wire.startup(&[("user", "acme"), ("database", "postgres")]);
            let mut last = None;
            while let Ok(Some(message)) = wire.try_receive() {
                last = Some(message);
                if last.as_ref().is_some_and(|message| message.tag == b'Z') {
                    break;
                }
            }
            last.filter(|message| message.tag == b'Z')
        };
        let (allow, require) = (with(&[]), with(&[("PGWARDEN_TLS_MODE", "require")]));
        assert_eq!(log_in(&allow, "acme", "").err(), None, "allow is the default with a certificate");
        assert!(encrypted(&allow, None).is_some());
        assert_eq!(log_in(&require, "acme", "").err().as_deref(), Some("28000"));
        assert!(encrypted(&require, None).is_some());
        let verify = with(&[("PGWARDEN_TLS_CLIENT_CA", "ca.pem"), ("PGWARDEN_TLS_MODE", "require")]);
        assert!(encrypted(&verify, Some(authority.user("acme"))).is_some());
        assert!(
            encrypted(&verify, Some(Authority::create().user("acme"))).is_none(),
            "a stranger's signature"
        );
        let cert = with(&[("PGWARDEN_TLS_CLIENT_CA", "ca.pem"), ("PGWARDEN_AUTH", "cert")]);
        assert!(encrypted(&cert, Some(authority.user("acme"))).is_some());
        assert!(encrypted(&cert, Some(authority.user("globex"))).is_none(), "another's certificate");
        assert!(encrypted(&cert, None).is_none(), "no certificate");
    });
}

#[test]
fn admin_can_be_off() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let start = |admin: &str| {
        let builder = plain(&server).given_nothing().env("PGWARDEN_LISTEN", "127.0.0.1:{port}");
        builder.env("PGWARDEN_ADMIN", admin).start_unasked()
    };
    let on = start("localhost:{admin_port}");
    until("it listens", || TcpStream::connect(("127.0.0.1", on.admin_port())).is_ok().then_some(()));
    let off = start("off");
    until("clients are served", || TcpStream::connect(("127.0.0.1", off.port())).is_ok().then_some(()));
    until("it is ready", || off.stderr().contains("ready").then_some(()));
    assert!(TcpStream::connect(("127.0.0.1", off.admin_port())).is_err());
    assert_eq!(listeners(&off), 1, "one socket listens, and it is the clients'");
    assert_eq!(log_in(&off, "acme", "").err(), None);
}

/// How many TCP sockets a process listens on.
fn listeners(pgwarden: &Pgwarden) -> usize {
    let process = format!("/proc/{}", pgwarden.process_id());
    let tables = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default());
    let entries = std::fs::read_dir(format!("{process}/fd")).expect("it runs").flatten();
    let own: Vec<String> = entries
        .filter_map(|entry| {
            std::fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned)
        })
        .map(|rest| rest.trim_end_matches(']').to_owned())
        .collect();
    let listening = tables.iter().flat_map(|table| table.lines().skip(1)).filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&"0A") && words.get(9).is_some_and(|inode| own.iter().any(|own| own == inode))
    });
    listening.count()
}

#[test]
fn workers_is_the_number_of_threads_that_serve() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    for count in ["1", "3"] {
        let pgwarden = plain(&server).env("PGWARDEN_WORKERS", count).start();
        // A thread gives itself its name, and may do so after the listeners are ready.
        until("each worker has its name", || (workers(&pgwarden).to_string() == count).then_some(()));
        assert_eq!(log_in(&pgwarden, "acme", "").err(), None);
    }
}

/// How many threads are named as workers.
fn workers(pgwarden: &Pgwarden) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pgwarden.process_id())).expect("it runs");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let is_worker =
        |name: &str| name.trim().strip_prefix("pgwarden-").is_some_and(|rest| rest.parse::<u8>().is_ok());
    names.filter(|name| is_worker(name)).count()
}
