//! The globs of moby's pattern matcher.
//!
//! `*` and `?` stop at slashes, `**/` is any number of directories, a final
//! `**` is everything below, brackets are Go's: `[^a]` negates, `[!a]` is a
//! set with `!` in it. One quirk is kept on purpose: a leading `**` followed
//! by nothing but literal text matches by suffix, so that `**foo` matches
//! `afoo`.
//!
//! Matching follows all ways through a pattern at once: one bit for each place in
//! the pattern that the text so far can have reached, 64 of them in a word. A
//! character of the path costs one pass over the words, however many stars the
//! pattern has.

mod machine;

use machine::Machine;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    machine: Machine,
    shape: Shape,
}

/// The common forms of patterns, which need no states.
#[derive(Clone, Debug)]
enum Shape {
    /// No wildcard.
    Literal(String),
    /// `**/` and no further wildcard.
    AnyDepth(String),
    /// Anything else.
    General,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    NotSlash,
    /// `*`
    Star,
    /// `**/`: nothing at all, or what the next token swallows.
    Directories,
    /// The inside of `**/`: any text up to and with a slash.
    Inside,
    /// A final `**`, or one by suffix: any text.
    Anything,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Compiles a cleaned pattern; `None` if its syntax is wrong.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            match chars[at] {
                '*' if chars.get(at + 1) == Some(&'*') => {
                    at += 2;
                    if chars.get(at) == Some(&'/') {
                        at += 1;
                    }
                    if at == chars.len() {
                        tokens.push(Token::Anything);
                    } else if tokens.last() != Some(&Token::Inside) {
                        // Any number of directories twice is any number of them.
                        tokens.extend([Token::Directories, Token::Inside]);
                    }
                    continue;
                }
                '*' if tokens.last() == Some(&Token::Star) => {}
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::NotSlash),
                '[' => {
                    let (set, end) = parse_set(&chars, at + 1)?;
                    tokens.push(set);
                    at = end;
                }
                '\\' => {
                    at += 1;
                    tokens.push(Token::Char(*chars.get(at)?));
                }
                c => tokens.push(Token::Char(c)),
            }
            at += 1;
        }
        keep_suffix_quirk(pattern, &mut tokens);
        let shape = match tokens.as_slice() {
            [Token::Directories, Token::Inside, rest @ ..] => {
                literal(rest).map_or(Shape::General, Shape::AnyDepth)
            }
            tokens => literal(tokens).map_or(Shape::General, Shape::Literal),
        };
        Some(Self {
            machine: Machine::new(tokens),
            shape,
        })
    }

    /// Returns whether the path or a parent directory of it matches.
    pub(super) fn matches_or_parent(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Literal(literal) => return is_or_is_below(path, literal),
            Shape::AnyDepth(literal) => {
                let mut ends = path.match_indices('/').map(|(at, _)| at + 1);
                return is_or_is_below(path, literal)
                    || ends.any(|at| is_or_is_below(&path[at..], literal));
            }
            Shape::General => {}
        }
        let mut states = self.machine.start();
        for c in path.chars() {
            if c == '/' && self.machine.accepts(&states) {
                return true;
            }
            if !self.machine.step(&mut states, c) {
                return false;
            }
        }
        self.machine.accepts(&states)
    }

    /// Returns whether some path strictly below a directory can match.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let mut states = self.machine.start();
        directory
            .chars()
            .chain(['/'])
            .all(|c| self.machine.step(&mut states, c))
    }
}

/// Returns the text of tokens that are all characters.
fn literal(tokens: &[Token]) -> Option<String> {
    tokens
        .iter()
        .map(|token| {
            if let Token::Char(c) = token {
                Some(*c)
            } else {
                None
            }
        })
        .collect()
}

fn is_or_is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// moby compares a leading `**` with literal text behind it by suffix.
fn keep_suffix_quirk(pattern: &str, tokens: &mut Vec<Token>) {
    let literal = tokens.get(2..).is_some_and(|rest| {
        !rest.is_empty() && rest.iter().all(|token| matches!(token, Token::Char(_)))
    });
    let by_suffix =
        pattern.starts_with("**") && !pattern.starts_with("**/") && !pattern.starts_with("****");
    if by_suffix && literal && !pattern.contains('\\') {
        tokens.splice(..2, [Token::Anything]);
    }
}

fn parse_set(chars: &[char], mut at: usize) -> Option<(Token, usize)> {
    let negated = chars.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        match chars.get(at)? {
            ']' if !ranges.is_empty() => return Some((Token::Set { negated, ranges }, at)),
            _ => {}
        }
        let (low, after) = set_char(chars, at)?;
        at = after;
        let mut high = low;
        if chars.get(at) == Some(&'-') {
            (high, at) = set_char(chars, at + 1)?;
        }
        ranges.push((low, high));
    }
}

/// Reads one character of a set, which may be escaped.
fn set_char(chars: &[char], at: usize) -> Option<(char, usize)> {
    match chars.get(at)? {
        '-' | ']' => None,
        '\\' => Some((*chars.get(at + 1)?, at + 2)),
        c => Some((*c, at + 1)),
    }
}
