//! The texts behind a client's prepared statements and portals.

use std::collections::HashMap;
use std::sync::Arc;

/// Statements and portals remembered at most, each; and bytes of the texts.
const MOST: usize = 4_096;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A text as it was sent; `None` where it was too long to be kept.
pub(crate) type Text = Option<Arc<[u8]>>;

/// What a client has prepared and bound.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    prepared: HashMap<Box<[u8]>, Text>,
    portals: HashMap<Box<[u8]>, Text>,
    bytes: usize,
}

impl Statements {
    /// A statement was prepared.
    pub(crate) fn prepare(&mut self, name: &[u8], text: Text) {
        self.close_statement(name);
        let length = text.as_ref().map_or(0, |text| text.len());
        let text = if self.bytes + length > MOST_BYTES { None } else { text };
        self.bytes += text.as_ref().map_or(0, |text| text.len());
        // A name that is not remembered has a text that nobody knows.
        if self.prepared.len() < MOST || name.is_empty() {
            self.prepared.insert(name.into(), text);
        }
    }

    /// A portal was bound.
    pub(crate) fn bind(&mut self, portal: &[u8], statement: &[u8]) {
        let text = self.prepared.get(statement).cloned().flatten();
        if self.portals.len() >= MOST {
            self.portals.clear();
        }
        self.portals.insert(portal.into(), text);
    }

    /// What a portal runs; nobody may know.
    pub(crate) fn text(&self, portal: &[u8]) -> Text {
        self.portals.get(portal).cloned().flatten()
    }

    /// A statement was closed.
    pub(crate) fn close_statement(&mut self, name: &[u8]) {
        let closed = self.prepared.remove(name).flatten();
        self.bytes -= closed.map_or(0, |text| text.len());
    }

    /// A portal was closed.
    pub(crate) fn close_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// A transaction ended, and its portals with it.
    pub(crate) fn transaction_ended(&mut self) {
        self.portals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_not_kept() {
        let mut statements = Statements::default();
        let long: Arc<[u8]> = vec![b'x'; MOST_BYTES].into();
        statements.prepare(b"a", Some(Arc::clone(&long)));
        statements.prepare(b"b", Some(b"SELECT 1".as_slice().into()));
        statements.bind(b"p", b"a");
        statements.bind(b"q", b"b");
        assert!(statements.text(b"p").is_some() && statements.text(b"q").is_none());
        statements.close_statement(b"a");
        statements.prepare(b"b", Some(b"SELECT 1".as_slice().into()));
        statements.bind(b"q", b"b");
        assert!(statements.text(b"q").is_some());
    }
}
