//! Addresses, as far as they are believed: an address, a network, or all who come through unix sockets.

use std::fmt;
use std::net::IpAddr;

use crate::mistake::Fault;

const EXPECTED: &str = "an address, a network such as 10.0.0.0/8, or unix";

/// Somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// From an address of this network.
    Network {
        /// Its first address.
        address: IpAddr,
        /// How many bits all its addresses share.
        bits: u32,
    },
    /// Through a unix socket.
    Unix,
}

impl Neighbour {
    /// Whether a connection from this address is meant; none is a unix socket.
    #[must_use]
    pub fn is(&self, from: Option<IpAddr>) -> bool {
        match (*self, from.map(|from| from.to_canonical())) {
            (Self::Unix, from) => from.is_none(),
            (Self::Network { .. }, None) => false,
            (Self::Network { address: IpAddr::V4(network), bits }, Some(IpAddr::V4(from))) => {
                same(u128::from(network.to_bits() ^ from.to_bits()), bits, 32)
            }
            (Self::Network { address: IpAddr::V6(network), bits }, Some(IpAddr::V6(from))) => {
                same(network.to_bits() ^ from.to_bits(), bits, 128)
            }
            (Self::Network { .. }, Some(_)) => false,
        }
    }

    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || Fault::new(format!("{text:?} is neither an address nor a network"), EXPECTED);
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| fault()))?;
        if bits > most {
            return Err(fault());
        }
        Ok(Self::Network { address, bits })
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { address, bits } => write!(out, "{address}/{bits}"),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// Whether the first `bits` of `width` do not differ.
fn same(difference: u128, bits: u32, width: u32) -> bool {
    difference.checked_shr(width.saturating_sub(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(network: &str, address: &str) -> bool {
        Neighbour::parse(network).unwrap().is(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_address_is_in_a_network_if_its_first_bits_are() {
        assert!(is("10.0.0.0/8", "10.255.1.2") && !is("10.0.0.0/8", "11.0.0.0"));
        assert!(is("192.0.2.1", "192.0.2.1") && !is("192.0.2.1", "192.0.2.2"));
        assert!(is("0.0.0.0/0", "203.0.113.9") && !is("0.0.0.0/0", "::1"));
        assert!(is("2001:db8::/33", "2001:db8:7fff::1") && !is("2001:db8::/33", "2001:db8:8000::1"));
        assert!(is("::/0", "::1") && is("::1", "::1") && !is("::/0", "127.0.0.1"));
        assert!(is("127.0.0.0/8", "::ffff:127.0.0.1"), "as a socket for both families shows it");
    }

    #[test]
    fn unix_is_who_has_no_address() {
        assert!(Neighbour::parse("unix").unwrap().is(None) && !is("unix", "::1"));
        assert!(!Neighbour::parse("0.0.0.0/0").unwrap().is(None));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "host", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0", "[::1]"] {
            assert!(Neighbour::parse(text).is_err(), "{text}");
        }
        assert_eq!(Neighbour::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
    }
}
