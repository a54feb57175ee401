//! Whatever the text is, the frontend answers: it neither panics nor hangs.

#![expect(clippy::format_collect, reason = "test input")]

use std::time::{Duration, Instant};

use cooper_frontend::dockerignore::DockerIgnore;
use cooper_frontend::image::{ImageRequest, ResolvedImage, ResolvedImages};
use cooper_frontend::settings::BuildSettings;
use cooper_frontend::word::{Environment, Lexer};
use cooper_frontend::{Plan, SourceFile, describe, lint, parse};
use cooper_oci::{ImageConfig, Platform};

/// Takes a text as far as it goes.
fn build(text: &str) -> bool {
    let source = SourceFile::new("Dockerfile", text);
    let Ok(dockerfile) = parse(&source) else {
        return false;
    };
    let settings = BuildSettings::new(Platform::new("linux", "amd64"));
    let Ok(plan) = Plan::new(&dockerfile, &settings) else {
        return false;
    };
    let mut images = ResolvedImages::new();
    loop {
        let requests = plan.requests(&images);
        if requests.is_empty() {
            break;
        }
        images.extend(requests.into_iter().map(answer));
    }
    check(&source, &plan, &images);
    plan.lower(&images).is_ok()
}

/// Says all that there is to say of a file.
fn check(source: &SourceFile, plan: &Plan, images: &ResolvedImages) {
    if let Ok((config, _)) = lint::Config::of(source, plan) {
        let ignore = DockerIgnore::parse("a\n!a/b\n").unwrap();
        let inputs = lint::Inputs::new(source, plan, images).with_ignore(Some(&ignore));
        for warning in lint::check(&inputs, &config) {
            assert!(source.text().get(warning.span.range()).is_some());
            assert!(source.text().get(warning.location.range()).is_some());
        }
    }
    let _ = describe::outline(plan);
}

fn answer(request: ImageRequest) -> (cooper_frontend::image::ImageKey, ResolvedImage) {
    let config = ImageConfig::new(&request.platform);
    let image = ResolvedImage {
        config,
        layers: vec!["layer".to_owned()].into(),
        reference: None,
        digest: None,
    };
    (request.key, image)
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

const TOKENS: &[&str] = &[
    "FROM ",
    "FROM a AS b\n",
    "FROM b\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "CMD ",
    "ENTRYPOINT ",
    "SHELL ",
    "EXPOSE ",
    "VOLUME ",
    "USER ",
    "WORKDIR ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "STOPSIGNAL ",
    "# escape=`\n",
    "# syntax=docker/dockerfile:1\n",
    "# c\n",
    "\\\n",
    "\\",
    "`",
    "\n",
    "\r\n",
    " ",
    "\t",
    "a",
    "b",
    "/",
    ".",
    "..",
    "=",
    "$",
    "${",
    "}",
    ":",
    "-",
    "?",
    "+",
    "#",
    "%",
    "*",
    "'",
    "\"",
    "[",
    "]",
    "{",
    ",",
    "<<",
    "<<EOF\n",
    "<<-'EOF'\n",
    "EOF\n",
    "--from=",
    "--from=b ",
    "--mount=type=cache,target=/a ",
    "--mount=",
    "# check=skip=all;error=true\n",
    "# check=experimental=all\n",
    " as B",
    "--chown=1 ",
    "--chmod=u+x ",
    "--link ",
    "--parents ",
    "--exclude=",
    "--interval=1s ",
    "type=",
    "target=/",
    "[\"a\", \"b\"]",
    "[\"a\"",
    "80/tcp",
    "ä",
    "\u{feff}",
    "\u{85}",
    "http://a/b",
    "git@a:b",
    "!",
    "**",
    "\0",
];

#[test]
fn random_texts_neither_panic_nor_hang() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let started = Instant::now();
    let (mut built, mut tried) = (0, 0);
    while tried < 10_000 && started.elapsed() < Duration::from_secs(5) {
        let mut text = String::from(if numbers.below(4) == 0 {
            ""
        } else {
            "FROM a\n"
        });
        for _ in 0..numbers.below(40) {
            text.push_str(TOKENS[numbers.below(TOKENS.len())]);
        }
        built += usize::from(build(&text));
        let _ = DockerIgnore::parse(&text).map(|ignore| ignore.verdict("a/b", true));
        let _ = Lexer::new('\\').expand(&text, &Environment::default());
        tried += 1;
    }
    assert!(
        tried >= 1_000,
        "only {tried} texts in {:?}",
        started.elapsed()
    );
    assert!(
        built > tried / 100,
        "only {built} of {tried} texts were valid"
    );
}

/// Builds a text of one size and of four times the size; the time must not
/// grow as a square would.
fn assert_linear(name: &str, make: impl Fn(usize) -> String, size: usize) {
    let time = |size| {
        let text = make(size);
        let started = processor_time();
        build(&text);
        processor_time().saturating_sub(started)
    };
    time(size / 4);
    let (small, large) = (time(size), time(size * 4));
    let limit = small.max(Duration::from_millis(20)) * 10;
    assert!(
        large < limit,
        "{name}: {small:?} for {size}, {large:?} for four times that"
    );
}

#[test]
fn time_grows_with_the_size_of_the_file() {
    let base = "FROM a\n";
    assert_linear(
        "many RUNs",
        |n| format!("{base}{}", "RUN make all\n".repeat(n)),
        2_000,
    );
    assert_linear(
        "many ENVs",
        |n| {
            (0..n).fold(base.to_owned(), |text, i| {
                text + &format!("ENV v{i}=$v{}\n", i / 2)
            })
        },
        2_000,
    );
    assert_linear(
        "many warnings",
        |n| {
            (0..n).fold(base.to_owned(), |text, i| {
                text + &format!("env v{i} $v{}\nEXPOSE 1 \\\n\n 2\n", i + 1)
            })
        },
        1_000,
    );
    assert_linear(
        "long ENV",
        |n| {
            (0..n).fold(format!("{base}ENV x=1"), |text, i| {
                text + &format!(" \\\n v{i}=$x")
            })
        },
        4_000,
    );
    assert_linear(
        "continued RUN",
        |n| format!("{base}RUN a {}\n", "\\\n b".repeat(n)),
        20_000,
    );
    assert_linear(
        "long heredoc",
        |n| {
            format!(
                "{base}RUN <<EOF\n{}EOF\n",
                "line of a script $x\n".repeat(n)
            )
        },
        20_000,
    );
    assert_linear(
        "many heredocs",
        |n| {
            let marks: String = (0..n).map(|i| format!(" \\\n <<f{i}")).collect();
            let bodies: String = (0..n).map(|i| format!("x\nf{i}\n")).collect();
            format!("{base}COPY{marks} /d/\n{bodies}")
        },
        1_000,
    );
    assert_linear(
        "open braces",
        |n| format!("{base}ENV a={}\n", "${a:-\\\n".repeat(n)),
        10_000,
    );
    assert_linear(
        "many flags",
        |n| format!("{base}RUN {} x\n", "--mount=target=/a \\\n".repeat(n)),
        1_000,
    );
    assert_linear(
        "many errors",
        |n| format!("{base}{}", "NOPE x\n".repeat(n)),
        10_000,
    );
    assert_linear(
        "many stages",
        |n| {
            (0..n).fold("FROM a AS s0\n".to_owned(), |text, i| {
                text + &format!("FROM s{i} AS s{}\nRUN x\n", i + 1)
            })
        },
        50,
    );
    assert_linear("binary", |n| "\u{1}\0\u{fffd}\n".repeat(n), 50_000);
    assert_linear(
        "patterns",
        |n| {
            let long = "ab".repeat(n);
            format!(
                "{base}ENV a={} \\\n b={}\nENV c=${{b//a*c/x}} d=${{b#*c}}\n",
                "x", long
            )
        },
        2_000,
    );
}

/// Returns how long this thread has run.
fn processor_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}
