use std::hint::black_box;
use std::time::Instant;

use crate::{StringSyntax, analyse};

/// Prints nanoseconds per call; run with `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "measures, decides nothing"]
fn nanoseconds_per_statement() {
    let lines = "SELECT o.id, o.total, c.name AS customer, 'it''s' FROM orders o -- note\n".repeat(29);
    let values = "(1, 'abc', NULL, now()), ".repeat(19);
    let table = [
        ("short SELECT", "SELECT id, name FROM users WHERE id = $1".to_owned()),
        ("30 lines", format!("{lines} WHERE a = 1")),
        ("INSERT of 20", format!("INSERT INTO t (a, b, c, d) VALUES {values}(1, 'abc', NULL, now())")),
        ("nothing", String::new()),
        ("one letter", "(".to_owned()),
        ("BEGIN", "BEGIN".to_owned()),
        ("COMMIT", "COMMIT".to_owned()),
        ("SET LOCAL", "SET LOCAL app.current_org_id = 'a'".to_owned()),
    ];
    for (name, text) in table {
        let rounds = 2_000;
        let batch = || {
            let start = Instant::now();
            for _ in 0..rounds {
                black_box(analyse(black_box(text.as_bytes()), StringSyntax::Standard)).unwrap();
            }
            start.elapsed().as_nanos() / rounds
        };
        let best = (0..100).map(|_| batch()).min().unwrap();
        println!("{name} ({} bytes): {best} ns", text.len());
    }
}
