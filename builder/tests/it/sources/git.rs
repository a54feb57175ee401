//! Repositories as contexts and as sources of ADD.

use std::path::Path;

use super::{ALL, build, files, lines};
use crate::support::http::Server;
use crate::support::repository::Repositories;
use crate::support::tree;
use crate::support::{Context, Cooper};

/// A repository with two branches, two sorts of tags and a directory.
const SCRIPT: &str = "mkdir -p sub/deep; echo one >a; echo x >sub/x; printf 'FROM scratch\\nCOPY . /\\n' >Dockerfile
    cp Dockerfile sub/Other; chmod 755 sub/x; ln -s a link; commit one; git tag light; git tag -a -m v1 v1
    git checkout -q -b feature; echo two >a; commit two; git checkout -q main";

fn worlds() -> Option<(Cooper, Repositories)> {
    let repositories = Repositories::new()?;
    repositories.make("r", SCRIPT);
    Some((Cooper::new()?, repositories))
}

#[test]
fn a_context_is_the_commit_that_its_address_means() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let url = repositories.file_url("r");
    let feature = repositories.commit("r", "feature");
    let main = repositories.commit("r", "main");
    let dockerfile = r#"Dockerfile 644 0:0 "FROM scratch\nCOPY . /\n""#;
    let other = r#"sub/Other 644 0:0 "FROM scratch\nCOPY . /\n""#;
    let whole = |a| {
        let a = format!("a 644 0:0 \"{a}\\n\"");
        let rest = ["link -> a", "sub/ 755 0:0", other, r#"sub/x 755 0:0 "x\n""#];
        let mut lines = vec![dockerfile.to_owned(), a];
        lines.extend(rest.iter().map(|line| (*line).to_owned()));
        lines
    };
    let sub = || {
        vec![
            r#"Other 644 0:0 "FROM scratch\nCOPY . /\n""#.to_owned(),
            r#"x 755 0:0 "x\n""#.to_owned(),
        ]
    };
    for (rest, file, expected) in [
        (String::new(), "Dockerfile", whole("one")),
        ("#feature".into(), "Dockerfile", whole("two")),
        ("#v1".into(), "Dockerfile", whole("one")),
        ("#refs/tags/light".into(), "Dockerfile", whole("one")),
        (format!("#{feature}"), "Dockerfile", whole("two")),
        (format!("#{}", &feature[..9]), "Dockerfile", whole("two")),
        ("?branch=feature".into(), "Dockerfile", whole("two")),
        (format!("?tag=v1&commit={main}"), "Dockerfile", whole("one")),
        (
            format!("?commit={feature}&fetch-by-commit=1&ref=refs/heads/main"),
            "Dockerfile",
            whole("two"),
        ),
        ("#main:sub".into(), "Other", sub()),
        ("?subdir=sub/".into(), "./Other", sub()),
        ("?subdir=../sub".into(), "Other", sub()),
    ] {
        let context = format!("{url}{rest}");
        let tree = files(&cooper, &[&context, "-f", file], b"");
        assert_eq!(lines(&tree), expected, "{rest}");
    }
}

#[test]
fn an_ignore_file_does_not_limit_a_repository_and_the_dockerfile_may_come_from_anywhere() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    repositories.sh("r", "echo a >.dockerignore; commit ignore");
    let url = repositories.file_url("r");
    let tree = files(&cooper, &[&url, "-f", "-"], b"FROM scratch\nCOPY a /b\n");
    assert_eq!(lines(&tree), [r#"b 644 0:0 "one\n""#]);
    let local = cooper.scratch("Mine");
    std::fs::write(&local, "FROM scratch\nCOPY sub /\n").expect("write");
    let tree = files(&cooper, &[&url, "-f", &local.display().to_string()], b"");
    assert!(tree.contains_key("x"), "{tree:?}");
    let absent = build(&cooper, &[&url, "-f", "none"], b"").exits(1);
    absent.says("cannot read the Dockerfile none in the build context: no such file");
}

#[test]
fn pointers_of_lfs_stay_pointers_and_that_is_said() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    repositories.make(
        "large",
        "echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes
         printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n' 7 >x.bin
         printf 'FROM scratch\nCOPY x.bin /\n' >Dockerfile; commit large",
    );
    let url = repositories.file_url("large");
    build(&cooper, &["-otype=cacheonly", &url], b"")
        .ok()
        .says("warning: 1 file is a pointer of Git LFS, whose content is not fetched: x.bin");
    let dest = cooper.scratch("files");
    let output = format!("--output={}", dest.display());
    build(&cooper, &[&output, &url], b"").ok();
    let text = std::fs::read_to_string(dest.join("x.bin")).expect("x.bin");
    assert!(text.starts_with("version https://git-lfs"), "{text}");
}

#[test]
fn what_is_not_there_is_said() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    repositories.make("empty", "");
    let url = repositories.file_url("r");
    let main = repositories.commit("r", "main");
    for (context, text) in [
        (format!("{url}#nope"), "has no branch, tag or commit nope"),
        (
            format!("{url}#1234567"),
            "has no branch, tag or commit 1234567",
        ),
        (
            format!("{url}#:none"),
            "the repository has no directory none",
        ),
        (format!("{url}#:a"), "the repository has no directory a"),
        (repositories.file_url("empty"), "is empty"),
        (
            repositories.file_url("gone"),
            "does not appear to be a git repository",
        ),
        (
            format!("{url}?commit={main}#feature"),
            "expected checksum to match",
        ),
        (
            format!("{url}?commit={}&fetch-by-commit=1", &main[..9]),
            "fetch-by-commit needs the full name of the commit",
        ),
    ] {
        build(&cooper, &[&context], b"").exits(1).says(text);
    }
}

/// Returns the files of `git`'s own directory that are kept.
fn kept(cooper: &Cooper, context: &str, args: &[&str]) -> Vec<(String, String)> {
    let mut all = vec![context, "-f", "-"];
    all.extend(args);
    let tree = files(cooper, &all, ALL.as_bytes());
    tree.into_iter()
        .filter(|(path, _)| path.starts_with(".git"))
        .collect()
}

#[test]
fn a_kept_git_directory_is_a_function_of_the_commit() {
    let Some((mut cooper, repositories)) = worlds() else {
        return;
    };
    let url = repositories.file_url("r");
    assert_eq!(kept(&cooper, &url, &[]), []);
    let context = format!("{url}?keep-git-dir=1&mtime=commit#v1");
    let first = kept(&cooper, &context, &[]);
    let argument = kept(
        &cooper,
        &format!("{url}?mtime=commit#v1"),
        &["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"],
    );
    assert_eq!(first, argument);
    cooper.set_root(cooper.scratch("another"));
    assert_eq!(kept(&cooper, &context, &[]), first);

    let out = cooper.scratch("out");
    let output = format!("-otype=local,dest={}", out.display());
    build(&cooper, &[&output, &context, "-f", "-"], ALL.as_bytes()).ok();
    let git = |args: &str| {
        let script = format!("git -c safe.directory=* -C '{}' {args}", out.display());
        repositories.sh("r", &script)
    };
    assert_eq!(git("status --porcelain"), "");
    assert_eq!(git("describe --always --tags"), "v1");
    assert_eq!(git("remote get-url origin"), url);
    assert_eq!(git("log --format=%s"), "one");
}

#[test]
fn times_are_the_commits_if_asked() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let context = format!("{}?mtime=commit", repositories.file_url("r"));
    let dockerfile = b"FROM busybox\nCOPY . /s\nRUN stat -c %Y /s/a /s/sub /s/link\n";
    let outcome = build(
        &cooper,
        &["-otype=cacheonly", "-f", "-", &context],
        dockerfile,
    )
    .ok();
    assert_eq!(
        outcome.stderr.matches(" 1700000000\n").count(),
        3,
        "{outcome}"
    );
}

#[test]
fn the_source_date_epoch_may_be_the_commits() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let url = repositories.file_url("r");
    let dockerfile =
        b"FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo epoch $SOURCE_DATE_EPOCH >/e\n\
                       FROM scratch\nCOPY --from=0 /e /\n";
    let epoch = "--build-arg=SOURCE_DATE_EPOCH=context";
    let (tar, iid) = (cooper.scratch("t.tar"), cooper.scratch("iid"));
    let output = format!("-otype=tar,dest={}", tar.display());
    let file = format!("--iidfile={}", iid.display());
    let args = [
        epoch,
        &output,
        "--load",
        &file,
        "--rewrite-timestamp",
        "-f",
        "-",
    ];
    build(&cooper, &[&args[..], &[&url]].concat(), dockerfile).ok();
    let tree = tree::read_tar(&tar);
    assert_eq!(lines(&tree), [r#"e 644 0:0 "epoch 1700000000\n""#]);
    let id = std::fs::read_to_string(&iid).expect("an image ID");
    let inspected = cooper
        .run(&["inspect", "--format={{.Created}}", id.trim()])
        .ok();
    assert_eq!(inspected.out().trim(), "2023-11-14T22:13:20Z");

    let directory = cooper.scratch("dir");
    std::fs::create_dir(&directory).expect("a directory");
    build(
        &cooper,
        &[epoch, "-f", "-", &directory.display().to_string()],
        ALL.as_bytes(),
    )
    .exits(1)
    .says("this build context has no time of its own")
    .says("git log -1");
}

/// Returns how many requests brought objects.
fn fetches(server: &Server) -> usize {
    let uploads = |request: &&crate::support::http::Request| {
        let body = String::from_utf8_lossy(&request.body);
        request.path.ends_with("git-upload-pack") && body.contains("command=fetch")
    };
    server.requests().iter().filter(uploads).count()
}

#[test]
fn a_second_build_fetches_only_what_is_new() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    let url = server.url("r/.git");
    files(&cooper, &[&url], b"");
    let first = fetches(&server);
    assert!(first > 0, "{:?}", server.requests());
    files(&cooper, &[&url], b"");
    assert_eq!(fetches(&server), first);
    // A commit that has been fetched is known by its name without asking at all.
    let asked = server.requests().len();
    let main = repositories.commit("r", "main");
    files(&cooper, &[&format!("{url}#{main}")], b"");
    assert_eq!(server.requests().len(), asked);

    repositories.sh("r", "echo three >a; commit three");
    let tree = files(&cooper, &[&url], b"");
    assert_eq!(tree["a"], r#"a 644 0:0 "three\n""#);
    assert!(fetches(&server) > first);
    let haves = server
        .requests()
        .into_iter()
        .any(|request| String::from_utf8_lossy(&request.body).contains(&format!("have {main}")));
    assert!(haves, "the second fetch says what is there");
}

#[test]
fn mirrors_are_counted_and_collected() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    let url = server.url("r/.git");
    files(&cooper, &[&url], b"");
    let mirrors = || {
        let names = std::fs::read_dir(cooper.root().join("mounts")).expect("mounts");
        let names = names.map(|name| name.expect("a name").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("git-"))
            .count()
    };
    assert!(mirrors() > 0);
    cooper.run(&["prune", "-a", "-f"]).ok();
    assert_eq!(mirrors(), 0);
    let first = fetches(&server);
    files(&cooper, &[&url], b"");
    assert!(fetches(&server) > first);
}

#[test]
fn a_server_without_gits_protocol_serves_too() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    repositories.sh("r", "git update-server-info");
    let server = Server::of_files(repositories.path());
    let tree = files(&cooper, &[&server.url("r/.git#feature")], b"");
    assert_eq!(tree["a"], r#"a 644 0:0 "two\n""#);
}

#[test]
fn credentials_come_from_secrets_or_the_address_and_are_shown_nowhere() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    // x-access-token:hush
    let basic = "basic eC1hY2Nlc3MtdG9rZW46aHVzaA==";
    let server = Server::of_repositories(repositories.path(), Some(basic));
    let url = server.url("r/.git");
    build(&cooper, &[&url], b"")
        .exits(1)
        .says("--secret id=GIT_AUTH_TOKEN");
    let secret = |name: &str, value: &str| {
        let file = cooper.scratch(&format!("{name}-{}", value.trim()).replace(['.', ':'], "-"));
        std::fs::write(&file, value).expect("write");
        format!("--secret=id={name},src={}", file.display())
    };
    let host = server.address();
    let in_url = url.replace("http://", "http://x-access-token:hush@");
    for (args, rightly) in [
        (vec![secret("GIT_AUTH_TOKEN", "hush\n"), url.clone()], true),
        (
            vec![
                secret(&format!("GIT_AUTH_TOKEN.{host}"), "hush"),
                url.clone(),
            ],
            true,
        ),
        (
            vec![secret("GIT_AUTH_TOKEN.elsewhere", "hush"), url.clone()],
            false,
        ),
        (vec![secret("GIT_AUTH_HEADER", basic), url.clone()], true),
        (vec![secret("GIT_AUTH_TOKEN", "wrong"), url.clone()], false),
        (vec![in_url], true),
    ] {
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend(["-otype=cacheonly", "--no-cache"]);
        let outcome = build(&cooper, &args, b"").exits(i32::from(!rightly));
        assert!(!outcome.stderr.contains("hush"), "{outcome}");
    }
    let mut remembered = std::process::Command::new("grep");
    remembered.args(["-rlE", "hush|aHVzaA"]).arg(cooper.root());
    let found = remembered.output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn ssh_runs_with_the_agent_and_nothing_of_the_users() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let log = cooper.scratch("ssh.log");
    let bin = cooper.scratch("bin");
    std::fs::create_dir(&bin).expect("mkdir");
    let script = format!(
        "#!/bin/sh\n{{ echo \"$SSH_AUTH_SOCK\"; printf '%s\\n' \"$@\"; }} >'{}'\n\
         cd '{}' && exec git-upload-pack r\n",
        log.display(),
        repositories.path().display()
    );
    let ssh = bin.join("ssh");
    std::fs::write(&ssh, script).expect("write");
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    let socket = cooper.scratch("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let run = |agent: bool, context: &str| {
        let mut command = cooper.command();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        command.env("PATH", path);
        if agent {
            command.env("SSH_AUTH_SOCK", &socket);
        }
        command.args(["build", "-otype=cacheonly", context]);
        crate::support::process::run(command)
    };
    run(false, "git@example.com:r")
        .exits(1)
        .says("ssh agent default was not given");
    for context in ["git@example.com:r#main", "ssh://git@example.com/r"] {
        run(true, context).ok();
        let said = std::fs::read_to_string(&log).expect("ssh was run");
        assert!(said.starts_with(&socket.display().to_string()), "{said}");
        assert!(said.contains("\n-F\nnone\n"), "{said}");
        assert!(said.contains("\nBatchMode=yes\n"), "{said}");
        assert!(said.contains("git@example.com"), "{said}");
    }
}

#[test]
fn submodules_come_along_unless_they_are_left_out() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    repositories.make("deep", "echo deep >d; commit d");
    repositories.make("lib", "echo lib >l; commit l");
    let add = |to: &str, url: &str, path: &str| {
        repositories.sh(
            to,
            &format!("git submodule add -q '{url}' '{path}'; commit add"),
        );
    };
    add("lib", &server.url("deep/.git"), "inner");
    // Beside its own repository, whatever server that is on.
    add("r", &server.url("lib/.git"), "vendor/lib");
    repositories.sh(
        "r",
        "git config -f .gitmodules submodule.vendor/lib.url ../../lib/.git; commit relative",
    );
    let url = server.url("r/.git");
    let tree = files(&cooper, &[&url, "-f", "-"], ALL.as_bytes());
    assert_eq!(tree["vendor/lib/l"], r#"vendor/lib/l 644 0:0 "lib\n""#);
    assert_eq!(
        tree["vendor/lib/inner/d"],
        r#"vendor/lib/inner/d 644 0:0 "deep\n""#
    );
    assert!(
        !tree
            .keys()
            .any(|path| path.rsplit('/').next() == Some(".git")),
        "{tree:?}"
    );
    let context = format!("{url}?keep-git-dir=1");
    let tree = files(&cooper, &[&context, "-f", "-"], ALL.as_bytes());
    assert!(tree.contains_key("vendor/lib/inner/.git/HEAD"), "{tree:?}");
    assert!(tree.contains_key("vendor/lib/inner/d"), "{tree:?}");
    let context = format!("{url}?submodules=0");
    let tree = files(&cooper, &[&context, "-f", "-"], ALL.as_bytes());
    assert!(!tree.contains_key("vendor/lib/l"), "{tree:?}");
}

#[test]
fn hostile_submodules_are_refused() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    let mark = cooper.scratch("mark");
    let local = repositories.file_url("r");
    let program = format!("ext::sh -c touch% {}", mark.display());
    repositories.make("evil", "echo x >x; commit x");
    let link = repositories.commit("r", "main");
    for (url, text) in [
        (program.as_str(), "is no address that submodules may have"),
        (
            "--upload-pack=touch",
            "is no address that submodules may have",
        ),
        (local.as_str(), "is no address that submodules may have"),
        (
            "ssh://-oProxyCommand=touch/x",
            "is no address that submodules may have",
        ),
        ("", ".gitmodules does not say where it is fetched from"),
    ] {
        repositories.sh(
            "evil",
            &format!(
                "git update-index --add --cacheinfo 160000,{link},sub
                 git config -f .gitmodules submodule.sub.path sub
                 git config -f .gitmodules submodule.sub.url '{url}'
                 git add .gitmodules; git commit -q -m evil"
            ),
        );
        let context = server.url("evil/.git");
        build(&cooper, &[&context, "-f", "-"], ALL.as_bytes())
            .exits(1)
            .says(text);
        assert!(!mark.exists(), "{url}");
    }
}

#[test]
fn a_repository_cannot_write_outside_or_run_anything() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let mark = cooper.scratch("mark");
    let touch = format!("touch {}", mark.display());
    repositories.make(
        "evil",
        &format!(
            "printf '#!/bin/sh\\n{touch}\\n' >.git/hooks/post-checkout; chmod 755 .git/hooks/post-checkout
             printf '* filter=evil\\n' >.gitattributes; git config filter.evil.smudge '{touch}'
             git config core.fsmonitor '{touch}'; git config uploadpack.packObjectsHook '{touch}'
             ln -s /etc dir; echo x >file; mkdir .github; commit evil; rm -f '{mark}'",
            mark = mark.display()
        ),
    );
    let context = repositories.file_url("evil");
    for rest in ["", "?keep-git-dir=1"] {
        let tree = files(
            &cooper,
            &[&format!("{context}{rest}"), "-f", "-"],
            ALL.as_bytes(),
        );
        assert_eq!(tree["dir"], "dir -> /etc");
        assert!(!mark.exists(), "{rest}");
    }
    // A link that leads out does not make a directory of what it leads to.
    let outside = format!("{context}#:dir");
    build(&cooper, &[&outside, "-f", "-"], ALL.as_bytes())
        .exits(1)
        .says("the repository has no directory dir");
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn add_reads_repositories() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    let url = server.url("r/.git");
    let main = repositories.commit("r", "main");
    let other = r#"d/Other 644 0:0 "FROM scratch\nCOPY . /\n""#;
    for (instruction, expected) in [
        (
            format!("ADD {url}#main:sub /d/"),
            &["d/ 755 0:0", other, r#"d/x 755 0:0 "x\n""#][..],
        ),
        (
            format!("ADD --checksum={main} --chown=5:6 {url}?subdir=sub /d"),
            &[
                "d/ 755 5:6",
                r#"d/Other 644 5:6 "FROM scratch\nCOPY . /\n""#,
                r#"d/x 755 5:6 "x\n""#,
            ],
        ),
    ] {
        let context = Context::new(&format!("FROM scratch\n{instruction}\n"));
        let context = context.path().display().to_string();
        let tree = files(&cooper, &[&context], b"");
        assert_eq!(lines(&tree), expected, "{instruction}");
    }
    for (instruction, text) in [
        (
            format!("ADD --checksum={main} {url}#feature /d/"),
            "expected checksum to match",
        ),
        (
            format!("ADD {url}#nope /d/"),
            "has no branch, tag or commit",
        ),
        (
            format!("ADD --keep-git-dir=false {url}?keep-git-dir=1 /d/"),
            "--keep-git-dir=false, but the address says true",
        ),
        (
            format!("ADD {url}#--upload-pack=touch /d/"),
            "invalid reference in a git address",
        ),
        // A Dockerfile cannot read repositories of the machine that builds.
        (
            format!("ADD {} /d/", repositories.file_url("r")),
            "not found",
        ),
        (format!("COPY {url} /d/"), "use ADD"),
    ] {
        let context = Context::new(&format!("FROM scratch\n{instruction}\n"));
        let context = context.path().display().to_string();
        build(&cooper, &[&context], b"").exits(1).says(text);
    }
}

#[test]
fn add_keeps_the_git_directory_if_asked() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let server = Server::of_repositories(repositories.path(), None);
    let url = server.url("r/.git");
    let context = Context::new(&format!("FROM scratch\nADD --keep-git-dir {url}#v1 /d/\n"));
    let context = context.path().display().to_string();
    let tree = files(&cooper, &[&context], b"");
    let main = repositories.commit("r", "main");
    assert_eq!(
        tree["d/.git/HEAD"],
        format!("d/.git/HEAD 644 0:0 \"{main}\\n\"")
    );
}

#[test]
fn named_contexts_are_repositories_too() {
    let Some((cooper, repositories)) = worlds() else {
        return;
    };
    let named = format!("--build-context=src={}#feature", repositories.file_url("r"));
    let context = Context::new(
        "FROM src AS all\nFROM scratch\nCOPY --from=src a /b\nCOPY --from=all /sub/x /\n",
    );
    let context = context.path().display().to_string();
    let tree = files(&cooper, &[&named, &context], b"");
    assert_eq!(lines(&tree), [r#"b 644 0:0 "two\n""#, r#"x 755 0:0 "x\n""#]);
}
