//! `[audit]` as TOML.

use super::Page;
use crate::audit::{Audit, SecondPlace};
use crate::secret::HIDDEN;
use crate::units;

impl Page {
    pub(super) fn audit(&mut self, audit: &Audit) {
        self.section("audit");
        self.path("directory", audit.directory.as_deref());
        self.bare("required", audit.required.as_str());
        self.optional("instance", audit.instance.as_deref());
        self.text("window", &units::show(audit.window));
        self.text("coverage_window", &units::show(audit.coverage_window));
        self.bare("sorts", audit.sorts);
        self.bare("segment_bytes", audit.segment_bytes);
        self.text("segment_age", &units::show(audit.segment_age));
        self.duration("keep_for", audit.keep_for);
        self.number("keep_bytes", audit.keep_bytes);
        self.text("fsync", audit.fsync.as_str());
        self.text("fsync_interval", &units::show(audit.fsync_interval));
        self.optional("signing_key", audit.signing_key.as_ref().map(|_| HIDDEN));
        self.text("checkpoint_interval", &units::show(audit.checkpoint_interval));
        match &audit.checkpoints {
            Some(SecondPlace::Stdout) => self.text("checkpoints", "stdout"),
            Some(SecondPlace::File(path)) => self.path("checkpoints", Some(path)),
            None => (),
        }
        self.optional("pseudonym_key", audit.pseudonym_key.as_ref().map(|_| HIDDEN));
    }
}
