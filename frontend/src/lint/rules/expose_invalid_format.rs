use super::super::walk::{Step, each_port};
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    summary: "`EXPOSE` has no addresses and no host ports",
    doc: "\
`EXPOSE` says on which ports a container listens. Addresses and ports of the host are given when
it is run (`--publish`); in the file they have no effect, and docker means to refuse them.",
    bad: &[
        "FROM alpine\nEXPOSE 127.0.0.1:80:80\n",
        "FROM alpine\nEXPOSE 80:80\n",
    ],
    good: &[
        "FROM alpine\nEXPOSE 80\n",
        "FROM alpine\nEXPOSE 8000-8010/udp\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    each_port(step, &mut |port, span| {
        if port.contains(':') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            findings.warn(step.instruction, span, message);
        }
    });
}
