//! What the triggers have to say: an INFO message (`RAISE INFO`, which is sent whatever `client_min_messages` says).

use pgwarden_wire::ErrorFields;
use serde::Deserialize;

/// The setting that tells triggers how to sign what they say. A session without it is none of pgwarden's, and is not
/// looked at. Whoever runs SQL can read it there, and so pretend findings of that session; of no other.
pub const NONCE: &str = "pgwarden.nonce";

/// The SQLSTATE of the message.
const SQLSTATE: &[u8] = b"WS001";

/// What the triggers say of one statement and one table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Notice {
    /// The table's OID.
    pub table: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Which triggers have fired.
    pub command: NoticeCommand,
    /// Whether a referential action has written the rows.
    pub cascade: bool,
    /// Whether an UPDATE is the other half of an INSERT: of ON CONFLICT DO UPDATE, or of MERGE.
    #[serde(default)]
    pub upsert: Option<bool>,
    /// How many triggers deep: 1 of a statement, or of a function that it calls.
    #[serde(default)]
    pub depth: Option<u32>,
    /// How many rows were written; of an INSERT, how many were bad.
    pub rows: Option<u64>,
    /// How many of them were looked at.
    pub looked: Option<u64>,
    /// Bad rows that are alike; nothing where the policies could not be evaluated.
    pub groups: Option<Vec<Group>>,
    /// The SQLSTATE, where they could not, or `unpaired`.
    pub failed: Option<String>,
}

/// Rows that are alike: a mask, whose they were, whose they are, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group(pub u8, pub Option<String>, pub Option<String>, pub u64);

/// The triggers that have fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NoticeCommand {
    /// Those of INSERT.
    Insert,
    /// Those of UPDATE.
    Update,
    /// Those of DELETE.
    Delete,
}

impl Group {
    /// USING of the command is true for the old row.
    pub(super) const OLD: u8 = 1;
    /// USING of SELECT is true for the old row.
    pub(super) const OLD_SELECT: u8 = 2;
    /// WITH CHECK of the command is true for the new row.
    pub(super) const NEW: u8 = 4;
    /// USING of SELECT is true for the new row.
    pub(super) const NEW_SELECT: u8 = 8;
    /// Nothing of it is known: there was no context.
    pub(super) const NO_CONTEXT: u8 = 16;
}

impl Notice {
    /// Whether a trigger has written the rows, perhaps with rights of its own.
    #[must_use]
    pub fn is_of_a_trigger(&self) -> bool {
        self.depth.is_some_and(|depth| depth > 1)
    }

    /// Reads a NoticeResponse (without its header). `None`: it is none of ours, and the client's to read.
    /// `Some(None)` is signed rightly, and cannot be read.
    #[must_use]
    pub fn read(payload: &[u8], nonce: &str) -> Option<Option<Self>> {
        let fields = ErrorFields::new(payload);
        if nonce.is_empty()
            || fields.find(b'C') != Some(SQLSTATE)
            || fields.find(b'M') != Some(nonce.as_bytes())
        {
            return None;
        }
        Some(fields.find(b'D').and_then(|detail| serde_json::from_slice(detail).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(code: &str, nonce: &str, detail: &str) -> Vec<u8> {
        format!("SINFO\0VINFO\0C{code}\0M{nonce}\0D{detail}\0\0").into_bytes()
    }

    #[test]
    fn only_what_is_signed_is_taken() {
        let detail = r#"{"v": 1, "table": 7, "schema": "s", "name": "t", "command": "UPDATE", "cascade": false,
            "upsert": null, "rows": 3, "looked": 3, "groups": [[0, "a", null, 2]], "failed": null}"#;
        let read = |code, nonce, detail, ours| Notice::read(&message(code, nonce, detail), ours);
        let notice = read("WS001", "n", detail, "n").flatten().expect("a notice");
        assert_eq!((notice.table, notice.command), (7, NoticeCommand::Update));
        assert_eq!(notice.groups, Some(vec![Group(0, Some("a".to_owned()), None, 2)]));
        assert_eq!(read("WS001", "other", detail, "n"), None);
        assert_eq!(read("00000", "n", detail, "n"), None);
        assert_eq!(read("WS001", "", detail, ""), None, "where nothing was signed, nothing is taken");
        assert_eq!(read("WS001", "n", "{", "n"), Some(None));
    }
}
