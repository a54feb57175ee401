//! The small grammars of option values.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cooper_frontend::instruction::parse_duration;
use cooper_frontend::quantity;

use crate::options::{Call, HostEntry, Method, Ulimit};
use crate::report::{Report, did_you_mean};

/// What is wrong with the value of an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ValueError {
    problem: String,
    hint: Option<String>,
}

impl ValueError {
    /// Returns an error that says `problem`.
    pub fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: None,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the error for a word that is none of those known.
    pub fn unknown(kind: &str, word: &str, known: &[&str]) -> Self {
        let error = Self::new(format!("unknown {kind} {word:?}"));
        match did_you_mean(word, known.iter().copied()) {
            Some(meant) => error.hint(format!("did you mean {meant:?}?")),
            None => error.hint(format!("known are {}", known.join(", "))),
        }
    }

    /// Returns the report on `value` given to `option`.
    pub fn report(self, option: &str, value: &str) -> Report {
        let value = without_secrets(value);
        self.under(&format!("invalid value {value:?} for {option}"))
    }

    /// Returns the failure under a heading of its own.
    pub fn under(self, heading: &str) -> Report {
        let report = Report::new(format!("{heading}: {}", self.problem));
        match self.hint {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }
}

/// Keys whose values are nobody's business.
const SECRET_KEYS: [&str; 4] = ["secret_access_key", "session_token", "token", "ghtoken"];

/// Returns a list of `KEY=VALUE` pairs as it may be shown.
fn without_secrets(text: &str) -> String {
    let shown = text.split(',').map(|field| match field.split_once('=') {
        Some((key, _)) if SECRET_KEYS.contains(&&*key.trim().to_ascii_lowercase()) => {
            format!("{key}=…")
        }
        _ => field.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Parses each value of an option.
pub fn each<T>(
    option: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Vec<T>, Report> {
    values
        .iter()
        .map(|value| parse(value).map_err(|error| error.report(option, value)))
        .collect()
}

/// Splits `NAME=VALUE`; the value is none without `=`.
pub fn pair(text: &str) -> Result<(String, Option<String>), ValueError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(ValueError::new("the name is empty").hint("write NAME=VALUE"));
    }
    Ok((name.to_owned(), value))
}

/// Parses `METHOD[,format=text|json][,ignorestatus=BOOL]`.
pub fn call(text: &str) -> Result<Call, ValueError> {
    let mut fields = text.split(',');
    let method = fields.next().unwrap_or_default();
    let mut call = Call {
        method: match method {
            "build" | "" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            "subrequests.describe" => Method::Methods,
            _ => {
                let known = [
                    "build",
                    "check",
                    "outline",
                    "targets",
                    "subrequests.describe",
                ];
                return Err(ValueError::unknown("method", method, &known));
            }
        },
        ..Call::default()
    };
    for field in fields {
        match pair(field)? {
            (key, Some(value)) if key == "format" => match value.as_str() {
                "json" => call.json = true,
                "text" => call.json = false,
                other => return Err(ValueError::unknown("format", other, &["text", "json"])),
            },
            (key, value) if key == "ignorestatus" => {
                let value = value.as_deref().unwrap_or("true");
                call.ignore_status = boolean(&key, value)?;
            }
            (key, _) => {
                return Err(ValueError::unknown(
                    "key",
                    &key,
                    &["format", "ignorestatus"],
                ));
            }
        }
    }
    Ok(call)
}

/// Splits one line of comma-separated fields. A field in double quotes may hold commas, and a
/// doubled quote for a quote.
pub fn csv(text: &str) -> Result<Vec<String>, ValueError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(ValueError::new("a quoted field ends before its comma")),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), ValueError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest
            .find('"')
            .ok_or_else(|| ValueError::new("a quote is never closed"))?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

/// Parses a switch within a value.
pub fn boolean(key: &str, text: &str) -> Result<bool, ValueError> {
    quantity::boolean(text)
        .ok_or_else(|| ValueError::new(format!("{key} is neither true nor false: {text:?}")))
}

/// Parses the value of a switch of the command line, as docker reads it.
pub fn switch(text: &str) -> Result<bool, ValueError> {
    quantity::boolean(text).ok_or_else(|| ValueError::new("neither true nor false"))
}

/// Parses a number of bytes.
pub fn size(text: &str) -> Result<u64, ValueError> {
    quantity::size(text.trim()).ok_or_else(|| {
        ValueError::new("not a size").hint("write a number and b, k, m, g or t, such as 64m")
    })
}

/// Parses a duration as Go does, such as `1h30m` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let nanos = parse_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| {
        ValueError::new("not a duration").hint("write a number and a unit, such as 30s or 24h")
    })
}

/// Parses where something is mounted: an absolute path below the root.
pub fn mount_target(text: &str) -> Result<PathBuf, ValueError> {
    let path = Path::new(text);
    let problem = |problem: &str| Err(ValueError::new(format!("the target {text:?} {problem}")));
    if !path.is_absolute() {
        return problem("is no absolute path");
    }
    let clean: PathBuf = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    if clean.components().any(|part| part == Component::ParentDir) {
        return problem("contains \"..\"");
    }
    if clean == Path::new("/") {
        return problem("is the root");
    }
    Ok(clean)
}

/// Parses `HOST:IP` or `HOST=IP`. `host-gateway` is this machine, whose network steps share.
pub fn host_entry(text: &str) -> Result<HostEntry, ValueError> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| ValueError::new("no address").hint("write HOST:IP"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(ValueError::new(format!("{name:?} is no host name")));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    let address = match bare {
        "host-gateway" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        bare => bare
            .parse()
            .map_err(|_| ValueError::new(format!("{address:?} is no IP address")))?,
    };
    Ok(HostEntry {
        name: name.to_owned(),
        address,
    })
}

/// Names that `--ulimit` takes.
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Parses `NAME=SOFT[:HARD]`; -1 and `unlimited` are no limit.
pub fn ulimit(text: &str) -> Result<Ulimit, ValueError> {
    let (name, limits) = text.split_once('=').ok_or_else(|| {
        ValueError::new("no limit").hint("write NAME=SOFT[:HARD], such as nofile=1024:4096")
    })?;
    if !LIMITS.contains(&name) {
        return Err(ValueError::unknown("limit", name, &LIMITS));
    }
    let limit = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ValueError::new(format!("{text:?} is no number"))),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err(ValueError::new("the soft limit is above the hard limit"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// Parses `HOST=URL`, a registry's mirror.
pub fn mirror(text: &str) -> Result<(String, String), ValueError> {
    let shape = "write HOST=URL, such as docker.io=https://mirror.example";
    let (host, url) = text
        .split_once('=')
        .ok_or_else(|| ValueError::new("no URL").hint(shape))?;
    if host.is_empty() || host.contains('/') {
        return Err(ValueError::new(format!("{host:?} is no registry host")).hint(shape));
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() => {
            Ok((host.to_owned(), url.trim_end_matches('/').to_owned()))
        }
        _ => Err(ValueError::new(format!("{url:?} is no HTTP or HTTPS URL")).hint(shape)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome<T>(result: Result<T, ValueError>) -> Result<T, String> {
        result.map_err(|error| error.problem)
    }

    #[test]
    fn fields_are_split_as_csv() {
        let cases: &[(&str, Result<&[&str], &str>)] = &[
            ("", Ok(&[""])),
            ("a", Ok(&["a"])),
            ("a,b=c,", Ok(&["a", "b=c", ""])),
            ("\"name=a,b\",push", Ok(&["name=a,b", "push"])),
            ("\"say \"\"hi\"\"\"", Ok(&["say \"hi\""])),
            ("a\"b,c", Ok(&["a\"b", "c"])),
            ("\"a", Err("a quote is never closed")),
            ("\"a\"b", Err("a quoted field ends before its comma")),
        ];
        for (text, expected) in cases {
            let expected = expected
                .map(|fields| fields.iter().map(ToString::to_string).collect())
                .map_err(ToString::to_string);
            assert_eq!(outcome(csv(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn hosts_take_colon_and_equals() {
        for (text, expected) in [
            ("db:10.0.0.1", Ok(("db", "10.0.0.1"))),
            ("db=10.0.0.1", Ok(("db", "10.0.0.1"))),
            ("six:::1", Ok(("six", "::1"))),
            ("six=[2001:db8::1]", Ok(("six", "2001:db8::1"))),
            ("me:host-gateway", Ok(("me", "127.0.0.1"))),
            ("db", Err("no address")),
            (":1.2.3.4", Err("\"\" is no host name")),
            ("db:1.2.3", Err("\"1.2.3\" is no IP address")),
        ] {
            let found =
                outcome(host_entry(text)).map(|entry| (entry.name, entry.address.to_string()));
            let expected = expected
                .map(|(name, address)| (name.to_owned(), address.to_owned()))
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn limits_have_a_soft_and_a_hard_value() {
        for (text, expected) in [
            ("nofile=1024", Ok((Some(1024), Some(1024)))),
            ("nofile=1024:4096", Ok((Some(1024), Some(4096)))),
            ("core=0:-1", Ok((Some(0), None))),
            ("stack=unlimited", Ok((None, None))),
            (
                "nofile=4096:1024",
                Err("the soft limit is above the hard limit"),
            ),
            (
                "nofile=-1:1024",
                Err("the soft limit is above the hard limit"),
            ),
            ("nofiles=1", Err("unknown limit \"nofiles\"")),
            ("nofile", Err("no limit")),
            ("nofile=x", Err("\"x\" is no number")),
        ] {
            let found = outcome(ulimit(text)).map(|limit| (limit.soft, limit.hard));
            assert_eq!(found, expected.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn mirrors_are_urls() {
        for (text, expected) in [
            (
                "docker.io=https://m.example",
                Ok(("docker.io", "https://m.example")),
            ),
            (
                "r.example:5000=http://[::1]:80/base/",
                Ok(("r.example:5000", "http://[::1]:80/base")),
            ),
            ("docker.io", Err("no URL")),
            (
                "docker.io=m.example",
                Err("\"m.example\" is no HTTP or HTTPS URL"),
            ),
            (
                "docker.io=https://",
                Err("\"https://\" is no HTTP or HTTPS URL"),
            ),
            (
                "https://docker.io=https://m",
                Err("\"https://docker.io\" is no registry host"),
            ),
        ] {
            let expected = expected
                .map(|(host, url)| (host.to_owned(), url.to_owned()))
                .map_err(str::to_owned);
            assert_eq!(outcome(mirror(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_misspelt_word_is_reported_with_what_was_meant() {
        let error = ulimit("nofiel=3")
            .expect_err("misspelt")
            .report("--ulimit", "nofiel=3");
        insta::assert_snapshot!(error.render(false), @r#"
        ERROR: invalid value "nofiel=3" for --ulimit: unknown limit "nofiel"
          hint: did you mean "nofile"?
        "#);
    }
}
