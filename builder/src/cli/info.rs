//! `cooper version` and `cooper info`.

use clap::Args;

use super::Settings;
use super::session::Session;
use super::table::Table;
use crate::container::Containers;
use crate::report::{Report, print_data};

/// Options of `cooper version`.
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {}

impl VersionArgs {
    /// Prints the version.
    pub fn run(&self) -> Result<(), Report> {
        print_data(&format!("cooper {}\n", env!("CARGO_PKG_VERSION")))
    }
}

/// Options of `cooper info`.
#[derive(Args, Clone, Debug)]
pub struct InfoArgs {}

impl InfoArgs {
    /// Prints where everything is and what applies.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let registry = settings.registry(&[])?;
        let session = Session::open(settings)?;
        let failed = |error: &dyn std::error::Error| Report::from_error(error);
        let images = session
            .store
            .images()
            .ids()
            .map_err(|error| failed(&error))?
            .len();
        let containers = Containers::of(session.store.root())
            .list()
            .map_err(|error| failed(&error))?;
        let live = containers.iter().filter(|found| found.live).count();
        let mut table = Table::new(["Version:", env!("CARGO_PKG_VERSION")]);
        table.row(["Root:", &settings.root.display().to_string()]);
        table.row([
            "Privileges:",
            if session.rootless {
                "user namespace"
            } else {
                "root"
            },
        ]);
        table.row(["Platform:", &cooper_oci::Platform::host().to_string()]);
        table.row(["Images:", &images.to_string()]);
        table.row([
            "Containers:",
            &format!("{} ({live} running)", containers.len()),
        ]);
        for (host, mirrors) in &registry.mirrors {
            table.row(["Mirror:", &format!("{host} = {}", mirrors.join(" "))]);
        }
        if let Some(dir) = &registry.docker_config {
            table.row([
                "Credentials:",
                &dir.join("config.json").display().to_string(),
            ]);
        }
        print_data(&table.render())
    }
}
