//! Limits on what a container uses.

use clap::Args;

use crate::cli::value::{each, size, ulimit};
use crate::container::Resources;
use crate::report::Report;

/// Options that limit resources.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Resources")]
pub struct ResourceArgs {
    /// Limit a resource of each process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
}

impl ResourceArgs {
    /// Returns the limits.
    pub fn resolve(&self) -> Result<Resources, Report> {
        let shm = self.shm_size.as_deref();
        let shm_size = shm.map(|text| size(text).map_err(|error| error.report("--shm-size", text)));
        Ok(Resources {
            ulimits: each("--ulimit", &self.ulimit, ulimit)?,
            shm_size: shm_size.transpose()?,
        })
    }
}
