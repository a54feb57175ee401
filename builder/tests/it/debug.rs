//! Looking into what failed: a shell in a failed step, steps as images, a busybox for what has none.

use crate::support::terminal::Terminal;
use crate::support::{Context, Cooper, need};

/// Starts a build of `context` at a terminal, with a shell where it fails.
fn failing(cooper: &Cooper, context: &Context, args: &[&str]) -> Option<Terminal> {
    need::tool("setsid")?;
    let args = [&["--progress=plain", "--on-error=shell"], args].concat();
    Some(Terminal::start(
        &cooper.build_command(context.path(), &args),
        30,
        120,
    ))
}

#[test]
fn a_shell_is_opened_in_a_failed_step_as_it_was() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nENV city=Rome\nWORKDIR /work\nUSER mail\nARG word=arg\n\
         RUN --mount=type=secret,id=token,uid=8 --mount=type=cache,id=c,target=/c,uid=8 \
         --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t echo written > /tmp/f && \
         echo kept > /c/f && exit 7\n",
    )
    .with("file", "of the context\n")
    .with("token", "hush\n");
    let secret = format!("--secret=id=token,src={}", context.join("token").display());
    let Some(mut shell) = failing(&cooper, &context, &[&secret]) else {
        return;
    };
    shell.shows("exit code: 7");
    shell.shows("/bin/sh in the failed step; exit ends the build");
    let look = "echo =$(pwd)=$(id -un)=$city=$word=$(cat /tmp/f /c/f /ctx/file /run/secrets/token \
                | tr '\\n' '+')=$(stat -f -c %T /t)=\n";
    shell.types(look);
    shell.shows("=/work=mail=Rome=arg=written+kept+of the context+hush+=tmpfs=");
    shell.types("stty size; exit\n");
    shell.shows("30 120");
    assert_eq!(shell.ends(), Some(1));
}

#[test]
fn a_step_without_a_shell_gets_a_busybox() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /busybox\n\
         RUN [\"/busybox\", \"false\"]\n",
    );
    let Some(mut shell) = failing(&cooper, &context, &[]) else {
        return;
    };
    shell.shows("a busybox of this machine in the failed step");
    shell.types("ls -d /busybox /bin/sh; exit\n");
    shell.shows("/bin/sh: No such file");
    shell.shows("/busybox");
    assert_eq!(shell.ends(), Some(1));
}

#[test]
fn a_shell_needs_a_terminal_and_a_known_action() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN false\n");
    let refused = cooper.build(&context, &["--on-error=shell"]);
    refused.exits(1).says("--on-error=shell needs a terminal");
    let unknown = cooper.build(&context, &["--on-error=shel"]);
    unknown.says("did you mean \"shell\"?");
    cooper
        .build(&context, &["--on-error=fail"])
        .exits(1)
        .says("failed-step");
}

#[test]
fn steps_are_run_by_the_id_that_why_shows() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nENV city=Rome\nWORKDIR /first\nRUN echo one > f\n\
         ENV city=Oslo\nRUN echo two > f\n",
    );
    cooper.build(&context, &["-t=app"]).ok();
    let id = |step: &str| {
        let said = cooper.run(&["cache", "why", step]).ok().out();
        let head = said.lines().next().expect("a step").to_owned();
        let (_, id) = head.rsplit_once('(').expect("an ID");
        id.trim_end_matches(')').to_owned()
    };
    let (first, last) = (id("echo one"), id("echo two"));
    assert_eq!((first.len(), last.len()), (12, 12));
    let script = "echo $city; pwd; cat f";
    for (id, expected) in [
        (&first, "Rome\n/first\none\n"),
        (&last, "Oslo\n/first\ntwo\n"),
    ] {
        cooper
            .run(&["run", "--rm", id, "sh", "-c", script])
            .ok()
            .prints(expected);
    }
    cooper
        .run(&["run", "--rm", &first[..7], "cat", "f"])
        .ok()
        .prints("one\n");
    cooper
        .run(&["debug", "-c", "cat /first/f", &first])
        .ok()
        .prints("one\n");
    // Digits that mean no step are a name like any other.
    let missing = cooper.run(&["run", "--rm", "--pull=never", "0123456789ab", "true"]);
    missing.exits(125).says("no such image");
}

#[test]
fn images_and_containers_without_a_shell_are_debugged() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /busybox\n\
         USER 7:8\nENTRYPOINT [\"/busybox\", \"sleep\", \"1000\"]\n",
    );
    cooper.build(&context, &["-t=bare"]).ok();
    let look = "id -u; ls -d /busybox; ls /bin/sh 2>/dev/null || echo none";
    cooper
        .run(&["debug", "-c", look, "bare"])
        .ok()
        .prints("0\n/busybox\nnone\n");
    cooper
        .run(&["debug", "-u", "7", "-c", "id -u", "bare"])
        .ok()
        .prints("7\n");
    cooper.run(&["run", "-d", "--name=web", "bare"]).ok();
    let look = "ps -o args | grep -c '[s]leep 1000'; ls /bin/sh 2>/dev/null || echo none; \
                cat /proc/self/exe >/dev/null && (echo x > /proc/$$/exe) 2>/dev/null || echo kept";
    let joined = cooper.run(&["debug", "-c", look, "web"]).ok();
    joined.prints("1\nnone\nkept\n");
    cooper
        .run(&["debug", "web"])
        .exits(1)
        .says("stdin is no terminal");
    cooper.run(&["rm", "-f", "web"]).ok();
    cooper.run(&["create", "--name=made", "bare"]).ok();
    cooper
        .run(&["debug", "-c", "true", "made"])
        .exits(1)
        .says("cooper commit made");
    cooper.run(&["rm", "made"]).ok();
}
