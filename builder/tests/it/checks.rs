//! Build checks: after a build, alone, and as a reason not to build.

use crate::support::process::run;
use crate::support::{Context, Cooper};

const WARNED: &str = "FROM scratch as base\nCOPY Dockerfile /$nothing\n";

#[test]
fn a_build_tells_its_warnings_once_at_the_end() {
    let Some(cooper) = Cooper::new() else { return };
    let outcome = cooper.build(&Context::new(WARNED), &[] as &[&str]);
    assert_eq!(outcome.code(), 0, "{outcome}");
    let tail = outcome.stderr.split("2 warnings found:").nth(1);
    let tail = tail.unwrap_or_else(|| panic!("{outcome}"));
    for said in [
        "warning[FromAsCasing]: 'as' and 'FROM' keywords' casing do not match",
        "1 | FROM scratch as base",
        "warning[UndefinedVar]: Usage of undefined variable '$nothing'",
        "Dockerfile:2:18",
    ] {
        assert_eq!(outcome.stderr.matches(said).count(), 1, "{said}: {outcome}");
        assert!(tail.contains(said), "{said}: {outcome}");
    }
}

#[test]
fn violations_that_are_errors_stop_the_build() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(&format!("# check=error=true;skip=FromAsCasing\n{WARNED}"));
    let outcome = cooper.build(&context, &["-t", "never"]);
    assert_eq!(outcome.code(), 1, "{outcome}");
    let heading = "ERROR: lint violation found for rules: UndefinedVar";
    assert!(outcome.stderr.contains(heading), "{outcome}");
    // Who wants quiet is told what stops the build, and nothing else.
    let outcome = run(cooper.build_command(context.path(), &["--quiet"]));
    assert_eq!(outcome.code(), 1, "{outcome}");
    let told = "1 warning found:\nerror[UndefinedVar]: ";
    assert!(outcome.stderr.contains(told), "{outcome}");
    let skipped = "BUILDKIT_DOCKERFILE_CHECK=skip=all";
    let outcome = cooper.build(&context, &["--build-arg", skipped]);
    assert_eq!(outcome.code(), 0, "{outcome}");
    assert!(!outcome.stderr.contains("warning"), "{outcome}");
}

#[test]
fn checks_alone_exit_with_1_if_there_is_something() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(WARNED);
    let outcome = cooper.build(&context, &["--check"]);
    assert_eq!(outcome.code(), 1, "{outcome}");
    let heading = "Check complete, 2 warnings have been found!\n\nWARNING: FromAsCasing - ";
    assert!(outcome.out().starts_with(heading), "{outcome}");
    let outcome = cooper.build(&context, &["--call=check,format=json,ignorestatus=true"]);
    assert_eq!(outcome.code(), 0, "{outcome}");
    let answer: serde_json::Value = serde_json::from_str(&outcome.out()).expect("JSON");
    assert_eq!(answer["warnings"][1]["ruleName"], "UndefinedVar");

    let outcome = cooper.build(
        &Context::new("FROM scratch\nCOPY Dockerfile /\n"),
        &["--check"],
    );
    assert_eq!(outcome.code(), 0, "{outcome}");
    assert_eq!(outcome.out(), "Check complete, no warnings found.\n");
}

#[test]
fn a_misspelt_rule_is_pointed_out() {
    let Some(cooper) = Cooper::new() else { return };
    let context =
        Context::new("# check=skip=FromAsCasin\nFROM scratch AS base\nCOPY Dockerfile /\n");
    let outcome = cooper.build(&context, &["--check"]);
    assert_eq!(outcome.code(), 0, "{outcome}");
    let said = "there is no build check \"FromAsCasin\"";
    assert!(outcome.stderr.contains(said), "{outcome}");
    assert!(
        outcome.stderr.contains("did you mean `FromAsCasing`?"),
        "{outcome}"
    );
}

#[test]
fn outline_and_targets_need_no_image() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "# V is a version\nARG V=1\nFROM nowhere.invalid/x:$V AS a\n# b is last\nFROM a AS b\n",
    );
    let outcome = cooper.build(&context, &["--call=outline"]);
    let expected = "TARGET:      b\nDESCRIPTION: is last\n\n\
        BUILD ARG   VALUE   DESCRIPTION\nV           1       is a version\n";
    assert_eq!(outcome.out(), expected, "{outcome}");
    let outcome = cooper
        .build(&context, &["--call=subrequests.describe"])
        .ok();
    assert!(outcome.out().starts_with("NAME "), "{outcome}");
    let outcome = cooper.build(&context, &["--call=targets"]);
    let expected = "TARGET        DESCRIPTION\na\nb (default)   is last\n";
    assert_eq!(outcome.out(), expected, "{outcome}");
}

#[test]
fn warnings_come_with_the_error_that_stops_a_build() {
    let Some(cooper) = Cooper::new() else { return };
    let unreadable = "FROM scratch as base\nRUNN make\nMAINTAINER me\nCMD ['a']\n";
    let unplanned = "FROM scratch as base\nCOPY --from=9 a b\nMAINTAINER me\n";
    let unlowered = "FROM scratch as base\nEXPOSE http\nMAINTAINER me\n";
    let unanswered = "FROM nowhere.invalid/none as base\nMAINTAINER me\n";
    for (file, error) in [
        (unreadable, "unknown instruction: RUNN"),
        (unplanned, "invalid stage index 9"),
        (unlowered, "error[invalid-port]"),
        (unanswered, "nowhere.invalid"),
    ] {
        let context = Context::new(file);
        for options in [&[][..], &["--check"]] {
            let outcome = cooper.build(&context, options).exits(1).says(error);
            let said = format!("{}{}", outcome.stderr, outcome.out());
            for rule in ["FromAsCasing", "MaintainerDeprecated"] {
                assert!(said.contains(rule), "{rule}: {options:?} {outcome}");
            }
        }
        let quiet = cooper.build(&context, &["-q"]).exits(1).says(error);
        assert!(!quiet.stderr.contains("MaintainerDeprecated"), "{quiet}");
    }
    let nearly = cooper.build(&Context::new(unreadable), &[] as &[&str]);
    nearly.says("warning[nearly-json]");
    let twice = Context::new("# check=skip:all\nFROM scratch\nRUNN make\n");
    let outcome = cooper.build(&twice, &[] as &[&str]).exits(1);
    outcome
        .says("error[invalid-check-option]")
        .says("error[unknown-instruction]");
    let answer = cooper.build(&Context::new(unreadable), &["--call=check,format=json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer.exits(1).out()).expect("JSON");
    assert_eq!(answer["warnings"][0]["ruleName"], "FromAsCasing");
    assert!(answer["buildError"]["message"].as_str().is_some());
}
