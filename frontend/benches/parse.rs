//! Measures how long a Dockerfile of 10,000 instructions takes to parse and to print.
//!
//! `cargo bench -p cooper-frontend`, or with `--profile fast` to build quicker. Each time is the
//! processor's, and the mean of several.

mod clock;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use cooper_frontend::{SourceFile, parse};

/// What 10,000 instructions may take.
const TARGET: Duration = Duration::from_millis(50);

/// Ordinary instructions in equal parts: flags, words, quotes and variables.
fn ordinary() -> String {
    let mut text = String::from("FROM a\n");
    for number in 0..2_500 {
        let _ = write!(
            text,
            "RUN --mount=type=cache,target=/c{number} make -j4 target-{number} && echo done\n\
             COPY --chown=1:1 src/{number} /dest/{number}\n\
             ENV VARIABLE_{number}=\"value {number}\" OTHER=$VARIABLE\n\
             LABEL org.example.label.{number}=value\n"
        );
    }
    text
}

/// Instructions over several lines, with comments, heredocs and JSON.
fn involved() -> String {
    let mut text = String::from("FROM a\n");
    for number in 0..2_500 {
        let _ = write!(
            text,
            "# step {number}\nRUN set -e; \\\n  # why\n  make {number} \\\n  install\n\
             COPY [\"a {number}\", \"/b\\u00e4\"]\n\
             RUN <<EOF\necho {number}\necho $x\nEOF\n\
             CMD [\"/bin/x\", \"--flag\", \"{number}\"]\n"
        );
    }
    text
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut slow = false;
    for (name, text) in [("ordinary", ordinary()), ("involved", involved())] {
        let source = SourceFile::new("Dockerfile", text);
        let file = parse(&source).expect("the text is a Dockerfile");
        assert_eq!(file.stages[0].instructions.len(), 10_000);
        let parsing = clock::mean(|| drop(parse(&source)));
        let printing = clock::mean(|| drop(file.to_string()));
        slow |= parsing > TARGET;
        let _ = writeln!(
            out,
            "10,000 {name} instructions: parsed in {parsing:.1?}, printed in {printing:.1?}"
        );
    }
    if slow {
        let _ = writeln!(out, "parsing takes longer than {TARGET:?}");
    }
    ExitCode::from(u8::from(slow))
}
