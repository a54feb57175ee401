//! What the fuzz targets do with a text.
//!
//! Each function takes bytes as they come and panics if the frontend breaks a promise: that it
//! answers at all, that every place it names lies in the file, that its answers agree with each
//! other. `frontend/tests/corpus.rs` runs the same functions over the pinned corpus with a stable
//! toolchain.

use cooper_frontend::dockerignore::{DockerIgnore, Verdict};
use cooper_frontend::image::{ImageKey, ImageRequest, ResolvedImage, ResolvedImages};
use cooper_frontend::instruction::{CommandForm, Kind};
use cooper_frontend::settings::{BuildSettings, NamedContext};
use cooper_frontend::word::{Environment, Lexer};
use cooper_frontend::{Diagnostics, Plan, SourceFile, describe, lint, parse};
use cooper_oci::{ImageConfig, Platform};

/// Parts the inputs of a target that takes two: no text of a Dockerfile holds it.
const SEPARATOR: char = '\u{1e}';

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Splits an input at the first [`SEPARATOR`].
fn halves(text: &str) -> (&str, &str) {
    text.split_once(SEPARATOR).unwrap_or((text, ""))
}

fn assert_places(source: &SourceFile, errors: &Diagnostics) {
    assert!(!errors.is_empty(), "a failure without an error");
    for error in errors {
        let place = source.text().get(error.span.range());
        assert!(place.is_some(), "{error} is not in the file");
        assert!(!error.message.is_empty());
    }
}

fn assert_warnings(source: &SourceFile, warnings: &[lint::Warning]) {
    for warning in warnings {
        assert!(source.text().get(warning.span.range()).is_some());
        assert!(source.text().get(warning.location.range()).is_some());
    }
}

/// Text to stages.
pub fn parser(data: &[u8]) {
    let source = SourceFile::from_bytes("Dockerfile", data);
    match parse(&source) {
        Ok(dockerfile) => assert!(!dockerfile.stages.is_empty()),
        Err(errors) => assert_places(&source, &errors),
    }
}

/// Shell words and variables: `word RS value-of-a`.
pub fn word(data: &[u8]) {
    let text = text(data);
    let (word, value) = halves(&text);
    let mut env = Environment::default();
    env.set("a", value);
    env.set("b", "/usr/local/lib.tar.gz");
    env.set("empty", "");
    for escape in ['\\', '`'] {
        let plain = Lexer::new(escape);
        let lexers = [
            plain,
            plain.keep_quotes().keep_unset(),
            plain.ignore_quotes(),
            plain.keep_quotes().keep_escapes().keep_unset(),
        ];
        for lexer in lexers {
            match lexer.expand(word, &env) {
                Ok(value) => assert!(value.matched.is_disjoint(&value.unmatched)),
                Err(error) => assert!(word.get(error.range.clone()).is_some(), "{error}"),
            }
        }
    }
}

/// A `.dockerignore` and paths: `patterns RS paths, one a line`.
pub fn dockerignore(data: &[u8]) {
    let text = text(data);
    let (patterns, paths) = halves(&text);
    let Ok(ignore) = DockerIgnore::parse(patterns) else {
        return;
    };
    let fixed = "a\na/b\na/b/c.txt\n.git/config\n*\n[a]\n";
    for path in paths.lines().chain(fixed.lines()).take(200) {
        let path = path.trim_matches('/');
        let excluded = ignore.matches(path);
        assert_eq!(ignore.reason(path).is_some(), excluded, "{path:?}");
        assert_eq!(ignore.verdict(path, false) != Verdict::Include, excluded);
        // A walk that prunes must see every file that counts.
        for (end, _) in path.match_indices('/') {
            if ignore.verdict(&path[..end], true) == Verdict::Exclude {
                assert!(excluded, "{path:?} is below a pruned directory");
            }
        }
    }
    let _ = DockerIgnore::from_patterns(patterns.lines());
}

/// The JSON form: it is one exactly if serde_json reads an array, and holds what serde_json reads.
pub fn json(data: &[u8]) {
    let array = text(data).replace(['\n', '\0'], " ");
    let want: Option<Vec<serde_json::Value>> = array
        .trim()
        .starts_with('[')
        .then(|| serde_json::from_str(array.trim()).ok())
        .flatten();
    let want: Option<Option<Vec<String>>> = want.map(|values| {
        let strings = values.into_iter().map(|value| match value {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        });
        strings.collect()
    });
    for (keyword, escape) in [
        ("CMD", "\\"),
        ("VOLUME", "`"),
        ("COPY", "`"),
        ("SHELL", "`"),
    ] {
        let file = format!("# escape={escape}\nFROM a\n{keyword} {array}\n");
        let source = SourceFile::new("Dockerfile", file);
        match parse(&source) {
            Err(errors) => assert_places(&source, &errors),
            Ok(dockerfile) => {
                let instruction = dockerfile.stages[0].instructions.first();
                if let Some(Kind::Cmd(command)) = instruction.map(|one| &one.kind)
                    && array.len() < 60_000
                    && !array.trim_end().ends_with('\\')
                    && !array.trim_start().starts_with("--")
                {
                    let exec = match &command.form {
                        CommandForm::Exec(args) => Some(Some(args.clone())),
                        CommandForm::Shell(_) => None,
                    };
                    assert_eq!(exec, want, "{array:?}");
                }
            }
        }
    }
}

/// The whole way from text to graph: `Dockerfile RS triggers of each base image, one a line`.
pub fn pipeline(data: &[u8]) {
    let text = text(data);
    let (file, triggers) = halves(&text);
    let triggers: Vec<String> = triggers.lines().take(50).map(str::to_owned).collect();
    let source = SourceFile::new("Dockerfile", file);
    let Err(errors) = build(&source, &triggers) else {
        return;
    };
    assert_places(&source, &errors);
    let Some(plan) = Plan::salvage(&source, &settings()) else {
        return;
    };
    let plan = plan.with_all_stages();
    if let Ok((config, _)) = lint::Config::of(&source, &plan) {
        let images = ResolvedImages::new();
        let inputs = lint::Inputs::new(&source, &plan, &images);
        assert_warnings(&source, &lint::check_broken(&inputs, &config, &errors));
    }
}

fn settings() -> BuildSettings {
    let mut settings = BuildSettings::new(Platform::new("linux", "amd64"));
    settings.build_args = [
        ("v", "1.2"),
        ("HTTP_PROXY", "http://p"),
        ("TARGETOS", "linux"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.named_contexts = [
        ("files".to_owned(), NamedContext::Local),
        ("image".to_owned(), NamedContext::Image),
    ]
    .into();
    settings
}

fn build(source: &SourceFile, triggers: &[String]) -> Result<(), Diagnostics> {
    let dockerfile = parse(source)?;
    let plan = Plan::new(&dockerfile, &settings())?;
    let mut images = ResolvedImages::new();
    loop {
        let requests = plan.requests(&images);
        if requests.is_empty() {
            break;
        }
        images.extend(
            requests
                .into_iter()
                .map(|request| answer(request, triggers)),
        );
    }
    let config = lint::Config::of(source, &plan);
    if let Ok((config, _)) = config {
        let ignore = DockerIgnore::parse("a\n!a/b\n").expect("a valid .dockerignore");
        let inputs = lint::Inputs::new(source, &plan, &images).with_ignore(Some(&ignore));
        assert_warnings(source, &lint::check(&inputs, &config));
    }
    let _ = describe::outline(&plan);
    let lowered = plan.lower(&images)?;
    for step in lowered.steps.values() {
        assert!(source.text().get(step.span.range()).is_some());
    }
    Ok(())
}

fn answer(request: ImageRequest, triggers: &[String]) -> (ImageKey, ResolvedImage) {
    let mut config = ImageConfig::new(&request.platform);
    config.config.on_build = triggers.to_vec();
    config.config.env = vec!["BASE=1".to_owned()];
    let image = ResolvedImage {
        config,
        layers: vec!["layer".to_owned()].into(),
        reference: None,
        digest: None,
    };
    (request.key, image)
}
