use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    summary: "The base image is made for the platform that is built for",
    doc: "\
A registry may answer with an image of another platform, if the image exists for that one only;
and an image may say of itself that it is for another platform than it was published for. Its
programs then run under emulation or not at all. Choose an image that exists for the platform,
or name the platform with `--platform`.",
    bad: &["FROM example.com/app:1\nRUN make\n"],
    good: &[
        "FROM --platform=linux/arm64 example.com/app:1 AS app-arm64\nRUN make\n",
        "FROM scratch\nCOPY . /\n",
    ],
    given: Given::BaseFor("linux/arm64"),
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let Some((request, image)) = line.image else {
        return;
    };
    let found = image.config.platform().normalized();
    let wanted = request.platform.normalized();
    if !wanted.matches(&found) {
        let name = &request.name;
        let message = format!(
            "Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build"
        );
        findings.warn(line.stage, line.stage.base.span, message);
    }
}
