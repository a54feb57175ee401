//! Several targets in one graph.

use std::collections::BTreeMap;

use super::*;
use crate::image::{ImageKey, ImageLayers};
use crate::lower::{GraphBuilder, LoweredTarget, Target};
use crate::settings::NamedContext;

/// Lowers targets, each with its label and the identity of its context, into one graph.
fn joined(cases: &[(&str, &str, Case)]) -> (Lowered, Vec<LoweredTarget>) {
    let mut builder = GraphBuilder::default();
    let mut targets = Vec::new();
    for (label, identity, case) in cases {
        let target = Target {
            label: (*label).to_owned(),
            contexts: BTreeMap::from([("context".to_owned(), (*identity).to_owned())]),
        };
        let into =
            |plan: &Plan, images: &ResolvedImages| plan.lower_into(&mut builder, target, images);
        targets.push(case.lower_with(&ResolvedImages::new(), into).unwrap());
    }
    let (graph, steps) = builder.finish();
    let result = targets.last().unwrap().clone();
    let lowered = Lowered {
        graph,
        steps,
        result,
    };
    (lowered, targets)
}

const SHARED: &str = "FROM a AS base\nRUN shared\nCOPY x /\n";

#[test]
fn what_targets_have_in_common_is_there_once_and_belongs_to_the_first() {
    let one = Case::new(&format!("{SHARED}RUN one\n"));
    let two = Case::new(&format!("{SHARED}FROM base\nRUN two\nCOPY y /\n"));
    let (lowered, targets) = joined(&[("one", "dir", one), ("two", "dir", two)]);
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/a:latest()",
            "exec [\"/bin/sh\", \"-c\", \"shared\"](0)",
            "local context [x y]()",
            "file copy 1:/x -> /(1,2)",
            "exec [\"/bin/sh\", \"-c\", \"one\"](3)",
            "exec [\"/bin/sh\", \"-c\", \"two\"](3)",
            "file copy 1:/y -> /(5,2)",
        ]
    );
    assert_eq!(
        targets.iter().map(|t| t.added.clone()).collect::<Vec<_>>(),
        [0..5, 5..7]
    );
    let shown: Vec<_> = lowered.steps.values().map(|step| &step.display).collect();
    assert_eq!(
        shown,
        [
            "[one 1/4] FROM docker.io/library/a:latest",
            "[one 2/4] RUN shared",
            "[one 3/4] COPY x /",
            "[one 4/4] RUN one",
            "[two stage-1 1/2] RUN two",
            "[two stage-1 2/2] COPY y /",
        ]
    );
}

#[test]
fn contexts_of_one_name_are_apart_unless_they_are_the_same() {
    let case = || Case::new("FROM scratch\nCOPY x /\n");
    let (apart, _) = joined(&[("a", "here", case()), ("b", "there", case())]);
    assert_eq!(
        graph(&apart),
        [
            "local context [x]()",
            "file bare copy 0:/x -> /(0)",
            "local context [x]()",
            "file bare copy 0:/x -> /(2)",
        ]
    );
    let (same, targets) = joined(&[("a", "here", case()), ("b", "here", case())]);
    assert_eq!(same.graph.len(), 2);
    assert_eq!(targets[0].target, targets[1].target);
}

#[test]
fn a_platform_of_its_own_makes_a_run_another_one_and_shares_what_runs_here() {
    let text = "FROM --platform=$BUILDPLATFORM a AS here\nRUN compile\nFROM b\nCOPY --from=here x /\nRUN c\n";
    let on = |architecture: &str| {
        Case::new(text).with(|settings| settings.platform = Platform::new("linux", architecture))
    };
    let (lowered, _) = joined(&[("amd64", "d", on("amd64")), ("arm64", "d", on("arm64"))]);
    let commands = |wanted: &str| {
        let execs = lowered.graph.iter().filter(|(_, vertex)| match &vertex.op {
            BuildOp::Exec(exec) => exec.args[2] == wanted,
            _ => false,
        });
        execs.count()
    };
    assert_eq!((commands("compile"), commands("c")), (1, 2));
}

#[test]
fn a_target_starts_from_another_one() {
    let mut builder = GraphBuilder::default();
    let base = Case::new("FROM a\nENV X=1\nRUN base\nONBUILD RUN trigger\n")
        .lower_with(&ResolvedImages::new(), |plan, images| {
            plan.lower_into(&mut builder, Target::default(), images)
        })
        .unwrap();
    let app = Case::new("FROM base\nRUN app $X\n").with(|settings| {
        settings
            .named_contexts
            .insert("base".to_owned(), NamedContext::Image);
    });
    let key = ImageKey {
        name: ImageName::Context("base".to_owned()),
        platform: app.settings.platform.clone(),
    };
    let image = ResolvedImage {
        config: base.image.clone(),
        layers: ImageLayers::Target {
            vertex: base.target,
            history: base.history.clone(),
        },
        reference: None,
        digest: None,
    };
    let app = app
        .lower_with(&ResolvedImages::from([(key, image)]), |plan, images| {
            plan.lower_into(&mut builder, Target::default(), images)
        })
        .unwrap();
    let (graph_of, steps) = builder.finish();
    let lowered = Lowered {
        graph: graph_of,
        steps,
        result: app,
    };
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/a:latest()",
            "exec [\"/bin/sh\", \"-c\", \"base\"](0)",
            "exec [\"/bin/sh\", \"-c\", \"trigger\"](1)",
            "exec [\"/bin/sh\", \"-c\", \"app $X\"](2)",
        ]
    );
    assert!(
        exec(&lowered)
            .env
            .contains(&("X".to_owned(), "1".to_owned()))
    );
    assert_eq!(
        history(&lowered),
        [
            "ENV X=1",
            "RUN /bin/sh -c base # buildkit",
            "RUN /bin/sh -c trigger # buildkit",
            "RUN /bin/sh -c app $X # buildkit",
        ]
    );
}
