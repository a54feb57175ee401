//! Where a container's output goes.

use clap::Args;

use crate::cli::value::{ValueError, each, pair};
use crate::container::log::LogOptions;
use crate::container::{LogConfig, LogDriver};
use crate::report::Report;

/// Options of the log.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// What takes the output: json-file, local, journald, syslog or none
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,

    /// How it takes it: max-size=10m, max-file=3, tag=…, labels=…, syslog-address=udp://HOST …
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
}

impl LogArgs {
    /// Returns where the output is kept.
    pub fn resolve(&self) -> Result<LogConfig, Report> {
        let name = self.log_driver.as_deref().unwrap_or("json-file");
        let mut drivers = LogDriver::ALL.into_iter();
        let driver = drivers
            .find(|driver| driver.name() == name)
            .ok_or_else(|| {
                let known = LogDriver::ALL.map(LogDriver::name);
                ValueError::unknown("driver", name, &known).report("--log-driver", name)
            })?;
        let options = each("--log-opt", &self.log_opt, pair)?.into_iter();
        let options = options
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect();
        LogOptions::parse(driver, &options)
            .map_err(|problem| Report::new(format!("invalid --log-opt: {problem}")))?;
        Ok(LogConfig { driver, options })
    }
}
