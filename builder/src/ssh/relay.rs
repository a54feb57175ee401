//! A socket in front of an agent, for one step.
//!
//! Messages are those of draft-ietf-sshm-ssh-agent: a length of four bytes, a type of one, the
//! content. What comes from the step is looked at before it is passed on.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The longest message that is passed on, in bytes; OpenSSH's own limit.
const MAX_MESSAGE: usize = 256 << 10;
/// The socket's name in the relay's directory.
const SOCKET: &str = "agent";

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const REMOVE_ALL_IDENTITIES: u8 = 19;
const EXTENSION: u8 = 27;
/// Extensions that tell an agent more about a signature that is going to be asked for.
const EXTENSIONS: [&[u8]; 2] = [b"query", b"session-bind@openssh.com"];

/// One message of either side, without its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Asks an agent to forget all keys.
    pub(super) fn forget_all() -> Self {
        Self(vec![REMOVE_ALL_IDENTITIES])
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content)?;
        Ok(Self(content))
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = (self.0.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.0);
        to.write_all(&bytes)
    }

    /// Whether a step may ask for this.
    fn is_harmless(&self) -> bool {
        match self.0.split_first() {
            Some((&(REQUEST_IDENTITIES | SIGN_REQUEST), _)) => true,
            Some((&EXTENSION, content)) => EXTENSIONS.iter().any(|name| {
                let length = (name.len() as u32).to_be_bytes();
                content
                    .strip_prefix(&length)
                    .is_some_and(|rest| rest.starts_with(name))
            }),
            _ => false,
        }
    }
}

/// Connects to a socket, however long its path.
pub(super) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket);
    };
    let dir = fs::File::open(dir)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// Whom the socket belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayOptions {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A socket in front of an agent; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    dir: PathBuf,
    socket: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Opens the socket in `dir`, which is made.
    pub(crate) fn open(agent: &Path, dir: PathBuf, options: RelayOptions) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&dir)?;
        let handle = fs::File::open(&dir)?;
        let short = Path::new(&format!("/proc/self/fd/{}", handle.as_raw_fd())).join(SOCKET);
        let listener = UnixListener::bind(short)?;
        let socket = dir.join(SOCKET);
        std::os::unix::fs::chown(&socket, Some(options.uid), Some(options.gid))?;
        fs::set_permissions(&socket, Permissions::from_mode(options.mode))?;
        let over = Arc::new(AtomicBool::new(false));
        let (agent, ended) = (agent.to_owned(), Arc::clone(&over));
        let thread = std::thread::Builder::new()
            .name("ssh relay".into())
            .spawn(move || accept(&listener, &agent, &ended))?;
        Ok(Self {
            dir,
            socket,
            over,
            thread: Some(thread),
        })
    }

    /// Returns the socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // The listener wakes by one more connection; without it, its thread is left behind.
        if connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn accept(listener: &UnixListener, agent: &Path, over: &AtomicBool) {
    for step in listener.incoming() {
        if over.load(Ordering::Acquire) {
            return;
        }
        let Ok(step) = step else { return };
        let agent = agent.to_owned();
        // A step that cannot be served sees its connection end.
        let _ = std::thread::Builder::new()
            .name("ssh relay".into())
            .spawn(move || serve(step, &agent));
    }
}

/// Passes messages on until either side ends.
fn serve(mut step: UnixStream, agent: &Path) -> Option<()> {
    let mut agent = connect(agent).ok()?;
    loop {
        let asked = Message::read(&mut step).ok()?;
        let answer = if asked.is_harmless() {
            asked.write(&mut agent).ok()?;
            Message::read(&mut agent).ok()?
        } else {
            Message(vec![FAILURE])
        };
        answer.write(&mut step).ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str) -> Message {
        let mut content = vec![EXTENSION];
        content.extend((name.len() as u32).to_be_bytes());
        content.extend(name.as_bytes());
        Message(content)
    }

    #[test]
    fn keys_can_be_used_and_nothing_else_be_done() {
        for (message, harmless) in [
            (Message(vec![REQUEST_IDENTITIES]), true),
            (Message(vec![SIGN_REQUEST, 1, 2]), true),
            (extension("session-bind@openssh.com"), true),
            (extension("add-everything@example.com"), false),
            (Message(vec![17, 0]), false),
            (Message(vec![18, 0]), false),
            (Message::forget_all(), false),
            (Message(vec![22, 0]), false),
            (Message(vec![25, 0]), false),
            (Message(vec![]), false),
        ] {
            assert_eq!(message.is_harmless(), harmless, "{message:?}");
        }
    }

    #[test]
    fn a_step_speaks_to_the_agent_through_the_relay() {
        let dir = tempfile::tempdir().expect("a directory");
        let agent_path = dir.path().join("real");
        let agent = UnixListener::bind(&agent_path).expect("bind");
        let served = std::thread::spawn(move || {
            let (mut stream, _) = agent.accept().expect("accept");
            let asked = Message::read(&mut stream).expect("read");
            Message(vec![12, 0, 0, 0, 0])
                .write(&mut stream)
                .expect("write");
            (asked, Message::read(&mut stream).is_err())
        });
        // Longer than a socket's path may be.
        let deep = dir.path().join("d".repeat(120));
        let options = RelayOptions {
            mode: 0o640,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let relay = Relay::open(&agent_path, deep.clone(), options).expect("open");
        let mode = fs::metadata(relay.socket())
            .expect("the socket")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o640);
        let mut step = connect(relay.socket()).expect("connect");
        Message::forget_all().write(&mut step).expect("write");
        assert_eq!(
            Message::read(&mut step).expect("read"),
            Message(vec![FAILURE])
        );
        Message(vec![REQUEST_IDENTITIES])
            .write(&mut step)
            .expect("write");
        let answer = Message::read(&mut step).expect("read");
        assert_eq!(answer, Message(vec![12, 0, 0, 0, 0]));
        drop(step);
        let (asked, ended) = served.join().expect("the agent");
        assert_eq!((asked, ended), (Message(vec![REQUEST_IDENTITIES]), true));
        drop(relay);
        assert!(!deep.exists());
    }
}
