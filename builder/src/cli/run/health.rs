//! Health checks: the image's, another one, or none.

use clap::Args;
use cooper_frontend::instruction::parse_duration;

use crate::cli::value::ValueError;
use crate::container::HealthOptions;
use crate::report::Report;

/// Options of the health check.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Health")]
pub struct HealthArgs {
    /// Command that tells whether the container is well
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,

    /// Time between two checks
    #[arg(long, value_name = "DURATION")]
    pub health_interval: Option<String>,

    /// Time after which a check has failed
    #[arg(long, value_name = "DURATION")]
    pub health_timeout: Option<String>,

    /// Time at the start during which failures do not count
    #[arg(long, value_name = "DURATION")]
    pub health_start_period: Option<String>,

    /// Time between two checks during the start period
    #[arg(long, value_name = "DURATION")]
    pub health_start_interval: Option<String>,

    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<u32>,

    /// Do not check, whatever the image says
    #[arg(long)]
    pub no_healthcheck: bool,
}

impl HealthArgs {
    /// Returns what replaces the image's health check.
    pub fn resolve(&self) -> Result<HealthOptions, Report> {
        let time = |option: &str, value: &Option<String>| match value {
            None => Ok(None),
            Some(text) => duration(text)
                .map(Some)
                .map_err(|error| error.report(option, text)),
        };
        let options = HealthOptions {
            disable: self.no_healthcheck,
            command: self.health_cmd.clone(),
            interval: time("--health-interval", &self.health_interval)?,
            timeout: time("--health-timeout", &self.health_timeout)?,
            start_period: time("--health-start-period", &self.health_start_period)?,
            start_interval: time("--health-start-interval", &self.health_start_interval)?,
            retries: self.health_retries.map(i64::from),
        };
        let disable = HealthOptions {
            disable: true,
            ..HealthOptions::default()
        };
        if options.disable && options != disable {
            return Err(Report::new(
                "--no-healthcheck goes with no other --health option",
            ));
        }
        Ok(options)
    }
}

/// Parses a duration such as `1m30s` into nanoseconds; docker takes none below a millisecond.
fn duration(text: &str) -> Result<i64, ValueError> {
    match parse_duration(text) {
        Some(time) if time == 0 || time >= 1_000_000 => Ok(time),
        Some(_) => Err(ValueError::new("less than a millisecond")),
        None => {
            Err(ValueError::new("not a duration").hint("write a number and a unit, such as 30s"))
        }
    }
}
