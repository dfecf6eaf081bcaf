//! A client's messages of OAUTHBEARER.

use pgwarden_auth::oauth_bearer::{ClientFirst, read_acknowledgement};

pub(crate) fn run(input: &[u8]) {
    assert_eq!(read_acknowledgement(input).is_ok(), input == b"\x01");
    let first = ClientFirst::parse(input);
    if let Ok(first) = &first {
        assert!(input.starts_with(b"n,,\x01") || input.starts_with(b"y,,\x01"));
        // Nothing behind the end, and nothing that is missing, goes unnoticed.
        assert!(ClientFirst::parse(&[input, b"x"].concat()).is_err());
        assert!(ClientFirst::parse(&input[..input.len() - 1]).is_err());
        let again = match first {
            ClientFirst::Bearer(token) => format!("n,,\x01auth=Bearer {}\x01\x01", **token),
            ClientFirst::Discovery => "n,,\x01auth=\x01\x01".to_owned(),
            ClientFirst::NoToken(_) => return,
        };
        assert_eq!(&ClientFirst::parse(again.as_bytes()).expect("it is well-formed"), first);
    }
}
