//! `cooper debug`: a shell with a static busybox in an image, a step of a build or a container,
//! whatever is in it.

use crate::exit::ExitCode;
use std::path::Path;

use clap::Args;

use super::Settings;
use super::container::ExecArgs;
use super::run::{ContainerArgs, MountArgs, ProcessArgs, RelayArgs, RunArgs};
use super::session::Session;
use crate::build::BUSYBOX;
use crate::busybox;
use crate::container::Containers;
use crate::report::Report;

/// Options of `cooper debug`.
#[derive(Args, Clone, Debug)]
pub struct DebugArgs {
    /// A running container, an image, or a step of a build by the ID that `cooper cache why` shows
    pub target: String,

    /// Run this instead of a shell at the terminal
    #[arg(short, long, value_name = "COMMAND")]
    pub command: Option<String>,

    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]", default_value = "0:0")]
    pub user: String,
}

impl DebugArgs {
    /// Runs the shell and returns its exit code.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let busybox = busybox::find().ok_or_else(|| {
            Report::new("this machine has no static busybox to lend")
                .hint("install the package busybox-static")
        })?;
        if self.is_container(settings)? {
            self.join(busybox).run(settings)
        } else {
            self.container(&busybox).run(settings)
        }
    }

    fn is_container(&self, settings: &Settings) -> Result<bool, Report> {
        let session = Session::open(settings)?;
        let Ok(found) = Containers::of(session.store.root()).one(&self.target) else {
            return Ok(false);
        };
        if found.is_active() {
            return Ok(true);
        }
        let name = &found.container.name;
        Err(
            Report::new(format!("container {name} is not running")).hint(format!(
                "look into what it left by `cooper commit {name} left` and `cooper debug left`"
            )),
        )
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec!["sh".to_owned()];
        if let Some(command) = &self.command {
            words.extend(["-c".to_owned(), command.clone()]);
        }
        words
    }

    /// Returns the command that joins a container with a program that is not in it.
    fn join(&self, busybox: std::path::PathBuf) -> ExecArgs {
        let interactive = self.command.is_none();
        ExecArgs {
            container: self.target.clone(),
            command: self.words(),
            program: Some(busybox),
            interactive,
            tty: interactive,
            user: Some(self.user.clone()),
            ..ExecArgs::default()
        }
    }

    /// Returns the command that makes a container which has the program mounted.
    fn container(&self, busybox: &Path) -> RunArgs {
        let interactive = self.command.is_none();
        RunArgs {
            container: ContainerArgs {
                image: self.target.clone(),
                command: self.words(),
                process: ProcessArgs {
                    rm: true,
                    interactive,
                    tty: interactive,
                    user: Some(self.user.clone()),
                    entrypoint: Some(BUSYBOX.to_owned()),
                    ..ProcessArgs::default()
                },
                mounts: MountArgs {
                    volume: vec![format!("{}:{BUSYBOX}:ro", busybox.display())],
                    ..MountArgs::default()
                },
                ..ContainerArgs::default()
            },
            relay: RelayArgs {
                sig_proxy: true,
                detach_keys: None,
            },
            ..RunArgs::default()
        }
    }
}
