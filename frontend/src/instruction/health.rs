//! HEALTHCHECK.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::syntax::{Statement, is_space};

use super::flags::{Flags, Takes};
use super::{at_least_one, json};

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is run.
    pub test: HealthTest,
    /// How often, in nanoseconds; 0 means the default.
    pub durations: HealthDurations,
    /// Failures in a row before the container counts as unhealthy; 0 means
    /// the default.
    pub retries: i64,
}

/// What a health check runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// Nothing, not even an inherited one.
    None,
    /// A program with arguments.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// Times of a health check in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthDurations {
    /// Between two checks.
    pub interval: i64,
    /// Until a check counts as failed.
    pub timeout: i64,
    /// During which failures do not count.
    pub start_period: i64,
    /// Between two checks during the start period.
    pub start_interval: i64,
}

/// Docker's shortest interval: one millisecond.
const SHORTEST: i64 = 1_000_000;

pub(super) fn parse(statement: &Statement) -> Result<Health, Diagnostics> {
    let rest = statement.rest();
    let kind = rest.split(is_space).next().unwrap_or_default();
    let command = rest[kind.len()..].trim();
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(vec![at_least_one(statement, "HEALTHCHECK")]),
        "NONE" if command.is_empty() => Ok(Health {
            test: HealthTest::None,
            durations: HealthDurations::default(),
            retries: 0,
        }),
        "NONE" => Err(vec![Diagnostic::error(
            Code::HealthcheckNoneArguments,
            statement.line.span_of(command),
            "HEALTHCHECK NONE takes no arguments",
        )]),
        "CMD" => parse_cmd(statement, command),
        other => {
            let message = format!("Unknown type {other:?} in HEALTHCHECK (try CMD)");
            Err(vec![Diagnostic::error(
                Code::UnknownHealthcheck,
                statement.line.span_of(kind),
                message,
            )])
        }
    }
}

fn parse_cmd(statement: &Statement, command: &str) -> Result<Health, Diagnostics> {
    let flags = Flags::check(
        statement,
        &[
            ("interval", Takes::Text),
            ("timeout", Takes::Text),
            ("start-period", Takes::Text),
            ("start-interval", Takes::Text),
            ("retries", Takes::Text),
        ],
    )?;
    let mut errors = Vec::new();
    let test = match json::strings(statement, command) {
        Ok(Some(args)) if !args.is_empty() => HealthTest::Exec(json::values(args)),
        Ok(None) if !command.is_empty() => HealthTest::Shell(command.to_owned()),
        Ok(_) => {
            errors.push(Diagnostic::error(
                Code::MissingArgument,
                statement.rest_span(),
                "Missing command after HEALTHCHECK CMD",
            ));
            HealthTest::None
        }
        Err(error) => {
            errors.push(error);
            HealthTest::None
        }
    };
    let mut duration = |name| {
        interval(&flags, name).unwrap_or_else(|error| {
            errors.push(error);
            0
        })
    };
    let durations = HealthDurations {
        interval: duration("interval"),
        timeout: duration("timeout"),
        start_period: duration("start-period"),
        start_interval: duration("start-interval"),
    };
    let retries = retries(&flags).unwrap_or_else(|error| {
        errors.push(error);
        0
    });
    if errors.is_empty() {
        Ok(Health {
            test,
            durations,
            retries,
        })
    } else {
        Err(errors)
    }
}

fn interval(flags: &Flags<'_>, name: &str) -> Result<i64, Diagnostic> {
    let Some(value) = flags.text(name).filter(|value| !value.is_empty()) else {
        return Ok(0);
    };
    let invalid = |message: String| Diagnostic::error(Code::InvalidDuration, value.span, message);
    match parse_duration(&value) {
        None => Err(invalid(format!("time: invalid duration {:?}", value.value))
            .with_help("write a number with a unit, such as 30s, 1m30s or 500ms")),
        Some(0) => Ok(0),
        Some(time) if time < SHORTEST => Err(invalid(format!(
            "Interval {name:?} cannot be less than 1ms"
        ))),
        Some(time) => Ok(time),
    }
}

fn retries(flags: &Flags<'_>) -> Result<i64, Diagnostic> {
    let Some(value) = flags.text("retries").filter(|value| !value.is_empty()) else {
        return Ok(0);
    };
    let error = |message| Err(Diagnostic::error(Code::InvalidRetries, value.span, message));
    match value.parse::<i32>() {
        Ok(count) if count < 0 => error(format!("--retries cannot be negative ({count})")),
        Ok(count) => Ok(i64::from(count)),
        Err(_) => error(format!("--retries must be a number, not {:?}", value.value)),
    }
}

/// Parses a duration as Go writes it (`1h2m3.5s`) to nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total = total.checked_add(scaled(number, unit_nanoseconds(unit)?)?)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number with a unit, cutting off below a nanosecond.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total += i128::from(digit - b'0') * place;
    }
    Some(total)
}
