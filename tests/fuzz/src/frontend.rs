//! What a client sends: any bytes, in any pieces, in front of a server that answers as a server does.

use std::sync::Arc;

use pgwarden_session::Interner;
use pgwarden_wire::header;

use crate::choices::Choices;
use crate::manner::Manner;
use crate::play::pieces;
use crate::server::{Server, Tenant};

pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let manner = Manner::choose(&mut choices);
    let size = usize::from(choices.byte() % 16);
    let stream = choices.rest();
    let whole = converse(&manner, stream, stream.len());
    let parts = converse(&manner, stream, size);
    // What stands behind a COPY passes, is dropped, or is a mistake, depending on whether it is known that the COPY runs
    // or has failed; the server does the same with it. So it does with data where there is no COPY.
    if stream.windows(4).any(|word| word.eq_ignore_ascii_case(b"COPY")) || holds_copy_messages(stream) {
        return;
    }
    assert_eq!(parts.2, whole.2, "in pieces of {size} bytes on the left, whole on the right");
    if whole.2.is_none() {
        assert_eq!(parts, whole, "in pieces of {size} bytes on the left, whole on the right");
    } else {
        // Replies to what stands in front of the mistake come before it is read, or do not.
        let (one, other) = (&parts.1, &whole.1);
        assert!(one.starts_with(other) || other.starts_with(one), "{one} and {other}");
    }
}

/// Whether data of a COPY is among the messages.
fn holds_copy_messages(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Ok(Some(header)) = header(rest) {
        if matches!(header.tag, b'd' | b'c' | b'f') {
            return true;
        }
        rest = rest.get(header.length..).unwrap_or_default();
    }
    false
}

/// What reached the server and the client, and how it ended; the server answers when all has been sent.
fn converse(manner: &Manner, stream: &[u8], size: usize) -> (String, String, Option<String>) {
    let mut play = manner.begin(&Arc::new(Interner::default()), Tenant::A);
    let mut idle = Some(manner.backend());
    let mut failed = None;
    for piece in pieces(stream, size) {
        failed = failed.or_else(|| play.client_sends(piece, &mut idle).err());
    }
    let mut server = Server::lenient();
    let mut read = 0;
    // As long as the server has something to say.
    while failed.is_none() && read < play.to_server.len() {
        server.input.extend_from_slice(&play.to_server[read..]);
        read = play.to_server.len();
        server.run(None);
        let output = std::mem::take(&mut server.output);
        for piece in pieces(&output, size) {
            failed = failed.or_else(|| play.server_sends(piece, &mut idle).err());
        }
    }
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    (shown(&play.to_server), shown(&play.to_client), failed.map(|error| error.to_string()))
}
