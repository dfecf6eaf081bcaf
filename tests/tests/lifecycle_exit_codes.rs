//! Exit codes: what they mean is in `--help`, and is true.

use std::net::TcpListener;

use pgwarden_tests::reload::{TRUST, client, told, upstream};
use pgwarden_tests::tenants::Tenants;
use pgwarden_tests::{Pgwarden, Signal, for_each_version};

#[test]
fn the_help_names_every_exit_code() {
    let exit = Pgwarden::builder().run(&["--help"]);
    assert_eq!(exit.status.code(), Some(0));
    for line in
        ["Exit codes:", "  0   done", "  2   wrong command line", "  64  the config", "  71  the system"]
    {
        assert!(exit.stderr.contains(line), "{line:?} is not in {}", exit.stderr);
    }
}

#[test]
fn a_drain_ends_with_0_whether_it_was_complete_or_not() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (timeout, signals) in [("1h", 1), ("1h", 2), ("200ms", 1)] {
            let more = format!("{TRUST}\nlimits.drain_timeout = \"{timeout}\"");
            let pgwarden = told(&upstream(server), &more).start();
            let mut busy = client(&pgwarden, "acme", "");
            if (timeout, signals) != ("1h", 1) {
                busy.query("BEGIN");
                busy.query("SELECT 1");
            }
            for number in 0..signals {
                pgwarden.signal(Signal::TERM);
                pgwarden.until_logged(if number == 0 { "draining: " } else { "stopping at once" }, 0);
            }
            assert_eq!(pgwarden.wait_exit().code(), Some(0), "{timeout}, {signals}: {}", pgwarden.stderr());
        }
    });
}

#[test]
fn what_is_wrong_with_the_configuration_or_its_files_is_64() {
    let upstream = "postgres://app@127.0.0.1:1/postgres";
    for (more, words) in [
        ("no_such_key = 1", "no_such_key"),
        ("auth.method = \"scram-sha-256\"\nauth.users_file = \"/absent\"", "/absent"),
        (
            "auth.method = \"trust\"\ntls.cert = \"{dir}/pgwarden.toml\"\ntls.key = \"{dir}/pgwarden.toml\"",
            "PEM",
        ),
        ("auth.method = \"jwt\"\nauth.jwt.key = \"file:/absent\"", "/absent"),
    ] {
        let exit = told(upstream, more).try_start().expect_err(more);
        assert_eq!(exit.status.code(), Some(64), "{more}: {}", exit.stderr);
        assert!(exit.stderr.contains(words), "{more}: {}", exit.stderr);
        let exit = told(upstream, more).run(&["config", "check"]);
        assert_eq!(exit.status.code(), Some(64), "{more}: {}", exit.stderr);
    }
}

#[test]
fn what_the_system_does_not_give_is_71() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let builder = told("postgres://app@127.0.0.1:1/postgres", TRUST);
    let exit = builder.env("PGWARDEN_LISTEN", &address).try_start().expect_err("the address is in use");
    assert_eq!(exit.status.code(), Some(71), "{}", exit.stderr);
}

#[test]
fn a_wrong_command_line_is_2() {
    for arguments in [&["sreve"][..], &["serve", "--no-such-flag"], &[]] {
        assert_eq!(Pgwarden::builder().run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
