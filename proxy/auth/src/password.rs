//! The `password` and `md5` methods, in both roles.
//!
//! Message bodies go in and out without the terminating zero byte.

use std::hint::black_box;

use postgres_protocol::password::md5;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::sha256;
use crate::secret::{DEFAULT_ITERATIONS, ScramVerifier, Secret};

const DECOY_SALT: [u8; 16] = *b"pgwarden decoy..";
const NO_HASH: [u8; 32] = [b'0'; 32];

/// Checks a password that the client sent in clear text (over TLS, one hopes) or has typed.
///
/// Every kind of secret can be checked. Whatever the secret is, and for an unknown user too, exactly
/// one key derivation is done, so that timing tells nothing about the user: about a millisecond of
/// CPU at 4096 iterations. The caller runs it off the reactor. (A verifier with another iteration
/// count than PostgreSQL's default takes another time; PostgreSQL has the same leak.)
///
/// An empty password is refused, as `recv_password_packet` in `src/backend/libpq/auth.c` does.
#[must_use]
pub fn check_password(user: &str, secret: Option<&Secret>, given: &[u8]) -> bool {
    let (salt, iterations) = match secret {
        Some(Secret::Scram(verifier)) => (verifier.salt(), verifier.iterations()),
        Some(Secret::Clear(_) | Secret::Md5(_)) | None => (DECOY_SALT.as_slice(), DEFAULT_ITERATIONS),
    };
    let derived = black_box(ScramVerifier::derive(given, salt, iterations));
    let given_hash = Zeroizing::new(md5(given, user));
    let given_digest = sha256(given);
    let same = match secret {
        Some(Secret::Clear(password)) => given_digest.ct_eq(&sha256(password.as_bytes())),
        Some(Secret::Md5(hash)) => given_hash.as_bytes().ct_eq(&with_prefix(hash)),
        Some(Secret::Scram(verifier)) => derived.stored_key().ct_eq(verifier.stored_key()),
        None => black_box(subtle::Choice::from(0)),
    };
    bool::from(same) && !given.is_empty()
}

/// Checks the answer to an `AuthenticationMD5Password` request.
///
/// `response` is `md5` and the 32 hexadecimal digits of `md5(md5(password || user) || salt)`
/// (`md5_crypt_verify` in `src/backend/libpq/crypt.c`). A SCRAM verifier cannot answer this question
/// and no user passes with one. The cost is a microsecond or two; an unknown user costs the same.
#[must_use]
pub fn check_md5(user: &str, secret: Option<&Secret>, salt: [u8; 4], response: &[u8]) -> bool {
    let password = match secret {
        Some(Secret::Clear(password)) => password.as_bytes(),
        Some(Secret::Md5(_) | Secret::Scram(_)) | None => &DECOY_SALT,
    };
    let derived = black_box(md5_of(user, password));
    let (hash, usable) = match secret {
        Some(Secret::Clear(_)) => (derived, true),
        Some(Secret::Md5(hash)) => (Some(*hash), true),
        Some(Secret::Scram(_)) | None => (derived, false),
    };
    let usable = subtle::Choice::from(u8::from(usable && hash.is_some()));
    let expected = salted_md5(&hash.unwrap_or(NO_HASH), salt);
    bool::from(expected.as_bytes().ct_eq(response) & usable)
}

/// Answers an `AuthenticationMD5Password` request of a server, or none with a SCRAM verifier.
#[must_use]
pub fn md5_response(user: &str, secret: &Secret, salt: [u8; 4]) -> Option<String> {
    stored_md5(user, secret).map(|hash| salted_md5(&hash, salt))
}

/// The 32 digits that PostgreSQL would store for the user.
fn stored_md5(user: &str, secret: &Secret) -> Option<[u8; 32]> {
    match secret {
        Secret::Clear(password) => md5_of(user, password.as_bytes()),
        Secret::Md5(hash) => Some(*hash),
        Secret::Scram(_) => None,
    }
}

fn md5_of(user: &str, password: &[u8]) -> Option<[u8; 32]> {
    Zeroizing::new(md5(password, user)).strip_prefix("md5")?.as_bytes().try_into().ok()
}

fn salted_md5(hash: &[u8; 32], salt: [u8; 4]) -> String {
    let mut salted = Zeroizing::new(hash.to_vec());
    salted.extend_from_slice(&salt);
    // `md5(a, b)` hashes a || b: with an empty user it is the plain hash of `salted`
    md5(&salted, "")
}

fn with_prefix(hash: &[u8; 32]) -> Vec<u8> {
    [b"md5".as_slice(), hash].concat()
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::md5_hash;
    use proptest::prelude::*;

    use super::*;

    fn secrets(user: &str, password: &str) -> [Secret; 3] {
        let scram = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let md5 = md5(password.as_bytes(), user);
        [password, &md5, &scram].map(|text| Secret::parse(text).unwrap())
    }

    #[test]
    fn every_kind_of_secret_checks_a_password() {
        for password in ["secret", "pässwörd", "md5", " ", "\u{2168}"] {
            for secret in secrets("alice", password) {
                assert!(check_password("alice", Some(&secret), password.as_bytes()), "{secret:?}");
                for wrong in [b"".as_slice(), b"Secret", b"secret ", b"\xff\0", &[b'x'; 70_000]] {
                    assert!(!check_password("alice", Some(&secret), wrong), "{secret:?}");
                }
            }
        }
    }

    #[test]
    fn a_stored_hash_is_no_password() {
        let [_, md5_secret, scram_secret] = secrets("alice", "secret");
        assert!(!check_password("alice", Some(&md5_secret), md5(b"secret", "alice").as_bytes()));
        assert!(!check_password("bob", Some(&md5_secret), b"secret"));
        let Secret::Scram(verifier) = &scram_secret else { panic!() };
        assert!(!check_password("alice", Some(&scram_secret), verifier.to_string().as_bytes()));
    }

    #[test]
    fn an_unknown_user_has_no_password() {
        assert!(!check_password("alice", None, b"secret"));
        assert!(!check_password("alice", None, b""));
        let decoy = salted_md5(&md5_of("alice", &DECOY_SALT).unwrap(), [1, 2, 3, 4]);
        assert!(!check_md5("alice", None, [1, 2, 3, 4], decoy.as_bytes()));
        assert!(!check_password("alice", None, &DECOY_SALT));
    }

    #[test]
    fn md5_answers_are_those_of_other_implementations() {
        let salt = [1, 2, 0xff, 0];
        let theirs = md5_hash(b"alice", "pässword".as_bytes(), salt);
        let [clear, hash, scram] = secrets("alice", "pässword");
        for secret in [&clear, &hash] {
            assert_eq!(md5_response("alice", secret, salt).unwrap(), theirs);
            assert!(check_md5("alice", Some(secret), salt, theirs.as_bytes()));
            assert!(!check_md5("alice", Some(secret), [1, 2, 0xff, 1], theirs.as_bytes()));
            assert!(!check_md5("alice", Some(secret), salt, theirs.to_uppercase().as_bytes()));
            assert!(!check_md5("alice", Some(secret), salt, b""));
        }
        assert!(!check_md5("bob", Some(&clear), salt, theirs.as_bytes()));
        assert!(!check_md5("alice", Some(&scram), salt, theirs.as_bytes()));
        let decoy = salted_md5(&md5_of("alice", &DECOY_SALT).unwrap(), salt);
        assert!(!check_md5("alice", Some(&scram), salt, decoy.as_bytes()));
        assert_eq!(md5_response("alice", &scram, salt), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_bytes_make_a_check_panic(user in "\\PC{0,20}", given in any::<Vec<u8>>(), salt in any::<[u8; 4]>()) {
            let secrets = secrets("somebody", "the password nobody guesses");
            for secret in secrets.iter().map(Some).chain([None]) {
                prop_assert!(!check_password(&user, secret, &given));
                prop_assert!(!check_md5(&user, secret, salt, &given));
            }
        }
    }
}
