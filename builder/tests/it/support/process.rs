//! Runs a program to its end, with a limit on its time, and holds what it said.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a program may run before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    what: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Returns the exit code as a shell has it.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Returns standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Panics unless the program succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Panics unless the program ended with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(self.code() == code, "expected exit code {code}: {self}");
        self
    }

    /// Panics unless standard error holds `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "expected {text:?} on stderr: {self}"
        );
        self
    }

    /// Panics unless standard output is `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert_eq!(self.out(), text, "standard output of {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit code {} after {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.what,
            self.code(),
            self.took,
            String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(8192)]),
            self.stderr
        )
    }
}

/// A program that is running.
pub(crate) struct Running {
    what: String,
    child: Leader,
    begun: Instant,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: Captured,
}

/// A process and those of its group, which a test that fails does not leave behind.
struct Leader(Child);

impl Leader {
    fn kill(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

struct Captured {
    text: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn capture(mut from: impl Read + Send + 'static) -> Captured {
    let text = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let shared = std::sync::Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            shared.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    Captured { text, reader }
}

/// Starts `command` in a process group of its own, fed with `input`.
pub(crate) fn start(mut command: Command, input: &[u8]) -> Running {
    let what = format!("{command:?}");
    command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let begun = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
    }
    Running {
        what,
        begun,
        stdout: read_all(child.stdout.take().expect("stdout is a pipe")),
        stderr: capture(child.stderr.take().expect("stderr is a pipe")),
        child: Leader(child),
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child.0)
    }

    /// Returns what has been written to standard error so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.text.lock().unwrap()).into_owned()
    }

    /// Waits until standard error holds `text`.
    #[track_caller]
    pub(crate) fn wait_until_says(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.stderr_so_far().contains(text) {
            let ended = self.child.0.try_wait().expect("wait");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{} never said {text:?} (ended: {ended:?}): {}",
                self.what,
                self.stderr_so_far()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends `signal` to the program, not to its children.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Sends `signal` to the whole process group, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(self.pid(), signal);
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn finish(self) -> Outcome {
        self.finish_within(PATIENCE)
    }

    /// Waits for the end; a program that takes longer than `limit` is killed and fails the test.
    #[track_caller]
    pub(crate) fn finish_within(mut self, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.0.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill();
                panic!(
                    "{} took more than {limit:?}: {}",
                    self.what,
                    self.stderr_so_far()
                );
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.begun.elapsed();
        let stdout = self.stdout.join().expect("the reader of stdout");
        self.stderr.reader.join().expect("the reader of stderr");
        let stderr = String::from_utf8_lossy(&self.stderr.text.lock().unwrap()).into_owned();
        Outcome {
            what: self.what,
            status,
            stdout,
            stderr,
            took,
        }
    }
}

/// Runs `command` to its end.
#[track_caller]
pub(crate) fn run(command: Command) -> Outcome {
    start(command, b"").finish()
}

/// Runs a foreign program with `args` and panics unless it succeeds.
#[track_caller]
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Outcome {
    let mut command = Command::new(program);
    command.args(args);
    run(command).ok()
}

/// Returns the processes whose command line holds `mark`.
pub(crate) fn processes_with(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| *entry.file_name() != *own)
        .filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(mark).then_some(line)
        })
        .collect()
}

/// Waits up to `limit` for the end of all processes whose command line holds `mark`.
#[track_caller]
pub(crate) fn await_no_process_with(mark: &str, limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let left = processes_with(mark);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "processes are left: {left:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
