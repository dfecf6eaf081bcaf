//! Bytes arrive in pieces of any size: recorded conversations, replayed with every split, give the same bytes to
//! both sides.
//!
//! Conversations are recorded between a session and a real server, and replayed in memory. Everything that is not
//! a question of splitting stays as it was: the server answers no earlier than it did. The last tests do the same
//! through sockets, with a client and a server that dribble.

#[path = "chunking/conversations.rs"]
mod conversations;
#[path = "chunking/dribble.rs"]
mod dribble;
#[path = "chunking/replay.rs"]
mod replay;
#[path = "chunking/shown.rs"]
mod shown;

use conversations::{Conversation, conversations, long};
use dribble::Dribble;
use pgwarden_tests::tenants::Tenants;
use pgwarden_tests::{Server, Wire, for_each_version};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use replay::{Manner, Recording, record};
use shown::shown;

/// Every conversation, recorded in every manner.
fn recordings(server: &Server) -> Vec<Recording> {
    Tenants::load(server);
    let mut recordings = Vec::new();
    for manner in Manner::ALL {
        recordings.extend(conversations().iter().map(|conversation| record(server, conversation, manner)));
    }
    for manner in Manner::VEHICLES {
        recordings.extend(shown().iter().map(|conversation| record(server, conversation, manner)));
    }
    recordings
}

#[test]
fn every_split_in_two_gives_the_same_bytes() {
    for_each_version(async |server| {
        let differing: Vec<String> = recordings(server).iter().filter_map(first_difference).collect();
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    });
}

/// The first split at which a recording gives other bytes.
fn first_difference(recording: &Recording) -> Option<String> {
    let lengths = recording.lengths().into_iter().enumerate();
    let places = lengths.flat_map(|(event, length)| (1..length).map(move |at| (event, at)));
    places.into_iter().find_map(|(event, at)| {
        let found = recording.replay(|index, _| if index == event { vec![at] } else { Vec::new() });
        found.err().map(|error| format!("{}, event {event} split at {at}: {error}", recording.name))
    })
}

#[test]
fn every_byte_alone_gives_the_same_bytes() {
    for_each_version(async |server| {
        let mut recordings = recordings(server);
        recordings.push(record(server, &long(), Manner::USUAL));
        let alone = |recording: &Recording| {
            let found = recording.replay(|_, length| (1..length).collect());
            found.err().map(|error| format!("{}: {error}", recording.name))
        };
        let differing: Vec<String> = recordings.iter().filter_map(alone).collect();
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    });
}

#[test]
fn random_pieces_give_the_same_bytes() {
    for_each_version(async |server| {
        let mut recordings = recordings(server);
        recordings.push(record(server, &long(), Manner::USUAL));
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        let strategy = (0..recordings.len(), prop::collection::vec(any::<prop::sample::Index>(), 1..60));
        let outcome = TestRunner::new(config).run(&strategy, |(which, cuts)| {
            let recording = &recordings[which];
            let found = recording.replay(|_, length| {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length)).collect();
                cuts.sort_unstable();
                cuts
            });
            found.map_err(|error| TestCaseError::fail(format!("{}: {error}", recording.name)))
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Sends a conversation and returns everything that comes back.
fn converse(port: u16, conversation: &Conversation, piece: usize) -> Vec<u8> {
    let mut wire = Wire::open(port, "acme", "", "postgres");
    let mut received = Vec::new();
    for turn in &conversation.turns {
        wire.send_in_pieces(turn.messages.bytes(), piece);
        let mut missing = turn.count;
        while missing > 0 {
            let message = wire.receive();
            missing -= usize::from(message.tag == turn.until);
            received.extend(format!("{message:?}\n").into_bytes());
        }
    }
    received
}

#[test]
fn a_client_that_sends_single_bytes_gets_what_a_direct_connection_gets() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for conversation in conversations().iter().filter(|conversation| conversation.is_plain) {
            let expected = converse(server.port(), conversation, usize::MAX);
            let found = converse(stage.pgwarden.port(), conversation, 1);
            assert_eq!(text(&found), text(&expected), "{}", conversation.name);
        }
    });
}

#[test]
fn a_server_that_sends_single_bytes_is_understood() {
    for_each_version(async |server| {
        Tenants::load(server);
        let dribble = Dribble::start(server.port());
        let upstream = pgwarden_tests::client::url(dribble.port(), "app", "", "postgres");
        let pgwarden = Tenants::builder(&format!("{upstream}?sslmode=disable")).start();
        for conversation in conversations().iter().filter(|conversation| conversation.is_plain) {
            let expected = converse(server.port(), conversation, usize::MAX);
            let found = converse(pgwarden.port(), conversation, usize::MAX);
            assert_eq!(text(&found), text(&expected), "{}", conversation.name);
        }
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
