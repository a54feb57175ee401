//! Containers, a file a family of commands. Each test has a store of its own, and
//! [`Scene`] sees to it that nothing of it is left when the test ends.

mod escapes;
mod exec;
mod files;
mod health;
mod isolation;
mod lifecycle;
mod limits;
mod logs;
mod reboot;
mod run;
mod stats;
mod system;
mod terminal;
mod userns;
mod volumes;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::process::Outcome;
use crate::support::{Cooper, mounts};

/// A `cooper` that knows busybox, and leaves neither process nor mount behind.
struct Scene(Cooper);

fn loaded() -> Option<Scene> {
    let cooper = Cooper::new()?;
    cooper.load_busybox();
    Some(Scene(cooper))
}

impl std::ops::Deref for Scene {
    type Target = Cooper;

    fn deref(&self) -> &Cooper {
        &self.0
    }
}

impl Scene {
    /// Starts a container of busybox that nobody is attached to.
    #[track_caller]
    fn detached(&self, options: &[&str], command: &[&str]) {
        let args = [&["run", "-d"], options, &["busybox"], command].concat();
        self.run(&args).ok();
    }

    /// Returns what `inspect --format` gives of a container.
    #[track_caller]
    fn fact(&self, name: &str, template: &str) -> String {
        let outcome = self.run(&["inspect", "--format", template, name]).ok();
        outcome.out().trim_end().to_owned()
    }

    /// Waits until a fact of a container is `wanted`.
    #[track_caller]
    fn await_fact(&self, name: &str, template: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let is = self.fact(name, template);
            if is == wanted {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{template} of {name} is {is:?}, never {wanted:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log of a container holds `text`.
    #[track_caller]
    fn await_log(&self, name: &str, text: &str) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.run(&["logs", name]).ok();
            if log.out().contains(text) {
                return log;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the process that a container lives under: the parent of its first process.
    #[track_caller]
    fn kill_monitor(&self, name: &str) {
        let pid = self.fact(name, "{{.State.Pid}}");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let parent = rest.split_whitespace().nth(1).expect("a parent");
        let parent = Pid::from_raw(parent.parse().expect("a number"));
        kill_process(parent.expect("a parent"), Signal::KILL).expect("kills");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let listed = self.run(&["ps", "-aq"]).out();
        let mut args = vec!["rm", "-f"];
        args.extend(listed.lines());
        if args.len() > 2 {
            self.run(&args);
        }
        if std::thread::panicking() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Some(left) = holder_of(self.root()) {
            assert!(Instant::now() < deadline, "process {left} is left");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(mounts::below(self.root()), Vec::<String>::new());
    }
}

/// Returns a process that has a file below `root` open.
fn holder_of(root: &Path) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut holding = processes.filter(|process| {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            return false;
        };
        files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|file| file.starts_with(root))
    });
    let line = std::fs::read(holding.next()?.path().join("cmdline")).ok()?;
    Some(String::from_utf8_lossy(&line).replace('\0', " "))
}

/// Returns the documents of a JSON array.
fn documents(outcome: &Outcome) -> Vec<Value> {
    serde_json::from_slice(&outcome.stdout).expect("a JSON array")
}
