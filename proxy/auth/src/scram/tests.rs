use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const MOCK_KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 18] = [3; 18];

fn clear(password: &str) -> Secret {
    Secret::Clear(Zeroizing::new(password.to_owned()))
}

fn server(secret: Option<&Secret>) -> ScramServer {
    ScramServer::new(secret, "alice", &MOCK_KEY, NONCE)
}

/// Logs in with the client of `postgres_protocol`, which shares no code with ours.
fn login_with_foreign_client(secret: Option<&Secret>, password: &[u8]) -> Result<ScramSuccess, ScramError> {
    use postgres_protocol::authentication::sasl;
    let mut client = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
    let (first, next) = server(secret).client_first(client.message())?;
    client.update(&first).unwrap();
    let success = next.client_final(client.message())?;
    client.finish(&success.server_final).expect("the client verifies our signature");
    Ok(success)
}

fn rfc7677_server() -> ScramServer {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = ScramVerifier::derive(b"pencil", &salt, DEFAULT_ITERATIONS);
    let mut server = server(Some(&Secret::Scram(verifier)));
    server.server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
    server
}

const RFC7677_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const RFC7677_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

#[test]
fn the_example_of_rfc_7677_succeeds() {
    let (first, next) = rfc7677_server().client_first(RFC7677_FIRST).unwrap();
    assert_eq!(
        String::from_utf8(first).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let success = next.client_final(RFC7677_FINAL.as_bytes()).unwrap();
    assert_eq!(success.server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn a_changed_message_fails() {
    let fails = |changed: &str| {
        let (_, next) = rfc7677_server().client_first(RFC7677_FIRST).unwrap();
        next.client_final(changed.as_bytes()).unwrap_err()
    };
    assert_eq!(fails(&RFC7677_FINAL.replace("c=biws", "c=eSws")), ScramError::ChannelBindingUnexpected);
    assert_eq!(fails(&RFC7677_FINAL.replace("c=biws", "c=")), ScramError::ChannelBindingUnexpected);
    assert_eq!(fails(&RFC7677_FINAL.replace("rOpr", "sOpr")), ScramError::NonceMismatch);
    assert_eq!(fails(&RFC7677_FINAL.replace("NlF$k0", "NlF$k1")), ScramError::NonceMismatch);
    assert_eq!(fails(&RFC7677_FINAL.replace("p=d", "p=e")), ScramError::WrongProof);
    assert_eq!(fails(&RFC7677_FINAL.replace(",p=", ",x=1,p=")), ScramError::WrongProof);
    assert_eq!(fails(&RFC7677_FINAL.replace(",p=", ",m=1,p=")), ScramError::MandatoryExtension);
    for malformed in ["", "c=biws", "c=biws,r=x", "r=x,c=biws,p=", "c=biws,r=x,p=AA=="] {
        let error = fails(malformed);
        assert!(
            matches!(error, ScramError::Malformed(_) | ScramError::NonceMismatch),
            "{malformed}: {error}"
        );
    }
    assert!(matches!(fails(&format!("{RFC7677_FINAL},x=1")), ScramError::Malformed(_)));
    assert!(matches!(fails(&RFC7677_FINAL.replace("VQ=", "VQ")), ScramError::Malformed(_)));
}

#[test]
fn the_first_message_is_checked() {
    let fails = |message: &str| server(None).client_first(message.as_bytes()).unwrap_err();
    assert_eq!(fails("n,a=bob,n=,r=abc"), ScramError::AuthorizationIdentity);
    assert_eq!(fails("n,,m=x,n=,r=abc"), ScramError::MandatoryExtension);
    assert_eq!(fails("n,,n=,r=abc,m=x"), ScramError::MandatoryExtension);
    assert_eq!(fails("p=tls-server-end-point,,n=,r=abc"), ScramError::ChannelBindingNotNegotiated);
    assert_eq!(fails(&format!("n,,n=,r={}", "a".repeat(257))), ScramError::NonceTooLong);
    for malformed in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,r=abc",
        "n,,n=,r=",
        "x,,n=,r=a",
        "n,,n=,r=a b",
        "n,,n=,r=é",
        "n,,n=,r=a\0",
    ] {
        assert!(matches!(fails(malformed), ScramError::Malformed(_)), "{malformed:?}");
    }
    let longest = format!("y,,n=ignored,r={},x=ignored", "a".repeat(256));
    assert!(server(None).client_first(longest.as_bytes()).is_ok());
}

#[test]
fn every_kind_of_password_logs_in() {
    let long = "x".repeat(1000);
    for password in ["pencil", " ", "päßwörd", "ﬁancée", "\u{a0}", "\u{200b}zero", "\u{7}bell", "🔑", &long]
    {
        let secret = clear(password);
        assert!(needs_derivation(&secret));
        let success = login_with_foreign_client(Some(&secret), password.as_bytes()).unwrap();
        let verifier = derive_verifier(password, "alice", &MOCK_KEY);
        assert_eq!(sha256(success.keys.client_key.as_ref()), *verifier.stored_key());
        assert_eq!(*success.keys.server_key, *verifier.server_key());

        let stored: Secret =
            Secret::parse(&postgres_protocol::password::scram_sha_256(password.as_bytes())).unwrap();
        assert!(!needs_derivation(&stored));
        assert!(login_with_foreign_client(Some(&stored), password.as_bytes()).is_ok());
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_fail_alike() {
    let md5 = Secret::parse(&postgres_protocol::password::md5(b"secret", "alice")).unwrap();
    let known = clear("right");
    for secret in [Some(&known), Some(&md5), None] {
        assert_eq!(login_with_foreign_client(secret, b"secret").unwrap_err(), ScramError::WrongProof);
    }
}

#[test]
fn an_unknown_user_looks_the_same_as_a_known_one_and_every_time() {
    let challenge = |secret: Option<&Secret>, user: &str| {
        let server = ScramServer::new(secret, user, &MOCK_KEY, NONCE);
        String::from_utf8(server.client_first(b"n,,n=,r=abc").unwrap().0).unwrap()
    };
    assert_eq!(challenge(None, "alice"), challenge(None, "alice"));
    assert_ne!(challenge(None, "alice"), challenge(None, "bob"));
    // not even a user who appears or vanishes changes the challenge
    assert_eq!(challenge(None, "alice"), challenge(Some(&clear("secret")), "alice"));
    let stored = Secret::parse(&postgres_protocol::password::scram_sha_256(b"secret")).unwrap();
    assert_eq!(challenge(None, "alice").len(), challenge(Some(&stored), "alice").len());
    let other_key = ScramServer::new(None, "alice", &[8; 32], NONCE).client_first(b"n,,n=,r=abc").unwrap().0;
    assert_ne!(challenge(None, "alice").into_bytes(), other_key);
}

#[test]
fn a_doomed_exchange_fails_even_with_the_right_proof() {
    let doomed = |real: u8| {
        let mut server = rfc7677_server();
        server.account.real = Choice::from(real);
        let (_, next) = server.client_first(RFC7677_FIRST).unwrap();
        next.client_final(RFC7677_FINAL.as_bytes()).map(|success| success.server_final)
    };
    assert!(doomed(1).is_ok());
    assert_eq!(doomed(0), Err(ScramError::WrongProof));
}

#[test]
fn channel_binding_is_checked() {
    use crate::scram_client::{ScramClient, ScramLogin, ScramStep, ServerMessage};
    let secret = clear("secret");
    let bound = |hash: u8| ChannelBinding::TlsServerEndPoint(vec![hash; 32]);
    let login = |client: ChannelBinding, client_mechanism, ours: ChannelBinding, our_mechanism| {
        let login = ScramLogin::Password(Zeroizing::new(b"secret".to_vec()));
        let (first, client) = ScramClient::start(login, client_mechanism, &client, [1; 18]);
        let exchange = server(Some(&secret)).with_channel_binding(our_mechanism, ours);
        let (answer, next) = exchange.client_first(&first)?;
        let ScramStep::Send { message, next: client } =
            client.step(ServerMessage::Continue(&answer)).unwrap()
        else {
            panic!("the client has to answer");
        };
        let success = next.client_final(&message)?;
        let done = client.step(ServerMessage::Final(&success.server_final)).unwrap();
        assert!(matches!(done, ScramStep::Authenticated));
        Ok::<(), ScramError>(())
    };
    let (plain, plus) = (Mechanism::ScramSha256, Mechanism::ScramSha256Plus);
    let none = ChannelBinding::Unavailable;
    assert_eq!(login(bound(1), plus, bound(1), plus), Ok(()));
    assert_eq!(login(bound(1), plus, bound(2), plus), Err(ScramError::ChannelBindingMismatch));
    assert_eq!(login(bound(1), plain, bound(1), plain), Err(ScramError::ChannelBindingDowngrade));
    assert_eq!(login(bound(1), plain, none.clone(), plain), Ok(()));
    assert_eq!(login(none.clone(), plain, bound(1), plain), Ok(()));
    assert_eq!(login(none.clone(), plain, bound(1), plus), Err(ScramError::ChannelBindingMissing));
    assert_eq!(login(bound(1), plus, bound(1), plain), Err(ScramError::ChannelBindingNotNegotiated));
    assert_eq!(login(bound(1), plus, none.clone(), plus), Err(ScramError::ChannelBindingNotNegotiated));
    let other = server(None).with_channel_binding(plus, bound(1)).client_first(b"p=tls-unique,,n=,r=abc");
    assert_eq!(other.unwrap_err(), ScramError::ChannelBindingType);
}

#[test]
fn mechanisms_are_offered_and_chosen_as_in_postgresql() {
    let bound = ChannelBinding::TlsServerEndPoint(vec![1; 32]);
    assert_eq!(Mechanism::offered(&ChannelBinding::Unavailable), [Mechanism::ScramSha256]);
    assert_eq!(Mechanism::offered(&bound), [Mechanism::ScramSha256Plus, Mechanism::ScramSha256]);
    let both = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER"];
    assert_eq!(Mechanism::choose(both, &bound), Some(Mechanism::ScramSha256Plus));
    assert_eq!(Mechanism::choose(both, &ChannelBinding::Unavailable), Some(Mechanism::ScramSha256));
    assert_eq!(Mechanism::choose(["OAUTHBEARER"], &bound), None);
    assert_eq!(Mechanism::parse("scram-sha-256"), None);
}

#[test]
fn nothing_secret_is_printed() {
    let secret = clear("hunter2");
    let (_, next) = server(Some(&secret)).client_first(b"n,,n=,r=abc").unwrap();
    let known = format!("{:?} {:?} {next:?}", secret, server(Some(&secret)));
    assert!(!known.contains("hunter2"));
    assert_eq!(format!("{:?}", server(Some(&secret))), format!("{:?}", server(None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_password_logs_in_and_no_other_one(password in "\\PC{1,24}", other in any::<Vec<u8>>()) {
        let secret = clear(&password);
        prop_assert!(login_with_foreign_client(Some(&secret), password.as_bytes()).is_ok());
        let same = std::str::from_utf8(&other).is_ok_and(|text| text.contains(&password));
        if other != password.as_bytes() && !same && other.is_ascii() && password.is_ascii() {
            prop_assert_eq!(login_with_foreign_client(Some(&secret), &other).unwrap_err(), ScramError::WrongProof);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_server_panic(first in any::<Vec<u8>>(), last in any::<Vec<u8>>(), text in "[nyp=,ramcbiws:A-Z]{0,40}") {
        for first in [first.as_slice(), text.as_bytes(), b"n,,n=,r=abc"] {
            for last in [last.as_slice(), text.as_bytes(), format!("c=biws,r={text},p={text}").as_bytes()] {
                if let Ok((_, next)) = server(None).client_first(first) {
                    prop_assert!(next.client_final(last).is_err());
                }
            }
        }
    }
}
