//! Which servers are reached without a proxy, by the rules of docker's own client:
//!
//! | `NO_PROXY` has | reached without are |
//! |---|---|
//! | `example.com` | `example.com` and `a.example.com` |
//! | `.example.com`, `*.example.com` | `a.example.com` |
//! | `10.1.2.3`, `10.0.0.0/8` | these addresses, where an address is what was written |
//! | `…:5000` | the same at that port |
//! | `*` | all |
//!
//! This machine itself (`localhost`, `127.0.0.0/8`, `::1`) is always reached without.

use std::net::IpAddr;

/// Whether the server of `url` is reached without a proxy.
pub(super) fn is_direct(url: &str, no_proxy: Option<&str>) -> bool {
    let Some((host, port)) = server(url) else {
        return false;
    };
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let entries = no_proxy.unwrap_or_default().split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .any(|entry| names(&entry.to_ascii_lowercase(), &host, address, &port))
}

/// Whether an entry names a server.
fn names(entry: &str, host: &str, address: Option<IpAddr>, port: &str) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let network: Option<IpAddr> = network.parse().ok();
        let both = network.zip(address).zip(bits.parse().ok());
        return both.is_some_and(|((network, address), bits)| is_within(address, network, bits));
    }
    let (name, wanted) = split_port(entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return address == Some(wanted);
    }
    let below = name.strip_prefix('*').unwrap_or(name);
    let is_below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|rest| !rest.is_empty())
    };
    if below.starts_with('.') {
        return is_below(below);
    }
    host == name || is_below(&format!(".{name}"))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |width: u32, one: u128, other: u128| {
        bits == 0 || (bits <= width && (one ^ other) >> (width - bits) == 0)
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(32, one.to_bits().into(), other.to_bits().into())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(128, one.to_bits(), other.to_bits()),
        _ => false,
    }
}

/// Returns host and port of an address, without brackets.
fn server(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    let (host, port) = split_port(authority);
    let usual = if scheme == "https" { "443" } else { "80" };
    Some((host.to_ascii_lowercase(), port.unwrap_or(usual).to_owned()))
}

/// Parts a host from its port; an address of IPv6 has brackets then.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_as_dockers_client_knows_them() {
        for (no_proxy, url, direct) in [
            ("", "https://example.com/v2/", false),
            ("", "http://localhost:5000/v2/", true),
            ("", "http://127.0.0.9/", true),
            ("", "http://[::1]:5000/", true),
            ("example.com", "https://example.com", true),
            ("example.com", "https://user@a.EXAMPLE.com/x?y", true),
            ("example.com", "https://notexample.com", false),
            (".example.com", "https://example.com", false),
            (".example.com", "https://a.example.com", true),
            ("*.example.com", "https://a.b.example.com", true),
            ("a.com, example.com:5000", "http://example.com:5000/", true),
            ("example.com:5000", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("10.1.2.3", "http://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "http://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "http://11.1.2.3:5000/", false),
            ("10.0.0.0/8", "http://a.10.com/", false),
            ("fd00::/8", "http://[fd12::1]:5000/", true),
            ("[fd12::1]:5000", "http://[fd12::1]:5000/", true),
            ("0.0.0.0/0", "http://8.8.8.8/", true),
            ("1.2.3.4/99", "http://1.2.3.4/", false),
            ("*", "https://example.com", true),
        ] {
            assert_eq!(is_direct(url, Some(no_proxy)), direct, "{no_proxy} {url}");
        }
    }
}
