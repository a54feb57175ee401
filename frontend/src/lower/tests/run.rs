use super::*;

#[test]
fn forms_of_run_become_arguments_and_history() {
    let sh = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let table: &[(&str, Vec<String>, &str)] = &[
        (
            "RUN echo  a",
            sh("echo  a"),
            "RUN /bin/sh -c echo  a # buildkit",
        ),
        (
            "RUN [\"a\", \"b c\"]",
            vec!["a".into(), "b c".into()],
            "RUN a b c # buildkit",
        ),
        ("RUN", sh(""), "RUN /bin/sh -c  # buildkit"),
        ("RUN ['a']", sh("['a']"), "RUN /bin/sh -c ['a'] # buildkit"),
        (
            "RUN a \\\n  b",
            sh("a   b"),
            "RUN /bin/sh -c a   b # buildkit",
        ),
        (
            "SHELL [\"/bin/bash\", \"-ec\"]\nRUN a",
            vec!["/bin/bash".into(), "-ec".into(), "a".into()],
            "RUN /bin/bash -ec a # buildkit",
        ),
        (
            "RUN <<EOF\na $x\nb\nEOF",
            sh("a $x\nb\n"),
            "RUN /bin/sh -c a $x\nb\n # buildkit",
        ),
        (
            "RUN <<-EOF\n\ta\nEOF",
            sh("a\n"),
            "RUN /bin/sh -c a\n # buildkit",
        ),
        (
            "RUN <<EOF cat\na\nEOF",
            sh("<<EOF cat\na\nEOF"),
            "RUN /bin/sh -c <<EOF cat\na\nEOF # buildkit",
        ),
        (
            "RUN cat <<A <<'B'\n1\nA\n2\nB",
            sh("cat <<A <<'B'\n1\nA\n2\nB"),
            "RUN /bin/sh -c cat <<A <<'B'\n1\nA\n2\nB # buildkit",
        ),
        (
            "RUN <<EOF\n#!/usr/bin/env python\nx\nEOF",
            sh("/dev/pipes/EOF"),
            "RUN /bin/sh -c /dev/pipes/EOF # buildkit",
        ),
    ];
    for (fragment, args, created_by) in table {
        let lowered = below_base(fragment);
        assert_eq!(exec(&lowered).args, *args, "{fragment}");
        assert_eq!(
            lowered.history.last().unwrap().created_by,
            *created_by,
            "{fragment}"
        );
        assert_eq!(lowered.history.last().unwrap().layer, lowered.target);
    }
}

#[test]
fn a_shebang_heredoc_is_a_file() {
    let lowered = below_base("RUN <<-EOF\n\t#!/bin/python\n\tx\nEOF");
    let scripts = &exec(&lowered).scripts;
    assert_eq!(scripts.len(), 1);
    assert_eq!(scripts[0].path, "/dev/pipes/EOF");
    assert_eq!(scripts[0].data, b"#!/bin/python\nx\n");
    let step = lowered.steps.values().last().unwrap();
    assert_eq!(step.display, "[2/2] RUN <<-EOF (#!/bin/python...)");
}

#[test]
fn environment_keeps_the_order_of_setting() {
    let lowered = below_base("ENV a=1 b=2\nARG c=3\nENV a=4\nRUN x");
    let env: Vec<_> = exec(&lowered)
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["PATH=/bin", "b=2", "c=3", "a=4"]);
    assert_eq!(lowered.image.config.env, ["PATH=/bin", "a=4", "b=2"]);
}

#[test]
fn settings_reach_the_step() {
    let lowered =
        Case::new("FROM base\nUSER u:g\nWORKDIR /w\nRUN --network=none --security=insecure x")
            .with(|settings| {
                settings.entitlements.insecure = true;
                settings.add_hosts = vec![("h".into(), "1.2.3.4".into())];
                settings.shm_size = Some(1);
            })
            .arg("http_proxy", "p")
            .arg("BUILDKIT_SANDBOX_HOSTNAME", "box")
            .lower();
    let exec = exec(&lowered);
    assert_eq!(
        (
            exec.user.as_str(),
            exec.cwd.as_str(),
            exec.hostname.as_str()
        ),
        ("u:g", "/w", "box")
    );
    assert_eq!(exec.network, crate::ir::NetworkMode::None);
    assert_eq!(exec.security, crate::ir::SecurityMode::Insecure);
    let proxy = ["HTTP_PROXY", "http_proxy"].map(|name| (name.to_owned(), "p".to_owned()));
    assert_eq!(exec.unkeyed.proxy_env, proxy);
    assert_eq!(exec.unkeyed.shm_size, Some(1));
    assert!(!exec.env.iter().any(|(name, _)| name == "http_proxy"));
}

#[test]
fn mounts_have_dockers_defaults() {
    let table: &[(&str, &str)] = &[
        ("type=bind,target=/a", "bind 1:/ on /a"),
        ("target=/a,source=b/../c", "bind 1:/c on /a"),
        ("type=bind,dst=a,src=/b,rw", "bind 1:/b on /w/a rw"),
        (
            "type=bind,destination=/a,readonly=false",
            "bind 1:/ on /a rw",
        ),
        ("type=bind,from=img,target=/a", "bind 1:/ on /a"),
        ("type=bind,from=scratch,target=/a", "bind 1:/ on /a"),
        ("type=cache,target=/a/", "cache /a Shared 755 0:0 on /a"),
        (
            "type=cache,target=/a,id=x,sharing=locked,mode=0700,uid=1,gid=2",
            "cache x Locked 700 1:2 on /a",
        ),
        (
            "type=cache,target=/a,ro,sharing=private",
            "cache /a Private 755 0:0 on /a ro",
        ),
        (
            "type=cache,target=/a,from=img,source=/s",
            "cache /a Shared as it is from 1:/s on /a",
        ),
        (
            "type=cache,target=/a,from=img,gid=2",
            "cache /a Shared 755 0:2 from 1:/ on /a",
        ),
        ("type=cache,target=/$v", "cache /val Shared 755 0:0 on /val"),
        ("type=tmpfs,target=/a", "tmpfs None on /a"),
        ("type=tmpfs,target=/a,size=1m", "tmpfs Some(1048576) on /a"),
        ("type=secret,id=s", "secret s 400 0:0 on /run/secrets/s"),
        (
            "type=secret,id=s,target=/t,required,mode=0440,uid=5,gid=6",
            "secret s required 440 5:6 on /t",
        ),
        (
            "type=secret,target=/etc/tok",
            "secret tok 400 0:0 on /etc/tok",
        ),
        (
            "type=secret,id=s,env=TOKEN",
            "secret s env TOKEN 400 0:0 on ",
        ),
        (
            "type=secret,id=s,env=TOKEN,target=t",
            "secret s env TOKEN 400 0:0 on /w/t",
        ),
        (
            "type=ssh",
            "ssh default 600 0:0 on /run/buildkit/ssh_agent.0",
        ),
        (
            "type=ssh,id=x,required=true,target=/s",
            "ssh x required 600 0:0 on /s",
        ),
    ];
    for (mount, want) in table {
        let lowered = below_base(&format!("WORKDIR /w\nENV v=val\nRUN --mount={mount} x"));
        let mounts = &exec(&lowered).mounts;
        assert_eq!(
            show_mount(&mounts[0].kind, &mounts[0].target),
            *want,
            "{mount}"
        );
    }
}

#[test]
fn mounts_that_make_no_sense_are_errors() {
    let table: &[(&str, &str)] = &[
        (
            "type=bind",
            "invalid-mount@type=bind: a bind mount needs a target",
        ),
        (
            "type=cahce,target=/a",
            "invalid-mount@type=cahce: unsupported mount type \"cahce\" (did you mean `cache`?)",
        ),
        (
            "target=/a,form=x",
            "invalid-mount@form=x: unexpected key 'form' in 'form=x' (did you mean `from`?)",
        ),
        (
            "target=/a,nonsense",
            "invalid-mount@nonsense: invalid field 'nonsense' must be a key=value pair",
        ),
        (
            "target=/",
            "invalid-mount@target=/: invalid mount target \"/\"",
        ),
        (
            "target=/a,mode=1",
            "invalid-mount@target=/a,mode=1: mode not allowed for \"bind\" type mounts",
        ),
        (
            "target=/a,required",
            "invalid-mount@required: unexpected key 'required' for mount type 'bind' (only after type=secret or type=ssh)",
        ),
        (
            "target=/a,size=1",
            "invalid-mount@size=1: unexpected key 'size' for mount type 'bind' (only after type=tmpfs)",
        ),
        (
            "target=/a,rw=maybe",
            "invalid-mount@rw=maybe: invalid value for rw: maybe",
        ),
        (
            "type=cache,target=/a,mode=9",
            "invalid-mount@mode=9: invalid value 9 for mode (write an octal mode, such as 0440 or 0755)",
        ),
        (
            "type=cache,target=/a,sharing=x",
            "invalid-mount@sharing=x: unsupported sharing value \"x\" (use shared, private or locked)",
        ),
        (
            "type=secret",
            "invalid-mount@type=secret: invalid secret mount. one of source, target required",
        ),
        (
            "type=secret,id=a,src=b",
            "invalid-mount@type=secret,id=a,src=b: both source and id can't be set",
        ),
        (
            "type=secret,id=a,from=b",
            "invalid-mount@type=secret,id=a,from=b: secret mount should not have a from",
        ),
        (
            "type=ssh,sharing=shared",
            "invalid-mount@type=ssh,sharing=shared: invalid cache sharing set for ssh mount",
        ),
        (
            "type=bind,target=/a,env=X",
            "invalid-mount@type=bind,target=/a,env=X: env not allowed for \"bind\" type mounts",
        ),
    ];
    for (mount, want) in table {
        assert_eq!(
            errors_below_base(&format!("RUN --mount={mount} x")),
            [*want],
            "{mount}"
        );
    }
}

#[test]
fn mounts_share_inputs_and_are_sorted_by_target() {
    let lowered = below_base(
        "RUN --mount=target=/b/c,source=x --mount=target=/b,source=y --mount=type=ssh true",
    );
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/base:latest()",
            "local context [x y]()",
            "exec [\"/bin/sh\", \"-c\", \"true\"] bind 1:/y on /b bind 1:/x on /b/c ssh default 600 0:0 on /run/buildkit/ssh_agent.0(0,1)",
        ]
    );
    let (name, value) = exec(&lowered).env.last().unwrap();
    assert_eq!(
        (name.as_str(), value.as_str()),
        ("SSH_AUTH_SOCK", "/run/buildkit/ssh_agent.0")
    );
}

#[test]
fn what_is_not_keyed_does_not_change_the_key() {
    use cooper_solver::CacheKey;
    let key = |case: Case| {
        let lowered = case.lower();
        CacheKey::of("test", &BuildOp::Exec(Box::new(exec(&lowered).clone())))
    };
    let base = || Case::new("FROM base\nRUN --mount=type=secret,id=a x");
    let plain = key(base());
    assert_eq!(plain, key(base().arg("HTTPS_PROXY", "p")));
    assert_eq!(
        plain,
        key(base().with(|settings| settings.shm_size = Some(7)))
    );
    assert_eq!(
        plain,
        key(Case::new(
            "\n\nFROM base\n\nRUN   --mount=type=secret,id=a   x"
        ))
    );
    assert_ne!(
        plain,
        key(Case::new("FROM base\nRUN --mount=type=secret,id=a y"))
    );
    assert_ne!(
        plain,
        key(Case::new("FROM base\nRUN --mount=type=secret,id=b x"))
    );
    assert_ne!(
        plain,
        key(Case::new(
            "FROM base\nENV a=1\nRUN --mount=type=secret,id=a x"
        ))
    );
}

#[test]
fn forbidden_and_empty_runs_are_errors() {
    let table: &[(&str, &str)] = &[
        (
            "RUN --security=insecure x",
            "not-allowed@insecure: security.insecure is not allowed (pass --allow security.insecure if you trust this Dockerfile)",
        ),
        ("RUN []", "empty-command@[]: RUN [] has nothing to run"),
    ];
    for (fragment, want) in table {
        assert_eq!(errors_below_base(fragment), [*want], "{fragment}");
    }
}

#[test]
fn the_reference_s_commands() {
    let sh = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let exec_form = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let table: &[(&str, Vec<String>)] = &[
        (
            "RUN echo 'we are running some # of cool things'",
            sh("echo 'we are running some # of cool things'"),
        ),
        (
            "RUN echo hello \\\n# comment\nworld",
            sh("echo hello world"),
        ),
        (
            "    # a comment\n    RUN echo hello \\\n  # indented\nworld",
            sh("echo hello world"),
        ),
        (
            "RUN echo \"\\\n     hello\\\n     world\"",
            sh("echo \"     hello     world\""),
        ),
        (
            "RUN source $HOME/.bashrc && \\\necho $HOME",
            sh("source $HOME/.bashrc && echo $HOME"),
        ),
        (
            "RUN <<EOF\n  source $HOME/.bashrc\n  echo $HOME\nEOF",
            sh("  source $HOME/.bashrc\n  echo $HOME\n"),
        ),
        ("RUN [ \"echo\", \"$HOME\" ]", exec_form(&["echo", "$HOME"])),
        (
            "RUN [\"c:\\\\windows\\\\system32\\\\tasklist.exe\"]",
            exec_form(&["c:\\windows\\system32\\tasklist.exe"]),
        ),
        // What is not quite JSON is for the shell.
        (
            "RUN [\"c:\\windows\\system32\\tasklist.exe\"]",
            sh("[\"c:\\windows\\system32\\tasklist.exe\"]"),
        ),
        ("RUN [\"a', 'b']", sh("[\"a', 'b']")),
        ("RUN [\"a\",]", sh("[\"a\",]")),
        ("RUN [a, b]", sh("[a, b]")),
        ("RUN [\"a\"] && b", sh("[\"a\"] && b")),
        ("RUN [[ -f x ]] && y", sh("[[ -f x ]] && y")),
        (
            "SHELL [\"/bin/bash\", \"-c\"]\nRUN echo hello",
            exec_form(&["/bin/bash", "-c", "echo hello"]),
        ),
        (
            "RUN --network=default --security=sandbox echo hello",
            sh("echo hello"),
        ),
        ("RUN --network=none [\"a\"]", exec_form(&["a"])),
        // Only the first words are flags.
        ("RUN echo --mount=x", sh("echo --mount=x")),
        ("RUN -- --mount=x", sh("--mount=x")),
        (
            "ARG VERSION=1\nRUN echo $VERSION > image_version",
            sh("echo $VERSION > image_version"),
        ),
    ];
    for (fragment, args) in table {
        assert_eq!(exec(&below_base(fragment)).args, *args, "{fragment}");
    }
}

const MOUNTS: &[(&str, &[&str])] = &[
    (
        "--mount=type=cache,target=/var/cache/apt,sharing=locked \\\n  --mount=type=cache,target=/var/lib/apt,sharing=locked \\\n ",
        &[
            "cache /var/cache/apt Locked 755 0:0 on /var/cache/apt",
            "cache /var/lib/apt Locked 755 0:0 on /var/lib/apt",
        ],
    ),
    (
        "--mount=type=secret,id=aws,target=/root/.aws/credentials",
        &["secret aws 400 0:0 on /root/.aws/credentials"],
    ),
    (
        "--mount=type=secret,id=API_KEY,env=API_KEY",
        &["secret API_KEY env API_KEY 400 0:0 on "],
    ),
    (
        "--mount=type=ssh --mount=type=ssh,id=b",
        &[
            "ssh default 600 0:0 on /run/buildkit/ssh_agent.0",
            "ssh b 600 0:0 on /run/buildkit/ssh_agent.1",
        ],
    ),
    ("--mount=type=bind,target=.", &["bind 1:/ on /w"]),
    (
        "--mount=from=model,target=/models --mount=from=prompt,target=/tmp",
        &["bind 1:/ on /models", "bind 2:/ on /tmp"],
    ),
    // Types and modes of sharing are read in any case, keys too.
    (
        "--mount=TYPE=Cache,Target=/a,sharing=LOCKED",
        &["cache /a Locked 755 0:0 on /a"],
    ),
    // All values may be variables.
    (
        "--mount=type=$T,target=$D,sharing=$S,uid=$U,id=x-$U",
        &["cache x-7 Private 755 7:0 on /d"],
    ),
    ("--mount=type=bind,target=/a,rw=$Y", &["bind 1:/ on /a rw"]),
    // A field with a comma is quoted as a whole.
    (
        "--mount=type=bind,\\\"source=a,b\\\",target=/a",
        &["bind 1:/a,b on /a"],
    ),
    (
        "--mount=type=cache,target=/a,from=img,source=s,ro",
        &["cache /a Shared as it is from 1:/s on /a ro"],
    ),
    (
        "--mount=type=tmpfs,target=/a,size=64m",
        &["tmpfs Some(67108864) on /a"],
    ),
    // The name of an image or a stage takes global arguments, which docker refuses.
    ("--mount=from=i${SUFFIX},target=/a", &["bind 1:/ on /a"]),
    ("--mount=from=${NONE:-img},target=/a", &["bind 1:/ on /a"]),
];

#[test]
fn the_reference_s_mounts() {
    for (mounts, want) in MOUNTS {
        let text = format!(
            "ARG SUFFIX=mg\nFROM base\nWORKDIR /w\nARG T=cache D=/d S=private U=7 Y=true SUFFIX=x\nRUN {mounts} x"
        );
        let lowered = Case::new(&text).lower();
        let shown = exec(&lowered).mounts.iter();
        let shown: Vec<_> = shown
            .map(|mount| show_mount(&mount.kind, &mount.target))
            .collect();
        assert_eq!(shown, *want, "{mounts}");
    }
    let text = "ARG SUFFIX=mg\nFROM base\nARG SUFFIX=x\nRUN --mount=from=i$SUFFIX,target=/a x";
    assert_eq!(
        graph(&Case::new(text).lower())[1],
        "image layer-of-docker.io/library/img:latest()"
    );
    assert_eq!(
        errors_below_base("ARG STAGE=x\nRUN --mount=from=$STAGE,target=/a x"),
        ["blank-from@$STAGE: --from ($STAGE) is blank"]
    );
}

#[test]
fn caches_lie_in_a_namespace_if_one_is_given() {
    let text = "FROM base\nRUN --mount=type=cache,target=/a --mount=type=cache,id=b,target=/b x";
    for (given, want) in [("", ["/a", "b"]), ("team", ["team//a", "team/b"])] {
        let lowered = Case::new(text)
            .arg("BUILDKIT_CACHE_MOUNT_NS", given)
            .lower();
        let ids = exec(&lowered).mounts.iter().map(|mount| match &mount.kind {
            MountKind::Cache { id, .. } => id.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(ids.collect::<Vec<_>>(), want, "{given}");
    }
}

#[test]
fn the_reference_s_devices() {
    let table: &[(&str, &str, bool)] = &[
        ("vendor1.com/device", "vendor1.com/device", false),
        ("vendor1.com/device=foo", "vendor1.com/device=foo", false),
        ("vendor1.com/device=*", "vendor1.com/device=*", false),
        ("class1,required", "class1", true),
        (
            "nvidia.com/gpu=all,required=true",
            "nvidia.com/gpu=all",
            true,
        ),
        ("name=class1,required=false", "class1", false),
    ];
    for (flag, name, required) in table {
        let text = format!("FROM base\nRUN --device={flag} x");
        let lowered = Case::new(&text)
            .with(|settings| settings.entitlements.devices = crate::settings::AllowedDevices::All)
            .lower();
        let devices = &exec(&lowered).devices;
        assert_eq!(
            (devices[0].name.as_str(), devices[0].required),
            (*name, *required),
            "{flag}"
        );
    }
}
