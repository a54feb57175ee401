//! EXPOSE.

use super::*;

#[test]
fn ports_are_exposed() {
    let table: &[(&str, &[&str])] = &[
        ("EXPOSE 80", &["80/tcp"]),
        ("EXPOSE 82/TCP 53/udp", &["53/udp", "82/tcp"]),
        ("EXPOSE 8080:80", &["80/tcp"]),
        ("EXPOSE 90-92", &["90/tcp", "91/tcp", "92/tcp"]),
        ("ENV p='1 2'\nEXPOSE $p/udp", &["1/tcp", "2/udp"]),
        ("EXPOSE 80\nEXPOSE 80 81", &["80/tcp", "81/tcp"]),
    ];
    for (fragment, want) in table {
        let lowered = below_base(fragment);
        let ports: Vec<_> = lowered
            .image
            .config
            .exposed_ports
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(ports, *want, "{fragment}");
    }
}

#[test]
fn every_bad_port_is_reported() {
    assert_eq!(
        errors_below_base("EXPOSE 80/http web 99"),
        [
            "invalid-port@80/http: invalid proto: http",
            "invalid-port@web: invalid containerPort: web",
        ]
    );
}
