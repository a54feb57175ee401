//! Exact behaviours of the Dockerfile language and of the sandbox, as tables.
//!
//! A case is a context made by a few shell commands, a Dockerfile over busybox, and what
//! must come out: files, image config, output of its RUNs, or an error. There is a file for each
//! family of instructions; what the public reference says of it, and no other table there, stands
//! at its end.

mod add;
mod command;
mod config;
mod copy;
mod from;
mod heredoc;
mod ignore;
mod lines;
mod mounts;
mod onbuild;
mod paths;
mod run;
mod url;
mod variables;

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::layout::Image;
use crate::support::tree::{self, Tree};
use crate::support::{Context, Cooper, NONE, Outcome};

/// One row.
#[derive(Clone, Copy)]
struct Case {
    /// The behaviour, in words.
    name: &'static str,
    /// Shell commands that make the context; may write the Dockerfile itself.
    setup: &'static str,
    dockerfile: &'static str,
    /// Further options of `cooper build`.
    args: &'static [&'static str],
    expect: Expect,
}

impl Case {
    /// A case without further options.
    const fn new(
        name: &'static str,
        setup: &'static str,
        dockerfile: &'static str,
        expect: Expect,
    ) -> Self {
        Self {
            name,
            setup,
            dockerfile,
            args: NONE,
            expect,
        }
    }
}

/// A case whose RUNs print these lines.
const fn output(
    name: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, "", dockerfile, Expect::Output(lines))
}

/// A case with options, whose RUNs print these lines.
const fn given(
    name: &'static str,
    args: &'static [&'static str],
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case {
        name,
        setup: "",
        dockerfile,
        args,
        expect: Expect::Output(lines),
    }
}

/// A case with a context, whose RUNs print these lines.
const fn output_in(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Output(lines))
}

/// A case whose image has these files.
const fn of_tree(
    name: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, "", dockerfile, Expect::Tree(lines))
}

/// A case with a context, whose image has these files.
const fn tree_in(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Tree(lines))
}

/// A case with a context that fails and says these things.
const fn fails_in(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    texts: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Fails(texts))
}

/// A case that fails with a place in the Dockerfile.
const fn refused(name: &'static str, dockerfile: &'static str) -> Case {
    Case::new(name, "", dockerfile, Expect::Fails(&["Dockerfile:"]))
}

/// A case whose image has these fields.
const fn config(
    name: &'static str,
    dockerfile: &'static str,
    fields: &'static [(&'static str, &'static str)],
) -> Case {
    Case::new(name, "", dockerfile, Expect::Config(fields))
}

/// A case whose image has these variables.
const fn env(name: &'static str, dockerfile: &'static str, env: &'static [&'static str]) -> Case {
    Case::new(name, "", dockerfile, Expect::Env(env))
}

/// What comes out of a case.
#[derive(Clone, Copy)]
enum Expect {
    /// The build fails and says these things.
    Fails(&'static [&'static str]),
    /// Lines of `tree` that busybox does not have, in any order.
    Tree(&'static [&'static str]),
    /// JSON pointers into the image config and what is there (`null`: nothing).
    Config(&'static [(&'static str, &'static str)]),
    /// The image's environment but for PATH.
    Env(&'static [&'static str]),
    /// Everything that the RUNs wrote.
    Output(&'static [&'static str]),
}

/// Builds every case in one store and panics with all that differ.
#[track_caller]
fn check(cases: &[Case]) {
    let Some(cooper) = Cooper::new() else { return };
    let mut wrong = String::new();
    for case in cases {
        if let Err(difference) = check_one(&cooper, case) {
            let _ = writeln!(wrong, "\n### {}\n{difference}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn check_one(cooper: &Cooper, case: &Case) -> Result<(), String> {
    let context = Context::empty();
    if !case.dockerfile.is_empty() {
        context.write("Dockerfile", case.dockerfile);
    }
    context.sh(case.setup);
    match case.expect {
        Expect::Fails(texts) => fails(&cooper.build(&context, case.args), texts),
        Expect::Tree(lines) => {
            let tree = build_tree(cooper, &context, case.args)?;
            let base = busybox_tree(cooper)?;
            equal(tree::difference(base, &tree), lines)
        }
        Expect::Config(fields) => {
            let config = build_config(cooper, &context, case.args)?;
            let mut wrong = String::new();
            for (pointer, expected) in fields {
                let expected: Value = serde_json::from_str(expected).expect("JSON in the table");
                let found = config.pointer(pointer).unwrap_or(&Value::Null);
                if *found != expected {
                    let _ = writeln!(wrong, "{pointer}: expected {expected}, found {found}");
                }
            }
            none(wrong)
        }
        Expect::Env(expected) => {
            let config = build_config(cooper, &context, case.args)?;
            let env = config.pointer("/config/Env").and_then(Value::as_array);
            let found = env
                .into_iter()
                .flatten()
                .map(|value| value.as_str().unwrap_or_default().to_owned())
                .filter(|value| !value.starts_with("PATH="))
                .collect::<Vec<_>>();
            equal_in_order(&found, expected)
        }
        Expect::Output(expected) => {
            // Another case may have run the same command.
            let mut args = vec!["-otype=cacheonly", "--no-cache"];
            args.extend(case.args);
            let outcome = succeeded(cooper.build(&context, &args))?;
            equal_in_order(&written(&outcome.stderr), expected)
        }
    }
}

fn none(wrong: String) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn succeeded(outcome: Outcome) -> Result<Outcome, String> {
    if outcome.code() == 0 {
        Ok(outcome)
    } else {
        Err(outcome.to_string())
    }
}

fn fails(outcome: &Outcome, texts: &[&str]) -> Result<(), String> {
    if outcome.code() != 1 {
        return Err(format!("expected a failed build: {outcome}"));
    }
    let missing: Vec<_> = texts
        .iter()
        .filter(|text| !outcome.stderr.contains(**text))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("expected {missing:?} in: {outcome}"))
}

fn equal(mut found: Vec<String>, expected: &[&str]) -> Result<(), String> {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    found.sort_unstable();
    equal_in_order(&found, &expected)
}

fn equal_in_order(found: &[String], expected: &[&str]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "expected:\n  {}\nfound:\n  {}",
        expected.join("\n  "),
        found.join("\n  ")
    ))
}

fn build_tree(cooper: &Cooper, context: &Context, args: &[&str]) -> Result<Tree, String> {
    let file = cooper.scratch("tree.tar");
    let output = format!("-otype=tar,dest={}", file.display());
    let mut all = vec![output.as_str()];
    all.extend(args);
    succeeded(cooper.build(context, &all))?;
    Ok(tree::read_tar(&file))
}

fn build_config(cooper: &Cooper, context: &Context, args: &[&str]) -> Result<Value, String> {
    let dest = cooper.scratch("config-layout");
    let _ = std::fs::remove_dir_all(&dest);
    let output = format!("-otype=oci,tar=false,dest={}", dest.display());
    let mut all = vec![output.as_str()];
    all.extend(args);
    succeeded(cooper.build(context, &all))?;
    Ok(Image::read(&dest).config)
}

fn busybox_tree(cooper: &Cooper) -> Result<&'static Tree, String> {
    static TREE: OnceLock<Result<Tree, String>> = OnceLock::new();
    TREE.get_or_init(|| {
        let context = Context::new("FROM busybox\nENV a=b\n");
        build_tree(cooper, &context, &[])
    })
    .as_ref()
    .map_err(Clone::clone)
}

/// Returns what steps wrote, out of plain progress: `#4 0.123 text`.
fn written(progress: &str) -> Vec<String> {
    progress
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix('#')?;
            let (number, rest) = rest.split_once(' ')?;
            let (time, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let (seconds, fraction) = time.split_once('.')?;
            (is_number(number) && is_number(seconds) && is_number(fraction))
                .then(|| text.to_owned())
        })
        .collect()
}
