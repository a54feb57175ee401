//! What a test needs of the machine. A missing means is reported, never passed over.

use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Reports that a test was not run and returns `None` for `?`-like use.
///
/// Goes around the capture of the test runner, so that `.ci/run` sees it.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
    None
}

/// Returns the top of the source tree.
pub(crate) fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// Whether the test runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Needs root.
pub(crate) fn root() -> Option<()> {
    if is_root() {
        return Some(());
    }
    skip("needs root")
}

/// Needs `program` on the path.
pub(crate) fn tool(program: &str) -> Option<()> {
    if has_tool(program) {
        return Some(());
    }
    skip(&format!("{program} is not installed"))
}

/// Whether `program` is on the path.
pub(crate) fn has_tool(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Needs the means to make containers: namespaces as root, or user namespaces for everyone.
pub(crate) fn containers() -> Option<()> {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--mount", "--pid", "--fork", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if works {
        return Some(());
    }
    skip("this machine gives no namespaces to this user")
}

/// Needs base image `name`; returns its OCI layout. Made at most once by this process.
pub(crate) fn image(name: &str) -> Option<PathBuf> {
    static MADE: Mutex<Vec<(String, Result<(), String>)>> = Mutex::new(Vec::new());
    let layout = source_tree().join("out/images").join(name);
    let mut made = MADE.lock().unwrap();
    if !made.iter().any(|(known, _)| known == name) {
        let output = Command::new(source_tree().join("testdata/images/make.sh"))
            .arg(name)
            .stdin(Stdio::null())
            .output();
        let result = match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        made.push((name.to_owned(), result));
    }
    let (_, result) = made.iter().find(|(known, _)| known == name)?;
    match result {
        Ok(()) => Some(layout),
        Err(reason) => {
            let last = reason.lines().last().unwrap_or("make.sh failed");
            skip(&format!("no {name} image: {last}"))
        }
    }
}

/// Needs a TCP connection to the server of `url`.
pub(crate) fn reachable(url: &str) -> Option<()> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let host = host.rsplit('@').next().unwrap_or(host);
    let port = if url.starts_with("http://") { 80 } else { 443 };
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let connected = address.to_socket_addrs().is_ok_and(|mut found| {
        found.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
    });
    if connected {
        return Some(());
    }
    skip(&format!("{address} cannot be reached"))
}

/// Needs the servers that apt fetches from.
pub(crate) fn apt_mirror() -> Option<()> {
    let host = image("host")?;
    let conf = std::fs::read_to_string(host.join("apt.conf")).ok()?;
    let proxy = conf
        .lines()
        .find(|line| line.contains("::Proxy"))
        .and_then(|line| line.split('"').nth(1));
    if let Some(proxy) = proxy {
        return reachable(proxy);
    }
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--no-release-info",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ])
        .output();
    let uris = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match uris.ok().as_deref().and_then(|uris| uris.lines().next()) {
        Some(uri) => reachable(uri),
        None => skip("apt has no sources"),
    }
}

/// Needs the package index that pip uses.
pub(crate) fn package_index() -> Option<()> {
    let host = image("host")?;
    let conf = std::fs::read_to_string(host.join("pip.conf")).ok()?;
    let setting = |key: &str| {
        conf.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
    };
    let proxy = ["https_proxy", "HTTPS_PROXY"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let url = setting("proxy")
        .or(proxy)
        .or_else(|| setting("index-url"))
        .unwrap_or_else(|| "https://pypi.org/simple".to_owned());
    reachable(&url)
}
