//! Subnets and the addresses in them. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use cooper_runner::network::Address;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A network's range of addresses, such as `172.18.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The first address.
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no subnet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no subnet: write ADDRESS/BITS, such as 172.18.0.0/16")]
pub struct NoSubnet {
    text: String,
}

impl Subnet {
    /// Returns the range of `prefix` bits that holds `ip`.
    pub fn around(ip: IpAddr, prefix: u8) -> Self {
        let width = width(ip);
        let prefix = prefix.min(width);
        let mask = u128::MAX
            .checked_shl(u32::from(width - prefix))
            .unwrap_or(0);
        Self {
            base: from_number(number(ip) & mask, ip.is_ipv4()),
            prefix,
        }
    }

    /// Tells whether the range is of IP version 4.
    pub fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }

    /// Returns how many bits name the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns an address of it as an interface has it.
    pub fn address(self, ip: IpAddr) -> Address {
        Address {
            ip,
            prefix: self.prefix,
        }
    }

    /// Returns the range itself.
    pub fn network(self) -> Address {
        self.address(self.base)
    }

    /// Tells whether `ip` is in the range.
    pub fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.is_ipv4() && Self::around(ip, self.prefix) == self
    }

    /// Tells whether the two have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// Returns the first address that a machine can have.
    pub fn first(self) -> IpAddr {
        let one = u128::from(self.prefix + 1 < width(self.base));
        from_number(number(self.base) + one, self.is_ipv4())
    }

    /// Returns the lowest address of `range`, within this subnet, that a machine can have and that
    /// is not among `taken`.
    pub fn free(self, range: Option<Self>, taken: &[IpAddr]) -> Option<IpAddr> {
        let range = range.unwrap_or(self);
        let last = |subnet: Self| {
            let bits = u32::from(width(subnet.base) - subnet.prefix);
            number(subnet.base) + u128::MAX.checked_shr(128 - bits).unwrap_or(0)
        };
        let broadcast = u128::from(self.is_ipv4() && self.prefix < 31);
        let first = number(range.base).max(number(self.first()));
        let end = last(range).min(last(self) - broadcast);
        // Among one more candidates than there are taken ones at least one is free.
        (first..=end)
            .take(taken.len() + 1)
            .map(|candidate| from_number(candidate, self.is_ipv4()))
            .find(|candidate| !taken.contains(candidate))
    }
}

/// Ranges for networks that name none, as docker has them: sixteen bits each, then twenty.
pub(super) fn pool() -> impl Iterator<Item = Subnet> {
    let large = (17..32).map(|second| Subnet::around(Ipv4Addr::new(172, second, 0, 0).into(), 16));
    let small =
        (0..16).map(|third| Subnet::around(Ipv4Addr::new(192, 168, third * 16, 0).into(), 20));
    large.chain(small)
}

/// Returns the range for IP version 6 of a network with this ID (RFC 4193: forty random bits).
pub(super) fn unique_local(id: &str) -> Subnet {
    let bits = u64::from_str_radix(id.get(..14).unwrap_or("0"), 16).unwrap_or(0);
    let base = (0xfd_u128 << 120) | (u128::from(bits) << 64);
    Subnet::around(Ipv6Addr::from(base).into(), 64)
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn from_number(number: u128, ipv4: bool) -> IpAddr {
    if ipv4 {
        Ipv4Addr::from(number as u32).into()
    } else {
        Ipv6Addr::from(number).into()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NoSubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (ip, prefix) = text.split_once('/')?;
            let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
            (prefix <= width(ip)).then(|| Self::around(ip, prefix))
        };
        parse().ok_or_else(|| NoSubnet {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Subnet {
    type Error = NoSubnet;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("valid")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    #[test]
    fn subnets_start_where_their_bits_do() {
        for (text, shown) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3/32", Some("10.1.2.3/32")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("fd00:1:2:3:4::/64", Some("fd00:1:2:3::/64")),
            ("10.0.0.0", None),
            ("10.0.0.0/33", None),
            ("x/8", None),
        ] {
            let parsed = text.parse::<Subnet>().ok();
            assert_eq!(parsed.map(|subnet| subnet.to_string()).as_deref(), shown);
        }
    }

    #[test]
    fn ranges_overlap_when_one_is_in_the_other() {
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.9.0.0/16", true),
            ("10.9.0.0/16", "10.0.0.0/8", true),
            ("10.9.0.0/16", "10.8.0.0/16", false),
            ("10.0.0.0/8", "fd00::/8", false),
        ] {
            assert_eq!(subnet(a).overlaps(subnet(b)), overlap, "{a} {b}");
        }
    }

    #[test]
    fn the_lowest_free_address_is_given() {
        let free = |text: &str, range: Option<&str>, taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|text| ip(text)).collect();
            subnet(text)
                .free(range.map(subnet), &taken)
                .map(|ip| ip.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(free("10.0.0.0/24", None, &[]), some("10.0.0.1"));
        assert_eq!(
            free("10.0.0.0/24", None, &["10.0.0.1", "10.0.0.2"]),
            some("10.0.0.3")
        );
        assert_eq!(
            free("10.0.0.0/24", Some("10.0.0.128/25"), &[]),
            some("10.0.0.128")
        );
        assert_eq!(free("10.0.0.0/30", None, &["10.0.0.1", "10.0.0.2"]), None);
        assert_eq!(free("10.0.0.4/31", None, &[]), some("10.0.0.4"));
        assert_eq!(free("fd00::/64", None, &["fd00::1"]), some("fd00::2"));
    }

    #[test]
    fn the_pool_is_dockers() {
        let pool: Vec<_> = pool().map(|subnet| subnet.to_string()).collect();
        assert_eq!(pool.len(), 31);
        assert_eq!(
            (pool[0].as_str(), pool[14].as_str()),
            ("172.17.0.0/16", "172.31.0.0/16")
        );
        assert_eq!(
            (pool[15].as_str(), pool[30].as_str()),
            ("192.168.0.0/20", "192.168.240.0/20")
        );
        let local = unique_local("0123456789abcdef");
        assert_eq!(local.to_string(), "fd01:2345:6789:abcd::/64");
    }
}
