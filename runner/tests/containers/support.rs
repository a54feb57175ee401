//! A root made of busybox, and running commands over it.

use cooper_runner::{Exit, ProcessSpec, Rootfs, RunError, Runner, RunnerOptions, Stdio};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Says what this machine lacks to run the tests.
pub(crate) fn requirements() -> Result<(), &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Err("needs /bin/busybox (package busybox-static)");
    }
    Ok(())
}

/// Removed when dropped.
pub(crate) struct Sandbox {
    pub(crate) top: PathBuf,
    userxattr: bool,
}

pub(crate) static RUNNER: LazyLock<Runner> =
    LazyLock::new(|| Runner::start(RunnerOptions::new(scratch())).expect("the runner starts"));

/// The shared runner's directory; `main` removes it.
pub(crate) fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("cooper-test-{}-scratch", std::process::id()))
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) output: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::at(std::env::temp_dir().join(format!("cooper-test-{}-{count}", std::process::id())))
    }

    pub(crate) fn at(top: PathBuf) -> Self {
        let base = top.join("base");
        for directory in [
            "base/bin",
            "base/etc",
            "base/tmp",
            "base/root",
            "fs",
            "work",
        ] {
            std::fs::create_dir_all(top.join(directory)).unwrap();
        }
        std::fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
        for name in APPLETS {
            std::os::unix::fs::symlink("busybox", base.join("bin").join(name)).unwrap();
        }
        std::fs::write(base.join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(base.join("etc/group"), GROUP).unwrap();
        Self {
            top,
            userxattr: false,
        }
    }

    pub(crate) fn rootless(top: PathBuf) -> Self {
        let mut sandbox = Self::at(top);
        sandbox.userxattr = true;
        sandbox
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.top.join("base")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.top.join("fs")
    }

    /// Returns the paths in the upper directory, sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.upper(), "", &mut found);
        found.sort();
        found
    }

    pub(crate) fn spec(&self, script: &str) -> ProcessSpec {
        self.command(&["/bin/sh", "-c", script])
    }

    pub(crate) fn command(&self, args: &[&str]) -> ProcessSpec {
        let rootfs = Rootfs::Overlay {
            lowers: vec![self.base()],
            upper: self.upper(),
            work: self.top.join("work"),
            userxattr: self.userxattr,
        };
        let mut spec = ProcessSpec::new(rootfs, args);
        spec.env.push(("PATH".into(), "/bin".into()));
        spec
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.top);
    }
}

fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &format!("{name}/"), found);
        }
        found.push(name);
    }
}

/// Runs a spec with its output collected.
pub(crate) fn try_run_on(runner: &Runner, spec: &ProcessSpec) -> Result<Outcome, RunError> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio {
        stdin: File::open("/dev/null").unwrap().into(),
        stdout: writer.try_clone().unwrap().into(),
        stderr: writer.into(),
    };
    let process = runner.spawn(spec, stdio)?;
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let exit = process.wait()?;
    Ok(Outcome { exit, output })
}

pub(crate) fn try_run(spec: &ProcessSpec) -> Result<Outcome, RunError> {
    try_run_on(&RUNNER, spec)
}

/// Runs a spec that must succeed, and returns what it printed.
pub(crate) fn run(spec: &ProcessSpec) -> String {
    let outcome = try_run(spec).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(outcome.exit.success(), "{outcome:?}");
    outcome.output
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/sh\n\
                      mail:x:8:8::/var/mail:/bin/sh\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:daemon\nmail:x:8:\nusers:x:100:mail\n";

const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "id", "grep", "sleep", "echo", "mkdir", "touch", "rm", "mount", "umount",
    "ip", "stat", "hostname", "unshare", "readlink", "tty", "stty", "true", "chmod", "chown",
    "pwd", "test", "nc", "ps", "wc", "head", "cut", "find", "ln", "chroot", "dd", "tr", "sort",
    "mknod", "env", "kill",
];
