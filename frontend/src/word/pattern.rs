//! The globs of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?` only, neither
//! of which matches a newline.
//!
//! Matching keeps the set of states that are alive, so that no pattern is
//! worse than its length times the length of the text.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
}

/// A parsed glob.
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

impl Pattern {
    /// Parses a glob; the error is the character of an unknown escape.
    pub(super) fn new(text: &str) -> Result<Self, Option<char>> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Literal(c),
                    other => return Err(other),
                },
                c => Token::Literal(c),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Star && *b == Token::Star);
        Ok(Self { tokens })
    }

    /// Cuts off the shortest or longest beginning that matches.
    pub(super) fn trim_prefix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let end = match_end(&self.tokens, value.char_indices(), value.len(), longest);
        &value[end.unwrap_or(0)..]
    }

    /// Cuts off the shortest or longest end that matches.
    pub(super) fn trim_suffix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let tokens: Vec<_> = self.tokens.iter().rev().copied().collect();
        let reversed = value
            .char_indices()
            .rev()
            .map(|(at, c)| (value.len() - at - c.len_utf8(), c));
        let end = match_end(&tokens, reversed, value.len(), longest);
        &value[..value.len() - end.unwrap_or(0)]
    }

    /// Replaces the first match, or all that do not overlap, each as long as
    /// can be. Returns nothing if that takes more than `limit` bytes.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        limit: usize,
    ) -> Option<String> {
        let starts = self.starts(value);
        let mut result = String::new();
        let (mut at, mut copied, mut last_end) = (0, 0, None);
        while at <= value.len() {
            let end = starts[at]
                .then(|| {
                    let rest = &value[at..];
                    match_end(&self.tokens, rest.char_indices(), rest.len(), true)
                })
                .flatten()
                .map(|length| at + length)
                .filter(|&end| end > at || last_end != Some(at));
            if let Some(end) = end {
                result.push_str(&value[copied..at]);
                result.push_str(replacement);
                if result.len() > limit {
                    return None;
                }
                (copied, last_end) = (end, Some(end));
                if !all {
                    break;
                }
                if end > at {
                    at = end;
                    continue;
                }
            }
            at += value[at..].chars().next().map_or(1, char::len_utf8);
        }
        result.push_str(&value[copied..]);
        Some(result)
    }

    /// For every byte offset: whether a match begins there.
    fn starts(&self, value: &str) -> Vec<bool> {
        let tokens: Vec<_> = self.tokens.iter().rev().copied().collect();
        let mut states = States::new(&tokens);
        let mut starts = vec![false; value.len() + 1];
        states.enter();
        starts[value.len()] = states.accepting();
        for (at, c) in value.char_indices().rev() {
            states.step(c);
            states.enter();
            starts[at] = states.accepting();
        }
        starts
    }
}

/// Returns where the shortest or longest match from the beginning ends.
fn match_end(
    tokens: &[Token],
    chars: impl Iterator<Item = (usize, char)>,
    length: usize,
    longest: bool,
) -> Option<usize> {
    let mut states = States::new(tokens);
    states.enter();
    let mut best = None;
    for (at, c) in chars {
        if states.accepting() {
            best = Some(at);
            if !longest {
                return best;
            }
        }
        if !states.step(c) {
            return best;
        }
    }
    if states.accepting() {
        Some(length)
    } else {
        best
    }
}

/// The positions in a pattern that the text so far can have reached.
struct States<'a> {
    tokens: &'a [Token],
    alive: Vec<bool>,
    next: Vec<bool>,
}

impl<'a> States<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let alive = vec![false; tokens.len() + 1];
        Self {
            tokens,
            next: alive.clone(),
            alive,
        }
    }

    /// Lets a match begin here.
    fn enter(&mut self) {
        self.alive[0] = true;
        self.skip_stars();
    }

    fn skip_stars(&mut self) {
        for at in 0..self.tokens.len() {
            if self.alive[at] && self.tokens[at] == Token::Star {
                self.alive[at + 1] = true;
            }
        }
    }

    /// Consumes a character; false if nothing is alive any more.
    fn step(&mut self, c: char) -> bool {
        self.next.fill(false);
        for (at, token) in self
            .tokens
            .iter()
            .enumerate()
            .filter(|&(at, _)| self.alive[at])
        {
            match token {
                Token::Literal(want) => self.next[at + 1] |= c == *want,
                Token::Any => self.next[at + 1] |= c != '\n',
                Token::Star => self.next[at] |= c != '\n',
            }
        }
        std::mem::swap(&mut self.alive, &mut self.next);
        self.skip_stars();
        self.alive.contains(&true)
    }

    fn accepting(&self) -> bool {
        self.alive.last() == Some(&true)
    }
}
