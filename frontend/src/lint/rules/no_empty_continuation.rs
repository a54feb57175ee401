use super::super::Site;
use super::super::walk::File;
use super::super::{Check, Findings, Given, Rule};
use crate::source::Span;

pub(super) static RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    summary: "A continued line is not followed by an empty one",
    doc: "\
A line that ends with the escape character goes on in the next line. If that one is empty, the
instruction still goes on after it, which is hardly what a reader expects: such lines are kept
for old files only and docker means to refuse them. Comment lines do not count as empty.",
    bad: &["FROM alpine\nEXPOSE \\\n\n80\n"],
    good: &[
        "FROM alpine\nEXPOSE \\\n# the web server\n80\n",
        "FROM alpine\nEXPOSE \\\n80\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::File(check),
};

fn check(file: &File<'_>, findings: &mut Findings<'_>) {
    let blanks = file.dockerfile.warnings.iter();
    let mut blanks = blanks
        .filter(|warning| warning.code == crate::error::Code::EmptyContinuation)
        .peekable();
    if blanks.peek().is_none() {
        return;
    }
    let stages = file.dockerfile.stages.iter().map(Site::from);
    let mut sites: Vec<_> = file.instructions().map(Site::from).chain(stages).collect();
    sites.sort_unstable_by_key(|site| site.span.start);
    for blank in blanks {
        let after = sites.partition_point(|site| site.span.start <= blank.span.start);
        let Some(site) = after.checked_sub(1).and_then(|at| sites.get(at)) else {
            continue;
        };
        // Docker counts the line where the instruction ends.
        let last = Site {
            span: Span::new(site.span.end, site.span.end),
            ..*site
        };
        findings.warn(last, blank.span, "Empty continuation line");
    }
}
