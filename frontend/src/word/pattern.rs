//! The globs of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?` only, neither
//! of which matches a newline.
//!
//! Matching keeps the set of positions in the pattern that the text can have
//! reached, one bit each: a character of the text costs a step for every 64
//! characters of the pattern, whatever either looks like.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
}

/// A parsed glob.
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// The characters that stand for themselves, sorted, each once.
    literals: Vec<char>,
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
        let literal = |token: &Token| match token {
            Token::Literal(c) => Some(*c),
            Token::Any | Token::Star => None,
        };
        let mut literals: Vec<char> = tokens.iter().filter_map(literal).collect();
        literals.sort_unstable();
        literals.dedup();
        Ok(Self { tokens, literals })
    }

    /// Returns the most steps that matching with a value of so many bytes can take.
    pub(super) fn steps(&self, value: usize) -> usize {
        words(&self.tokens).saturating_mul(value + self.literals.len() + 1)
    }

    fn forwards(&self) -> Machine<'_> {
        Machine::new(self.tokens.iter(), self)
    }

    fn backwards(&self) -> Machine<'_> {
        Machine::new(self.tokens.iter().rev(), self)
    }

    /// Cuts off the shortest or longest beginning that matches.
    pub(super) fn trim_prefix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let end = self
            .forwards()
            .match_end(value.char_indices(), value.len(), longest);
        &value[end.unwrap_or(0)..]
    }

    /// Cuts off the shortest or longest end that matches.
    pub(super) fn trim_suffix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let reversed = value
            .char_indices()
            .rev()
            .map(|(at, c)| (value.len() - at - c.len_utf8(), c));
        let end = self.backwards().match_end(reversed, value.len(), longest);
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
        let machine = self.forwards();
        let mut result = String::new();
        let (mut at, mut copied, mut last_end) = (0, 0, None);
        while at <= value.len() {
            let end = starts[at]
                .then(|| {
                    let rest = &value[at..];
                    machine.match_end(rest.char_indices(), rest.len(), true)
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
        let machine = self.backwards();
        let mut states = machine.start();
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

/// Returns how many words hold a bit for each position in a pattern, that behind its end included.
fn words(tokens: &[Token]) -> usize {
    tokens.len() / BITS + 1
}

const BITS: usize = u64::BITS as usize;

/// A pattern as sets of positions, in words of 64 bits.
struct Machine<'a> {
    literals: &'a [char],
    /// For each literal the positions where it stands, a row of words each.
    rows: Vec<u64>,
    any: Vec<u64>,
    stars: Vec<u64>,
    /// The position behind the last token.
    end: usize,
}

impl<'a> Machine<'a> {
    fn new<'t>(tokens: impl Iterator<Item = &'t Token>, pattern: &'a Pattern) -> Self {
        let words = words(&pattern.tokens);
        let literals = pattern.literals.as_slice();
        let mut machine = Self {
            literals,
            rows: vec![0; literals.len() * words],
            any: vec![0; words],
            stars: vec![0; words],
            end: pattern.tokens.len(),
        };
        for (at, token) in tokens.enumerate() {
            let set = match token {
                Token::Any => &mut machine.any[..],
                Token::Star => &mut machine.stars[..],
                Token::Literal(c) => {
                    let row = literals.binary_search(c).unwrap_or_default() * words;
                    &mut machine.rows[row..]
                }
            };
            set[at / BITS] |= 1 << (at % BITS);
        }
        machine
    }

    /// Returns the positions where `c` stands for itself; nothing if it is not in the pattern.
    fn row(&self, c: char) -> Option<&[u64]> {
        let words = self.any.len();
        let at = self.literals.binary_search(&c).ok()? * words;
        Some(&self.rows[at..at + words])
    }

    fn start(&self) -> States<'_> {
        States {
            machine: self,
            alive: vec![0; self.any.len()],
        }
    }

    /// Returns where the shortest or longest match from the beginning ends.
    fn match_end(
        &self,
        chars: impl Iterator<Item = (usize, char)>,
        length: usize,
        longest: bool,
    ) -> Option<usize> {
        let mut states = self.start();
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
}

/// The positions in a pattern that the text so far can have reached.
struct States<'a> {
    machine: &'a Machine<'a>,
    alive: Vec<u64>,
}

impl States<'_> {
    /// Lets a match begin here.
    fn enter(&mut self) {
        self.alive[0] |= 1;
        self.skip_stars();
    }

    /// A star may stand for nothing. No two stars follow each other, so that one pass is enough.
    fn skip_stars(&mut self) {
        let mut carry = 0;
        for (alive, stars) in self.alive.iter_mut().zip(&self.machine.stars) {
            let passed = *alive & stars;
            *alive |= passed << 1 | carry;
            carry = passed >> (BITS - 1);
        }
    }

    /// Consumes a character; false if nothing is alive any more.
    fn step(&mut self, c: char) -> bool {
        let machine = self.machine;
        let row = machine.row(c);
        let wild = if c == '\n' { 0 } else { u64::MAX };
        let (mut carry, mut any_alive) = (0, 0);
        for (word, alive) in self.alive.iter_mut().enumerate() {
            let literal = row.map_or(0, |row| row[word]);
            let moved = *alive & (literal | machine.any[word] & wild);
            *alive = *alive & machine.stars[word] & wild | moved << 1 | carry;
            carry = moved >> (BITS - 1);
            any_alive |= *alive;
        }
        self.skip_stars();
        any_alive != 0
    }

    fn accepting(&self) -> bool {
        let end = self.machine.end;
        self.alive[end / BITS] >> (end % BITS) & 1 == 1
    }
}

#[cfg(test)]
mod tests;
