//! Real inputs: each directory of `testdata/dockerfiles` that says what it prints.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::peers::free_port;
use crate::support::{Context, Cooper, need};

fn case(name: &str) -> std::path::PathBuf {
    need::source_tree().join("testdata/dockerfiles").join(name)
}

/// The machine's way to its package servers, as secrets of a build.
fn host_secrets(host: &Path) -> Vec<String> {
    ["apt.conf", "pip.conf", "ca-certificates.crt"]
        .iter()
        .map(|name| format!("--secret=id={name},src={}", host.join(name).display()))
        .collect()
}

/// Builds a case, runs the image and compares with what the case expects.
#[track_caller]
fn build_and_run(cooper: &Cooper, name: &str, args: &[String]) {
    let context = Context::copy_of(&case(name));
    let mut all = vec!["-t=case".to_owned()];
    all.extend_from_slice(args);
    cooper.build(&context, &all).ok();
    let expected = std::fs::read_to_string(case(name).join("expected")).expect("expectations");
    cooper.run(&["run", "--rm", "case"]).ok().prints(&expected);
    let again = cooper.steps(&context, &all).ok();
    assert_eq!(again.executed(), Vec::<String>::new());
}

#[test]
fn a_busybox_multi_stage_build() {
    let Some(cooper) = Cooper::new() else { return };
    build_and_run(&cooper, "busybox-multistage", &[]);
}

#[test]
fn a_c_program_compiled_on_debian() {
    let Some(cooper) = Cooper::new() else { return };
    let Some((debian, host)) = debian() else {
        return;
    };
    let mut args = host_secrets(&host);
    args.push(debian);
    build_and_run(&cooper, "debian-c", &args);
}

/// Every package installed twice, into the stage that keeps them.
#[test]
fn a_debian_stage_comes_to_the_same_each_time() {
    let Some(cooper) = Cooper::new() else { return };
    let Some((debian, host)) = debian() else {
        return;
    };
    let mut args = host_secrets(&host);
    args.push(debian);
    args.extend(
        [
            "--target=build",
            "--verify-reproducible",
            "--source-date-epoch=1700000000",
            "--rewrite-timestamp",
            "-otype=cacheonly",
        ]
        .map(str::to_owned),
    );
    cooper
        .build(&Context::copy_of(&case("debian-c")), &args)
        .ok();
}

#[test]
fn a_python_application_with_packages_from_pypi() {
    let Some(cooper) = Cooper::new() else { return };
    let Some((debian, host)) = debian() else {
        return;
    };
    if need::package_index().is_none() {
        return;
    }
    let mut args = host_secrets(&host);
    args.push(debian);
    build_and_run(&cooper, "python-app", &args);
}

fn debian() -> Option<(String, std::path::PathBuf)> {
    need::apt_mirror()?;
    let host = need::image("host")?;
    let debian = need::image("debian")?;
    let option = format!("--build-context=debian=oci-layout://{}", debian.display());
    Some((option, host))
}

#[test]
fn a_web_server_of_seven_instructions_answers() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::copy_of(&case("httpd"));
    let dockerfile = std::fs::read_to_string(context.join("Dockerfile")).expect("a Dockerfile");
    assert_eq!(dockerfile.lines().count(), 7);
    cooper.build(&context, &["-t=httpd"]).ok();

    let address = format!("127.0.0.1:{}", free_port());
    let mut command = cooper.command();
    command
        .args(["run", "--rm", "--name=server", "--network=host", "-e"])
        .arg(format!("LISTEN={address}"))
        .arg("httpd");
    let server = crate::support::process::start(command, b"");
    let answer = ask(&address);
    // A first process that installs no handler gets no other signal.
    cooper.run(&["kill", "server"]).ok();
    let outcome = server.finish_within(Duration::from_secs(60));
    assert!(
        answer.starts_with("HTTP/1.") && answer.contains(" 200 OK"),
        "{answer}\n{outcome}"
    );
    assert!(
        answer.contains("an image of seven instructions"),
        "{answer}"
    );
}

/// Asks the server for its first page as soon as it answers.
fn ask(address: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    format!("nothing listens at {address}")
}
