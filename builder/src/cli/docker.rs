//! What users of docker type before a command: its global options and its groups of commands.
//!
//! A group only says again what has a name of its own; whatever it cannot do, an option of
//! docker's that reaches for a daemon elsewhere above all, is an error.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{
    Command, bake, build, du, history, image_prune, images, import, info, inspect, manifest, prune,
    remote, tag, transfer,
};
use crate::report::Report;

/// Global options of docker's.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DockerArgs {
    /// Errors always say all there is
    #[arg(short = 'D', long, hide = true)]
    pub(super) debug: bool,

    /// Errors always say all there is
    #[arg(short = 'l', long, hide = true, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,

    /// There is no daemon, here or elsewhere
    #[arg(short = 'c', long, hide = true, value_name = "NAME")]
    pub(super) context: Option<String>,

    /// There is no daemon, here or elsewhere
    #[arg(short = 'H', long = "host", hide = true, value_name = "URL")]
    pub(super) hosts: Vec<String>,
}

impl DockerArgs {
    /// Refuses what would have the command done on another machine.
    pub(super) fn check(&self) -> Result<(), Report> {
        let hint = "there is no daemon to ask: leave it out, or run cooper on that machine";
        if let Some(context) = self.context.as_deref().filter(|name| *name != "default") {
            return Err(Report::new(format!("--context {context} means nothing here")).hint(hint));
        }
        match self.hosts.iter().find(|host| !host.starts_with("unix://")) {
            Some(host) => Err(Report::new(format!("--host {host} cannot be reached")).hint(hint)),
            None => Ok(()),
        }
    }
}

/// Returns the directory that `--config` names as docker's does, if it is no file of cooper's.
pub(super) fn docker_config(config: Option<&Path>) -> Option<PathBuf> {
    config.filter(|path| path.is_dir()).map(Path::to_owned)
}

/// `docker buildx …`.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(super) enum Buildx {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<build::BuildArgs>),
    /// Build many images from one definition (HCL, JSON or compose files)
    #[command(visible_alias = "f")]
    Bake(Box<bake::BakeArgs>),
    /// Show what the build cache takes on disk
    Du(du::DuArgs),
    /// Make and look at indexes that registries have
    #[command(subcommand)]
    Imagetools(manifest::ImagetoolsCommand),
    /// Remove what no image and no build needs
    Prune(prune::PruneArgs),
    /// Show where everything is; there is one builder
    #[command(visible_alias = "ls")]
    Inspect(info::InfoArgs),
    /// Show the version
    Version(info::VersionArgs),
}

impl From<Buildx> for Command {
    fn from(command: Buildx) -> Self {
        match command {
            Buildx::Build(args) => Self::Build(args),
            Buildx::Bake(args) => Self::Bake(args),
            Buildx::Du(args) => Self::Du(args),
            Buildx::Imagetools(command) => Self::Imagetools(command),
            Buildx::Prune(args) => Self::Prune(args),
            Buildx::Inspect(args) => Self::Info(args),
            Buildx::Version(args) => Self::Version(args),
        }
    }
}

/// `docker builder …`.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(super) enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Remove what no image and no build needs
    Prune(prune::PruneArgs),
}

impl From<Builder> for Command {
    fn from(command: Builder) -> Self {
        match command {
            Builder::Build(args) => Self::Build(args),
            Builder::Prune(args) => Self::Prune(args),
        }
    }
}

/// `docker image …`.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(super) enum Image {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Show how an image came to be
    History(history::HistoryArgs),
    /// Make an image of the files of an archive
    Import(import::ImportArgs),
    /// Show everything about images
    Inspect(inspect::InspectArgs),
    /// Read images from an archive
    Load(transfer::LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::ImagesArgs),
    /// Remove images that nothing needs
    Prune(image_prune::ImagePruneArgs),
    /// Fetch an image from a registry
    Pull(remote::PullArgs),
    /// Send an image to a registry
    Push(transfer::PushArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(tag::RmiArgs),
    /// Write images to an archive
    Save(transfer::SaveArgs),
    /// Give an image another name
    Tag(tag::TagArgs),
}

impl From<Image> for Command {
    fn from(command: Image) -> Self {
        match command {
            Image::Build(args) => Self::Build(args),
            Image::History(args) => Self::History(args),
            Image::Import(args) => Self::Import(args),
            Image::Prune(args) => Self::ImagePrune(args),
            Image::Inspect(mut args) => {
                args.kind = Some(inspect::Kind::Image);
                Self::Inspect(args)
            }
            Image::Load(args) => Self::Load(args),
            Image::Ls(args) => Self::Images(args),
            Image::Pull(args) => Self::Pull(args),
            Image::Push(args) => Self::Push(args),
            Image::Rm(args) => Self::Rmi(args),
            Image::Save(args) => Self::Save(args),
            Image::Tag(args) => Self::Tag(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn groups_say_again_what_has_a_name() {
        for line in [
            "cooper buildx build -t a .",
            "cooper buildx b -t a .",
            "cooper builder build -t a .",
            "cooper image build -t a .",
        ] {
            let command = match parse(line).command {
                Command::Buildx(group) => group.into(),
                Command::Builder(group) => group.into(),
                Command::Image(group) => group.into(),
                other => other,
            };
            let Command::Build(args) = command else {
                panic!("{line}: {command:?}")
            };
            assert_eq!(
                (args.context.as_str(), args.tag.as_slice()),
                (".", &["a".into()][..])
            );
        }
        for line in [
            "cooper buildx version",
            "cooper buildx ls",
            "cooper buildx inspect",
            "cooper buildx du",
            "cooper buildx prune",
            "cooper builder prune",
            "cooper image ls",
            "cooper image rm a",
        ] {
            parse(line);
        }
    }

    #[test]
    fn only_what_needs_no_daemon_is_taken() {
        let check = |line: &str| {
            parse(line)
                .docker
                .check()
                .map_err(|report| report.render(false))
        };
        for line in [
            "cooper -D -l debug build .",
            "cooper --debug --log-level=info images",
            "cooper -c default images",
            "cooper -H unix:///var/run/docker.sock build .",
        ] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        for (line, message) in [
            (
                "cooper --context far build .",
                "--context far means nothing here",
            ),
            (
                "cooper -H tcp://far:2376 images",
                "--host tcp://far:2376 cannot be reached",
            ),
        ] {
            assert!(check(line).expect_err(line).contains(message), "{line}");
        }
    }
}
