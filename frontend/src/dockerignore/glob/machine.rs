//! The states of a pattern as bits.
//!
//! State `i` means that everything before token `i` has matched; the last state,
//! behind all tokens, that the whole pattern has. Tokens that may match nothing
//! let a state pass to the next at once. The compiler joins such tokens where
//! they stand in a row, so that two passes reach whatever can be reached.

use super::Token;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;
/// Characters whose transitions are looked up; for others every token is asked.
const TABLE: usize = 128;

/// A compiled pattern's transitions.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    tokens: Vec<Token>,
    words: usize,
    /// For each ASCII character, the tokens that it moves past, then those that stay.
    table: Vec<u64>,
    /// Tokens that may match nothing.
    skip_one: Vec<u64>,
    /// Tokens that may, with the one behind them, match nothing.
    skip_two: Vec<u64>,
}

/// The places in a pattern that the text so far can have reached.
#[derive(Clone, Debug)]
pub(super) struct States {
    alive: Vec<u64>,
    next: Vec<u64>,
}

impl Machine {
    pub(super) fn new(all: Vec<Token>) -> Self {
        let tokens = all.as_slice();
        let words = tokens.len() / BITS + 1;
        let mut table = Vec::with_capacity(TABLE * 2 * words);
        for c in (0..TABLE as u8).map(char::from) {
            table.extend(mask(tokens, words, |token| token.moves(c)));
            table.extend(mask(tokens, words, |token| token.stays(c)));
        }
        Self {
            words,
            table,
            skip_one: mask(tokens, words, |token| {
                matches!(token, Token::Star | Token::Anything | Token::Directories)
            }),
            skip_two: mask(tokens, words, |token| *token == Token::Directories),
            tokens: all,
        }
    }

    /// Returns the states before any character.
    pub(super) fn start(&self) -> States {
        let mut states = States {
            alive: vec![0; self.words],
            next: vec![0; self.words],
        };
        states.alive[0] = 1;
        self.skip(&mut states.alive);
        states
    }

    /// Whether the text so far matches.
    pub(super) fn accepts(&self, states: &States) -> bool {
        let last = self.tokens.len();
        states.alive[last / BITS] >> (last % BITS) & 1 == 1
    }

    /// Feeds a character; false if no continuation can match any more.
    pub(super) fn step(&self, states: &mut States, c: char) -> bool {
        let States { alive, next } = states;
        let slow;
        let row = if (c as usize) < TABLE {
            let start = c as usize * 2 * self.words;
            &self.table[start..start + 2 * self.words]
        } else {
            let mut row = mask(&self.tokens, self.words, |token| token.moves(c));
            row.extend(mask(&self.tokens, self.words, |token| token.stays(c)));
            slow = row;
            slow.as_slice()
        };
        let (moves, stays) = row.split_at(self.words);
        let mut carry = 0;
        for (((next, alive), moves), stays) in next.iter_mut().zip(&*alive).zip(moves).zip(stays) {
            let moved = alive & moves;
            *next = (moved << 1 | carry) | (alive & stays);
            carry = moved >> (BITS - 1);
        }
        std::mem::swap(alive, next);
        self.skip(alive);
        alive.iter().any(|word| *word != 0)
    }

    /// Passes the tokens that may match nothing: `**/`, then a star behind it.
    fn skip(&self, alive: &mut [u64]) {
        for _ in 0..2 {
            let (mut one, mut two) = (0, 0);
            let skips = self.skip_one.iter().zip(&self.skip_two);
            for (alive, (skip_one, skip_two)) in alive.iter_mut().zip(skips) {
                let (skips, jumps) = (*alive & skip_one, *alive & skip_two);
                *alive |= (skips << 1 | one) | (jumps << 2 | two);
                one = skips >> (BITS - 1);
                two = jumps >> (BITS - 2);
            }
        }
    }
}

fn mask(tokens: &[Token], words: usize, is_in: impl Fn(&Token) -> bool) -> Vec<u64> {
    let mut mask = vec![0; words];
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| is_in(token)) {
        mask[at / BITS] |= 1 << (at % BITS);
    }
    mask
}

impl Token {
    /// Whether the character ends this token.
    fn moves(&self, c: char) -> bool {
        match self {
            Self::Char(want) => c == *want,
            Self::NotSlash => c != '/',
            Self::Inside => c == '/',
            Self::Set { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *negated
            }
            Self::Star | Self::Anything | Self::Directories => false,
        }
    }

    /// Whether the token can go on behind the character.
    fn stays(&self, c: char) -> bool {
        match self {
            Self::Star => c != '/',
            Self::Anything | Self::Inside => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the same by trying everything.
    fn tried(tokens: &[Token], text: &[char]) -> bool {
        let Some((token, rest)) = tokens.split_first() else {
            return text.is_empty();
        };
        let after = || text.split_first();
        match token {
            Token::Directories => tried(&rest[1..], text) || tried(rest, text),
            Token::Star | Token::Anything if tried(rest, text) => true,
            _ => after().is_some_and(|(c, behind)| {
                token.moves(*c) && tried(rest, behind) || token.stays(*c) && tried(tokens, behind)
            }),
        }
    }

    fn ran(machine: &Machine, text: &[char]) -> bool {
        let mut states = machine.start();
        text.iter().all(|c| machine.step(&mut states, *c)) && machine.accepts(&states)
    }

    /// Returns all texts of up to `longest` of these parts.
    fn texts<T: Clone>(parts: &[Vec<T>], longest: usize) -> Vec<Vec<T>> {
        let mut all = vec![Vec::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            last = last
                .iter()
                .flat_map(|text: &Vec<T>| {
                    parts
                        .iter()
                        .map(move |part| [text.as_slice(), part].concat())
                })
                .collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    #[test]
    fn bits_say_what_trying_everything_says() {
        let parts = [
            vec![Token::Char('a')],
            vec![Token::NotSlash],
            vec![Token::Star, Token::Char('a')],
            vec![Token::Directories, Token::Inside, Token::Char('/')],
            vec![
                Token::Directories,
                Token::Inside,
                Token::Star,
                Token::Char('é'),
            ],
        ];
        let paths = texts(&[vec!['a'], vec!['/'], vec!['é']], 5);
        // Anything stands only at the end of a pattern, or before plain text.
        let open = |tokens: Vec<Token>| [tokens.clone(), [tokens, vec![Token::Anything]].concat()];
        for tokens in texts(&parts, 3).into_iter().flat_map(open) {
            let machine = Machine::new(tokens.clone());
            for path in &paths {
                let expected = tried(&tokens, path);
                assert_eq!(ran(&machine, path), expected, "{tokens:?} on {path:?}");
            }
        }
    }

    #[test]
    fn patterns_longer_than_a_word_work() {
        let mut tokens = Vec::new();
        for c in "abc".chars().cycle().take(200) {
            tokens.extend([Token::Star, Token::Char(c)]);
        }
        let machine = Machine::new(tokens);
        let text: Vec<char> = "xabc".chars().cycle().take(4 * 67).collect();
        assert!(ran(&machine, &text[..4 * 66 + 3]));
        assert!(!ran(&machine, &text));
        assert!(!ran(&machine, &text[..4 * 66]));
    }
}
