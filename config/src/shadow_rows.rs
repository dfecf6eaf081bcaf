//! What is done about rows on their way to clients.

use std::time::Duration;

use crate::effective::Page;
use crate::reader::Reader;
use crate::units;
use crate::word::words;

const WINDOW: Duration = Duration::from_secs(10);

/// Whether rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowSight {
    /// They are, where a tenant column is known.
    On,
    /// They are not.
    Off,
}

words!(RowSight { On = "on", Off = "off" });

/// What happens to a row of another tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowGuard {
    /// It is recorded.
    Off,
    /// In `enforce`, the result is cut off in front of it, on tables whose policies are the standard one.
    Block,
}

words!(RowGuard { Off = "off", Block = "block" });

/// What is done about rows on their way to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowRows {
    /// Whether they are looked at.
    pub look: RowSight,
    /// What happens to a row of another tenant.
    pub guard: RowGuard,
    /// How often it is told how much was looked at.
    pub window: Duration,
}

impl ShadowRows {
    /// As the file would say it.
    pub(crate) fn show(self, page: &mut Page) {
        page.section("shadow.rows");
        page.text("look", self.look.as_str());
        page.text("guard", self.guard.as_str());
        page.text("window", &units::show(self.window));
    }
}

/// Reads `[shadow.rows]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> ShadowRows {
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(3_600));
    ShadowRows {
        look: reader.word("shadow.rows.look").unwrap_or(RowSight::On),
        guard: reader.word("shadow.rows.guard").unwrap_or(RowGuard::Off),
        window: reader.duration("shadow.rows.window", least, most).unwrap_or(WINDOW),
    }
}
