use super::super::walk::{Step, each_port};
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    summary: "The protocol in `EXPOSE` is written in small letters",
    doc: "\
The protocol is stored in small letters anyway; writing it so keeps what the file says and what
`inspect` shows the same.",
    bad: &["FROM alpine\nEXPOSE 80/TcP\n"],
    good: &["FROM alpine\nEXPOSE 80/tcp 53/udp 8080\n"],
    given: Given::Nothing,
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    each_port(step, &mut |port, span| {
        let upper = |protocol: &str| protocol.contains(|c: char| c.is_ascii_uppercase());
        if port
            .split_once('/')
            .is_some_and(|(_, protocol)| upper(protocol))
        {
            let message =
                format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            findings.warn(step.instruction, span, message);
        }
    });
}
