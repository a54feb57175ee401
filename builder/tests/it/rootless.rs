//! The same, as a user without privileges.
//!
//! Run by root, the tests become a user who owns a range of subordinate ids where the
//! machine has one, and `nobody` otherwise (one id mapped).

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Outcome, run};
use crate::support::{Context, need};

/// The user id under which these tests run when root starts them.
const NOBODY: u32 = 65534;

/// A store and a copy of cooper that an unprivileged user can reach.
struct Unprivileged {
    dir: TempDir,
    busybox: PathBuf,
}

impl Unprivileged {
    fn new() -> Option<Self> {
        need::root()?;
        need::tool("setpriv")?;
        let layout = need::image("busybox")?;
        let dir = tempfile::Builder::new()
            .prefix("cooper-rootless-")
            .tempdir_in("/var/tmp")
            .expect("a temporary directory");
        let user = Self {
            busybox: dir.path().join("busybox"),
            dir,
        };
        user.open(user.dir.path());
        for (from, to) in [
            (layout.as_path(), "busybox"),
            (Path::new(env!("CARGO_BIN_EXE_cooper")), "cooper"),
        ] {
            let status = Command::new("cp")
                .arg("-r")
                .arg(from)
                .arg(user.dir.path().join(to))
                .status();
            assert!(status.is_ok_and(|status| status.success()), "cp");
        }
        std::fs::create_dir(user.dir.path().join("home")).expect("mkdir");
        user.open(&user.dir.path().join("home"));
        if user.allowed() {
            return Some(user);
        }
        need::skip("this machine gives user namespaces to root only")
    }

    fn open(&self, path: &Path) {
        let _ = self;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--no-new-privs",
            ])
            .args(["--inh-caps=-all", program])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.dir.path().join("home"))
            .current_dir(self.dir.path());
        command
    }

    fn allowed(&self) -> bool {
        let mut command = self.command("unshare");
        command.args(["--user", "--map-root-user", "--mount", "true"]);
        run(command).code() == 0
    }

    #[track_caller]
    fn cooper(&self, args: &[&str]) -> Outcome {
        let program = self.dir.path().join("cooper");
        let mut command = self.command(program.to_str().expect("UTF-8"));
        command.args(args);
        run(command)
    }

    #[track_caller]
    fn build(&self, dockerfile: &str, args: &[&str]) -> Outcome {
        let context = Context::new(dockerfile).with("f", "x\n");
        let visible = self.dir.path().join("context");
        let _ = std::fs::remove_dir_all(&visible);
        let status = Command::new("cp")
            .arg("-r")
            .arg(context.path())
            .arg(&visible)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "cp");
        self.open(&visible);
        let busybox = format!(
            "--build-context=busybox=oci-layout://{}",
            self.busybox.display()
        );
        let mut all = vec!["build", "--progress=plain", busybox.as_str()];
        all.extend(args);
        all.push(visible.to_str().expect("UTF-8"));
        self.cooper(&all)
    }
}

#[test]
fn a_user_builds_and_runs() {
    let Some(user) = Unprivileged::new() else {
        return;
    };
    user.build(
        "FROM busybox AS s\nCOPY f /f\nRUN id -u; cat /f >/g; mkdir -p /d/e; rm /etc/group\n\
         FROM busybox\nCOPY --from=s /g /g\nRUN rm -r /var/www && mkdir /var/www && \
         mount 2>/dev/null | grep -c ' / '; cat /g\n",
        &["-t=a"],
    )
    .ok();
    user.cooper(&[
        "run",
        "--rm",
        "a",
        "sh",
        "-c",
        "id -u; cat /g; ls /var/www | wc -l",
    ])
    .ok()
    .prints("0\nx\n0\n");
    let second = user.build(
        "FROM busybox AS s\nCOPY f /f\nRUN id -u; cat /f >/g; mkdir -p /d/e; rm /etc/group\n\
         FROM busybox\nCOPY --from=s /g /g\nRUN rm -r /var/www && mkdir /var/www && \
         mount 2>/dev/null | grep -c ' / '; cat /g\n",
        &["-t=a"],
    );
    assert!(second.ok().stderr.contains("CACHED"));
}

#[test]
fn a_users_store_is_in_the_data_directory() {
    let Some(user) = Unprivileged::new() else {
        return;
    };
    user.build("FROM busybox\nLABEL a=b\n", &["-t=a"]).ok();
    assert!(user.dir.path().join("home/.local/share/cooper").is_dir());
}

#[test]
fn a_user_exports_root_owned_files() {
    let Some(user) = Unprivileged::new() else {
        return;
    };
    let tar = user.dir.path().join("home/out.tar");
    let output = format!("-otype=tar,dest={}", tar.display());
    user.build("FROM scratch\nCOPY f /f\n", &[&output]).ok();
    let tree = crate::support::tree::read_tar(&tar);
    assert_eq!(tree["f"], "f 644 0:0 \"x\\n\"");
}
