//! Builds of several targets, as far as they start no process.

use std::path::Path;

use cooper_cache::StoreOptions;
use cooper_oci::ImageConfig;

use super::*;
use crate::options::{NamedContext, ProgressMode, Pull};
use crate::progress::{Display, DisplayOptions};
use crate::registry::{Credentials, RegistryConfig};

/// A store with directories beside it that can be built.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).expect("open");
        Self { dir, store }
    }

    /// Makes a context directory and returns options that build it into the store.
    fn target(&self, name: &str, files: &[(&str, &str)]) -> BuildOptions {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).expect("mkdir");
        for (file, text) in files {
            std::fs::write(dir.join(file), text).expect("write");
        }
        options(&dir)
    }

    fn build(&self, targets: &[(&str, &BuildOptions)]) -> Outcome {
        let targets: Vec<_> = targets
            .iter()
            .map(|&(name, options)| Target { name, options })
            .collect();
        let display = Display::start(DisplayOptions::new(ProgressMode::Quiet, false));
        let session = Session {
            store: self.store.clone(),
            client: Client::new(RegistryConfig::default(), Credentials::none()),
            resolv_conf: Vec::new(),
        };
        let request = Request {
            targets: &targets,
            progress: &display.progress(),
            cancel: &CancelToken::new(),
            environment: &|_| None,
            on_failure: None,
        };
        build(&session, &request)
    }

    fn config(&self, built: &Built) -> ImageConfig {
        let id = built.id.as_ref().expect("an image");
        let bytes = self.store.blobs().read(id).expect("its configuration");
        ImageConfig::from_json(&bytes).expect("valid")
    }
}

fn options(context: &Path) -> BuildOptions {
    BuildOptions {
        pull: Pull::Never,
        source_date_epoch: Some(0),
        ..BuildOptions::of(context.to_owned())
    }
}

fn based_on(mut options: BuildOptions, target: &str) -> BuildOptions {
    let context = NamedContext::Target(target.to_owned());
    options.build_contexts.push(("base".to_owned(), context));
    options
}

fn message(outcome: Outcome) -> String {
    let error: &dyn std::error::Error = &outcome.result.expect_err("it cannot be built");
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn targets_read_their_own_contexts_and_have_their_own_images() {
    let place = Place::new();
    let dockerfile = "FROM scratch\nCOPY x /\n";
    let a = place.target("a", &[("Dockerfile", dockerfile), ("x", "1")]);
    let b = place.target("b", &[("Dockerfile", dockerfile), ("x", "2")]);
    let built = place.build(&[("a", &a), ("b", &b), ("again", &a)]);
    let built = built.result.expect("built");
    let ids: Vec<_> = built.iter().map(|built| built.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_target_starts_from_another_whichever_comes_first() {
    let place = Place::new();
    let base = place.target(
        "base",
        &[
            (
                "Dockerfile",
                "FROM scratch\nCOPY x /\nENV X=1\nONBUILD ENV Y=$X\n",
            ),
            ("x", "1"),
        ],
    );
    let app = place.target(
        "app",
        &[("Dockerfile", "FROM base\nCOPY y /\n"), ("y", "2")],
    );
    let app = based_on(app, "first");
    let built = place.build(&[("app", &app), ("first", &base)]);
    let built = built.result.expect("built");
    let (app, base) = (place.config(&built[0]), place.config(&built[1]));
    let layers = |config: &ImageConfig| config.rootfs.diff_ids.clone();
    assert_eq!(layers(&app).len(), 2);
    assert_eq!(layers(&app)[..1], layers(&base));
    assert_eq!(
        app.config.env[1..],
        ["X=1".to_owned(), "Y=1".to_owned()],
        "{:?}",
        app.config.env
    );
    let history: Vec<_> = app
        .history
        .iter()
        .map(|item| item.created_by.as_str())
        .collect();
    assert_eq!(
        history,
        [
            "COPY x / # buildkit",
            "ENV X=1",
            "ENV Y=1",
            "COPY y / # buildkit"
        ]
    );
}

#[test]
fn a_base_without_outputs_is_no_image_of_its_own() {
    let place = Place::new();
    let mut base = place.target(
        "base",
        &[("Dockerfile", "FROM scratch\nCOPY x /\n"), ("x", "1")],
    );
    base.outputs.clear();
    let app = place.target(
        "app",
        &[("Dockerfile", "FROM scratch\nCOPY --from=base x /y\n")],
    );
    let app = based_on(app, "base");
    let built = place
        .build(&[("base", &base), ("app", &app)])
        .result
        .expect("built");
    assert_eq!(built[0].id, None);
    assert_eq!(place.store.images().ids().expect("ids").len(), 1);
    assert_eq!(place.config(&built[1]).rootfs.diff_ids.len(), 1);
}

#[test]
fn targets_that_cannot_be_ordered_or_used_are_named() {
    let place = Place::new();
    let target = |name: &str| place.target(name, &[("Dockerfile", "FROM base\n")]);
    let (a, b) = (based_on(target("a"), "b"), based_on(target("b"), "a"));
    assert_eq!(
        message(place.build(&[("a", &a), ("b", &b)])),
        "the targets a, b need each other"
    );
    assert_eq!(
        message(place.build(&[("a", &a)])),
        "the context base of a is the target b, which is not part of this build"
    );
    let mut foreign = place.target("foreign", &[("Dockerfile", "FROM scratch\n")]);
    foreign.platforms = vec!["linux/s390x".parse().expect("valid")];
    let host = cooper_oci::Platform::host();
    assert_eq!(
        message(place.build(&[("a", &a), ("b", &foreign)])),
        format!(
            "a cannot be built: cannot use a base image: \
             target b is an image for linux/s390x, but {host} is needed"
        )
    );
    let broken = place.target("broken", &[("Dockerfile", "FROM scratch\nCOPY none /\n")]);
    let message = message(place.build(&[
        ("a", &place.target("c", &[("Dockerfile", "FROM scratch\n")])),
        ("b", &broken),
    ]));
    assert!(
        message.starts_with("b cannot be built: [b 1/1] COPY none / failed: "),
        "{message}"
    );
}

#[test]
fn a_warning_on_a_file_that_two_targets_share_is_given_once() {
    let place = Place::new();
    let a = place.target("a", &[("Dockerfile", "FROM scratch as x\n")]);
    let outcome = place.build(&[("a", &a), ("b", &a)]);
    outcome.result.expect("built");
    let [checked] = outcome.checked.as_slice() else {
        panic!("{:?}", outcome.checked)
    };
    assert_eq!(checked.warnings.len(), 1, "{:?}", checked.warnings);
}
