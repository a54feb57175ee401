//! Keys of the user's for steps and for git: agents, by the ids that `--ssh` gives them.
//!
//! No key ever reaches a step, only an agent's socket. A step gets a socket of its own, with the
//! owner and mode that it asks for, behind which a `Relay` passes on what using keys needs and
//! refuses the rest: a Dockerfile can sign with the user's keys while its step runs, and can
//! neither add keys to the user's agent nor remove or lock them. Key files are read into an agent
//! that is started for the build and forgets them with it.

mod keys;
mod relay;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::options::{SshSource, SshSpec};

use keys::KeyAgent;
pub(crate) use relay::{Relay, RelayOptions};

/// Keys that cannot be used.
#[derive(Debug, Error)]
pub enum SshError {
    /// A key file cannot be read.
    #[error("--ssh {id}: cannot read {}", path.display())]
    Key {
        /// The agent's id.
        id: String,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program of OpenSSH cannot be run.
    #[error("--ssh {id}: cannot run {program}")]
    Program {
        /// The agent's id.
        id: String,
        /// The program.
        program: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The agent did not take a key.
    #[error("--ssh {id}: {} is not a key that can be used: {reason}", path.display())]
    Refused {
        /// The agent's id.
        id: String,
        /// The file.
        path: PathBuf,
        /// What ssh-add says.
        reason: String,
    },
    /// The agent started for the build does not answer.
    #[error("--ssh {id}: ssh-agent does not answer")]
    Silent {
        /// The agent's id.
        id: String,
    },
}

impl SshError {
    /// Returns advice for the user.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Key { .. } => "--ssh ID=FILE names a private key, or the socket of an agent",
            Self::Program { .. } => {
                "install openssh-client, or pass the socket of a running agent: --ssh default"
            }
            Self::Refused { .. } => {
                "a key with a passphrase has to be added to your agent first (ssh-add FILE), \
                 which --ssh default then passes on"
            }
            Self::Silent { .. } => "pass the socket of a running agent: --ssh default",
        }
    }
}

/// The agents of one build.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    agents: BTreeMap<String, Agent>,
}

#[derive(Debug)]
enum Agent {
    /// The user's.
    Running(PathBuf),
    /// One of the build's own.
    Own(KeyAgent),
}

impl Agents {
    /// Starts what has to be started; `dir` is made if need be, `path` is where programs are.
    pub(crate) fn start(specs: &[SshSpec], dir: &Path, path: &OsStr) -> Result<Self, SshError> {
        let mut agents = BTreeMap::new();
        for (number, spec) in specs.iter().enumerate() {
            let agent = match &spec.source {
                SshSource::Agent(socket) => Agent::Running(socket.clone()),
                SshSource::Keys(files) => {
                    let dir = dir.join(number.to_string());
                    Agent::Own(KeyAgent::start(&spec.id, files, dir, path)?)
                }
            };
            agents.insert(spec.id.clone(), agent);
        }
        Ok(Self { agents })
    }

    /// Returns the socket of the agent with this id, if one was given.
    pub(crate) fn socket(&self, id: &str) -> Option<&Path> {
        Some(match self.agents.get(id)? {
            Agent::Running(socket) => socket,
            Agent::Own(agent) => agent.socket(),
        })
    }
}
