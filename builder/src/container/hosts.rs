//! What a container reads in /etc/hosts and /etc/resolv.conf.

use std::fmt::Write;

use crate::options::HostEntry;

/// Returns /etc/hosts for a container called `hostname`.
pub(super) fn hosts_file(hostname: &str, added: &[HostEntry]) -> Vec<u8> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for entry in added {
        let _ = writeln!(text, "{}\t{}", entry.address, entry.name);
    }
    if hostname != "localhost" {
        let _ = writeln!(text, "127.0.1.1\t{hostname}");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_container_and_what_was_added() {
        let added = [HostEntry {
            name: "db".into(),
            address: "10.0.0.1".parse().expect("valid"),
        }];
        let text = String::from_utf8(hosts_file("web", &added)).expect("UTF-8");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
        assert!(text.ends_with("10.0.0.1\tdb\n127.0.1.1\tweb\n"));
    }
}
