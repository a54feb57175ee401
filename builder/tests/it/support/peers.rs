//! Other people's tools, each with storage of its own.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Outcome, run};
use super::{Cooper, layout, need};

/// Accepts every image, as a machine without signature policies does.
const POLICY: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;

/// Runs `skopeo ARGS`.
#[track_caller]
pub(crate) fn skopeo<A: AsRef<OsStr>>(cooper: &Cooper, args: &[A]) -> Outcome {
    let policy = cooper.scratch("policy.json");
    std::fs::write(&policy, POLICY).expect("write");
    let mut command = cooper.bare_command("skopeo");
    command.arg("--policy").arg(policy).args(args);
    run(command)
}

/// A podman that leaves the machine's own storage alone.
pub(crate) struct Podman<'a> {
    cooper: &'a Cooper,
    runtime: PathBuf,
    runroot: tempfile::TempDir,
}

impl<'a> Podman<'a> {
    /// Needs a podman that can run containers on this machine.
    pub(crate) fn new(cooper: &'a Cooper) -> Option<Self> {
        need::root()?;
        need::tool("podman")?;
        need::tool("crun")?;
        let podman = Self {
            runtime: Self::runtime(cooper),
            // Podman refuses a run root whose path is longer than 50 bytes.
            runroot: tempfile::Builder::new()
                .prefix("podman-")
                .tempdir_in("/tmp")
                .expect("a directory"),
            cooper,
        };
        let archive = cooper.scratch("podman-probe.tar");
        layout::archive(cooper.busybox_layout(), "probe:latest", &archive);
        let loaded = podman.command(&["load", "-q", "-i"], &[archive.as_os_str()]);
        let probe = if loaded.code() == 0 {
            podman.run_image("docker.io/library/probe:latest", &["true"])
        } else {
            loaded
        };
        if probe.code() == 0 {
            return Some(podman);
        }
        let reason = probe.stderr.trim();
        need::skip(&format!(
            "podman cannot run containers on this machine: {reason}"
        ))
    }

    /// Returns crun, or a wrapper where crun would refuse a hybrid cgroup tree.
    fn runtime(cooper: &Cooper) -> PathBuf {
        if !Path::new("/sys/fs/cgroup/unified").is_dir() {
            return PathBuf::from("crun");
        }
        let dir = cooper.scratch("runtime");
        std::fs::create_dir_all(&dir).expect("mkdir");
        let wrapper = dir.join("crun");
        let script = "#!/bin/sh\nexec unshare -m sh -c \
            'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"' crun \"$@\"\n";
        std::fs::write(&wrapper, script).expect("write");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&wrapper, mode).expect("chmod");
        wrapper
    }

    /// Runs `podman FIRST… REST…`.
    #[track_caller]
    pub(crate) fn command<A: AsRef<OsStr>>(&self, first: &[&str], rest: &[A]) -> Outcome {
        let mut command = self.cooper.bare_command("podman");
        // Named, it would have to exist.
        command.env_remove("DOCKER_CONFIG");
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        for (option, dir) in [("--root", "podman"), ("--tmpdir", "podman-tmp")] {
            command.arg(option).arg(self.cooper.scratch(dir));
        }
        command.arg("--runroot").arg(self.runroot.path());
        command.arg("--runtime").arg(&self.runtime);
        run({
            command.args(first).args(rest);
            command
        })
    }

    /// Runs `podman run IMAGE ARGS`.
    #[track_caller]
    pub(crate) fn run_image(&self, image: &str, args: &[&str]) -> Outcome {
        let options = [
            "run",
            "--rm",
            "--network=host",
            "--cgroups=disabled",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1000:1000",
            image,
        ];
        self.command(&options, args)
    }
}

/// A program that serves a port of this machine, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts `command` and waits until something listens on `port`.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("a server");
        let server = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The distribution project's registry, on a free port of this machine.
pub(crate) struct DockerRegistry {
    server: Server,
    log: PathBuf,
}

/// Returns a TCP port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

impl DockerRegistry {
    /// Needs `docker-registry`; starts one that stores below `cooper`'s scratch directory.
    pub(crate) fn start(cooper: &Cooper) -> Option<Self> {
        need::tool("docker-registry")?;
        let port = free_port();
        let config = cooper.scratch("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            cooper.scratch("registry").display()
        );
        std::fs::write(&config, text).expect("write");
        let log = cooper.scratch("registry.log");
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(config)
            .stdout(std::fs::File::create(&log).expect("a log"))
            .stderr(Stdio::null());
        let server = Server::start(&mut command, port);
        Some(Self { server, log })
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    /// Returns `METHOD /path` of every request that it has answered so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        let quoted = log.lines().filter_map(|line| line.split('"').nth(1));
        quoted
            .filter_map(|request| Some(request.rsplit_once(' ')?.0.to_owned()))
            .collect()
    }
}
