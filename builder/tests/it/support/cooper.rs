//! A `cooper` with a store, a home and an environment of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine;
use cooper_runner::network::Namespace;
use serde_json::Value;
use tempfile::TempDir;

use super::process::{Outcome, Running, run, start};
use super::{Context, need};

/// The program under test, in its own world.
pub(crate) struct Cooper {
    dir: TempDir,
    root: PathBuf,
    busybox: PathBuf,
    network: OnceLock<Namespace>,
}

/// Commands that make bridges, addresses and packet rules.
const OF_CONTAINERS: [&str; 7] = [
    "create", "debug", "network", "restart", "run", "start", "system",
];

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Cached,
    Failed,
}

/// The steps of one build, as its `rawjson` progress tells them.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) outcome: Outcome,
    ended: BTreeMap<String, Ended>,
    /// What each step wrote.
    logs: BTreeMap<String, String>,
}

impl Cooper {
    /// Needs containers and the busybox image.
    pub(crate) fn new() -> Option<Self> {
        need::containers()?;
        let busybox = need::image("busybox")?;
        let dir = tempfile::Builder::new()
            .prefix("cooper-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory");
        for sub in ["home", "tmp", "run", "config"] {
            std::fs::create_dir(dir.path().join(sub)).expect("mkdir");
        }
        let root = dir.path().join("root");
        Some(Self {
            dir,
            root,
            busybox,
            network: OnceLock::new(),
        })
    }

    /// Returns the network that this test's containers have for a host: one of the test's own, so
    /// that nothing is changed for the machine, and nothing left. Only root can have it.
    pub(crate) fn network(&self) -> &Namespace {
        self.network
            .get_or_init(|| Namespace::create().expect("root makes network namespaces"))
    }

    /// Does `work` in the network that `args` are to run in.
    pub(crate) fn in_network<T: Send>(
        &self,
        args: &[impl AsRef<OsStr>],
        work: impl FnOnce() -> T + Send,
    ) -> T {
        let first = args.first().map(AsRef::as_ref);
        let isolated = OF_CONTAINERS
            .iter()
            .any(|name| first == Some(OsStr::new(name)));
        if !isolated || !need::is_root() {
            return work();
        }
        let network = self.network();
        let inside = || {
            network.enter().expect("root enters network namespaces");
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Returns the store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Uses another store directory.
    pub(crate) fn set_root(&mut self, root: PathBuf) {
        self.root = root;
    }

    /// Returns a path in this test's scratch directory.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns `cooper --root …` without any of the test runner's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.bare_command(env!("CARGO_BIN_EXE_cooper"));
        command.arg("--root").arg(&self.root);
        command
    }

    /// Returns `program` with the hermetic environment.
    pub(crate) fn bare_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.scratch("home"))
            .env("DOCKER_CONFIG", self.scratch("home/.docker"))
            .env("XDG_CONFIG_HOME", self.scratch("config"))
            .env("XDG_RUNTIME_DIR", self.scratch("run"))
            .env("TMPDIR", self.scratch("tmp"))
            .env("LC_ALL", "C.UTF-8")
            // Tests lie in the repository of the program, which none of them is about.
            .env("GIT_CEILING_DIRECTORIES", env!("CARGO_TARGET_TMPDIR"))
            .current_dir(self.dir.path());
        command
    }

    /// Runs `cooper ARGS`.
    #[track_caller]
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Outcome {
        let mut command = self.command();
        command.args(args);
        self.in_network(args, || run(command))
    }

    /// Starts `cooper ARGS` with `input` on its standard input.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, args: &[A], input: &[u8]) -> Running {
        let mut command = self.command();
        command.args(args);
        self.in_network(args, || start(command, input))
    }

    /// Returns the option that makes `FROM busybox` the image of `testdata/images`.
    pub(crate) fn busybox_context(&self) -> String {
        format!(
            "--build-context=busybox=oci-layout://{}",
            self.busybox.display()
        )
    }

    /// Returns the layout of the busybox image.
    pub(crate) fn busybox_layout(&self) -> &Path {
        &self.busybox
    }

    /// Returns `cooper build … CONTEXT`.
    pub(crate) fn build_command<A: AsRef<OsStr>>(&self, context: &Path, args: &[A]) -> Command {
        let mut command = self.command();
        command
            .arg("build")
            .arg(self.busybox_context())
            .args(args)
            .arg(context);
        command
    }

    /// Builds with plain progress.
    #[track_caller]
    pub(crate) fn build<A: AsRef<OsStr>>(&self, context: &Context, args: &[A]) -> Outcome {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--progress=plain")];
        all.extend(args.iter().map(AsRef::as_ref));
        run(self.build_command(context.path(), &all))
    }

    /// Starts a build with plain progress.
    pub(crate) fn start_build<A: AsRef<OsStr>>(&self, context: &Context, args: &[A]) -> Running {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--progress=plain")];
        all.extend(args.iter().map(AsRef::as_ref));
        start(self.build_command(context.path(), &all), b"")
    }

    /// Builds with rawjson progress and returns the steps, whether the build succeeded or not.
    #[track_caller]
    pub(crate) fn steps<A: AsRef<OsStr>>(&self, context: &Context, args: &[A]) -> Steps {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--progress=rawjson")];
        all.extend(args.iter().map(AsRef::as_ref));
        Steps::of(run(self.build_command(context.path(), &all)))
    }

    /// Makes busybox known to the store under its own name.
    #[track_caller]
    pub(crate) fn load_busybox(&self) {
        let archive = self.scratch("busybox.tar");
        super::layout::archive(&self.busybox, "busybox:latest", &archive);
        self.run(&[OsStr::new("load"), OsStr::new("-i"), archive.as_os_str()])
            .ok();
    }

    /// Builds `context` and returns its OCI layout directory.
    #[track_caller]
    pub(crate) fn build_layout<A: AsRef<OsStr>>(&self, context: &Context, args: &[A]) -> PathBuf {
        let dest = self.scratch("layout");
        let _ = std::fs::remove_dir_all(&dest);
        let output = format!("-otype=oci,tar=false,dest={}", dest.display());
        let mut all: Vec<&OsStr> = vec![OsStr::new(&output)];
        all.extend(args.iter().map(AsRef::as_ref));
        self.build(context, &all).ok();
        dest
    }
}

impl Drop for Cooper {
    fn drop(&mut self) {
        // Directories that a build made unreadable would keep a user's TempDir from going.
        if !need::is_root() {
            let _ = Command::new("chmod")
                .args(["-R", "u+rwX"])
                .arg(self.dir.path())
                .status();
        }
    }
}

impl Steps {
    fn of(outcome: Outcome) -> Self {
        let mut names = BTreeMap::new();
        let mut ended = BTreeMap::new();
        let mut logs: BTreeMap<String, String> = BTreeMap::new();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let objects = outcome
            .stderr
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for object in objects {
            for vertex in object["vertexes"].as_array().into_iter().flatten() {
                let name = text(&vertex["name"]);
                names.insert(text(&vertex["digest"]), name.clone());
                let state = if vertex["cached"] == true {
                    Ended::Cached
                } else if vertex["error"].is_string() {
                    Ended::Failed
                } else if vertex["completed"].is_string() {
                    Ended::Done
                } else {
                    continue;
                };
                ended.insert(name, state);
            }
            for log in object["logs"].as_array().into_iter().flatten() {
                let name = names
                    .get(&text(&log["vertex"]))
                    .cloned()
                    .unwrap_or_default();
                let data = base64::engine::general_purpose::STANDARD
                    .decode(text(&log["data"]))
                    .expect("log data is base64");
                logs.entry(name)
                    .or_default()
                    .push_str(&String::from_utf8_lossy(&data));
            }
        }
        Self {
            outcome,
            ended,
            logs,
        }
    }

    /// Panics unless the build succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        let Self {
            outcome,
            ended,
            logs,
        } = self;
        Self {
            outcome: outcome.ok(),
            ended,
            logs,
        }
    }

    /// Returns the instructions that ended in `state`, sorted, without the builder's own steps and FROM.
    pub(crate) fn that(&self, state: Ended) -> Vec<String> {
        let mut found: Vec<String> = self
            .ended
            .iter()
            .filter(|(_, ended)| **ended == state)
            .filter_map(|(name, _)| {
                let (head, instruction) = name.strip_prefix('[')?.split_once("] ")?;
                (!head.ends_with("internal") && !instruction.starts_with("FROM "))
                    .then(|| instruction.to_owned())
            })
            .collect();
        found.sort();
        found
    }

    /// Returns the instructions that were executed.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.that(Ended::Done)
    }

    /// Returns the instructions that came from the cache.
    pub(crate) fn cached(&self) -> Vec<String> {
        self.that(Ended::Cached)
    }

    /// Returns what the steps wrote, joined in the order of their names.
    pub(crate) fn output(&self) -> String {
        self.logs.values().map(String::as_str).collect()
    }
}
