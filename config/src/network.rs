//! Ranges of addresses, and those who are told apart by them.

use std::fmt;
use std::net::IpAddr;

use crate::mistake::Fault;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// From an address of this range.
    Network(Network),
    /// Through a unix socket.
    Unix,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address; `expected` says what else there may be.
    pub(crate) fn parse(text: &str, expected: &str) -> Result<Self, Fault> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let wrong = || Fault::new(format!("{text:?} is no range of addresses"), expected);
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most {
            return Err(Fault::new(format!("{text:?} has a mask of more than {most} bits"), expected));
        }
        let network = Self { address: masked(address, bits), bits };
        if network.address != address {
            let problem = format!("{text:?} has bits to the right of its mask");
            return Err(Fault::new(problem, network.to_string()));
        }
        Ok(network)
    }

    /// Whether an address lies in the range; one of IPv4 does, too, as a socket for both families shows it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// Whether only this machine has addresses of the range.
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.is_loopback() && if self.address.is_ipv4() { self.bits >= 8 } else { self.bits == 128 }
    }

    /// Whether all of another range lies in this one.
    pub(crate) fn covers(&self, other: &Network) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl Neighbour {
    /// Whether a connection from this address is meant; none is a unix socket.
    #[must_use]
    pub fn is(&self, from: Option<IpAddr>) -> bool {
        match (self, from) {
            (Self::Unix, from) => from.is_none(),
            (Self::Network(network), Some(from)) => network.contains(from),
            (Self::Network(_), None) => false,
        }
    }

    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        const EXPECTED: &str = "a range like 10.0.0.0/8 or fd00::/8, an address, or unix";
        match text {
            "unix" => Ok(Self::Unix),
            text => Network::parse(text, EXPECTED).map(Self::Network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - bits.min(32))).unwrap_or(0);
            IpAddr::from((u32::from(address) & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - bits.min(128))).unwrap_or(0);
            IpAddr::from((u128::from(address) & mask).to_be_bytes())
        }
    }
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
        for text in
            ["", "host", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "10.0.0", "[::1]"]
        {
            assert!(Neighbour::parse(text).is_err(), "{text}");
        }
        assert_eq!(Neighbour::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
    }
}
