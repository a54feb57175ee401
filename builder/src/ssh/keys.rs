//! An agent for key files that lives as long as the build.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::SshError;
use super::relay::{Message, connect};

/// How long an agent may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the socket is looked for.
const POLL: Duration = Duration::from_millis(2);
/// The socket's name in the agent's directory.
const SOCKET: &str = "agent";
/// Larger than any key file, in bytes.
const MAX_KEY: u64 = 1 << 20;

/// An `ssh-agent` with the keys of some files.
///
/// It ends with the program that it was started for, here one that waits for the end of its
/// input: however this process ends, the pipe ends with it and no agent stays behind with keys.
#[derive(Debug)]
pub(super) struct KeyAgent {
    dir: PathBuf,
    socket: PathBuf,
    child: Child,
}

impl KeyAgent {
    pub(super) fn start(
        id: &str,
        files: &[PathBuf],
        dir: PathBuf,
        path: &OsStr,
    ) -> Result<Self, SshError> {
        let keys: Vec<Vec<u8>> = files
            .iter()
            .map(|file| {
                read_key(file).map_err(|source| SshError::Key {
                    id: id.to_owned(),
                    path: file.clone(),
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        let agent = Self::spawn(id, dir, path)?;
        for (file, key) in files.iter().zip(keys) {
            agent.add(id, file, &key, path)?;
        }
        Ok(agent)
    }

    fn spawn(id: &str, dir: PathBuf, path: &OsStr) -> Result<Self, SshError> {
        let failed = |source| SshError::Program {
            id: id.to_owned(),
            program: "ssh-agent",
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed)?;
        // The socket is named relative to the directory: its full path may be too long for one.
        let child = Command::new("ssh-agent")
            .args(["-a", SOCKET, "cat"])
            .env_clear()
            .env("PATH", path)
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut agent = Self {
            socket: dir.join(SOCKET),
            dir,
            child,
        };
        let begun = Instant::now();
        while connect(&agent.socket).is_err() {
            let ended = agent.child.try_wait().map_err(failed)?.is_some();
            if ended || begun.elapsed() > PATIENCE {
                return Err(SshError::Silent { id: id.to_owned() });
            }
            std::thread::sleep(POLL);
        }
        Ok(agent)
    }

    /// Adds a key; whoever would be asked for its passphrase is not there.
    fn add(&self, id: &str, file: &Path, key: &[u8], path: &OsStr) -> Result<(), SshError> {
        let failed = |source| SshError::Program {
            id: id.to_owned(),
            program: "ssh-add",
            source,
        };
        let mut child = Command::new("ssh-add")
            .args(["-q", "-"])
            .env_clear()
            .env("PATH", path)
            .env("SSH_AUTH_SOCK", SOCKET)
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not want to read it says why on its standard error.
            let _ = stdin.write_all(key);
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let reason = match words.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            Some(line) => line.to_owned(),
            None => "it needs a passphrase".to_owned(),
        };
        Err(SshError::Refused {
            id: id.to_owned(),
            path: file.to_owned(),
            reason,
        })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // It looks for its program every ten seconds; meanwhile it shall know nothing anymore.
        if let Ok(mut agent) = connect(&self.socket) {
            let _ = Message::forget_all().write(&mut agent);
            let _ = Message::read(&mut agent);
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    fs::File::open(path)?.take(MAX_KEY).read_to_end(&mut key)?;
    Ok(key)
}
