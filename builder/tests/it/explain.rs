//! Why steps are executed, in words.

use crate::support::{Context, Cooper};

/// Builds and returns what `--explain` says of each step, without its number.
fn explain(cooper: &Cooper, context: &Context, args: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut all = vec!["--explain", "--progress=none"];
    all.extend(args);
    let said = cooper.build(context, &all).ok();
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in said.stderr.lines() {
        if let Some(reason) = line.strip_prefix("  ") {
            if let Some((_, why)) = steps.last_mut() {
                why.push(reason.to_owned());
            }
        } else if let Some((_, command)) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        {
            steps.push((command.to_owned(), Vec::new()));
        }
    }
    steps
}

fn of<'s>(steps: &'s [(String, Vec<String>)], command: &str) -> &'s [String] {
    let found = steps.iter().find(|(known, _)| known.starts_with(command));
    &found.unwrap_or_else(|| panic!("{command} in {steps:?}")).1
}

const KNOWN: &str = "cached: nothing that it is made of has changed";

#[test]
fn each_reason_is_told() {
    let Some(cooper) = Cooper::new() else { return };
    let text = "FROM busybox\nARG V=1\nCOPY a b /in/\nRUN wc -c /in/a | cut -d' ' -f1 >/size\n\
                RUN cat /size >/twice\n";
    let context = Context::new(text).with("a", "one").with("b", "two");

    let first = explain(&cooper, &context, &[]);
    assert_eq!(
        of(&first, "RUN wc"),
        ["executed: no build here has had this step before"]
    );

    let again = explain(&cooper, &context, &[]);
    assert_eq!(of(&again, "FROM"), [KNOWN]);
    assert_eq!(of(&again, "RUN cat"), [KNOWN]);
    assert_eq!(
        of(&again, "COPY"),
        ["not needed: the result of what reads it is known"]
    );

    context.write("a", "changed");
    context.sh("rm b; touch c; mv c b; chmod 600 b");
    let changed = explain(&cooper, &context, &[]);
    assert_eq!(
        of(&changed, "COPY"),
        ["executed: the context has other content: /in/a changed, /in/b changed"]
    );
    assert_eq!(
        of(&changed, "RUN wc"),
        ["executed: `COPY a b /in/` gave other content"]
    );

    context.write("a", "changes");
    let same_size = explain(&cooper, &context, &[]);
    assert_eq!(
        of(&same_size, "RUN wc"),
        ["executed: `COPY a b /in/` gave other content"]
    );

    let argument = explain(&cooper, &context, &["--build-arg=V=2"]);
    assert_eq!(
        of(&argument, "RUN wc"),
        ["executed: the variable V changed"]
    );

    let forced = explain(&cooper, &context, &["--build-arg=V=2", "--no-cache"]);
    assert_eq!(of(&forced, "COPY"), ["executed: --no-cache asks for it"]);

    context.write("Dockerfile", text.replace("cat /size", "cat /size /size"));
    let edited = explain(&cooper, &context, &["--build-arg=V=2"]);
    assert_eq!(of(&edited, "RUN cat"), ["executed: its command changed"]);
}

#[test]
fn what_came_out_the_same_stops_the_rebuild_and_says_so() {
    let Some(cooper) = Cooper::new() else { return };
    let text = "FROM busybox AS make\nCOPY a /a\nRUN wc -c </a >/size\n\
                FROM busybox\nCOPY --from=make /size /size\nRUN cat /size\n";
    let context = Context::new(text).with("a", "one");
    explain(&cooper, &context, &[]);
    context.write("a", "two");
    let said = explain(&cooper, &context, &[]);
    assert_eq!(
        of(&said, "COPY --from"),
        ["cached: what it reads was made anew, and came out the same"]
    );
    let later = cooper.run(&["cache", "why", "wc"]).ok().out();
    let (head, rest) = later.split_once('\n').expect("a line");
    let (step, id) = head.rsplit_once(' ').expect("an ID");
    assert_eq!(step, "[make 3/3] RUN wc -c </a >/size");
    assert!(id.starts_with('(') && id.ends_with(')'), "{id}");
    assert_eq!(rest, "  executed: `COPY a /a` gave other content\n");
    cooper
        .run(&["cache", "why", "RUN wc -c </a >/sise"])
        .exits(1)
        .says("did you mean \"RUN wc -c </a >/size\"?");
    cooper
        .run(&["cache", "why", "--of", "elsewhere"])
        .exits(1)
        .says("no build of \"elsewhere\" is remembered");
}

#[test]
fn a_build_that_runs_no_step_leaves_what_is_remembered_alone() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nCOPY a /a\nRUN wc -c </a >/size\n").with("a", "one");
    cooper.build(&context, &["--progress=none"]).ok();
    let inode = || {
        let mut files = std::fs::read_dir(cooper.root().join("builds")).expect("remembered builds");
        let file = files.next().expect("a file").expect("a file");
        std::os::unix::fs::DirEntryExt::ino(&file)
    };
    let first = inode();
    cooper.build(&context, &["--progress=none"]).ok();
    assert_eq!(inode(), first);
    context.write("a", "another");
    cooper.build(&context, &["--progress=none"]).ok();
    assert_ne!(inode(), first);
}
