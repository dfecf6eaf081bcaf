//! A server of another major version behind the same address, as after an upgrade: pgwarden notices by itself.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use pgwarden_tests::tenants::{ACME, Tenants, run, values};
use pgwarden_tests::wire::{PROTOCOL_3_2, tags};
use pgwarden_tests::{Frontend, Pgwarden, Server, Version, Wire, until, versions};

/// A port that leads to the server on the port that `target` names at the time.
fn address(target: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target.load(Ordering::SeqCst))) else {
                continue;
            };
            let share = |socket: &TcpStream| socket.try_clone().expect("a socket can be shared");
            for (mut from, mut to) in [(share(&client), share(&server)), (server, client)] {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    port
}

/// A client that asks for protocol 3.2, once it is let in.
fn log_in(pgwarden: &Pgwarden) -> Option<Wire> {
    let mut wire = Wire::connect(pgwarden.port());
    wire.send(&Frontend::new().startup(PROTOCOL_3_2, &[("user", "acme"), ("database", "postgres")]));
    wire.authenticate("acme", "").is_ok().then_some(wire)
}

/// The major version of the server that runs the statements; none while the old one goes.
fn served_by(pgwarden: &Pgwarden) -> Option<String> {
    let mut wire = log_in(pgwarden)?;
    wire.send(&Frontend::new().query("SELECT current_setting('server_version_num')::int / 10000"));
    loop {
        let message = wire.try_receive().ok()??;
        match message.tag {
            b'D' => return message.row().swap_remove(0),
            b'E' => return None,
            _ => {}
        }
    }
}

#[track_caller]
fn assert_served(pgwarden: &Pgwarden, version: Version) {
    let mut wire = log_in(pgwarden).expect("it can log in");
    assert_eq!(wire.key.1.len(), if version >= Version(18) { 32 } else { 4 }, "the key on {version}");
    let reported = wire.parameter("server_version").unwrap_or_default();
    assert!(reported.starts_with(&version.to_string()), "{reported} on {version}");
    for messages in [
        Frontend::new().query("SELECT org()"),
        run("SELECT org()").sync(),
        Frontend::new().query("BEGIN; SELECT org(); COMMIT"),
    ] {
        wire.send(&messages);
        assert_eq!(values(&wire.until_ready()), [ACME], "{version}: {messages:?}");
    }
    // What refuses a block tells whether the right form was chosen. Without MAINTAIN, which GRANT ALL holds since 17, a
    // table that is not one's own is skipped with a warning.
    let vacuumed = wire.query("VACUUM items");
    let expected = if version >= Version(17) { "CZ" } else { "NCZ" };
    assert_eq!(tags(&vacuumed), expected, "{version}: {vacuumed:?}");
}

#[test]
fn an_upgraded_server_is_recognised_without_a_restart() {
    let all = versions();
    let (Some(oldest), Some(newest)) = (all.iter().min(), all.iter().max()) else { return };
    for (first, second) in [(*oldest, *newest), (*newest, *oldest)] {
        let (old, new) = (Server::start(first), Server::start(second));
        Tenants::load(&old);
        Tenants::load(&new);
        let target = Arc::new(AtomicU16::new(old.port()));
        let upstream =
            format!("postgres://app@127.0.0.1:{}/postgres?sslmode=disable", address(Arc::clone(&target)));
        let pgwarden = Tenants::builder(&upstream).start();
        until("pgwarden knows the server", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
        assert_served(&pgwarden, first);
        target.store(new.port(), Ordering::SeqCst);
        old.stop_fast();
        until("the new server serves", || {
            served_by(&pgwarden).filter(|found| *found == second.to_string()).map(drop)
        });
        assert_served(&pgwarden, second);
    }
}
