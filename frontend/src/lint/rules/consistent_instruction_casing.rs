use super::super::Site;
use super::super::walk::File;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    summary: "Instructions are all written in capitals or all in small letters",
    doc: "\
The names of instructions may be written in any case. A file that mixes them is harder to skim;
the case that most of its instructions have is taken as the one that was meant, and capitals if
there are as many of either. What stands above the first `FROM` is not looked at.",
    bad: &[
        "From alpine\nRun echo hello > /greeting.txt\nEntRYpOiNT [\"cat\", \"/greeting.txt\"]\n",
        "FROM alpine\nrun echo hello\nUSER nobody\n",
    ],
    good: &[
        "FROM alpine\nRUN echo hello > /greeting.txt\n",
        "from alpine\nrun echo hello > /greeting.txt\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::File(check),
};

fn check(file: &File<'_>, findings: &mut Findings<'_>) {
    let stages = file.dockerfile.stages.iter();
    let keywords: Vec<_> = stages
        .map(|stage| (Site::from(stage), &stage.keyword))
        .chain(file.in_stages().map(|one| (one.into(), &one.keyword)))
        .collect();
    let capital = |text: &str| !text.contains(|c: char| c.is_ascii_lowercase());
    let small = |text: &str| !text.contains(|c: char| c.is_ascii_uppercase());
    let capitals = keywords.iter().filter(|(_, word)| capital(word)).count();
    let smalls = keywords.iter().filter(|(_, word)| small(word)).count();
    for (site, keyword) in keywords {
        let (kept, case) = if smalls > capitals {
            (small(keyword), "lowercase")
        } else {
            (capital(keyword), "uppercase")
        };
        if !kept {
            let word = &keyword.value;
            let message =
                format!("Command '{word}' should match the case of the command majority ({case})");
            findings.warn(site, keyword.span, message);
        }
    }
}
