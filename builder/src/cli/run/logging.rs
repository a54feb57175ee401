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
    /// What keeps the output: json-file or none
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,

    /// How it is kept
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
}

impl LogArgs {
    /// Returns where the output is kept.
    pub fn resolve(&self) -> Result<LogConfig, Report> {
        let driver = match self.log_driver.as_deref() {
            None | Some("json-file") => LogDriver::JsonFile,
            Some("none") => LogDriver::None,
            Some(other) => {
                let error = ValueError::unknown("driver", other, &["json-file", "none"]);
                return Err(error.report("--log-driver", other));
            }
        };
        let options = each("--log-opt", &self.log_opt, pair)?.into_iter();
        let options = options
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect();
        if driver == LogDriver::JsonFile {
            LogOptions::parse(&options)
                .map_err(|problem| Report::new(format!("invalid --log-opt: {problem}")))?;
        }
        Ok(LogConfig { driver, options })
    }
}
