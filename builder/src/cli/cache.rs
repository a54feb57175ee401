//! `cooper cache`: the build cache asked and kept in order.

use std::fmt::Write;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::carry::{ExportArgs, ImportArgs};
use super::du::DuArgs;
use super::fsck::FsckArgs;
use super::prune::PruneArgs;
use super::session::Session;
use super::{Settings, human};
use crate::build::{Memory, StepMemory};
use crate::report::{Report, did_you_mean, print_data};

/// Commands of `cooper cache`.
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum CacheCommand {
    /// Say why steps of the last build were executed, or were not
    Why(WhyArgs),
    /// Show what the build cache takes on disk
    Du(DuArgs),
    /// Remove what no image and no build needs
    Prune(PruneArgs),
    /// Write the cache mounts of RUN steps for other machines
    Export(ExportArgs),
    /// Take over the cache mounts of RUN steps from another machine
    Import(ImportArgs),
    /// Check the store for damage
    Fsck(FsckArgs),
}

impl CacheCommand {
    /// Does what was asked.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        match self {
            Self::Why(args) => args.run(settings),
            Self::Du(args) => args.run(settings),
            Self::Prune(args) => args.run(settings),
            Self::Fsck(args) => args.run(settings),
            Self::Export(args) => args.run(settings),
            Self::Import(args) => args.run(settings),
        }
    }
}

/// Options of `cooper cache why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// The step: its number, as in 2/5 or build 2/5, or a part of its instruction [default: all]
    #[arg(value_name = "STEP")]
    pub step: Option<String>,

    /// Of the builds of the Dockerfile whose path has this in it [default: the last build]
    #[arg(long = "of", value_name = "TEXT")]
    pub definition: Option<String>,
}

impl WhyArgs {
    fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let memories = Memory::all(&session.store).map_err(|error| Report::from_error(&error))?;
        let meant = |memory: &&Memory| {
            let text = self.definition.as_deref();
            text.is_none_or(|text| memory.title.contains(text))
        };
        let Some(memory) = memories.iter().find(meant) else {
            return Err(self.unknown_definition(&memories));
        };
        let steps: Vec<_> = memory
            .steps
            .iter()
            .filter(|step| self.step.as_deref().is_none_or(|text| is_meant(step, text)))
            .collect();
        if steps.is_empty() {
            return Err(self.unknown_step(memory));
        }
        let mut out = String::new();
        if self.step.is_none() {
            let ago = human::duration(Timestamp::now().as_second() - memory.at);
            let _ = writeln!(out, "{}, {ago} ago", memory.title);
        }
        for step in steps {
            out.push_str(&because(&step.display, step.short_id(), &step.why));
        }
        print_data(&out)
    }

    fn unknown_definition(&self, memories: &[Memory]) -> Report {
        let Some(text) = &self.definition else {
            return Report::new("no build here has executed anything yet");
        };
        let titles: Vec<_> = memories
            .iter()
            .map(|memory| memory.title.as_str())
            .collect();
        let report = Report::new(format!("no build of {text:?} is remembered"));
        match titles.as_slice() {
            [] => report,
            titles => report.hint(format!("remembered are: {}", titles.join("; "))),
        }
    }

    fn unknown_step(&self, memory: &Memory) -> Report {
        let step = self.step.as_deref().unwrap_or_default();
        let report = Report::new(format!("{} has no step {step:?}", memory.title));
        let commands = memory.steps.iter().map(|step| step.command.as_str());
        match did_you_mean(step, commands) {
            Some(known) => report.hint(format!("did you mean {known:?}?")),
            None => report.hint("`cooper cache why` lists all steps"),
        }
    }
}

/// Whether `text` is a step's number, or a part of its instruction.
fn is_meant(step: &StepMemory, text: &str) -> bool {
    let number = step
        .display
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let of_number =
        number.is_some_and(|(number, _)| number == text || number.rsplit(' ').next() == Some(text));
    of_number || step.command.contains(text)
}

/// Says why a step was executed or not, and the ID by which its result can be run.
pub(super) fn because(display: &str, id: &str, why: &[String]) -> String {
    let mut out = match id {
        "" => format!("{display}\n"),
        id => format!("{display} ({id})\n"),
    };
    for reason in why {
        let _ = writeln!(out, "  {reason}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_meant_by_its_number_or_its_words() {
        let step = StepMemory {
            display: "[build 2/5] RUN make all".to_owned(),
            command: "RUN make all".to_owned(),
            ..StepMemory::default()
        };
        for (text, meant) in [
            ("2/5", true),
            ("build 2/5", true),
            ("make", true),
            ("2", false),
            ("1/5", false),
            ("other 2/5", false),
        ] {
            assert_eq!(is_meant(&step, text), meant, "{text}");
        }
    }
}
