//! `--squash` and `--squash=all`.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::support::layout::{self, Image};
use crate::support::process::tool;
use crate::support::{Context, Cooper, NONE, need};

/// Steps that add, replace, delete, hide and link.
const DOCKERFILE: &str = "FROM busybox AS base\n\
    FROM base\n\
    RUN mkdir -p /d/old && echo 1 > /d/old/f && echo key > /secret && rm /etc/group\n\
    ENV a=b\n\
    RUN rm -r /d/old /secret && mkdir /d/old && echo 2 > /d/old/g && ln /d/old/g /d/hard\n\
    COPY f /d/f\n\
    RUN rm -rf /home && mkdir -m 1700 /home && chown 5:6 /d/f && ln -s f /d/soft\n\
    CMD [\"sh\"]\n";

fn context() -> Context {
    Context::new(DOCKERFILE).with("f", "content\n")
}

/// Unpacks an image by other means and lists everything in it, times of files included.
fn listing(cooper: &Cooper, layout: &Path, name: &str) -> String {
    let bundle = cooper.scratch(name);
    let image = format!("{}:1", layout.display());
    let args = ["unpack", "--image", &image].map(OsStr::new);
    tool("umoci", &[&args[..], &[bundle.as_os_str()]].concat());
    let script = "cd $0/rootfs; find . ! -type d -printf '%p %y %m %U:%G %T@ %n %l\n' | sort; \
        find . -type d -printf '%p %m %U:%G\n' | sort; find . -type f | sort | xargs sha256sum";
    let args = [OsStr::new("-euc"), OsStr::new(script), bundle.as_os_str()];
    tool("sh", &args).out()
}

/// Returns the lines of the layer's tar listing that are whiteouts.
fn marks(layout: &Path, digest: &str) -> Vec<String> {
    let blob = layout::blob(layout, digest);
    let listed = tool("tar", &[OsStr::new("-tzf"), blob.as_os_str()]).out();
    let marks = listed.lines().filter(|line| line.contains(".wh."));
    marks.map(str::to_owned).collect()
}

#[test]
fn squashed_images_unpack_to_the_same_files() {
    if need::root().and_then(|()| need::tool("umoci")).is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let context = context();
    let build = |name: &str, squash: &[&str]| {
        let layout = cooper.build_layout(&context, &[&["-t=x:1"], squash].concat());
        let listed = listing(&cooper, &layout, name);
        let image = Image::read(&layout);
        let last = image.layers().pop().expect("a layer");
        (listed, image, marks(&layout, &last))
    };
    let (plain, image, _) = build("plain", &[]);
    let base = image.layers().len() - 4;
    assert!(
        plain.contains("./d/old/g f") && !plain.contains("secret"),
        "{plain}"
    );

    let (new, image, kept) = build("new", &["--squash"]);
    assert_eq!(new, plain);
    assert_eq!(image.layers().len(), base + 1);
    assert_eq!(kept, ["etc/.wh.group", "home/.wh..wh..opq"]);
    let history = image.config["history"].as_array().expect("a history");
    let filled = |entry: &&Value| entry["empty_layer"] != true;
    assert_eq!(history.iter().filter(filled).count(), base + 1);
    let last = history.last().expect("an entry");
    let below = &image.config["rootfs"]["diff_ids"][base - 1];
    let comment = format!("merge 4 layers to {}", below.as_str().expect("a digest"));
    assert_eq!(last["comment"], comment);
    let told = |what: &str| {
        let by = |entry: &Value| {
            entry["created_by"]
                .as_str()
                .is_some_and(|by| by.contains(what))
        };
        history.iter().any(by)
    };
    assert!(
        told("COPY f /d/f") && told("ENV a=b") && told("echo key"),
        "{history:?}"
    );

    let (all, image, kept) = build("all", &["--squash=all"]);
    assert_eq!(all, plain);
    assert_eq!(image.layers().len(), 1);
    assert_eq!(kept, Vec::<String>::new());
    let history = image.config["history"].as_array().expect("a history");
    assert_eq!(history.iter().filter(filled).count(), 1);
    let comment = format!("create new from {} layers", base + 4);
    assert_eq!(history.last().expect("an entry")["comment"], comment);
}

#[test]
fn squashing_leaves_the_cache_as_it_is() {
    let Some(cooper) = Cooper::new() else { return };
    let context = context();
    let executed = cooper.steps(&context, &["--squash", "-t=squashed"]).ok();
    assert_eq!(executed.executed().len(), 4);
    for args in [&["-t=plain"][..], &["--squash"], &["--squash=all"], NONE] {
        let steps = cooper.steps(&context, args).ok();
        assert_eq!(steps.executed(), Vec::<String>::new(), "{args:?}");
    }
    let shown = "cat /d/f /d/old/g /d/hard; ls /etc/group /secret";
    let run = |image: &str| {
        let outcome = cooper.run(&["run", "--rm", image, "sh", "-c", shown]);
        (outcome.out(), outcome.stderr)
    };
    let (out, missing) = run("squashed");
    assert_eq!(out, "content\n2\n2\n");
    assert!(
        missing.contains("/etc/group") && missing.contains("/secret"),
        "{missing}"
    );
    assert_eq!(run("plain"), (out, missing));
}

#[test]
fn a_squash_without_layers_of_its_own_changes_nothing() {
    let Some(cooper) = Cooper::new() else { return };
    let id = |context: &Context, squash: &[&str]| {
        let args = [&["-q"], squash].concat();
        cooper.build(context, &args).ok().out()
    };
    for dockerfile in ["FROM scratch\nENV a=b\n", "FROM busybox\nENV a=b\n"] {
        let context = Context::new(dockerfile);
        assert_eq!(id(&context, &["--squash"]), id(&context, NONE));
    }
    let outcome = cooper.build(&context(), &["--squash=everything"]);
    assert_ne!(outcome.code(), 0);
    assert!(outcome.stderr.contains("--squash"), "{}", outcome.stderr);
}
