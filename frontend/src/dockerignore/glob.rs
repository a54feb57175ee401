//! The globs of moby's pattern matcher.
//!
//! `*` and `?` stop at slashes, `**/` is any number of directories, a final
//! `**` is everything below, brackets are Go's: `[^a]` negates, `[!a]` is a
//! set with `!` in it. One quirk is kept on purpose: a leading `**` followed
//! by nothing but literal text matches by suffix, so that `**foo` matches
//! `afoo`.
//!
//! Matching keeps the set of live states and is linear in pattern times path.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    tokens: Vec<Token>,
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
                    } else {
                        tokens.extend([Token::Directories, Token::Inside]);
                    }
                    continue;
                }
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
        Some(Self { tokens, shape })
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
        let mut states = self.start();
        for c in path.chars() {
            if c == '/' && states.accepting() {
                return true;
            }
            if !self.step(&mut states, c) {
                return false;
            }
        }
        states.accepting()
    }

    /// Returns whether some path strictly below a directory can match.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let mut states = self.start();
        directory
            .chars()
            .chain(['/'])
            .all(|c| self.step(&mut states, c))
    }

    fn start(&self) -> States {
        let mut alive = vec![false; self.tokens.len() + 1];
        alive[0] = true;
        self.skip(&mut alive);
        States {
            next: alive.clone(),
            alive,
        }
    }

    /// Feeds a character; false if no continuation can match any more.
    fn step(&self, states: &mut States, c: char) -> bool {
        let States { alive, next } = states;
        next.fill(false);
        for (at, token) in self.tokens.iter().enumerate().filter(|&(at, _)| alive[at]) {
            match token {
                Token::Char(want) => next[at + 1] |= c == *want,
                Token::NotSlash => next[at + 1] |= c != '/',
                Token::Star => next[at] |= c != '/',
                Token::Anything => next[at] = true,
                Token::Directories => {}
                Token::Inside => {
                    next[at] = true;
                    next[at + 1] |= c == '/';
                }
                Token::Set { negated, ranges } => {
                    let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&c));
                    next[at + 1] |= inside != *negated;
                }
            }
        }
        std::mem::swap(alive, next);
        self.skip(alive);
        alive.contains(&true)
    }

    /// Passes the tokens that may match nothing.
    fn skip(&self, alive: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if alive[at] {
                match token {
                    Token::Star | Token::Anything => alive[at + 1] = true,
                    Token::Directories => {
                        alive[at + 1] = true;
                        alive[at + 2] = true;
                    }
                    _ => {}
                }
            }
        }
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

/// The positions in a pattern that the text so far can have reached.
struct States {
    alive: Vec<bool>,
    next: Vec<bool>,
}

impl States {
    fn accepting(&self) -> bool {
        self.alive.last() == Some(&true)
    }
}

/// moby compares a leading `**` with literal text behind it by suffix.
fn keep_suffix_quirk(pattern: &str, tokens: &mut Vec<Token>) {
    let literal = tokens.get(2..).is_some_and(|rest| {
        !rest.is_empty() && rest.iter().all(|token| matches!(token, Token::Char(_)))
    });
    let by_suffix = pattern.starts_with("**") && !pattern.starts_with("**/");
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
