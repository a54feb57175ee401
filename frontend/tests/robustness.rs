//! Whatever the text is, the frontend answers: it neither panics nor hangs.

#[path = "../benches/shapes/mod.rs"]
mod shapes;

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

/// How many random texts are tried.
const TEXTS: usize = 3_000;

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
    let mut built = 0;
    for _ in 0..TEXTS {
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
    }
    assert!(
        built > TEXTS / 100,
        "only {built} of {TEXTS} texts were valid"
    );
}

/// How the time grows is measured by `cargo bench`; here, whatever took the square of it would be
/// noticed by whoever waits.
#[test]
fn large_files_are_answered() {
    for shape in shapes::SHAPES {
        let is_valid = build(&(shape.make)(shape.size));
        assert_eq!(is_valid, shape.is_valid, "{}", shape.name);
    }
}
