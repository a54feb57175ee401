//! Versions: `semvercmp`, by the rules that Go's tools use for constraints.

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;

/// Returns whether a version satisfies a constraint such as `>= 1.2, < 2 || ~3.1`.
pub(super) fn satisfies(a: &Arguments<'_>) -> Outcome {
    let (version, constraint) = (a.text(0)?, a.text(1)?);
    let written = Partial::parse(&version)
        .filter(|partial| partial.given > 0)
        .ok_or_else(|| Misuse::of(0, format!("{version:?} is no version")))?;
    let mut satisfied = false;
    for alternative in constraint.split("||") {
        let all = comparisons(alternative)
            .ok_or_else(|| Misuse::of(1, format!("{alternative:?} is no constraint")))?;
        satisfied |= all.iter().all(|one| one.holds(&written.version));
    }
    Ok(Value::Bool(satisfied))
}

/// A part of what stands between dots before or after a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    /// Numbers go before words.
    Number(u64),
    Word(String),
}

/// A version; what is built from it (`+…`) does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: [u64; 3],
    is_release: bool,
    before: Vec<Identifier>,
}

impl Version {
    fn release(numbers: [u64; 3]) -> Self {
        Self {
            numbers,
            is_release: true,
            before: Vec::new(),
        }
    }
}

/// A version of which the last numbers may be missing, or be `x` or `*`.
struct Partial {
    version: Version,
    /// How many numbers are given.
    given: usize,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split('+').next().unwrap_or_default();
        let (text, before) = match text.split_once('-') {
            Some((text, before)) => (text, Some(before)),
            None => (text, None),
        };
        let mut numbers = [0; 3];
        let mut given = 0;
        for (place, part) in text.split('.').enumerate() {
            if place >= numbers.len() {
                return None;
            }
            if matches!(part, "x" | "X" | "*") {
                continue;
            }
            // A number below one that may be any would mean nothing.
            if given < place {
                return None;
            }
            numbers[place] = part.parse().ok()?;
            given = place + 1;
        }
        let identifier = |part: &str| match part.parse() {
            Ok(number) => Some(Identifier::Number(number)),
            Err(_) if part.is_empty() => None,
            Err(_) => Some(Identifier::Word(part.to_owned())),
        };
        let parts = before.map(|before| before.split('.').map(identifier).collect());
        let version = Version {
            numbers,
            is_release: before.is_none(),
            before: parts.unwrap_or(Some(Vec::new()))?,
        };
        Some(Self { version, given })
    }

    /// Returns the first version that has another number at `place` or above.
    fn after(&self, place: usize) -> Version {
        let mut numbers = [0; 3];
        numbers[..=place].copy_from_slice(&self.version.numbers[..=place]);
        numbers[place] = numbers[place].saturating_add(1);
        Version::release(numbers)
    }

    /// Returns the first version that the numbers given do not stand for.
    fn end(&self) -> Version {
        self.after(self.given.saturating_sub(1))
    }
}

/// An operator with its version.
struct Comparison {
    operator: &'static str,
    bound: Partial,
}

const OPERATORS: [&str; 12] = [
    ">=", "=>", "<=", "=<", "!=", "~>", "=", ">", "<", "~", "^", "",
];

/// Parses comparisons that must all hold, joined with commas or blanks, or `LOW - HIGH`.
fn comparisons(text: &str) -> Option<Vec<Comparison>> {
    if let Some((low, high)) = text.split_once(" - ") {
        let both = [(">=", low), ("<=", high)];
        let both = both.map(|(operator, bound)| {
            let bound = Partial::parse(bound.trim())?;
            Some(Comparison { operator, bound })
        });
        return both.into_iter().collect();
    }
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let operator = OPERATORS
            .into_iter()
            .find(|operator| rest.starts_with(operator))?;
        rest = rest[operator.len()..].trim_start();
        let end = rest
            .find(|c: char| c == ',' || c.is_whitespace())
            .unwrap_or(rest.len());
        let bound = Partial::parse(&rest[..end])?;
        out.push(Comparison { operator, bound });
        rest = rest[end..].trim_start_matches(|c: char| c == ',' || c.is_whitespace());
    }
    (!out.is_empty()).then_some(out)
}

impl Comparison {
    fn holds(&self, version: &Version) -> bool {
        let bound = &self.bound;
        let low = &bound.version;
        // Who does not ask for previews gets none.
        if !version.is_release && low.is_release {
            return false;
        }
        let is_full = bound.given == 3;
        let from = version >= low;
        let any = bound.given == 0;
        match self.operator {
            "!=" => {
                !any && if is_full {
                    version != low
                } else {
                    !from || *version >= bound.end()
                }
            }
            ">" => {
                !any && if is_full {
                    version > low
                } else {
                    *version >= bound.end()
                }
            }
            ">=" | "=>" => from,
            "<" => !any && version < low,
            "<=" | "=<" => {
                any || if is_full {
                    version <= low
                } else {
                    *version < bound.end()
                }
            }
            "~" | "~>" => any || from && *version < bound.after(bound.given.min(2) - 1),
            "^" => any || from && *version < bound.after(bound.first_number()),
            _ => {
                any || if is_full {
                    version == low
                } else {
                    from && *version < bound.end()
                }
            }
        }
    }
}

impl Partial {
    /// Returns the place of the first number that is not 0, or of the last one given.
    fn first_number(&self) -> usize {
        let numbers = &self.version.numbers[..self.given];
        let found = numbers.iter().position(|number| *number > 0);
        found.unwrap_or(self.given.saturating_sub(1))
    }
}
