//! Times.

use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

fn month(time: &Zoned) -> &'static str {
    MONTHS
        .get(time.month() as usize - 1)
        .copied()
        .unwrap_or_default()
}

/// Reads an RFC 3339 time, which keeps its offset, or a number of seconds since 1970.
fn time(a: &Arguments<'_>, index: usize) -> Result<Zoned, Misuse> {
    if let Value::Number(_) = a.value(index) {
        return unix(a, index);
    }
    let text = a.text(index)?;
    let wrong = || {
        Misuse::of(
            index,
            format!("{text:?} is no RFC 3339 time such as 2025-09-16T12:00:00Z"),
        )
    };
    let instant: Timestamp = text.parse().map_err(|_| wrong())?;
    let zone = text.get(text.len().saturating_sub(6)..).unwrap_or_default();
    let offset = match (zone.get(..1), zone.get(1..3), zone.get(4..6)) {
        (Some(sign @ ("+" | "-")), Some(hours), Some(minutes)) => {
            let number = |text: &str| text.parse::<i32>().map_err(|_| wrong());
            let seconds = number(hours)? * 3600 + number(minutes)? * 60;
            Offset::from_seconds(if sign == "-" { -seconds } else { seconds })
        }
        _ => Ok(Offset::UTC),
    };
    let offset = offset.map_err(|_| wrong())?;
    Ok(instant.to_zoned(TimeZone::fixed(offset)))
}

fn unix(a: &Arguments<'_>, index: usize) -> Result<Zoned, Misuse> {
    let seconds = i64::try_from(a.whole(index)?).ok();
    let instant = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let instant = instant.ok_or_else(|| Misuse::of(index, "there is no such time"))?;
    Ok(instant.to_zoned(TimeZone::UTC))
}

/// Writes an offset as `Z` or `+hh:mm`.
fn offset(time: &Zoned, separator: &str, zulu: &str) -> String {
    let seconds = time.offset().seconds();
    if seconds == 0 && !zulu.is_empty() {
        return zulu.to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

fn rfc3339(time: &Zoned) -> String {
    let (zone, fraction) = (offset(time, ":", "Z"), time.subsec_nanosecond());
    let fraction = if fraction == 0 {
        String::new()
    } else {
        let digits = format!("{fraction:09}");
        format!(".{}", digits.trim_end_matches('0'))
    };
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
}

pub(super) fn timestamp(a: &Arguments<'_>) -> Value {
    let now = a.surroundings.now;
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Value::String(rfc3339(&now.to_zoned(TimeZone::UTC)))
}

pub(super) fn time_add(a: &Arguments<'_>) -> Outcome {
    let (start, text) = (time(a, 0)?, a.text(1)?);
    let wrong = || Misuse::of(1, format!("{text:?} is no duration such as 1h30m"));
    let added = start.checked_add(duration(&text).ok_or_else(wrong)?);
    Ok(Value::String(rfc3339(&added.map_err(|_| wrong())?)))
}

/// Reads a duration as Go writes them: `-1h15m30.5s`, `300ms`.
fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    let nothing = text.is_empty() || text == "-" || text == "+";
    let duration = SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds });
    duration.ok().filter(|_| !nothing)
}

/// Formats by a layout such as `YYYY-MM-DD'T'hh:mm:ssZ`: runs of one letter stand for parts of
/// the time, quotes keep letters as they are.
pub(super) fn format_date(a: &Arguments<'_>) -> Outcome {
    let (layout, time) = (a.text(0)?, time(a, 1)?);
    let mut out = String::new();
    let mut rest = layout.as_str();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, after) =
                quoted(&rest[1..]).ok_or_else(|| Misuse::of(0, "a quote is never closed"))?;
            out.push_str(&literal);
            rest = after;
            continue;
        }
        let end = rest.find(|c| c != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if first.is_ascii_alphabetic() {
            let part = part(run, &time).ok_or_else(|| {
                Misuse::of(
                    0,
                    format!(
                        "{run:?} is no part of a time; quote letters that are meant as they are"
                    ),
                )
            })?;
            out.push_str(&part);
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    Ok(Value::String(out))
}

/// Splits after the closing quote; a doubled quote is one.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('\'')?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Some((out, rest)),
        }
    }
}

fn part(run: &str, time: &Zoned) -> Option<String> {
    let noon = |hour: i8| if hour % 12 == 0 { 12 } else { hour % 12 };
    let half = if time.hour() < 12 { "am" } else { "pm" };
    Some(match run {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year() % 100),
        "MMMM" => month(time).to_owned(),
        "MMM" => month(time)[..3].to_owned(),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "EEEE" => weekday(time.weekday()).to_owned(),
        "EEE" => weekday(time.weekday())[..3].to_owned(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{:02}", noon(time.hour())),
        "H" => noon(time.hour()).to_string(),
        "AA" => half.to_uppercase(),
        "aa" => half.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZZZ" => offset(time, ":", ""),
        "ZZZZ" => offset(time, "", ""),
        "ZZZ" => offset(time, "", "UTC"),
        "Z" => offset(time, ":", "Z"),
        _ => return None,
    })
}

pub(super) fn unix_timestamp_parse(a: &Arguments<'_>) -> Outcome {
    let time = unix(a, 0)?;
    let week = time.date().iso_week_date();
    let entries = [
        ("year", Value::whole(time.year())),
        ("year_day", Value::whole(time.day_of_year())),
        ("day", Value::whole(time.day())),
        ("month", Value::whole(time.month())),
        ("month_name", Value::text(month(&time))),
        (
            "weekday",
            Value::whole(time.weekday().to_sunday_zero_offset()),
        ),
        ("weekday_name", Value::text(weekday(time.weekday()))),
        ("hour", Value::whole(time.hour())),
        ("minute", Value::whole(time.minute())),
        ("second", Value::whole(time.second())),
        ("rfc3339", Value::String(rfc3339(&time))),
        ("iso_year", Value::whole(week.year())),
        ("iso_week", Value::whole(week.week())),
    ];
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    Ok(Value::Object(entries.collect()))
}
