//! `type=azblob`, against Microsoft's emulator, which checks signatures.

use std::process::{Command, Stdio};

use super::{BELOW_B, NOTHING, THREE_READERS, machines, with_a_large_file};
use crate::support::peers::{Server, free_port};
use crate::support::{Cooper, need};

/// The emulator's account, which is the same everywhere.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite.
struct Azurite {
    server: Server,
    log: std::path::PathBuf,
}

impl Azurite {
    /// Needs what `./dev setup` puts into `out/azurite`.
    fn start(cooper: &Cooper) -> Option<Self> {
        let program = need::source_tree().join("out/azurite/node_modules/.bin/azurite-blob");
        if !program.is_file() {
            return need::skip("Azurite is not installed (`./dev setup`, with npm)");
        }
        let port = free_port();
        let dir = cooper.scratch("azurite");
        let log = cooper.scratch("azurite.log");
        let mut command = Command::new(program);
        command
            .args(["--blobPort", &port.to_string(), "--location"])
            .arg(&dir)
            .args(["--skipApiVersionCheck", "--disableTelemetry"])
            .stdout(std::fs::File::create(&log).expect("a log"))
            .stderr(Stdio::null());
        let server = Server::start(&mut command, port);
        Some(Self { server, log })
    }

    fn cache(&self, key: &str) -> String {
        let port = self.server.port;
        format!(
            "type=azblob,account_url=http://127.0.0.1:{port}/{ACCOUNT},account_name={ACCOUNT},\
             secret_access_key={key},prefix=ci,name=main;feature"
        )
    }

    fn requests(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        log.lines().filter(|line| line.contains(what)).count()
    }
}

#[test]
fn a_container_serves_an_empty_machine_and_only_what_is_missing_travels() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(azurite) = Azurite::start(&here) else {
        return;
    };
    let large = "FROM busybox AS one\nCOPY large /large\n";
    let dockerfile = THREE_READERS.replacen("FROM busybox AS one\n", large, 1);
    let context = with_a_large_file(&dockerfile, 2_500_000);
    let cache = azurite.cache(KEY);
    let to = format!("--cache-to={cache},mode=max,part_size=1m");
    let from = format!("--cache-from={cache}");
    let first = here.build(&context, &["-otype=cacheonly", &to, &from]).ok();
    first.says("404").says("sent 8 blobs, 0 were there");
    assert_eq!(azurite.requests("comp=block&"), 3);
    assert_eq!(azurite.requests("comp=blocklist"), 1);
    here.build(&context, &["-otype=cacheonly", &to])
        .ok()
        .says("sent 0 blobs, 8 were there");

    let gets = azurite.requests("\"GET ");
    let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
    assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
    assert_eq!(azurite.requests("\"GET "), gets + 1, "the list alone");
    context.write("b", "b2");
    let third = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(third.executed(), BELOW_B);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
    there
        .build(
            &context,
            &["-otype=cacheonly", "--target=one", "-ttwo", &from],
        )
        .ok();
}

#[test]
fn min_and_max_and_what_is_wrong_with_a_key() {
    let Some(here) = Cooper::new() else { return };
    let Some(azurite) = Azurite::start(&here) else {
        return;
    };
    let context = super::three_readers();
    for (mode, executed) in [("min", 2), ("max", 0)] {
        let cache = format!("{},container={mode}imum", azurite.cache(KEY));
        let to = format!("--cache-to={cache},mode={mode}");
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let Some(there) = Cooper::new() else { return };
        let from = format!("--cache-from={cache}");
        let args = ["-otype=cacheonly", "--target=two", &from];
        let stage = there.steps(&context, &args).ok();
        assert_eq!(stage.executed().len(), executed, "{mode}");
    }
    let wrong = format!("--cache-to={}", azurite.cache("d3Jvbmc="));
    let refused = here.build(&context, &["-otype=cacheonly", &wrong]).exits(1);
    refused.says("403").says("secret_access_key=");
    here.build(&context, &["--cache-from=type=azblob,secret_access_key=a"])
        .exits(1)
        .says("account_url=");
    here.build(&context, &["--cache-from=type=azblob,account_url=http://a"])
        .exits(1)
        .says("secret_access_key=");
}
