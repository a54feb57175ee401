//! Each rule on Dockerfiles that break it and that keep it: one file a family.

mod broken;
mod commands;
mod directives;
mod files;
mod from;
mod names;
mod variables;

use std::collections::BTreeMap;

use cooper_oci::ImageConfig;

use super::*;
use crate::image::ResolvedImage;
use crate::settings::BuildSettings;
use crate::stage::parse;

/// `--build-arg` values.
type Args = &'static [(&'static str, &'static str)];

/// A build to check: the file, and what differs from a build without options.
struct Case {
    args: Args,
    ignore: &'static str,
    all_stages: bool,
    /// Changes the configuration of every base image.
    image: fn(&mut ImageConfig),
}

impl Default for Case {
    fn default() -> Self {
        Self {
            args: &[],
            ignore: "",
            all_stages: true,
            image: |_| {},
        }
    }
}

impl Case {
    fn plan(&self, source: &SourceFile) -> Plan {
        let mut settings = BuildSettings::new("linux/amd64".parse().unwrap());
        let args = self.args.iter();
        settings.build_args = args.map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let plan = Plan::new(&parse(source).unwrap(), &settings).unwrap();
        if self.all_stages {
            plan.with_all_stages()
        } else {
            plan
        }
    }

    fn images(&self, plan: &Plan) -> ResolvedImages {
        let requests = plan.requests(&BTreeMap::new()).into_iter();
        requests
            .map(|request| {
                let mut config = ImageConfig::new(&request.platform);
                config.config.env.push("PATH=/bin".to_owned());
                config.config.env.push("BASE_VERSION=1".to_owned());
                (self.image)(&mut config);
                let image = ResolvedImage {
                    config,
                    layers: Vec::new().into(),
                    reference: None,
                    digest: None,
                };
                (request.key, image)
            })
            .collect()
    }

    fn warnings(&self, text: &str) -> Vec<Warning> {
        let source = SourceFile::new("Dockerfile", text);
        let plan = self.plan(&source);
        let images = self.images(&plan);
        let ignore = DockerIgnore::parse(self.ignore).unwrap();
        let inputs = Inputs::new(&source, &plan, &images).with_ignore(Some(&ignore));
        let (config, _) = Config::of(&source, &plan).unwrap();
        check(&inputs, &config)
    }

    /// Returns what a rule says, with the line that docker counts and the token.
    fn said(&self, rule: &str, text: &str) -> Vec<String> {
        let source = SourceFile::new("Dockerfile", text);
        let warnings = self.warnings(text).into_iter();
        warnings
            .filter(|warning| warning.rule.name == rule)
            .map(|warning| {
                let line = source.line_column(warning.location.start).line;
                format!(
                    "{line} [{}] {}",
                    source.slice(warning.span),
                    warning.message
                )
            })
            .collect()
    }

    fn table(&self, rule: &str, rows: &[(&str, &[&str])]) {
        assert!(RULES.iter().any(|known| known.name == rule), "{rule}");
        for (text, want) in rows {
            assert_eq!(self.said(rule, text), *want, "{rule}:\n{text}");
        }
    }
}

fn table(rule: &str, rows: &[(&str, &[&str])]) {
    Case::default().table(rule, rows);
}

/// Returns the rules that an example of a rule's page breaks, each once.
fn broken_by(rule: &Rule, file: &str) -> Vec<&'static str> {
    let text = if rule.experimental {
        format!("# check=experimental={}\n\n{file}", rule.name)
    } else {
        file.to_owned()
    };
    let mut case = Case::default();
    // Without a value there is no image to build from.
    if file.starts_with("ARG TAG\n") {
        case.args = &[("TAG", "1")];
    }
    match rule.given {
        Given::Nothing => {}
        Given::Ignored(lines) => case.ignore = lines,
        Given::BaseFor(platform) => {
            assert_eq!(platform, "linux/arm64");
            case.image = |config| config.architecture = "arm64".to_owned();
        }
    }
    let warnings = case.warnings(&text).into_iter();
    let mut names: Vec<_> = warnings.map(|warning| warning.rule.name).collect();
    names.dedup();
    names
}

#[test]
fn the_documentation_s_examples_break_their_rule_and_no_other() {
    let mut wrong = Vec::new();
    for rule in RULES {
        assert!(
            !rule.bad.is_empty() && !rule.good.is_empty(),
            "{} has no examples",
            rule.name
        );
        let own = [rule.name];
        let bad = rule.bad.iter().map(|file| (file, &own[..]));
        let good = rule.good.iter().map(|file| (file, &[][..]));
        for (file, want) in bad.chain(good) {
            let found = broken_by(rule, file);
            if found != want {
                wrong.push(format!("{} {found:?}:\n{file}", rule.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_clean_file_has_no_warnings() {
    let text = "ARG VERSION=1\nFROM --platform=$BUILDPLATFORM golang:$VERSION AS build\n\
        ARG TARGETARCH\nWORKDIR /src\nCOPY . .\nRUN GOARCH=$TARGETARCH go build $UNSET\n\
        FROM scratch\nCOPY --from=build /src/app /\nENTRYPOINT [\"/app\"]\n";
    assert_eq!(Case::default().warnings(text), []);
}

#[test]
fn rules_of_stages_skip_what_is_not_built() {
    let text = "FROM a as b\nCMD x\nLABEL x=$x\nFROM a\nLABEL y=$y\n";
    let built = Case {
        all_stages: false,
        ..Case::default()
    };
    let names = |case: &Case| -> Vec<_> {
        let warnings = case.warnings(text).into_iter();
        warnings
            .map(|warning| (warning.rule.name, warning.location.start))
            .collect()
    };
    assert_eq!(names(&built), [("FromAsCasing", 0), ("UndefinedVar", 36)]);
    assert_eq!(names(&Case::default()).len(), 4);
}

#[test]
fn addresses_have_the_rule_s_words() {
    for (name, want) in [
        ("JSONArgsRecommended", "json-args-recommended"),
        ("StageNameCasing", "stage-name-casing"),
        ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env"),
        ("UndefinedArgInFrom", "undefined-arg-in-from"),
    ] {
        assert_eq!(kebab(name), want);
    }
}

#[test]
fn names_are_unique_and_documented() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 22);
    for rule in RULES {
        assert!(
            !rule.summary.ends_with('.') && rule.doc.ends_with('.'),
            "{}",
            rule.name
        );
    }
}
