//! The entry point for libFuzzer; the target is named by `PGWARDEN_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use pgwarden_fuzz::{TARGETS, Target, target};

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("PGWARDEN_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        eprintln!("PGWARDEN_FUZZ_TARGET names none of {:?}", TARGETS.map(|(name, _)| name));
        std::process::exit(64)
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN(data));
