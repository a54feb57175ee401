use super::super::{Check, Findings, Given, Rule};
use crate::instruction::Kind;
use crate::stage::Stage;

pub(super) static RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    summary: "A stage has one `CMD`, one `ENTRYPOINT` and one `HEALTHCHECK`",
    doc: "\
An image has one command, one entry point and one health check. Of several in a stage only the
last one counts; the others are reported, as they have no effect.",
    bad: &["FROM alpine\nCMD [\"echo\", \"Norway\"]\nCMD [\"echo\", \"Sweden\"]\n"],
    good: &[
        "FROM alpine\nHEALTHCHECK CMD true\nCMD [\"echo\"]\nENTRYPOINT [\"env\"]\n",
        "FROM alpine AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Stage(check),
};

fn check(stage: &Stage, findings: &mut Findings<'_>) {
    let picks: [fn(&Kind) -> bool; 3] = [
        |kind| matches!(kind, Kind::Cmd(_)),
        |kind| matches!(kind, Kind::Entrypoint(_)),
        |kind| matches!(kind, Kind::Healthcheck(_)),
    ];
    for pick in picks {
        let all = stage.instructions.iter().filter(|one| pick(&one.kind));
        let all: Vec<_> = all.collect();
        let Some((_, ignored)) = all.split_last() else {
            continue;
        };
        for instruction in ignored {
            let name = instruction.kind.name();
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only \
                 the last one will be used"
            );
            findings.warn(*instruction, instruction.keyword.span, message);
        }
    }
}
