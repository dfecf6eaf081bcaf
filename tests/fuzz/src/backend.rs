//! What a server sends: any bytes, in any pieces, while replies are owed.

use std::sync::Arc;

use pgwarden_session::{Interner, Pooling, Stop};
use pgwarden_wire::Writer;

use crate::choices::Choices;
use crate::manner::Manner;
use crate::play::pieces;
use crate::server::Tenant;

/// What the client has sent before the server speaks.
fn question(kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    let bound = [0; 6];
    match kind % 6 {
        0 => writer.query(b"SELECT 1"),
        1 => writer.parse(b"", b"SELECT 1", &[0, 0]).bind_front(b"", b"", 6).raw(&bound).execute(b"").sync(),
        2 => writer.parse(b"a", b"SELECT 1", &[0, 0]).describe(b'S', b"a").sync(),
        3 => writer.query(b"COPY t FROM STDIN"),
        4 => writer.query(b"BEGIN").query(b"SELECT 1").query(b"COMMIT"),
        _ => writer.query(b"VACUUM t"),
    };
    bytes
}

pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut manner = Manner::choose(&mut choices);
    // The backend stays: what comes behind the end of a transaction is the pool's business.
    manner.options.pooling = Pooling::Session;
    let size = usize::from(choices.byte() % 16);
    let question = question(choices.byte());
    let replies = choices.rest();
    let (waits, whole) = converse(&manner, &question, replies, replies.len());
    let (_, parts) = converse(&manner, &question, replies, size);
    // A reply to what the client's next message asks may come before that has left, or behind it.
    if waits == Stop::Input || whole.2.is_none() {
        assert_eq!(parts, whole, "in pieces of {size} bytes on the left, whole on the right");
    }
}

/// What left for the server and for the client, and how it ended.
type Outcome = (String, String, Option<String>);

fn converse(manner: &Manner, question: &[u8], replies: &[u8], size: usize) -> (Stop, Outcome) {
    let mut play = manner.begin(&Arc::new(Interner::default()), Tenant::A);
    let mut idle = Some(manner.backend());
    play.client_sends(question, &mut idle).expect("the client does nothing wrong");
    let stop = play.stop.clone();
    let mut failed = None;
    for piece in pieces(replies, size) {
        failed = failed.or_else(|| play.server_sends(piece, &mut idle).err());
    }
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let failed = failed.map(|error| error.to_string());
    (stop, (shown(&play.to_server), shown(&play.to_client), failed))
}
