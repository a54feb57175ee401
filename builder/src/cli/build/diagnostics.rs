//! What users read of each kind of diagnostic: one snapshot a kind.

use cooper_frontend::image::{ResolvedImage, ResolvedImages};
use cooper_frontend::settings::{BuildSettings, NoCache};
use cooper_frontend::{Code, Diagnostic, Plan, SourceFile, lint, parse};
use cooper_oci::{ImageConfig, Platform};

use super::run::failed;
use crate::build::BuildError;
use crate::progress::Summary;

/// A Dockerfile that is wrong in one way.
struct Case {
    text: String,
    target: Option<&'static str>,
    no_cache: Option<&'static str>,
    resolve: bool,
}

impl From<&str> for Case {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            target: None,
            no_cache: None,
            resolve: true,
        }
    }
}

/// Returns an example of each kind; the compiler asks for one when there is a new kind.
#[expect(clippy::too_many_lines, reason = "a table")]
fn case(code: Code) -> Case {
    match code {
        Code::BadSubstitution => "FROM debian\nENV a=1 \\\n    # continued\n    b=x${}y\n".into(),
        Code::BinaryFile => "\u{7f}ELF\u{2}\u{1}\u{1}\0\0\n\0\u{3}>\n".into(),
        Code::BlankBase => "ARG VERSION=1\nFROM ${VERSON}\n".into(),
        Code::BlankFrom => "FROM debian AS x\nFROM debian\nCOPY --from=$stage /a /b\n".into(),
        Code::BlankName => "FROM debian\nLABEL a=1 =2\n".into(),
        Code::ChownByName => "FROM debian\nCOPY --link --chown=www-data /a /b\n".into(),
        Code::CircularDependency => {
            "FROM debian AS a\nCOPY --from=b /x /y\nFROM a AS b\nRUN make\n".into()
        }
        Code::DuplicateDirective => "# escape=`\n# escape=\\\nFROM debian\n".into(),
        Code::DuplicateFlag => "FROM debian\nCOPY --chown=1 \\\n  --chown=2 a b\n".into(),
        Code::EmptyCommand => "FROM debian\nRUN []\n".into(),
        Code::EmptyContinuation => "FROM debian\nRUN a \\\n\n  b\n".into(),
        Code::EmptyFile => "".into(),
        Code::EmptyPlatform => "FROM --platform=$PLATFORM debian\n".into(),
        Code::EmptyVolume => "FROM debian\nVOLUME [\"/data\", \"\"]\n".into(),
        Code::FromArguments => "FROM debian build\n".into(),
        Code::HealthcheckNoneArguments => "FROM debian\nHEALTHCHECK NONE curl localhost\n".into(),
        Code::HeredocDestination => "FROM debian\nCOPY a <<EOF\nb\nEOF\n".into(),
        Code::NotAllowed => "FROM debian\nRUN --security=insecure mount\n".into(),
        Code::InvalidCheckOption => "# check=skip:all\nFROM debian\n".into(),
        Code::InvalidChecksum => {
            "FROM debian\nADD --checksum=md5:0 https://example.com/a /a\n".into()
        }
        Code::InvalidChmod => "FROM debian\nCOPY --chmod=rwx a b\n".into(),
        Code::InvalidDevice => "FROM debian\nRUN --device=,required ls\n".into(),
        Code::InvalidDuration => {
            "FROM debian\nHEALTHCHECK --interval=30 --timeout=1s CMD curl localhost\n".into()
        }
        Code::InvalidEscape => "# escape=^\nFROM debian\n".into(),
        Code::InvalidFlagValue => "FROM debian\nCOPY --link=yes a b\n".into(),
        Code::InvalidMount => {
            "FROM debian\nRUN --mount=type=cache,target=/c \\\n    --mount=type=cache,taget=/d make\n"
                .into()
        }
        Code::InvalidNetwork => "FROM debian\nRUN --network=hots make\n".into(),
        Code::InvalidPattern => "FROM debian\nCOPY --exclude=[a a b\n".into(),
        Code::InvalidPlatform => "FROM --platform=linux/arm/v7/x debian\n".into(),
        Code::InvalidPort => "FROM debian\nEXPOSE 80 http\n".into(),
        Code::InvalidReference => "FROM debian AS Build\nFROM BUILD\n".into(),
        Code::InvalidRetries => "FROM debian\nHEALTHCHECK --retries=-1 CMD true\n".into(),
        Code::InvalidSecurity => "FROM debian\nRUN --security=unsafe make\n".into(),
        Code::InvalidSignal => "FROM debian\nSTOPSIGNAL SIGNOPE\n".into(),
        Code::InvalidSource => "FROM debian\nCOPY https://example.com/a.txt /a\n".into(),
        Code::InvalidStageIndex => "FROM debian\nCOPY --from=3 /a /b\n".into(),
        Code::InvalidStageName => "FROM debian AS 1st\n".into(),
        Code::InvalidSubstitutionPattern => "FROM debian\nENV a=b\nENV c=${a#\\y}\n".into(),
        Code::InvalidTrigger => "FROM debian\nONBUILD FROM busybox\n".into(),
        Code::JsonNotStrings => "FROM debian\nCMD [\"sleep\", 5]\n".into(),
        Code::LaterStage => Case {
            target: Some("first"),
            .."FROM debian AS first\nCOPY --from=second /a /b\nFROM debian AS second\n".into()
        },
        Code::LineTooLong => Case {
            text: format!("FROM debian\nRUN {}\n", "x".repeat(65_536)),
            .."".into()
        },
        Code::MissingArgument => "FROM debian\nCOPY a\n".into(),
        Code::MissingBrace => "FROM debian\nWORKDIR /opt/${version\n".into(),
        Code::MissingEquals => "FROM debian\nENV a=b c d=e\n".into(),
        Code::MissingFlagValue => "FROM debian\nCOPY --from /a /b\n".into(),
        Code::MissingFrom => "ARG a\nRUN make\nFROM debian\n".into(),
        Code::MissingSlash => "FROM debian\nENV a=b\nENV c=${a//x}\n".into(),
        Code::NearlyJson => "FROM debian\nRUN [\"make', 'all']\n".into(),
        Code::RequiredVariable => {
            "FROM debian\nARG version\nCOPY <<EOF /etc/version\nname: x\nversion: ${version:?give one}\nEOF\n"
                .into()
        }
        Code::ShellNotJson => "FROM debian\nSHELL /bin/bash -c\n".into(),
        Code::SubstitutionTooCostly => Case {
            text: format!("FROM debian\nENV a={}\nENV b=${{a#*$a}}\n", "0".repeat(20_000)),
            .."".into()
        },
        Code::SubstitutionTooDeep => Case {
            text: format!("FROM debian\nENV a={}{}\n", "${x:-".repeat(101), "}".repeat(101)),
            .."".into()
        },
        Code::SubstitutionTooLong => Case {
            text: "FROM debian\nENV a=0123456789abcdef\n".to_owned()
                + &"ENV a=$a$a$a$a$a$a$a$a\n".repeat(6),
            .."".into()
        },
        Code::UnclosedQuote => "FROM debian\nCOPY src/it's.txt /x\n".into(),
        Code::UnknownCheck => "# check=skip=StageNameCase\nFROM debian\n".into(),
        Code::UnknownFlag => "FROM debian\nCOPY --form=x a b\n".into(),
        Code::UnknownHealthcheck => "FROM debian\nHEALTHCHECK curl localhost\n".into(),
        Code::UnknownInstruction => "FROM debian\nRUNN make\n".into(),
        Code::UnknownStage => Case {
            no_cache: Some("tset"),
            .."FROM debian AS test\n".into()
        },
        Code::UnknownTarget => Case {
            target: Some("biuld"),
            .."FROM debian AS build\nFROM build AS run\n".into()
        },
        Code::UnresolvedImage => Case {
            resolve: false,
            .."FROM debian\n".into()
        },
        Code::UnsupportedModifier => "FROM debian\nARG a\nUSER ${a^^}\n".into(),
        Code::UnsupportedSyntax => "# syntax=example.com/mine:1\nFROM debian\n".into(),
        Code::UnterminatedHeredoc => "FROM debian\nRUN cat <<A >/a <<B\n1\nA\n2\n".into(),
    }
}

/// Goes as far as the text lets it, and returns all that is wrong with it.
fn diagnose(case: &Case, source: &SourceFile) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Err(errors) = try_build(case, source, &mut found) {
        found.extend(errors);
    }
    found
}

fn try_build(
    case: &Case,
    source: &SourceFile,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Vec<Diagnostic>> {
    let dockerfile = parse(source)?;
    warnings.extend(dockerfile.warnings.clone());
    let mut settings = BuildSettings::new(Platform::new("linux", "amd64"));
    settings.target = case.target.map(str::to_owned);
    if let Some(stage) = case.no_cache {
        settings.no_cache = NoCache::Stages([stage.to_owned()].into());
    }
    let plan = Plan::new(&dockerfile, &settings)?;
    warnings.extend(plan.warnings());
    let mut images = ResolvedImages::new();
    if case.resolve {
        images.extend(plan.requests(&images).into_iter().map(|request| {
            let image = ResolvedImage {
                config: ImageConfig::new(&request.platform),
                layers: vec!["layer".to_owned()].into(),
                reference: None,
                digest: None,
            };
            (request.key, image)
        }));
    }
    let (_, notes) = lint::Config::of(source, &plan)?;
    warnings.extend(notes);
    plan.lower(&images)?;
    Ok(())
}

fn rendered(case: &Case) -> (Vec<Code>, String) {
    let file = SourceFile::new("Dockerfile", case.text.clone());
    let diagnostics = diagnose(case, &file);
    let codes = diagnostics.iter().map(|one| one.code).collect();
    let error = BuildError::Dockerfile { file, diagnostics };
    let text = failed(&error, Summary::default()).render(false);
    // One very long line says nothing more than its beginning.
    let cut = |line: &str| match line.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    };
    (codes, text.lines().map(cut).collect::<Vec<_>>().join("\n"))
}

#[test]
fn each_kind_of_diagnostic_reads_well() {
    for &code in Code::ALL {
        let (codes, text) = rendered(&case(code));
        assert_eq!(codes, [code], "{text}");
        assert!(text.contains(" = help: "), "{text}");
        insta::assert_snapshot!(code.name(), text);
    }
}

#[test]
fn snapshots_belong_to_kinds() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/build/snapshots");
    for entry in std::fs::read_dir(dir).expect("there are snapshots") {
        let name = entry.expect("a readable directory").file_name();
        let name = name.to_string_lossy();
        let Some(kind) = name
            .strip_prefix("cooper_builder__cli__build__diagnostics__")
            .and_then(|rest| rest.strip_suffix(".snap"))
        else {
            continue;
        };
        let known = Code::ALL.iter().any(|code| code.name() == kind);
        assert!(
            known || kind.starts_with("several-"),
            "{name} is of no kind"
        );
    }
}

#[test]
fn independent_errors_come_together() {
    let syntax = "# escape=\\\n# escape=`\nFROM debian AS 1\nRUNN make\nCOPY --form=x --chmod a\n\
                  ENV a=${b^} \\\n    c=${d\nRUN <<EOF\nunfinished\n";
    let (codes, text) = rendered(&syntax.into());
    insta::assert_snapshot!("several-while-parsing", text);
    assert_eq!(codes.len(), 9);
    let names = "FROM --platform=$X debian AS a\nCOPY --from=7 a b\nFROM UPPER\nCOPY --from=b x y\n\
                 FROM a AS b\nEXPOSE ${p\n";
    let (codes, text) = rendered(&names.into());
    insta::assert_snapshot!("several-while-planning", text);
    assert_eq!(codes.len(), 4);
    let words = "FROM debian\nCOPY --chmod=9 --exclude=[ \"a b\" /c\nSTOPSIGNAL NO\n\
                 RUN --mount=type=cache,target=/a,mode=8 --mount=type=x x\nEXPOSE a b\n";
    let (codes, text) = rendered(&words.into());
    insta::assert_snapshot!("several-while-lowering", text);
    assert_eq!(codes.len(), 7);
}
