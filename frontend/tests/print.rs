//! Printing a Dockerfile and parsing it again gives the same Dockerfile.

use cooper_frontend::instruction::{
    ArgDefinition, CommandForm, CommandLine, CopyFiles, Health, HealthDurations, HealthTest,
    InlineSource, Instruction, Kind, MountField, MountSpec, OnBuild, Pair, Run,
};
use cooper_frontend::ir::{DeviceRequest, NetworkMode, SecurityMode};
use cooper_frontend::syntax::{Directives, Heredoc};
use cooper_frontend::{Dockerfile, SourceFile, Span, Spanned, Stage, parse};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn at<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Span::default())
}

fn instruction(keyword: &str, kind: Kind) -> Instruction {
    Instruction {
        kind,
        keyword: at(keyword.to_owned()),
        span: Span::default(),
        original: String::new(),
        comments: Vec::new(),
    }
}

/// Takes the places out, and what is only there for messages.
fn erase(file: &mut Dockerfile) {
    file.warnings.clear();
    for word in [&mut file.directives.syntax, &mut file.directives.check] {
        erase_all(word);
    }
    file.preamble.iter_mut().for_each(erase_instruction);
    for stage in &mut file.stages {
        stage.span = Span::default();
        erase_word(&mut stage.base);
        erase_word(&mut stage.keyword);
        for word in [&mut stage.name, &mut stage.platform, &mut stage.as_keyword] {
            erase_all(word);
        }
        stage.instructions.iter_mut().for_each(erase_instruction);
    }
}

fn erase_word<T: Clone>(word: &mut Spanned<T>) {
    *word = at(word.value.clone());
}

fn erase_all<'a, T: Clone + 'a>(words: impl IntoIterator<Item = &'a mut Spanned<T>>) {
    words.into_iter().for_each(erase_word);
}

fn erase_instruction(instruction: &mut Instruction) {
    instruction.span = Span::default();
    instruction.original.clear();
    erase_word(&mut instruction.keyword);
    match &mut instruction.kind {
        Kind::From(_) | Kind::Shell(_) | Kind::Healthcheck(_) | Kind::Maintainer(_) => {}
        Kind::Run(run) => {
            run.command.span = Span::default();
            erase_all(&mut run.network);
            erase_all(&mut run.security);
            erase_all(&mut run.devices);
            for document in &mut run.heredocs {
                document.span = Span::default();
            }
            for mount in &mut run.mounts {
                mount.span = Span::default();
                for field in &mut mount.fields {
                    field.span = Span::default();
                    erase_all(&mut field.value);
                }
            }
        }
        Kind::Copy(copy) | Kind::Add(copy) => {
            erase_all(&mut copy.sources);
            erase_word(&mut copy.dest);
            for word in [
                &mut copy.from,
                &mut copy.chown,
                &mut copy.chmod,
                &mut copy.checksum,
            ] {
                erase_all(word);
            }
            erase_all(&mut copy.exclude);
            erase_all(copy.inline.iter_mut().map(|document| &mut document.data));
        }
        Kind::Env(pairs) | Kind::Label(pairs) => {
            for pair in pairs {
                erase_word(&mut pair.name);
                erase_word(&mut pair.value);
            }
        }
        Kind::Arg(definitions) => {
            for definition in definitions {
                erase_word(&mut definition.name);
                erase_all(&mut definition.default);
            }
        }
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => erase_word(word),
        Kind::Expose(words) | Kind::Volume(words) => erase_all(words),
        Kind::Cmd(command) | Kind::Entrypoint(command) => command.span = Span::default(),
        Kind::OnBuild(onbuild) => onbuild.span = Span::default(),
    }
}

/// A name of a variable, a stage or a file.
fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_.-]{0,8}"
}

/// A word without blanks, with quotes and variables in it; never a flag, a heredoc or JSON.
fn word() -> impl Strategy<Value = Spanned<String>> {
    r"[a-z0-9/.:@$%ä][a-z0-9/.:@$*?\\!ä-]{0,12}(\$\{[a-z]{1,3}(:-[a-z]?)?\})?[a-z0-9/ä]"
        .prop_map(at)
}

/// A value of ENV, LABEL and ARG: quotes close, escapes escape something.
fn value() -> impl Strategy<Value = Spanned<String>> {
    let piece = prop_oneof![
        "[a-z0-9/$.:=]{1,6}",
        "'[a-z \t\"#]{0,6}'",
        "\"[a-z '$]{0,6}\"",
        Just("\\$x".to_owned()),
        Just("${a:-'b c'}".to_owned()),
    ];
    vec(piece, 0..4).prop_map(|pieces| at(pieces.concat()))
}

/// A line for the shell.
fn shell() -> impl Strategy<Value = String> {
    let command = r#"[a-z-][a-z0-9 '"$(){}|&;#\\ä\t=-]{0,30}[a-z0-9;)]"#;
    prop_oneof![
        command.prop_map(String::from),
        command.prop_map(|text| format!("--{text}")),
        Just(String::new()),
        Just("[\"a\", 'b']".to_owned()),
    ]
}

fn arguments() -> impl Strategy<Value = Vec<String>> {
    let any = r#"[a-z "'\\$\[\]{},\n\t/ä😀\u{1}]{0,10}"#;
    vec(any.prop_map(String::from), 1..4)
}

fn command() -> impl Strategy<Value = CommandLine> {
    let form = prop_oneof![
        arguments().prop_map(CommandForm::Exec),
        shell().prop_map(CommandForm::Shell),
    ];
    form.prop_map(|form| CommandLine {
        form,
        span: Span::default(),
    })
}

/// The lines of a here-document, none of which ends one.
fn content() -> impl Strategy<Value = String> {
    vec("[a-z0-9 \t$'\"#\\\\<=ä-]{0,12}", 0..4).prop_map(|lines| {
        let lines = lines.into_iter().filter(|line| line != "EOF");
        lines.map(|line| line + "\n").collect()
    })
}

fn mount() -> impl Strategy<Value = MountSpec> {
    let text = r#"[a-zA-Z0-9/$,"' =\\-]{0,10}"#.prop_map(at);
    let field = ("[a-z]{1,6}", of(text)).prop_map(|(key, value)| MountField {
        key,
        value,
        span: Span::default(),
    });
    vec(field, 1..4).prop_map(|fields| MountSpec {
        fields,
        span: Span::default(),
    })
}

fn run() -> impl Strategy<Value = Kind> {
    let network = prop_oneof![
        Just(NetworkMode::Default),
        Just(NetworkMode::None),
        Just(NetworkMode::Host),
    ];
    let security = prop_oneof![Just(SecurityMode::Sandbox), Just(SecurityMode::Insecure)];
    let device = ("[a-z]{1,4}/[a-z]{1,4}", any::<bool>())
        .prop_map(|(name, required)| at(DeviceRequest { name, required }));
    let documents = vec((content(), any::<bool>(), any::<bool>()), 1..3);
    let scripts = documents.prop_map(|documents| {
        let mut line = "cat".to_owned();
        let mut heredocs = Vec::new();
        for (index, (content, expand, chomp)) in documents.into_iter().enumerate() {
            let (name, dash) = (format!("E{index}"), if chomp { "-" } else { "" });
            let quote = if expand { "" } else { "\"" };
            line.extend([" 3<<", dash, quote, &name, quote]);
            heredocs.push(Heredoc {
                name,
                expand,
                chomp,
                content,
                span: Span::default(),
            });
        }
        let form = CommandForm::Shell(line);
        let span = Span::default();
        (CommandLine { form, span }, heredocs)
    });
    let plain = command().prop_filter("no heredoc", |command| match &command.form {
        CommandForm::Shell(text) => !text.contains("<<"),
        CommandForm::Exec(_) => true,
    });
    let command = prop_oneof![plain.prop_map(|command| (command, Vec::new())), scripts];
    let flags = (
        vec(mount(), 0..3),
        of(network),
        of(security),
        vec(device, 0..2),
    );
    (flags, command).prop_map(
        |((mounts, network, security, devices), (command, heredocs))| {
            Kind::Run(Box::new(Run {
                command,
                heredocs,
                mounts,
                network: network.map(at),
                security: security.map(at),
                devices,
            }))
        },
    )
}

/// A value of a flag: any characters of a line.
fn flag() -> impl Strategy<Value = Spanned<String>> {
    r#"[a-z0-9/.:=,$*\[\] '"\\ä\t-]{0,10}"#.prop_map(at)
}

fn files(is_add: bool) -> impl Strategy<Value = Kind> {
    let blank = "[a-z][a-z \"\\\\\t\n]{0,6}".prop_map(at);
    let path = prop_oneof![4 => word(), 1 => blank];
    let paths = vec(path, 2..5).prop_map(|words| (words, Vec::new()));
    let inline = (name(), content(), any::<bool>()).prop_map(|(name, data, expand)| InlineSource {
        name: name.to_uppercase(),
        data: at(data),
        expand,
    });
    let inline = vec(inline, 1..3).prop_filter("names differ", |documents| {
        documents.iter().all(|one| {
            let same = documents.iter().filter(|other| other.name == one.name);
            same.count() == 1
        })
    });
    let with_inline = (vec(word(), 1..3), inline);
    let sources = prop_oneof![paths, with_inline];
    let flags = (
        of(flag()),
        of(flag()),
        of(flag()),
        of(flag()),
        vec(flag(), 0..2),
    );
    let switches = (
        any::<bool>(),
        any::<bool>(),
        of(any::<bool>()),
        of(any::<bool>()),
    );
    (sources, flags, switches).prop_map(move |((mut words, inline), flags, switches)| {
        let (from, chown, chmod, checksum, exclude) = flags;
        let (link, parents, unpack, keep_git_dir) = switches;
        let dest = words.pop().expect("there is a destination");
        let files = Box::new(CopyFiles {
            sources: words,
            inline,
            dest,
            from: from.filter(|_| !is_add),
            chown,
            chmod,
            link,
            parents: parents && !is_add,
            exclude,
            checksum: checksum.filter(|_| is_add),
            unpack: unpack.filter(|_| is_add),
            keep_git_dir: keep_git_dir.filter(|_| is_add),
        });
        if is_add {
            Kind::Add(files)
        } else {
            Kind::Copy(files)
        }
    })
}

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    let pair = (name(), value()).prop_map(|(name, value)| Pair {
        name: at(name),
        value,
        legacy: false,
    });
    let legacy = (name(), word()).prop_map(|(name, value)| {
        vec![Pair {
            name: at(name),
            value,
            legacy: true,
        }]
    });
    prop_oneof![4 => vec(pair, 1..4), 1 => legacy]
}

fn health() -> impl Strategy<Value = Kind> {
    let time = || prop_oneof![Just(0_i64), 1_000_000..i64::MAX];
    let test = prop_oneof![
        arguments().prop_map(HealthTest::Exec),
        "[a-z][a-z '$|-]{0,10}[a-z]".prop_map(HealthTest::Shell),
    ];
    let check = (time(), time(), time(), time(), 0..i64::from(i32::MAX), test).prop_map(
        |(interval, timeout, start_period, start_interval, retries, test)| Health {
            test,
            durations: HealthDurations {
                interval,
                timeout,
                start_period,
                start_interval,
            },
            retries,
        },
    );
    let none = Just(Health {
        test: HealthTest::None,
        durations: HealthDurations::default(),
        retries: 0,
    });
    prop_oneof![4 => check, 1 => none].prop_map(Kind::Healthcheck)
}

fn definitions() -> impl Strategy<Value = Kind> {
    let definition = (name(), of(value())).prop_map(|(name, default)| ArgDefinition {
        name: at(name),
        default,
    });
    vec(definition, 1..4).prop_map(Kind::Arg)
}

fn kind() -> impl Strategy<Value = Kind> {
    let expose = vec("[0-9]{1,4}(/tcp)?|\\$[a-z]{1,3}", 1..4).prop_map(|mut ports| {
        ports.sort();
        Kind::Expose(ports.into_iter().map(at).collect())
    });
    let volume = prop_oneof![word(), "[a-z][a-z \"]{0,5}[a-z]".prop_map(at)];
    let trigger = prop_oneof![
        shell().prop_map(|text| format!("RUN {text}").trim_end().to_owned()),
        content().prop_map(|data| format!("COPY <<EOF /x\n{data}EOF")),
    ];
    let onbuild = trigger.prop_map(|trigger| {
        Kind::OnBuild(OnBuild {
            trigger,
            span: Span::default(),
        })
    });
    let text = r#"[a-z$/-][a-z0-9 '"$/<>@.-]{0,12}[a-z0-9]"#;
    prop_oneof![
        run(),
        files(false),
        files(true),
        pairs().prop_map(Kind::Env),
        pairs().prop_map(Kind::Label),
        definitions(),
        text.prop_map(|text| Kind::Workdir(at(text))),
        text.prop_map(|text| Kind::User(at(text))),
        text.prop_map(|text| Kind::StopSignal(at(text))),
        text.prop_map(Kind::Maintainer),
        expose,
        vec(volume, 1..4).prop_map(Kind::Volume),
        command().prop_map(Kind::Cmd),
        command().prop_map(Kind::Entrypoint),
        arguments().prop_map(Kind::Shell),
        health(),
        onbuild,
    ]
}

fn comments() -> impl Strategy<Value = Vec<String>> {
    vec("[a-z=!][a-z =;#]{0,8}[a-z]", 0..3)
}

/// An instruction, its name in either case, with comments above.
fn commented(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Instruction> {
    (kind, comments(), any::<bool>()).prop_map(|(kind, comments, lower)| {
        let name = kind.name();
        let keyword = if lower {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        Instruction {
            comments,
            ..instruction(&keyword, kind)
        }
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let named = (name(), prop_oneof![Just("AS"), Just("as")]);
    (
        word(),
        of(named),
        of(flag()),
        comments(),
        vec(commented(kind()), 0..8),
    )
        .prop_map(|(base, named, platform, comments, instructions)| {
            let (name, as_keyword) = named.unzip();
            Stage {
                name: name.map(at),
                base,
                platform,
                keyword: at("FROM".to_owned()),
                as_keyword: as_keyword.map(|keyword| at(keyword.to_owned())),
                instructions,
                span: Span::default(),
                comments,
            }
        })
}

fn dockerfile() -> impl Strategy<Value = Dockerfile> {
    let directives = (
        any::<bool>(),
        any::<bool>(),
        of("skip=[A-Z][a-z]{1,5};error=true"),
    );
    let directives = directives.prop_map(|(backtick, syntax, check)| Directives {
        escape: if backtick { '`' } else { '\\' },
        syntax: syntax.then(|| at("docker/dockerfile:1".to_owned())),
        check: check.map(at),
    });
    let preamble = vec(commented(definitions()), 0..3);
    (directives, preamble, vec(stage(), 1..4)).prop_map(|(directives, preamble, stages)| {
        Dockerfile {
            directives,
            preamble,
            stages,
            warnings: Vec::new(),
        }
    })
}

fn reparsed(text: &str) -> Dockerfile {
    match parse(&SourceFile::new("Dockerfile", text)) {
        Ok(mut file) => {
            erase(&mut file);
            file
        }
        Err(errors) => panic!("{errors:#?}\n{text}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_printed_dockerfile_parses_to_the_same(file in dockerfile()) {
        let text = file.to_string();
        prop_assert_eq!(reparsed(&text), file, "{}", text);
    }
}

#[test]
fn real_dockerfiles_survive_printing() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/fuzz");
    let mut survived = 0;
    for target in ["parser", "pipeline"] {
        for entry in std::fs::read_dir(format!("{root}/{target}")).expect("a pinned corpus") {
            let data = std::fs::read(entry.expect("a readable entry").path()).expect("a file");
            let text = String::from_utf8_lossy(&data);
            let text = text.split('\u{1e}').next().unwrap_or_default();
            let Ok(mut file) = parse(&SourceFile::new("Dockerfile", text)) else {
                continue;
            };
            let printed = file.to_string();
            erase(&mut file);
            assert_eq!(reparsed(&printed), file, "{text}\n---\n{printed}");
            survived += 1;
        }
    }
    assert!(survived > 30, "only {survived} Dockerfiles parse");
}
