use proptest::prelude::*;

use super::*;
use crate::scram::ScramServer;
use crate::secret::{DEFAULT_ITERATIONS, ScramVerifier, Secret};

const NO_BINDING: &ChannelBinding = &ChannelBinding::Unavailable;

fn password(text: &str) -> ScramLogin {
    ScramLogin::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

fn client() -> ScramClient {
    let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
    let (first, client) =
        ScramClient::start_with(password("pencil"), Mechanism::ScramSha256, NO_BINDING, "user", nonce);
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    client
}

const RFC7677_SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn awaiting_final() -> ScramClient {
    match client().step(ServerMessage::Continue(RFC7677_SERVER_FIRST.as_bytes())).unwrap() {
        ScramStep::Send { next, .. } => next,
        ScramStep::Authenticated => panic!("too early"),
    }
}

#[test]
fn the_example_of_rfc_7677_succeeds() {
    assert!(client().is_expensive());
    let step = client().step(ServerMessage::Continue(RFC7677_SERVER_FIRST.as_bytes())).unwrap();
    let ScramStep::Send { message, next } = step else { panic!("too early") };
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert!(!next.is_expensive());
    let done = next.step(ServerMessage::Final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    assert!(matches!(done, Ok(ScramStep::Authenticated)));
}

#[test]
fn a_hostile_first_message_is_refused() {
    let fails = |message: &str| client().step(ServerMessage::Continue(message.as_bytes())).unwrap_err();
    let changed = |from: &str, to: &str| fails(&RFC7677_SERVER_FIRST.replace(from, to));
    assert_eq!(changed("i=4096", "i=0"), ScramClientError::Iterations);
    assert_eq!(changed("i=4096", "i=100001"), ScramClientError::Iterations);
    assert_eq!(changed("i=4096", "i=99999999999999999999"), ScramClientError::Iterations);
    assert_eq!(changed("i=4096", "i=-1"), ScramClientError::Iterations);
    assert_eq!(changed("i=4096", "i=+4096"), ScramClientError::Iterations);
    assert_eq!(changed("i=4096", "i="), ScramClientError::Iterations);
    assert_eq!(changed("rOpr", "xOpr"), ScramClientError::NonceMismatch);
    assert_eq!(changed("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""), ScramClientError::NonceMismatch);
    assert_eq!(changed("$k0", &"a".repeat(1024)), ScramClientError::NonceTooLong);
    assert_eq!(changed("$k0", &"a".repeat(4096)), ScramClientError::MessageTooLong);
    assert_eq!(changed("r=", "m=x,r="), ScramClientError::MandatoryExtension);
    assert_eq!(changed("i=4096", "i=4096,m=x"), ScramClientError::MandatoryExtension);
    for (from, to) in [
        ("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s="),
        ("W22Z", "!!!!"),
        (",s=", ",x="),
        ("%hv", "\u{e9}"),
        ("%hv", "\0"),
    ] {
        assert!(matches!(changed(from, to), ScramClientError::Malformed(_)), "{from:?}");
    }
    assert!(matches!(fails("e=other-error"), ScramClientError::Malformed(_)));
}

#[test]
fn a_server_that_does_not_prove_itself_is_refused() {
    let fails = |message: &[u8]| awaiting_final().step(ServerMessage::Final(message)).unwrap_err();
    assert_eq!(
        fails(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8="),
        ScramClientError::WrongServerSignature
    );
    assert_eq!(fails(b"e=invalid-proof"), ScramClientError::ServerError);
    assert_eq!(fails(&[b'v'; 5000]), ScramClientError::MessageTooLong);
    for malformed in
        [b"".as_slice(), b"v=", b"v=AAAA", b"v=\xff", b"x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="]
    {
        assert!(matches!(fails(malformed), ScramClientError::Malformed(_)));
    }
}

#[test]
fn messages_out_of_turn_are_refused() {
    let early = client().step(ServerMessage::Final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    assert_eq!(early.unwrap_err(), ScramClientError::OutOfTurn);
    let late = awaiting_final().step(ServerMessage::Continue(RFC7677_SERVER_FIRST.as_bytes()));
    assert_eq!(late.unwrap_err(), ScramClientError::OutOfTurn);
}

/// Logs in on our own server and returns the keys that it learned.
fn log_in(login: ScramLogin, verifier: &ScramVerifier) -> Option<ScramLogin> {
    let secret = Secret::Scram(verifier.clone());
    let (first, client) = ScramClient::start(login, Mechanism::ScramSha256, NO_BINDING, [9; 18]);
    let server = ScramServer::new(Some(&secret), "alice", &[0; 32], [5; 18]);
    let (answer, server) = server.client_first(&first).unwrap();
    let Ok(ScramStep::Send { message, next }) = client.step(ServerMessage::Continue(&answer)) else {
        panic!("the client has to answer");
    };
    let success = server.client_final(&message).ok()?;
    let done = next.step(ServerMessage::Final(&success.server_final));
    assert!(matches!(done, Ok(ScramStep::Authenticated)));
    Some(ScramLogin::Keys(success.keys))
}

#[test]
fn the_keys_of_one_login_are_good_for_the_next() {
    let verifier = ScramVerifier::derive("pässword".as_bytes(), b"salt and pepper.", DEFAULT_ITERATIONS);
    let keys = log_in(password("pässword"), &verifier).unwrap();
    assert!(log_in(keys.clone(), &verifier).is_some());
    assert!(log_in(password("password"), &verifier).is_none());
    let other_salt = ScramVerifier::derive("pässword".as_bytes(), b"another salt....", DEFAULT_ITERATIONS);
    assert!(log_in(keys.clone(), &other_salt).is_none());
    let derived = ScramLogin::Keys(ScramKeys::derive("pässword".as_bytes(), &verifier));
    assert!(log_in(derived, &verifier).is_some(), "who has the password has the keys");
    let (_, client) = ScramClient::start(keys, Mechanism::ScramSha256, NO_BINDING, [1; 18]);
    assert!(!client.is_expensive());
}

proptest! {
    #[test]
    fn no_bytes_make_the_client_panic(data in any::<Vec<u8>>(), text in "[rsivem=,0-9a-z/+]{0,60}") {
        for data in [data.as_slice(), text.as_bytes()] {
            prop_assert!(client().step(ServerMessage::Continue(data)).is_err());
            prop_assert!(client().step(ServerMessage::Final(data)).is_err());
            let server_final = ScramClient { state: State::ServerFinal { server_signature: [1; 32] } };
            prop_assert!(server_final.step(ServerMessage::Final(data)).is_err());
        }
    }
}
