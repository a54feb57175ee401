//! `cooper completion`: scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::report::{Report, print_data};

/// Options of `cooper completion`.
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// The shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub shell: Shell,
}

impl CompletionArgs {
    /// Prints the script, to be read by the shell when it starts.
    pub fn run(&self) -> Result<(), Report> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cooper", &mut script);
        print_data(&String::from_utf8_lossy(&script))
    }
}
