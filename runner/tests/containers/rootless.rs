//! The same without privileges: a caller of another uid, with and without subordinate ids.

use crate::support::{Sandbox, try_run_on};
use cooper_runner::{Mount, MountKind, Network, Runner, RunnerOptions, UserSpec, rootless};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

crate::cases! {
    single_mapping, subordinate_ids, root_needs_nothing,
}

const HELPER: &str = "COOPER_TEST_ROOTLESS";
/// A uid that no system gives to a user.
const UID: u32 = 61_234;

/// Prepares a directory of the unprivileged user with a copy of this program.
fn prepare(name: &str) -> PathBuf {
    let top = std::env::temp_dir().join(format!("cooper-test-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&top).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), top.join("program")).unwrap();
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(&top, Some(UID), Some(UID)).unwrap();
    top
}

fn finish(mut command: Command, top: &Path, expected: &str) {
    let output = command.env(HELPER, top.join("sandbox")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    std::fs::remove_dir_all(top).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text, expected, "{errors}");
}

fn single_mapping() {
    let top = prepare("single");
    let mut command = Command::new(top.join("program"));
    command.uid(UID).gid(UID);
    finish(command, &top, &expected("Single"));
}

fn subordinate_ids() {
    if !Path::new("/usr/bin/newuidmap").exists() {
        eprintln!("SKIPPED: needs newuidmap (package uidmap)");
        return;
    }
    let top = prepare("subordinate");
    std::fs::write(top.join("subid"), "cooper-test:700000:65536\n").unwrap();
    std::fs::write(
        top.join("passwd"),
        format!("root:x:0:0::/:/bin/sh\ncooper-test:x:{UID}:{UID}::/:/bin/sh\n"),
    )
    .unwrap();
    // In a mount namespace of its own, the machine's own databases stay as they are.
    let script = format!(
        "cd {top} && mount --bind subid /etc/subuid && mount --bind subid /etc/subgid && \
         mount --bind passwd /etc/passwd && exec setpriv --reuid {UID} --regid {UID} --clear-groups ./program",
        top = top.display()
    );
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !Path::new(file).exists() {
            eprintln!("SKIPPED: needs {file}");
            std::fs::remove_dir_all(&top).unwrap();
            return;
        }
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    finish(command, &top, &expected("Subordinate { ids: 65537 }"));
}

fn root_needs_nothing() {
    let shared = rootless::Shared::at("/nonexistent");
    assert_eq!(
        rootless::enter(&shared).unwrap(),
        rootless::Entered::AlreadyRoot
    );
}

/// With a single mapping there are no supplementary groups, as they cannot be set.
fn expected(entered: &str) -> String {
    let (groups, daemon) = match entered {
        "Single" => (
            "",
            "group 1 does not exist here: it is not mapped into the user namespace",
        ),
        _ => (
            " groups=0(root)",
            "uid=1(daemon) gid=1(daemon) groups=1(daemon),2(bin)",
        ),
    };
    format!(
        "{entered}\nuid=0(root) gid=0(root){groups}\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n\
         hosts\nsecret\nnull works\n1\nlo\n{daemon}\n[\"dev\", \"etc\", \"etc/group\", \"f\", \"proc\", \"sys\"]\n"
    )
}

/// The unprivileged caller.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn become_helper() -> Option<ExitCode> {
    let top = PathBuf::from(std::env::var_os(HELPER)?);
    let shared = rootless::Shared::at(top.join("namespaces"));
    println!("{:?}", rootless::enter(&shared).unwrap());
    let sandbox = Sandbox::rootless(top);
    let runner = Runner::start(RunnerOptions::new(sandbox.top.join("scratch"))).unwrap();
    let mut spec = sandbox.spec(
        "id; grep -e CapEff -e Seccomp: /proc/self/status; cat /etc/hosts /run/s; \
         echo x > /dev/null && echo null works; echo x > /f; rm /etc/group; echo $$",
    );
    spec.hosts = Some(b"hosts\n".to_vec());
    let kind = MountKind::File {
        data: b"secret\n".to_vec(),
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    spec.mounts.push(Mount {
        target: "/run/s".into(),
        kind,
        create_target: true,
    });
    print!("{}", try_run_on(&runner, &spec).unwrap().output);
    let mut spec = sandbox.spec("ls /sys/class/net");
    spec.network = Network::None;
    print!("{}", try_run_on(&runner, &spec).unwrap().output);
    let other = Sandbox::rootless(sandbox.top.join("other"));
    let mut spec = other.spec("id");
    spec.user = UserSpec("daemon".to_owned());
    match try_run_on(&runner, &spec) {
        Ok(outcome) => print!("{}", outcome.output),
        Err(error) => println!("{error}"),
    }
    println!("{:?}", sandbox.changes());
    Some(ExitCode::SUCCESS)
}
