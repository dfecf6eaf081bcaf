use super::*;
use proptest::prelude::*;

fn head(version_and_command: u8, family: u8, length: u16) -> [u8; PROXY_HEADER] {
    let mut bytes = [0; PROXY_HEADER];
    bytes[..12].copy_from_slice(&SIGNATURE);
    bytes[12..14].copy_from_slice(&[version_and_command, family]);
    bytes[14..].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// A whole header, as a reader would take it.
fn read(version_and_command: u8, family: u8, rest: &[u8]) -> Result<ProxySource, ProxyError> {
    let length = u16::try_from(rest.len()).unwrap();
    let head = proxy_head(&head(version_and_command, family, length))?;
    assert_eq!(head.length, rest.len());
    proxy_source(head, rest)
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xC3, 0x50, 0x19, 0x20];

#[test]
fn the_source_is_read_and_what_follows_is_skipped() {
    let source = Ok(ProxySource::Address("192.0.2.7:50000".parse().unwrap()));
    assert_eq!(read(0x21, 0x11, &V4), source);
    assert_eq!(read(0x21, 0x11, &[&V4[..], b"\x01\0\x02h2\xff"].concat()), source);
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    v6[15] = 1;
    v6[32..34].copy_from_slice(&[0, 9]);
    assert_eq!(read(0x21, 0x21, &v6), Ok(ProxySource::Address("[2001:db8::1]:9".parse().unwrap())));
    assert_eq!(read(0x21, 0x31, &[0; 216]), Ok(ProxySource::Unix));
}

#[test]
fn the_load_balancer_may_speak_for_itself() {
    assert_eq!(read(0x20, 0, &[]), Ok(ProxySource::Itself));
    assert_eq!(read(0x20, 0x11, &V4), Ok(ProxySource::Itself), "LOCAL: the addresses mean nothing");
    assert_eq!(read(0x20, 0xFF, b"anything"), Ok(ProxySource::Itself));
    assert_eq!(read(0x21, 0, &V4), Ok(ProxySource::Itself), "PROXY UNSPEC: it does not say");
}

#[test]
fn anything_else_is_refused() {
    let mut startup = [0; PROXY_HEADER];
    startup[..8].copy_from_slice(&[0, 0, 0, 40, 0, 3, 0, 0]);
    assert_eq!(proxy_head(&startup), Err(ProxyError::Absent));
    assert_eq!(proxy_head(b"PROXY TCP4 1.2.3"), Err(ProxyError::Absent), "version 1");
    assert_eq!(proxy_head(&head(0x11, 0x11, 12)), Err(ProxyError::Absent));
    assert_eq!(proxy_head(&head(0x31, 0x11, 12)), Err(ProxyError::Absent));
    assert_eq!(proxy_head(&head(0x22, 0x11, 12)), Err(ProxyError::Command(2)));
    for family in [0x10, 0x12, 0x22, 0x32, 0x41, 0x01, 0xFF] {
        assert_eq!(proxy_head(&head(0x21, family, 12)), Err(ProxyError::Family(family)));
    }
    assert_eq!(proxy_head(&head(0x20, 0, 4097)), Err(ProxyError::TooLong(4097)));
    assert!(proxy_head(&head(0x20, 0, 4096)).is_ok());
    for (family, needed) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        assert_eq!(read(0x21, family, &vec![0; needed - 1]), Err(ProxyError::TooShort));
        assert!(read(0x21, family, &vec![0; needed]).is_ok());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_read_beyond_what_is_there(
        first in any::<[u8; PROXY_HEADER]>(),
        signed in any::<bool>(),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut first = first;
        if signed {
            first[..12].copy_from_slice(&SIGNATURE);
        }
        if let Ok(head) = proxy_head(&first) {
            prop_assert!(head.length <= PROXY_LIMIT);
            let _read = proxy_source(head, &rest);
        }
    }

    #[test]
    fn every_address_is_read_as_it_was_written(
        address in any::<std::net::IpAddr>(), port in any::<u16>(), tlvs in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (family, octets) = match address {
            IpAddr::V4(address) => (0x11, address.octets().to_vec()),
            IpAddr::V6(address) => (0x21, address.octets().to_vec()),
        };
        let there = vec![9; octets.len()];
        let rest = [&octets[..], &there, &port.to_be_bytes(), &[1, 2], &tlvs].concat();
        prop_assert_eq!(read(0x21, family, &rest), Ok(ProxySource::Address(SocketAddr::new(address, port))));
    }
}
