//! Which images a list or a prune is about: docker's `--filter KEY=VALUE`.
//!
//! Labels must all be there, of references one must fit; `before` and `since` are about when the
//! image named was created.

use std::str::FromStr;

use cooper_oci::Reference;
use jiff::Timestamp;

use super::session::Session;
use super::usage_filter::until;
use super::value::ValueError;
use crate::report::{Report, did_you_mean};

const KEYS: [&str; 7] = [
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFilter {
    /// Whether it has no name.
    Dangling(bool),
    /// Whether it has a label, of this value if one is given.
    Label {
        /// The label's name.
        name: String,
        /// Its value.
        value: Option<String>,
        /// Whether it is to be there.
        wanted: bool,
    },
    /// Created before this image.
    Before(String),
    /// Created after this image.
    Since(String),
    /// Created before this moment, in seconds since 1970.
    Until(i64),
    /// One of its names fits this pattern.
    Reference(String),
}

impl FromStr for ImageFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |what: String| Err(ValueError::new(what));
        let Some((key, value)) = text.split_once('=') else {
            return wrong("it is not KEY=VALUE".to_owned());
        };
        Ok(match key {
            "dangling" => match value.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Self::Dangling(true),
                "0" | "f" | "false" => Self::Dangling(false),
                _ => return wrong(format!("{value:?} is neither true nor false")),
            },
            "label" | "label!" => {
                let (name, value) = match value.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (value, None),
                };
                Self::Label {
                    name: name.to_owned(),
                    value,
                    wanted: key == "label",
                }
            }
            "before" => Self::Before(value.to_owned()),
            "since" => Self::Since(value.to_owned()),
            "until" => {
                let now = Timestamp::now();
                let age = until(value, now)?.as_secs();
                Self::Until(now.as_second() - i64::try_from(age).unwrap_or(i64::MAX))
            }
            "reference" => {
                if !is_pattern(value) {
                    return wrong(format!("{value:?} is no pattern: a [ is not closed"));
                }
                Self::Reference(value.to_owned())
            }
            other => {
                let known = KEYS.join(", ");
                return wrong(match did_you_mean(other, KEYS) {
                    Some(near) => format!("there is no filter {other}; did you mean {near}?"),
                    None => format!("there is no filter {other}; known are {known}"),
                });
            }
        })
    }
}

/// What filters ask of an image.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) created: Option<Timestamp>,
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) names: &'a [Reference],
}

/// Filters whose images were looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageFilters {
    filters: Vec<ImageFilter>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl ImageFilters {
    /// Looks up the images that `filters` name.
    pub(super) fn new(filters: &[ImageFilter], session: &Session) -> Result<Self, Report> {
        let created = |name: &str| -> Result<Timestamp, Report> {
            let record = session.image(name)?;
            let time = record.created.as_deref().and_then(|at| at.parse().ok());
            time.ok_or_else(|| {
                Report::new(format!("image {name} does not say when it was created"))
            })
        };
        let (mut before, mut since) = (None::<Timestamp>, None::<Timestamp>);
        for filter in filters {
            match filter {
                ImageFilter::Before(name) => {
                    let time = created(name)?;
                    before = Some(before.map_or(time, |known| known.min(time)));
                }
                ImageFilter::Since(name) => since = since.max(Some(created(name)?)),
                _ => {}
            }
        }
        Ok(Self {
            filters: filters.to_vec(),
            before,
            since,
        })
    }

    /// Whether any of the filters is about labels, which are in an image's configuration.
    pub(super) fn needs_labels(&self) -> bool {
        let is_label = |filter: &ImageFilter| matches!(filter, ImageFilter::Label { .. });
        self.filters.iter().any(is_label)
    }

    /// Whether the image is one of those asked for.
    pub(super) fn admit(&self, facts: &Facts<'_>) -> bool {
        let created = facts.created;
        let within = self
            .before
            .is_none_or(|time| created.is_some_and(|at| at < time))
            && self
                .since
                .is_none_or(|time| created.is_some_and(|at| at > time));
        let each = self.filters.iter().all(|filter| match filter {
            ImageFilter::Dangling(wanted) => facts.names.is_empty() == *wanted,
            ImageFilter::Label {
                name,
                value,
                wanted,
            } => {
                let fits = |(key, found): &(&str, &str)| {
                    key == name && value.as_deref().is_none_or(|value| value == *found)
                };
                facts.labels.iter().any(fits) == *wanted
            }
            ImageFilter::Until(time) => created.is_some_and(|at| at.as_second() < *time),
            ImageFilter::Before(_) | ImageFilter::Since(_) | ImageFilter::Reference(_) => true,
        });
        let patterned =
            self.patterns().next().is_none() || facts.names.iter().any(|n| self.admits_name(n));
        within && each && patterned
    }

    /// Whether a name is to be listed.
    pub(super) fn admits_name(&self, name: &Reference) -> bool {
        let mut patterns = self.patterns().peekable();
        patterns.peek().is_none() || patterns.any(|pattern| name_fits(pattern, name))
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().filter_map(|filter| match filter {
            ImageFilter::Reference(pattern) => Some(pattern.as_str()),
            _ => None,
        })
    }
}

/// Whether a pattern fits a name as people write it, with its tag or without.
pub(super) fn name_fits(pattern: &str, name: &Reference) -> bool {
    [
        name.familiar(),
        name.familiar_name(),
        name.to_string(),
        name.name(),
    ]
    .iter()
    .any(|text| fits(pattern.as_bytes(), text.as_bytes()))
}

fn is_pattern(pattern: &str) -> bool {
    let mut inside = false;
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
    }
    !inside
}

/// Matches as Go's `path.Match`: `*` and `?` stop at a slash, `[a-z]` and `[^a]` are classes.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    match (first, text.split_first()) {
        (b'*', _) => {
            let reach = text
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(text.len());
            (0..=reach).any(|taken| fits(rest, &text[taken..]))
        }
        (_, None) => false,
        (b'?', Some((byte, text))) => *byte != b'/' && fits(rest, text),
        (b'[', Some((byte, text))) => {
            let Some(end) = rest.iter().skip(1).position(|byte| *byte == b']') else {
                return false;
            };
            let (class, rest) = (&rest[..=end], &rest[end + 2..]);
            *byte != b'/' && in_class(class, *byte) && fits(rest, text)
        }
        (b'\\', Some((byte, text))) => match rest.split_first() {
            Some((escaped, rest)) => escaped == byte && fits(rest, text),
            None => false,
        },
        (first, Some((byte, text))) => first == byte && fits(rest, text),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'^', class @ ..] => (true, class),
        class => (false, class),
    };
    let mut found = false;
    let mut rest = class;
    while let Some((low, after)) = rest.split_first() {
        if let [b'-', high, after @ ..] = after {
            found |= (*low..=*high).contains(&byte);
            rest = after;
        } else {
            found |= *low == byte;
            rest = after;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> ImageFilters {
        ImageFilters {
            filters: texts.iter().map(|text| text.parse().expect(text)).collect(),
            before: None,
            since: None,
        }
    }

    #[test]
    fn images_are_admitted_by_what_they_are() {
        let names = ["app:1", "r.example/team/web:2"].map(|name| name.parse().expect("valid"));
        let facts = |names| Facts {
            created: "2024-05-01T10:00:00Z".parse().ok(),
            labels: vec![("stage", "test"), ("empty", "")],
            names,
        };
        for (texts, named, dangling) in [
            (&["dangling=true"][..], false, true),
            (&["dangling=0"], true, false),
            (&["label=stage"], true, true),
            (&["label=stage=test", "label=empty"], true, true),
            (&["label=stage=live"], false, false),
            (&["label!=stage"], false, false),
            (&["label!=stage=live"], true, true),
            (&["reference=app"], true, false),
            (&["reference=app:*"], true, false),
            (&["reference=*"], true, false),
            (&["reference=r.example/*/w?b"], true, false),
            (&["reference=r.example/*"], false, false),
            (&["reference=none", "reference=[a-c]pp"], true, false),
            (&["reference=docker.io/library/app"], true, false),
            (&["until=24h"], true, true),
            (&["until=2024-05-01T09:00:00Z"], false, false),
        ] {
            let filters = filters(texts);
            assert_eq!(filters.admit(&facts(&names)), named, "{texts:?}");
            assert_eq!(filters.admit(&facts(&[])), dangling, "{texts:?}");
        }
        let time = |text: &str| text.parse().ok();
        let between = ImageFilters {
            since: time("2024-05-01T09:00:00Z"),
            before: time("2024-05-01T11:00:00Z"),
            ..ImageFilters::default()
        };
        assert!(between.admit(&facts(&names)));
        let later = ImageFilters {
            since: time("2024-05-01T10:00:00Z"),
            ..ImageFilters::default()
        };
        assert!(!later.admit(&facts(&names)));
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_said() {
        for (text, expected) in [
            ("dangling", "it is not KEY=VALUE"),
            ("dangling=maybe", "\"maybe\" is neither true nor false"),
            ("lable=a", "there is no filter lable; did you mean label?"),
            ("reference=[a", "\"[a\" is no pattern: a [ is not closed"),
        ] {
            let error = text.parse::<ImageFilter>().expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
