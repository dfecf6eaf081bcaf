//! Every state of the protocol × everything that can break, with real servers. See `tests/FAULTS.md`.
//!
//! Each combination has a pgwarden of its own, with one backend behind a relay. Afterwards another tenant uses that
//! backend or its successor, and everything that pgwarden counts is as it was.

#[path = "faults/states.rs"]
mod states;
#[path = "faults/table.rs"]
mod table;

use pgwarden_tests::tenants::{GLOBEX, Tenants, values};
use pgwarden_tests::{Frontend, Message, Pgwarden, Relay, Server, Signal, Wire, psql, until, versions};
use states::{PASSWORD, Scene, State};
use table::Outcome;

const BACKENDS: &str =
    "SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity WHERE usename = 'app'";

const CONFIGURATION: &str = "
pool.checkout_timeout = \"3s\"
";

/// One pgwarden, its backend, and the network between them.
struct Stage<'a> {
    server: &'a Server,
    relay: Relay,
    pgwarden: Pgwarden,
}

impl<'a> Stage<'a> {
    #[track_caller]
    fn start(server: &'a Server, state: State) -> Stage<'a> {
        let relay = Relay::start(server.port());
        let upstream = pgwarden_tests::client::url(relay.port(), "app", "", "postgres");
        let users: String =
            ["acme", "globex"].iter().map(|user| format!("\"{user}\" \"{PASSWORD}\"\n")).collect();
        let pooling = if state == State::Session { "session" } else { "transaction" };
        // In session pooling a client has its own backend: the other tenant needs a second one while it is there.
        let size = if state == State::Session { "2" } else { "1" };
        let pgwarden = Tenants::builder(&format!("{upstream}?sslmode=disable"))
            .env("PGWARDEN_POOL_SIZE", size)
            .env("PGWARDEN_POOL_MODE", pooling)
            .env("PGWARDEN_AUTH", "password")
            .file("users.txt", &users)
            .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
            .file("pgwarden.toml", CONFIGURATION)
            .argument("--config")
            .argument("{dir}/pgwarden.toml")
            .start();
        server.psql("DELETE FROM notes");
        let stage = Stage { server, relay, pgwarden };
        // A login asks the server once; from now on what a state needs is known.
        stage.other_tenant();
        let left = if state == State::Session { 0.0 } else { 1.0 };
        let count = |metric| stage.pgwarden.metric(metric);
        until("nobody is left", || (count("pgwarden_clients") == Some(0.0)).then_some(()));
        until("the backend is idle", || (count("pgwarden_backends") == Some(left)).then_some(()));
        until(&format!("before {state:?}, the server says so, too"), || {
            (stage.backends().split(' ').count() == 1).then_some(())
        });
        stage
    }

    #[track_caller]
    fn scene(&self, state: State) -> Scene {
        Scene::set(state, self.pgwarden.port(), self.server, &self.relay)
    }

    fn backends(&self) -> String {
        self.server.psql(BACKENDS)
    }

    /// Another tenant comes, and sees its own alone.
    #[track_caller]
    fn other_tenant(&self) {
        let mut globex = Wire::open(self.pgwarden.port(), "globex", PASSWORD, "postgres");
        assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
        assert_eq!(values(&globex.query("SELECT name FROM items")), ["of globex"]);
        assert_eq!(values(&globex.query("SELECT count(*) FROM pg_listening_channels()")), ["0"]);
    }

    /// Nobody is left: everything that pgwarden counts says so.
    #[track_caller]
    fn assert_normal(&self, what: &str, desyncs: f64, answers: &[Message]) {
        self.other_tenant();
        let count = |metric: &str| self.pgwarden.metric(metric).unwrap_or(f64::NAN);
        until(&format!("{what}: nobody is left"), || (count("pgwarden_clients") == 0.0).then_some(()));
        assert_eq!(count("pgwarden_waiting_clients"), 0.0, "{what}");
        assert!(count("pgwarden_backends") <= 1.0, "{what}: {} backends", count("pgwarden_backends"));
        assert_eq!(count("pgwarden_pinned_clients{reason=\"listen\"}"), 0.0, "{what}");
        assert_eq!(count("pgwarden_desyncs_total"), desyncs, "{what}");
        let log = self.pgwarden.stderr();
        assert!(!log.contains("panic"), "{what}: {log}");
        let written = answers.iter().any(|answer| answer.tag == b'C' && answer.command() == "COPY 1");
        let found = self.server.psql("SELECT count(*) FROM notes");
        assert_eq!(found, u8::from(written).to_string(), "{what}: what is there is what the client was told");
    }

    /// What takes long is cancelled, and who has the backend that others wait for gives it back.
    fn wake_up(&self, scene: &mut Scene) {
        if matches!(scene.state, State::Running | State::Syncing) {
            self.server
                .psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
        }
        scene.holder.take().into_iter().for_each(|mut holder| drop(holder.query("COMMIT")));
    }

    /// What became of the backend that was there: the next client has it, or it is gone.
    fn fate(&self, before: &str) -> &'static str {
        match self.backends() {
            now if now == before => "reused",
            _ => "closed",
        }
    }
}

/// What a client reads, in the words of the table.
fn shown(answers: &[Message]) -> String {
    let errors: Vec<String> = answers
        .iter()
        .filter(|message| message.tag == b'E')
        .map(|error| format!("{} {}", error.fields().severity(), error.fields().code()))
        .collect();
    match (errors.as_slice(), answers.last()) {
        ([], Some(last)) if last.tag == b'Z' => "its answer".to_owned(),
        ([], _) => "the end of the connection".to_owned(),
        (errors, _) => errors.join(", "),
    }
}

/// Does to each state what `fault` does, and checks the section of that name.
fn each_state(name: &str, fault: impl Fn(&Stage<'_>, State) -> (String, &'static str)) {
    let versions = versions();
    // The oldest and the newest: the two ways in which a context travels.
    let chosen = if versions.len() > 1 { vec![versions[0], versions[versions.len() - 1]] } else { versions };
    for version in chosen {
        let server = Server::start(version);
        Tenants::load(&server);
        let outcomes: Vec<Outcome> = State::ALL
            .into_iter()
            .map(|state| {
                let stage = Stage::start(&server, state);
                let (client, backend) = fault(&stage, state);
                Outcome { state: state.name(), client, backend }
            })
            .collect();
        table::check(name, &outcomes);
    }
}

/// The client goes away as `leave` does; what it held is free for the next.
fn client_leaves(stage: &Stage<'_>, state: State, leave: impl Fn(Wire)) -> (String, &'static str) {
    let scene = stage.scene(state);
    let before = stage.backends();
    leave(scene.client);
    stage.relay.thaw();
    scene.holder.into_iter().for_each(|mut holder| drop(holder.query("COMMIT")));
    stage.assert_normal(state.name(), 0.0, &[]);
    // The reply to a short statement, or the news that its client has left: either may come first.
    let fate = match state {
        State::Injecting => "closed or reused",
        _ => stage.fate(&before),
    };
    ("–".to_owned(), fate)
}

#[test]
fn a_client_that_is_killed() {
    each_state("the client is killed (RST)", |stage, state| client_leaves(stage, state, Wire::reset));
}

#[test]
fn a_client_that_hangs_up() {
    each_state("the client hangs up (FIN)", |stage, state| {
        client_leaves(stage, state, |wire| {
            wire.close_sending();
            drop(wire);
        })
    });
}

/// Something happens to the server or the way there; the client goes on afterwards.
fn server_breaks(stage: &Stage<'_>, state: State, fault: impl Fn(&Stage<'_>)) -> (String, &'static str) {
    let mut scene = stage.scene(state);
    let before = stage.backends();
    fault(stage);
    stage.relay.thaw();
    let answers = scene.go_on();
    drop(scene);
    stage.assert_normal(state.name(), 0.0, &answers);
    (last_words(state, &answers), stage.fate(&before))
}

/// What a client reads at the end; nothing may be written into a row that it has only a part of.
fn last_words(state: State, answers: &[Message]) -> String {
    let shown = shown(answers);
    if !matches!(state, State::Streaming | State::CopyOut) {
        return shown;
    }
    assert!(shown.starts_with("FATAL ") || shown == "the end of the connection", "{shown}");
    "FATAL, or the end within a row".to_owned()
}

#[test]
fn a_backend_that_is_terminated() {
    each_state("the backend is terminated (pg_terminate_backend)", |stage, state| {
        server_breaks(stage, state, |stage| stage.server.terminate("usename = 'app'"))
    });
}

/// Kills a server process without a word; the postmaster ends all others and begins anew.
fn kill(stage: &Stage<'_>) {
    let started =
        "SELECT pg_postmaster_start_time(), pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let before = stage.server.psql(started);
    for pid in stage.backends().split(' ') {
        stage.server.signal_backend(pid, Signal::KILL);
    }
    until("the server has begun anew", || {
        let found = psql(&stage.server.url(), &["-c", started]);
        let now = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
        (found.status.success() && now != before).then_some(())
    });
}

/// Whoever waits for a backend gets the place of the one that is gone while the server recovers, or thereafter.
fn recovering(state: State, outcome: (String, &'static str)) -> (String, &'static str) {
    if state != State::Waiting {
        return outcome;
    }
    let possible = ["its answer", "FATAL 57P03", "FATAL 08006"];
    assert!(possible.contains(&outcome.0.as_str()), "{}", outcome.0);
    ("its answer, or FATAL 57P03 or 08006".to_owned(), outcome.1)
}

#[test]
fn a_backend_that_is_killed() {
    each_state("the backend is killed (SIGKILL)", |stage, state| {
        recovering(state, server_breaks(stage, state, kill))
    });
}

#[test]
fn a_server_that_is_stopped() {
    each_state("the server is stopped at once, and started again", |stage, state| {
        let restart = |stage: &Stage<'_>| {
            stage.server.stop_immediate();
            stage.server.start_again();
        };
        recovering(state, server_breaks(stage, state, restart))
    });
}

#[test]
fn a_server_that_is_away() {
    each_state("the server is stopped and stays away", |stage, state| {
        let mut scene = stage.scene(state);
        stage.server.stop_fast();
        stage.relay.thaw();
        let answers = scene.go_on();
        drop(scene);
        stage.server.start_again();
        stage.assert_normal(state.name(), 0.0, &answers);
        (last_words(state, &answers), "closed")
    });
}

#[test]
fn a_server_that_freezes_and_goes_on() {
    each_state("nothing passes for a while (a frozen server)", |stage, state| {
        let mut scene = stage.scene(state);
        let before = stage.backends();
        stage.relay.freeze();
        scene.speak();
        if !state.awaits_server() {
            stage.relay.until_something_is_held();
        }
        stage.relay.thaw();
        stage.wake_up(&mut scene);
        let answers = scene.answers();
        drop(scene);
        stage.assert_normal(state.name(), 0.0, &answers);
        (shown(&answers), stage.fate(&before))
    });
}

#[test]
fn a_connection_that_is_half_open() {
    each_state("the server is gone and nobody says so (half open)", |stage, state| {
        let mut scene = stage.scene(state);
        let before = stage.backends();
        stage.relay.half_open();
        stage.relay.thaw();
        scene.speak();
        let client = match state {
            // Whoever waits for a backend gives up by itself.
            State::Waiting => shown(&scene.answers()),
            _ if state.awaits_server() => "nothing, until it hangs up".to_owned(),
            _ => {
                stage.relay.until_something_is_held();
                "nothing, until it hangs up".to_owned()
            }
        };
        drop(scene);
        stage.assert_normal(state.name(), 0.0, &[]);
        (client, stage.fate(&before))
    });
}

#[test]
fn a_server_that_says_nonsense() {
    each_state("the server says nonsense", |stage, state| {
        let mut scene = stage.scene(state);
        let before = stage.backends();
        stage.relay.inject(b"\0\x01nonsense\xff");
        stage.relay.thaw();
        let answers = scene.go_on();
        drop(scene);
        let noticed = stage.pgwarden.metric("pgwarden_desyncs_total").unwrap_or_default();
        assert!(noticed <= 1.0, "{noticed} desyncs");
        stage.assert_normal(state.name(), noticed, &answers);
        (shown(&answers), stage.fate(&before))
    });
}

#[test]
fn a_client_that_goes_silent() {
    each_state("the client goes silent, and speaks again", |stage, state| {
        let mut scene = stage.scene(state);
        let before = stage.backends();
        stage.relay.thaw();
        // Meanwhile another tenant wants the one backend.
        let mut other = Wire::open(stage.pgwarden.port(), "globex", PASSWORD, "postgres");
        let waits = if state == State::Waiting { 2.0 } else { 1.0 };
        let is_kept = !matches!(
            state,
            State::Startup | State::Authentication | State::Idle | State::Injecting | State::Session
        );
        other.send(&Frontend::new().query("SELECT org()"));
        if is_kept {
            let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients");
            until("the other tenant waits", || (waiting() == Some(waits)).then_some(()));
        }
        stage.wake_up(&mut scene);
        let answers = scene.go_on();
        drop(scene);
        assert_eq!(values(&other.until_ready()), [GLOBEX]);
        drop(other);
        stage.assert_normal(state.name(), 0.0, &answers);
        (shown(&answers), stage.fate(&before))
    });
}
