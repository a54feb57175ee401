//! Running git: a child process that can be trusted with a stranger's repository.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cooper_solver::CancelToken;
use rustix::process::{Pid, Signal, kill_process_group};

use super::access::Access;
use super::error::{GitError, Refusal};

/// The longest answer that is kept, in bytes. A repository of 100,000 branches says 7 MB.
const MAX_ANSWER: u64 = 64 << 20;
/// How much of git's complaints is kept, in bytes.
const MAX_WORDS: usize = 16 << 10;

/// Settings of every git process.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("credential.helper", ""),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("safe.directory", "*"),
];

/// Variables of every git process.
const VARIABLES: &[(&str, &str)] = &[
    ("LC_ALL", "C.UTF-8"),
    // A home without anything in it, also where the user's is somewhere else.
    ("HOME", "/nonexistent"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_PROTOCOL_FROM_USER", "0"),
];

/// Who follows the work, and may end it.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Ends it.
    pub(crate) cancel: &'a CancelToken,
    /// Is told what happens.
    pub(crate) log: &'a dyn Fn(&[u8]),
}

/// Git, as it is run on behalf of one repository.
#[derive(Clone, Copy)]
pub(crate) struct Git<'a> {
    pub(crate) access: &'a Access,
    pub(crate) watch: Watch<'a>,
}

/// One run of git.
pub(super) struct Run<'a> {
    git: Git<'a>,
    /// What it does, in a word.
    action: &'static str,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    variables: Vec<(&'static str, OsString)>,
}

impl<'a> Git<'a> {
    /// Returns a run of the subcommand `action`.
    pub(super) fn run(self, action: &'static str) -> Run<'a> {
        Run {
            git: self,
            action,
            args: Vec::new(),
            dir: None,
            // Nothing is looked for, wherever it runs.
            variables: vec![("GIT_DIR", "/nonexistent".into())],
        }
    }

    /// Makes a repository.
    pub(super) fn init(self, dir: &Path, options: &[&str], sha256: bool) -> Result<(), GitError> {
        let format = if sha256 { "sha256" } else { "sha1" };
        let mut run = self.run("init");
        run.variables.clear();
        run.options(&["--quiet", "--template=", "--object-format", format])
            .options(options)
            .words(&[dir])
            .answer()
            .map(drop)
    }
}

impl Run<'_> {
    /// Lets it work in the repository at `git_dir` alone.
    pub(super) fn within(mut self, git_dir: &Path) -> Self {
        self.variables.push(("GIT_DIR", git_dir.into()));
        self
    }

    /// Gives it a work tree and an index for it.
    pub(super) fn checking_out(mut self, tree: &Path, index: &Path) -> Self {
        self.variables.push(("GIT_WORK_TREE", tree.into()));
        self.variables.push(("GIT_INDEX_FILE", index.into()));
        self.dir = Some(tree.to_owned());
        self
    }

    /// Lets it read repositories on this machine.
    pub(super) fn on_this_machine(mut self) -> Self {
        self.variables.push(("GIT_ALLOW_PROTOCOL", "file".into()));
        self
    }

    /// Adds options, which are all written in this program.
    pub(super) fn options(mut self, options: &[&str]) -> Self {
        self.args.extend(options.iter().map(OsString::from));
        self
    }

    /// Adds words that are none of this program's: they cannot be taken for options.
    pub(super) fn words<W: AsRef<OsStr>>(mut self, words: &[W]) -> Self {
        self.args.push("--".into());
        self.args
            .extend(words.iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Adds a word that this program has made or checked.
    pub(super) fn plain(mut self, word: String) -> Self {
        self.args.push(word.into());
        self
    }

    /// Runs it and returns what it wrote to its standard output.
    pub(super) fn answer(self) -> Result<Vec<u8>, GitError> {
        let watch = self.git.watch;
        if watch.cancel.is_cancelled() {
            return Err(GitError::Canceled);
        }
        let mut child = self
            .command()
            .spawn()
            .map_err(|source| GitError::Start { source })?;
        let group = Pid::from_child(&child);
        let guard = watch.cancel.on_cancel(move || {
            // Its helpers are in its group, which may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        });
        let (answer, words) = streams(&mut child, watch.log);
        // The last moment at which the process cannot be another one.
        drop(guard);
        let status = child.wait().map_err(|source| GitError::Start { source })?;
        if watch.cancel.is_cancelled() {
            return Err(GitError::Canceled);
        }
        if status.success() {
            return Ok(answer);
        }
        Err(GitError::Failed {
            action: self.action,
            refusal: Refusal::of(&words),
            words: last_words(&words, || status.to_string()),
        })
    }

    /// Runs it and returns what it wrote as text without the last line break.
    pub(super) fn text(self) -> Result<String, GitError> {
        let answer = self.answer()?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    fn command(&self) -> Command {
        let access = self.git.access;
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", &access.path)
            .envs(VARIABLES.iter().copied())
            .envs(access.variables())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .arg(self.action)
            .args(&self.args)
            .current_dir(self.dir.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let own = SETTINGS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = own.chain(access.settings()).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command
    }
}

/// Reads both streams to their ends; what it complains of is told on the way.
fn streams(child: &mut Child, log: &dyn Fn(&[u8])) -> (Vec<u8>, String) {
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let mut stderr = child.stderr.take().expect("stderr is a pipe");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut answer = Vec::new();
            let mut stdout = stdout.take(MAX_ANSWER);
            // What comes behind the limit makes git end with an error of its own.
            let _ = stdout.read_to_end(&mut answer);
            answer
        });
        let mut words = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            log(&buffer[..count]);
            words.extend_from_slice(&buffer[..count]);
            let surplus = words.len().saturating_sub(MAX_WORDS);
            words.drain(..surplus);
        }
        let answer = reader.join().unwrap_or_default();
        (answer, String::from_utf8_lossy(&words).into_owned())
    })
}

/// Returns the line of git's complaints that says why, else the last one.
fn last_words(words: &str, otherwise: impl FnOnce() -> String) -> String {
    let lines: Vec<&str> = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let blamed = |line: &&&str| {
        let lower = line.to_lowercase();
        [
            "fatal:",
            "error:",
            "permission denied",
            "host key verification",
        ]
        .iter()
        .any(|mark| lower.contains(mark))
    };
    match lines.iter().find(blamed).or(lines.last()) {
        Some(line) => {
            let line = line.strip_prefix("fatal: ").unwrap_or(line);
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
        None => otherwise(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_why_is_picked() {
        for (words, expected) in [
            (
                "Cloning into 'x'...\nfatal: transport 'ext' not allowed\n",
                "transport 'ext' not allowed",
            ),
            (
                "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n",
                "git@h: Permission denied (publickey).",
            ),
            ("something\nelse\n", "else"),
            ("", "exit"),
        ] {
            assert_eq!(last_words(words, || "exit".to_owned()), expected);
        }
    }
}
