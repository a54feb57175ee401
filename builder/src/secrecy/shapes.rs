//! Credentials that can be told by their looks.
//!
//! Each begins with letters of its own; what follows decides.

/// A kind of credential.
#[derive(Debug)]
pub struct Shape {
    /// What it is.
    pub name: &'static str,
    /// How it begins.
    pub prefix: &'static [u8],
    /// What follows.
    tail: Tail,
}

#[derive(Debug)]
enum Tail {
    /// As many of such bytes at least, and then another one, if `most` is reached.
    Run {
        class: fn(u8) -> bool,
        least: usize,
        most: usize,
    },
    /// The body of a key in PEM form.
    Pem,
}

const fn run(
    name: &'static str,
    prefix: &'static [u8],
    class: fn(u8) -> bool,
    (least, most): (usize, usize),
) -> Shape {
    let tail = Tail::Run { class, least, most };
    Shape { name, prefix, tail }
}

const fn pem(name: &'static str, prefix: &'static [u8]) -> Shape {
    let tail = Tail::Pem;
    Shape { name, prefix, tail }
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    alnum(byte) || b"_-".contains(&byte)
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// The shapes that are known. What is added here changes the identity of the search.
pub static SHAPES: &[Shape] = &[
    run("an AWS access key", b"AKIA", upper, (16, 16)),
    run("an AWS access key", b"ASIA", upper, (16, 16)),
    pem("a private key", b"-----BEGIN PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN RSA PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN EC PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN DSA PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN OPENSSH PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----"),
    pem("a private key", b"-----BEGIN PGP PRIVATE KEY BLOCK-----"),
    run("a GitHub token", b"ghp_", alnum, (36, 36)),
    run("a GitHub token", b"gho_", alnum, (36, 36)),
    run("a GitHub token", b"ghu_", alnum, (36, 36)),
    run("a GitHub token", b"ghs_", alnum, (36, 36)),
    run("a GitHub token", b"ghr_", alnum, (36, 36)),
    run("a GitHub token", b"github_pat_", word, (40, 255)),
    run("a GitLab token", b"glpat-", dotted, (20, 255)),
    run("a Slack token", b"xoxb-", word, (20, 255)),
    run("a Slack token", b"xoxp-", word, (20, 255)),
    run("a Slack token", b"xoxa-", word, (20, 255)),
    run("a Slack token", b"xoxs-", word, (20, 255)),
    run("an npm token", b"npm_", alnum, (36, 36)),
    run("a PyPI token", b"pypi-AgEIcHlwaS5vcmc", word, (50, 500)),
    run("a Google API key", b"AIza", word, (35, 35)),
    run("a Stripe key", b"sk_live_", alnum, (24, 255)),
    run("a Docker Hub token", b"dckr_pat_", word, (27, 27)),
    run("a Hugging Face token", b"hf_", alnum, (34, 34)),
    run("a DigitalOcean token", b"dop_v1_", hex, (64, 64)),
    run("a SendGrid key", b"SG.", dotted, (66, 66)),
];

impl Shape {
    /// Whether what follows the prefix makes it a credential.
    pub fn confirms(&self, after: &[u8]) -> bool {
        match self.tail {
            Tail::Run { class, least, most } => {
                let length = after.iter().take_while(|byte| class(**byte)).count();
                let example = after[..length].ends_with(b"EXAMPLE");
                (least..=most).contains(&length) && !example
            }
            Tail::Pem => {
                let base64 = |byte: &u8| alnum(*byte) || b"+/=\\".contains(byte);
                let longest = after.split(|byte| !base64(byte)).map(<[u8]>::len).max();
                longest.is_some_and(|length| length >= 40)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Option<&'static str> {
        let confirmed = |shape: &&Shape| {
            let mut windows = text.windows(shape.prefix.len());
            let at = windows.position(|part| part == shape.prefix);
            at.is_some_and(|at| shape.confirms(&text[at + shape.prefix.len()..]))
        };
        SHAPES.iter().find(confirmed).map(|shape| shape.name)
    }

    #[test]
    fn credentials_are_told_from_what_only_begins_like_them() {
        let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        // The halves are apart so that this file is not found itself.
        let github = ["gh", "p_0123456789abcdefghijABCDEFGHIJ012345"].concat();
        let cases = [
            (
                ["AKI", "AQ3EGRIOP5JQ6ABCD\n"].concat(),
                Some("an AWS access key"),
            ),
            ("AKIAIOSFODNN7EXAMPLE".to_owned(), None),
            ("AKIAQ3EGRIOP5JQ6ABCDE".to_owned(), None),
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n"),
                Some("a private key"),
            ),
            (
                format!("{{\"key\":\"-----BEGIN PRIVATE KEY-----\\n{key}\\n\"}}"),
                Some("a private key"),
            ),
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{key}"),
                Some("a private key"),
            ),
            ("-----BEGIN RSA PRIVATE KEY-----\0-----END".to_owned(), None),
            (format!("token={github}\n"), Some("a GitHub token")),
            (format!("{github}x"), None),
            ("ghp_short".to_owned(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text.as_bytes()), expected, "{text}");
        }
    }
}
