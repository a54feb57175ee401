//! EXPOSE's port specifications.

/// Expands `[[ip:]host:]port[-port][/protocol]` into `port/protocol`s.
pub(super) fn parse(spec: &str) -> Result<Vec<String>, String> {
    let (ip, host, container) = split(spec);
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    if ports.is_empty() {
        return Err(format!("no port specified: {spec}"));
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(format!("invalid proto: {other}")),
    };
    let address = ip.trim_start_matches('[').trim_end_matches(']');
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    let (first, last) = range(ports).ok_or_else(|| format!("invalid containerPort: {ports}"))?;
    if !host.is_empty() {
        let (low, high) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if first != last && last - first != high - low {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {ports} and {host}"
            ));
        }
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Splits at colons from the right, so that an IPv6 address stays whole.
fn split(spec: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = spec.rsplit_once(':') else {
        return ("", "", spec);
    };
    match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host, container),
        None => ("", rest, container),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_expand() {
        let table: &[(&str, Result<&[&str], &str>)] = &[
            ("80", Ok(&["80/tcp"])),
            ("82/TCP", Ok(&["82/tcp"])),
            ("53/udp", Ok(&["53/udp"])),
            ("8080:80", Ok(&["80/tcp"])),
            ("127.0.0.1:8080:80/sctp", Ok(&["80/sctp"])),
            ("[::1]:8080:80", Ok(&["80/tcp"])),
            ("90-92", Ok(&["90/tcp", "91/tcp", "92/tcp"])),
            ("8000-8002:90-92", Ok(&["90/tcp", "91/tcp", "92/tcp"])),
            ("8000-8002:80", Ok(&["80/tcp"])),
            (
                "1-2:90-92",
                Err("invalid ranges specified for container and host Ports: 90-92 and 1-2"),
            ),
            ("80/http", Err("invalid proto: http")),
            ("/tcp", Err("no port specified: /tcp")),
            ("web", Err("invalid containerPort: web")),
            ("99999", Err("invalid containerPort: 99999")),
            ("92-90", Err("invalid containerPort: 92-90")),
            ("x:1:80", Err("invalid IP address: x")),
        ];
        for (spec, want) in table {
            let want = want
                .map(|ports| {
                    ports
                        .iter()
                        .map(|&port| port.to_owned())
                        .collect::<Vec<_>>()
                })
                .map_err(str::to_owned);
            assert_eq!(parse(spec), want, "{spec}");
        }
    }
}
