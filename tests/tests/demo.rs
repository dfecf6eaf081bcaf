//! `./run demo` shows what it says. It has a PostgreSQL and two pgwardens of its own, and ends with the first expectation that
//! does not hold.

use std::path::Path;
use std::process::{Command, Stdio};

use pgwarden_tests::binary;

#[test]
fn both_acts_of_the_demo_show_what_they_say() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/demo.sh");
    let output = Command::new(script)
        .env("PGWARDEN_BIN", binary())
        .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .output()
        .expect("the demo can be run");
    let [said, failed] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{said}\n{failed}");
    assert!(said.contains("Every expectation held"), "{said}");
}
