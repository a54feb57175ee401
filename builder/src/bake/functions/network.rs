//! Addresses and subnets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;

/// An address prefix: the address as a number, of `width` bits, of which `length` are fixed.
#[derive(Clone, Copy)]
struct Prefix {
    address: u128,
    width: u32,
    length: u32,
}

impl Prefix {
    fn parse(a: &Arguments<'_>, index: usize) -> Result<Self, Misuse> {
        let text = a.text(index)?;
        let wrong = || Misuse::of(index, format!("{text:?} is no prefix such as 10.0.0.0/16"));
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let (address, width) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let length: u32 = length.parse().map_err(|_| wrong())?;
        if length > width {
            return Err(wrong());
        }
        let mut prefix = Self {
            address,
            width,
            length,
        };
        prefix.address &= !prefix.hosts();
        Ok(prefix)
    }

    /// Returns the bits that tell hosts apart, all set.
    fn hosts(self) -> u128 {
        let bits = self.width - self.length;
        if bits == 0 {
            0
        } else {
            u128::MAX >> (128 - bits)
        }
    }

    fn written(self, address: u128) -> IpAddr {
        if self.width == 32 {
            Ipv4Addr::from(address as u32).into()
        } else {
            Ipv6Addr::from(address).into()
        }
    }

    fn to_value(self) -> Value {
        Value::String(format!("{}/{}", self.written(self.address), self.length))
    }

    /// Returns the `number`th prefix that has `more` bits fixed.
    fn subnet(self, more: u32, number: u128) -> Option<Self> {
        let length = self
            .length
            .checked_add(more)
            .filter(|length| *length <= self.width)?;
        if more < 128 && number >> more != 0 {
            return None;
        }
        let shift = self.width - length;
        Some(Self {
            address: self.address | number.checked_shl(shift).unwrap_or(0),
            length,
            ..self
        })
    }
}

pub(super) fn host(a: &Arguments<'_>) -> Outcome {
    let (prefix, number) = (Prefix::parse(a, 0)?, a.whole(1)?);
    let hosts = prefix.hosts();
    // Negative numbers count from the end.
    let number = if number < 0 {
        hosts.checked_sub(number.unsigned_abs() - 1)
    } else {
        Some(number.unsigned_abs())
    };
    let number = number.filter(|number| *number <= hosts);
    let number = number.ok_or_else(|| Misuse::of(1, "the prefix has no such host"))?;
    Ok(Value::String(
        prefix.written(prefix.address | number).to_string(),
    ))
}

pub(super) fn netmask(a: &Arguments<'_>) -> Outcome {
    let prefix = Prefix::parse(a, 0)?;
    if prefix.width != 32 {
        return Err(Misuse::of(0, "only IPv4 has netmasks"));
    }
    let mask = Ipv4Addr::from(!(prefix.hosts() as u32));
    Ok(Value::String(mask.to_string()))
}

pub(super) fn subnet(a: &Arguments<'_>) -> Outcome {
    let (prefix, more, number) = (Prefix::parse(a, 0)?, a.size(1)?, a.size(2)?);
    let subnet = u32::try_from(more)
        .ok()
        .and_then(|more| prefix.subnet(more, number as u128));
    let subnet = subnet.ok_or_else(|| Misuse::new("the prefix has no such subnet"))?;
    Ok(subnet.to_value())
}

pub(super) fn subnets(a: &Arguments<'_>) -> Outcome {
    let prefix = Prefix::parse(a, 0)?;
    let mut next = prefix.address;
    let mut out = Vec::new();
    for index in 1..a.len() {
        let full = || Misuse::of(index, "the prefix has no room for it");
        let more = u32::try_from(a.size(index)?).map_err(|_| full())?;
        let mut subnet = prefix.subnet(more, 0).ok_or_else(full)?;
        let hosts = subnet.hosts();
        // Each starts at the next multiple of its own size.
        subnet.address = next.checked_add(hosts).ok_or_else(full)? & !hosts;
        if subnet.address & !prefix.hosts() != prefix.address {
            return Err(full());
        }
        out.push(subnet.to_value());
        next = subnet
            .address
            .checked_add(hosts)
            .and_then(|last| last.checked_add(1))
            .ok_or_else(full)?;
    }
    Ok(Value::List(out))
}
