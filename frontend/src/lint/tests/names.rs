//! Names of stages and the case of keywords.

use super::table;

#[test]
fn stage_name_casing() {
    table(
        "StageNameCasing",
        &[
            (
                "FROM a AS BuilderBase\n",
                &["1 [BuilderBase] Stage name 'BuilderBase' should be lowercase"],
            ),
            ("FROM a AS builder-base\n", &[]),
            (
                "FROM a AS x\nFROM b AS \\\n  Y\n",
                &["2 [Y] Stage name 'Y' should be lowercase"],
            ),
        ],
    );
}

#[test]
fn from_as_casing() {
    table(
        "FromAsCasing",
        &[
            (
                "FROM a as b\n",
                &["1 [as] 'as' and 'FROM' keywords' casing do not match"],
            ),
            (
                "from a AS b\n",
                &["1 [AS] 'AS' and 'from' keywords' casing do not match"],
            ),
            ("FROM a AS b\nfrom a as c\n", &[]),
            ("FROM as\n", &[]),
        ],
    );
}

#[test]
fn consistent_instruction_casing() {
    let upper = "should match the case of the command majority (uppercase)";
    let lower = "should match the case of the command majority (lowercase)";
    table(
        "ConsistentInstructionCasing",
        &[
            (
                "FROM a\nrun b\n",
                &[&format!("2 [run] Command 'run' {upper}")],
            ),
            (
                "from a\nrun b\nUSER c\n",
                &[&format!("3 [USER] Command 'USER' {lower}")],
            ),
            (
                "From a\nRun b\n",
                &[
                    &format!("1 [From] Command 'From' {upper}"),
                    &format!("2 [Run] Command 'Run' {upper}"),
                ],
            ),
            ("FROM a\nRUN b\n", &[]),
            ("from a\nrun b\nonbuild RUN c\n", &[]),
        ],
    );
}

#[test]
fn duplicate_stage_name() {
    let message = "Duplicate stage name \"a\", stage names should be unique";
    table(
        "DuplicateStageName",
        &[
            ("FROM x AS a\nFROM y AS a\n", &[&format!("2 [a] {message}")]),
            (
                "FROM x AS a\nFROM y AS A\nFROM z AS a\n",
                &[&format!("2 [A] {message}"), &format!("3 [a] {message}")],
            ),
            ("FROM x AS a\nFROM y AS b\nFROM z\nFROM z\n", &[]),
        ],
    );
}

#[test]
fn reserved_stage_name() {
    let message = |name: &str| {
        format!("Stage name should not use the same name as reserved stage \"{name}\"")
    };
    table(
        "ReservedStageName",
        &[
            (
                "FROM x AS scratch\n",
                &[&format!("1 [scratch] {}", message("scratch"))],
            ),
            (
                "FROM x AS Context\n",
                &[&format!("1 [Context] {}", message("context"))],
            ),
            ("FROM scratch AS contexts\n", &[]),
        ],
    );
}

#[test]
fn no_empty_continuation() {
    table(
        "NoEmptyContinuation",
        &[
            (
                "FROM a\nCOPY x \\\n\n.\n",
                &["4 [] Empty continuation line"],
            ),
            (
                "FROM a\nRUN a \\\n\n  b \\\n\n  c\n",
                &["6 [] Empty continuation line"],
            ),
            ("FROM a\nRUN a \\\n# note\n  b\n", &[]),
            ("FROM \\\n\n a\n", &["3 [] Empty continuation line"]),
        ],
    );
}
