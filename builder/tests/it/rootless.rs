//! The same, as a user without privileges.
//!
//! Run by root, the tests become `nobody`: once with a range of subordinate ids, which is
//! written to a private view of /etc, and once with the one id that every user has.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Outcome, run};
use crate::support::{Context, Cooper, need};

/// The user id under which these tests run when root starts them.
const NOBODY: u32 = 65534;

/// The ids that a user may map into a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    /// Its own, which becomes root.
    One,
    /// Its own and 65536 subordinate ones, by newuidmap and newgidmap.
    Range,
}

/// A store and a copy of cooper that an unprivileged user can reach.
struct Unprivileged {
    dir: TempDir,
    busybox: PathBuf,
    ids: Ids,
}

impl Unprivileged {
    fn new(ids: Ids) -> Option<Self> {
        need::root()?;
        need::tool("setpriv")?;
        if ids == Ids::Range {
            need::tool("newuidmap")?;
            if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
                return need::skip("there is no /etc/subuid to lay another over");
            }
        }
        let layout = need::image("busybox")?;
        let dir = tempfile::Builder::new()
            .prefix("cooper-rootless-")
            .tempdir_in("/var/tmp")
            .expect("a temporary directory");
        let user = Self {
            busybox: dir.path().join("busybox"),
            dir,
            ids,
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

    /// Returns `program` as the unprivileged user, with a view of /etc/subuid of its own and the
    /// network device that most systems give to everyone.
    fn command(&self, program: &str) -> Command {
        let ids = match self.ids {
            Ids::One => "",
            Ids::Range => "nobody:200000:65536\n",
        };
        let file = self.dir.path().join("subids");
        std::fs::write(&file, ids).expect("write");
        let script = "for file in /etc/subuid /etc/subgid; do \
             test ! -e $file || mount --bind \"$0\" $file; done; \
             if test -e /dev/net/tun; then mount -t tmpfs tmpfs /dev/net; \
             mknod /dev/net/tun c 10 200; chmod 666 /dev/net/tun; fi; \
             exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-euc", script])
            .arg(file)
            .arg(program)
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

const DOCKERFILE: &str = "FROM busybox AS s\nCOPY f /f\n\
     RUN id -u; cat /f >/g; mkdir -p /d/e; rm /etc/group\n\
     FROM busybox\nCOPY --from=s /g /g\n\
     RUN rm -r /var/www && mkdir /var/www && cat /g\n";

fn builds_and_runs(ids: Ids) {
    let Some(user) = Unprivileged::new(ids) else {
        return;
    };
    user.build(DOCKERFILE, &["-t=a"]).ok();
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
    let second = user.build(DOCKERFILE, &["-t=a"]).ok();
    assert!(second.stderr.contains("CACHED"), "{second}");
}

#[test]
fn a_user_with_one_id_builds_and_runs() {
    builds_and_runs(Ids::One);
}

#[test]
fn an_id_that_a_user_does_not_have_is_a_clear_error() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    user.build("FROM busybox\nUSER mail\nRUN true\n", &["-t=a"])
        .exits(1)
        .says("group 8 does not exist here")
        .says("/etc/subuid");
}

#[test]
fn a_user_with_a_range_of_ids_builds_and_runs() {
    builds_and_runs(Ids::Range);
}

#[test]
fn a_user_with_a_range_of_ids_has_other_users_inside() {
    let Some(user) = Unprivileged::new(Ids::Range) else {
        return;
    };
    let tar = user.dir.path().join("home/out.tar");
    let output = format!("-otype=tar,dest={}", tar.display());
    user.build(
        "FROM busybox\nRUN printf x >/theirs && chown 33:34 /theirs\nUSER mail\n\
         RUN printf \"$(id -un)\" >/tmp/mine\nCOPY --chown=5:6 f /f\n",
        &[&output],
    )
    .ok();
    let tree = crate::support::tree::read_tar(&tar);
    assert_eq!(tree["theirs"], "theirs 644 33:34 \"x\"");
    assert_eq!(tree["tmp/mine"], "tmp/mine 644 8:8 \"mail\"");
    assert_eq!(tree["f"], "f 644 5:6 \"x\\n\"");
}

#[test]
fn a_user_builds_from_repositories_and_with_keys() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    for program in ["git", "ssh-agent", "ssh-keygen"] {
        let Some(()) = need::tool(program) else {
            return;
        };
    }
    let at = |name: &str| user.dir.path().join(name).display().to_string();
    let script = format!(
        "cd '{}'; ssh-keygen -q -t ed25519 -N '' -f key
         git init -q r; cd r; echo x >x; git add x
         git -c user.name=a -c user.email=a@example.com commit -q -m x",
        at("home")
    );
    let mut command = user.command("sh");
    command.args(["-euc", &script]);
    run(command).ok();
    let context = format!("--build-context=r=file://{}/r?keep-git-dir=1", at("home"));
    let key = format!("--ssh=default={}/key", at("home"));
    let dockerfile = "FROM busybox\nCOPY --from=r . /r\n\
         RUN --mount=type=ssh,required stat -c '%a %u:%g %F' $SSH_AUTH_SOCK; cat /r/x /r/.git/HEAD\n";
    user.build(dockerfile, &[&context, &key, "-otype=cacheonly"])
        .ok()
        .says("600 0:0 socket");
}

/// The digest of what root and a user build of the same, with a source date epoch.
#[test]
fn root_and_a_user_build_the_same_bytes() {
    let Some(user) = Unprivileged::new(Ids::Range) else {
        return;
    };
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM busybox AS one\n\
        RUN mkdir /d && echo 1 > /d/f && ln /d/f /d/g && chown 5:6 /d/f && chmod 4755 /d/f\n\
        FROM busybox\nCOPY --from=one --chown=7:8 /d /d\nCOPY --link f /f\nRUN rm /d/g && touch /d\n";
    let args = |dest: &Path| {
        [
            "--source-date-epoch=1700000000".to_owned(),
            "--provenance=mode=max".to_owned(),
            format!(
                "-otype=oci,tar=false,rewrite-timestamp=true,dest={}",
                dest.display()
            ),
        ]
    };
    let digest = |layout: &Path| {
        let index = crate::support::layout::index(layout);
        index["manifests"][0]["digest"]
            .as_str()
            .expect("a digest")
            .to_owned()
    };
    let theirs = user.dir.path().join("home/layout");
    let options = args(&theirs);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    user.build(dockerfile, &options).ok();
    let own = cooper.scratch("layout");
    let context = Context::new(dockerfile).with("f", "x\n");
    cooper.build(&context, &args(&own)).ok();
    assert_eq!(digest(&theirs), digest(&own));
}

#[test]
fn a_users_store_is_in_the_data_directory() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    user.build("FROM busybox\nLABEL a=b\n", &["-t=a"]).ok();
    assert!(user.dir.path().join("home/.local/share/cooper").is_dir());
}

#[test]
fn a_user_exports_root_owned_files() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    let tar = user.dir.path().join("home/out.tar");
    let output = format!("-otype=tar,dest={}", tar.display());
    user.build("FROM scratch\nCOPY f /f\n", &[&output]).ok();
    let tree = crate::support::tree::read_tar(&tar);
    assert_eq!(tree["f"], "f 644 0:0 \"x\\n\"");
}

#[test]
fn foreign_programs_run_by_an_emulator_that_the_user_registers_for_itself() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    let Some(foreign) = need::image("busybox-arm64") else {
        return;
    };
    if need::tool("qemu-aarch64-static").is_none() {
        return;
    }
    let mut own = user.command("unshare");
    let mount = ["-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"];
    own.args(["--user", "--map-root-user", "--mount", "mount"])
        .args(mount);
    if run(own).code() != 0 {
        let _: Option<()> = need::skip("emulators of one user need Linux 6.7");
        return;
    }
    let visible = user.dir.path().join("busybox-arm64");
    let status = Command::new("cp")
        .arg("-r")
        .args([&foreign, &visible])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "cp");
    let context = format!("--build-context=foreign=oci-layout://{}", visible.display());
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS native\nRUN uname -m >/native\n\
         FROM foreign\nCOPY --from=native /native /native\n\
         RUN uname -m >/emulated && ls -d /bin && cat /native /emulated | tr '\\n' ' '\n";
    let built = user.build(dockerfile, &["--platform=linux/arm64", &context]);
    built
        .ok()
        .says(&format!("{} aarch64 ", std::env::consts::ARCH));
    let doctor = user.cooper(&["doctor"]).ok().out();
    assert!(doctor.contains("linux/arm64 (by "), "{doctor}");
}

#[test]
fn a_user_has_a_network_and_publishes_ports() {
    let Some(user) = Unprivileged::new(Ids::Range) else {
        return;
    };
    let Some(()) = leads_outside() else { return };
    user.build("FROM busybox\n", &["-t=a"]).ok();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        free.local_addr().expect("has one").port()
    };
    let publish = format!("-p=127.0.0.1:{port}:80");
    let script = "ip -4 -o addr show eth0 | wc -l; nc -l -p 80 -e /bin/echo served";
    let program = user.dir.path().join("cooper");
    let mut command = user.command(program.to_str().expect("UTF-8"));
    command.args(["run", "--rm", &publish, "a", "sh", "-c", script]);
    let container = crate::support::process::start(command, b"");
    let mut served = String::new();
    // It listens some time after the port is there.
    while served.is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(50));
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let _ = std::io::Read::read_to_string(&mut stream, &mut served);
        }
    }
    assert_eq!(served, "served\n");
    container.finish().ok().prints("1\n");
}

/// Tells whether slirp4netns can be had.
fn leads_outside() -> Option<()> {
    need::tool("slirp4netns")?;
    if Path::new("/dev/net/tun").exists() {
        return Some(());
    }
    need::skip("there is no /dev/net/tun")
}

#[test]
fn a_users_networks_connect_containers_by_name_and_alias_and_publish_ports() {
    let Some(user) = Unprivileged::new(Ids::Range) else {
        return;
    };
    let Some(()) = leads_outside() else { return };
    user.build("FROM busybox\n", &["-t=a"]).ok();
    user.cooper(&["network", "create", "--subnet=10.77.0.0/24", "net"])
        .ok();
    user.cooper(&["network", "create", "--internal", "inner"])
        .ok();
    let serve = ["a", "nc", "-ll", "-p", "80", "-e", "/bin/echo", "served"];
    let options = [
        "run",
        "-d",
        "--name=web",
        "--network=net",
        "-p=127.0.0.1::80",
    ];
    let alias = ["--network-alias=www", "--ip=10.77.0.9"];
    user.cooper(&[&options[..], &alias, &serve].concat()).ok();

    // Commands of their own, which share the network of that one.
    let reach = "for name in web www 10.77.0.9; do nc -w 5 $name 80 </dev/null; done";
    let run = ["run", "--rm", "--network=net", "a", "sh", "-c", reach];
    user.cooper(&run).ok().prints("served\nserved\nserved\n");
    let at = user.cooper(&["port", "web", "80"]).ok().out();
    let mut stream = std::net::TcpStream::connect(at.trim()).expect("connects");
    let mut served = String::new();
    std::io::Read::read_to_string(&mut stream, &mut served).expect("reads");
    assert_eq!(served, "served\n");

    // Networks are kept apart, and joined while containers run.
    let lone = ["run", "-d", "--name=lone", "--network=inner", "a"];
    user.cooper(&[&lone[..], &["sleep", "1000"]].concat()).ok();
    let fetch = [
        "exec",
        "lone",
        "sh",
        "-c",
        "nc -w 1 web 80 </dev/null || echo none",
    ];
    user.cooper(&fetch).ok().prints("none\n");
    user.cooper(&["network", "connect", "net", "lone"]).ok();
    user.cooper(&fetch).ok().prints("served\n");
    user.cooper(&["network", "disconnect", "net", "lone"]).ok();
    user.cooper(&fetch).ok().prints("none\n");
    user.cooper(&["network", "rm", "net"])
        .exits(1)
        .says("network net is in use by web");
    user.cooper(&["rm", "-f", "web", "lone"]).ok();
    user.cooper(&["network", "rm", "net", "inner"])
        .ok()
        .prints("net\ninner\n");
    user.cooper(&["network", "create", "--subnet=10.0.2.0/23", "x"])
        .exits(1)
        .says("subnet 10.0.2.0/23 overlaps with 10.0.2.0/24, which slirp4netns has");
}

#[test]
fn a_users_namespaces_end_with_the_last_command_or_container() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    user.build("FROM busybox\n", &["-t=a"]).ok();
    let holder = user
        .dir
        .path()
        .join("home/.local/share/cooper/namespaces/holder");
    let gone = || {
        while holder.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    gone();
    let of = |name: &str| {
        let show = ["exec", name, "readlink", "/proc/self/ns/user"];
        user.cooper(&show).ok().out()
    };
    for name in ["one", "two"] {
        let name = format!("--name={name}");
        user.cooper(&["run", "-d", &name, "--network=none", "a", "sleep", "1000"])
            .ok();
    }
    assert_eq!(of("one"), of("two"));
    assert!(holder.exists());
    user.cooper(&["rm", "-f", "one", "two"]).ok();
    gone();
}

#[test]
fn a_users_containers_live_alone_and_are_entered_copied_from_and_stopped() {
    let Some(user) = Unprivileged::new(Ids::Range) else {
        return;
    };
    user.build("FROM busybox\n", &["-t=a"]).ok();
    let script = "trap 'echo stopped; exit 4' TERM; echo begun; while :; do sleep 0.05; done";
    let options = [
        "run",
        "-d",
        "--name=web",
        "--network=none",
        "a",
        "sh",
        "-c",
        script,
    ];
    user.cooper(&options).ok();
    let look = "id -u; [ $(cat /proc/1/comm) = sh ] && echo inside; echo made > /f; chown 8:8 /f";
    user.cooper(&["exec", "web", "sh", "-c", look])
        .ok()
        .prints("0\ninside\n");
    let who = ["exec", "-u", "mail", "web", "stat", "-c", "%u %U", "/f"];
    user.cooper(&who).ok().prints("8 mail\n");
    let (home, got) = (
        user.dir.path().join("home"),
        user.dir.path().join("home/got"),
    );
    let got = got.display().to_string();
    user.cooper(&["cp", "web:/f", &got]).ok();
    assert_eq!(std::fs::read_to_string(&got).expect("reads"), "made\n");
    user.cooper(&["cp", &got, "web:/back"]).ok();
    user.cooper(&["exec", "web", "cat", "/back"])
        .ok()
        .prints("made\n");
    let changed = user.cooper(&["diff", "web"]).ok().out();
    assert!(
        changed.contains("A /back") && changed.contains("A /f"),
        "{changed}"
    );
    let offered = [
        "run",
        "-d",
        "--name=donor",
        "--network=none",
        "--ipc=shareable",
    ];
    let write = ["a", "sh", "-c", "echo theirs > /dev/shm/x; sleep 1000"];
    user.cooper(&[&offered[..], &write].concat()).ok();
    let look = "until [ -s /dev/shm/x ]; do :; done; cat /dev/shm/x";
    let joined = ["run", "--rm", "--network=none", "--ipc=container:donor"];
    user.cooper(&[&joined[..], &["a", "sh", "-c", look]].concat())
        .ok()
        .prints("theirs\n");
    user.cooper(&["rm", "-f", "donor"]).ok();
    user.cooper(&["pause", "web"]).ok();
    user.cooper(&["unpause", "web"]).ok();
    user.cooper(&["stop", "web"]).ok();
    user.cooper(&["logs", "web"])
        .ok()
        .prints("begun\nstopped\n");
    let code = ["inspect", "--format={{.State.ExitCode}}", "web"];
    user.cooper(&code).ok().prints("4\n");
    user.cooper(&["rm", "web"]).ok();
    assert!(crate::support::mounts::below(&home).is_empty());
}

/// A control group that was handed over to the unprivileged user, as systemd does with
/// `Delegate=yes`.
struct HandedOver(PathBuf);

impl HandedOver {
    fn new() -> Option<Self> {
        let name = format!("cooper-test-{}", std::process::id());
        let one = Path::new("/sys/fs/cgroup/memory");
        let two = Path::new("/sys/fs/cgroup");
        let dir = if one.join("memory.limit_in_bytes").exists() {
            one.join(name)
        } else if two.join("cgroup.controllers").exists() {
            std::fs::write(two.join("cgroup.subtree_control"), "+memory").ok()?;
            two.join(name)
        } else {
            return need::skip("no control group limits memory here");
        };
        std::fs::create_dir(&dir).expect("root makes groups");
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            let path = dir.join(file);
            if path.exists() {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
            }
        }
        Some(Self(dir))
    }

    /// Runs `command` in the group.
    #[track_caller]
    fn run(&self, command: &Command) -> Outcome {
        let mut inside = Command::new("sh");
        inside
            .args(["-euc", "echo $$ > \"$0\"/cgroup.procs; exec \"$@\""])
            .arg(&self.0)
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .current_dir(command.get_current_dir().expect("one was set"));
        let envs = command.get_envs();
        inside.envs(envs.filter_map(|(name, value)| Some((name, value?))));
        run(inside)
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        // On version 2 cooper moved itself into one below, where it may have made more.
        for below in ["cooper/cooper", "cooper", ""] {
            let dir = self.0.join(below);
            // The last process is dead by now, and may not be forgotten yet.
            for _ in 0..400 {
                if std::fs::remove_dir(&dir).is_ok() || !dir.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

#[test]
fn memory_is_limited_in_a_group_that_was_handed_over() {
    let Some(user) = Unprivileged::new(Ids::One) else {
        return;
    };
    user.build("FROM busybox\n", &["-t", "busybox"]).ok();
    let Some(group) = HandedOver::new() else {
        return;
    };
    let program = user.dir.path().join("cooper");
    let cooper = |args: &[&str]| {
        let mut command = user.command(program.to_str().expect("UTF-8"));
        command.args(args);
        group.run(&command)
    };
    let options = ["run", "-d", "--network=none", "--name=small", "-m=32m"];
    let args = [&options[..], &["busybox", "sleep", "1000"]].concat();
    let started = cooper(&args);
    let stats = [
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.MemUsage}}",
    ];
    let seen = cooper(&stats);
    let removed = cooper(&["rm", "-f", "small"]);
    started.ok();
    removed.ok();
    let seen = seen.ok().out();
    assert!(
        seen.starts_with("small ") && seen.ends_with("/ 32MiB\n"),
        "{seen}"
    );
    // No group of that controller was: what to do is said.
    let refused = user.cooper(&["run", "--rm", "--network=none", "-m=32m", "busybox", "true"]);
    refused.exits(125).says("Delegate=yes");
}
