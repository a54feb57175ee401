//! `type=registry` and `type=inline`: what travels and what does not.

use super::{BELOW_B, NOTHING, machines, three_readers};
use crate::support::peers::DockerRegistry;
use crate::support::{Cooper, need};

/// Returns the requests that move layers, since the first `known`.
fn moved(registry: &DockerRegistry, known: usize) -> Vec<String> {
    let all = registry.requests().into_iter().skip(known);
    let moves = |line: &String| {
        (line.starts_with("GET ") && line.contains("/blobs/"))
            || line.starts_with("PATCH ")
            || line.starts_with("PUT ")
            || line.starts_with("POST ")
    };
    all.filter(moves).collect()
}

#[test]
fn only_what_is_missing_travels_and_only_when_it_is_needed() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    let host = registry.host();
    let to = format!("--cache-to=type=registry,ref={host}/team/cache:1,mode=max");
    let from = format!("--cache-from=type=registry,ref={host}/team/cache:1");
    let first = here.build(&context, &["-otype=cacheonly", &to]).ok();
    first.says("sent 8 blobs, 0 were there");
    let known = registry.requests().len();
    here.build(&context, &["-otype=cacheonly", &to])
        .ok()
        .says("sent 0 blobs, 8 were there");
    let again = moved(&registry, known);
    assert_eq!(again, ["PUT /v2/team/cache/manifests/1"]);

    // A build that needs no bytes fetches the list alone.
    let known = registry.requests().len();
    let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
    assert_eq!(second.executed(), NOTHING);
    let lists = moved(&registry, known);
    assert_eq!(lists.len(), 1, "{lists:?}");

    // A push to the same registry fetches nothing and sends the configuration and the base.
    let known = registry.requests().len();
    let name = format!("-otype=registry,store=false,name={host}/team/image:1");
    let pushed = there.steps(&context, &[name.as_str(), &from]).ok();
    assert_eq!(pushed.executed(), NOTHING);
    let sent = moved(&registry, known);
    let gets = sent.iter().filter(|line| line.starts_with("GET")).count();
    let mounts = sent.iter().filter(|line| line.contains("mount=")).count();
    let puts = sent.iter().filter(|line| line.contains("digest=")).count();
    assert_eq!((gets, mounts, puts), (1, 3, 2), "{sent:#?}");

    // What is below a change needs its base, and nothing of the other stages.
    context.write("b", "b2");
    let known = registry.requests().len();
    let third = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(third.executed(), BELOW_B);
    let fetched = moved(&registry, known).len() - 1;
    assert!(fetched <= 2, "{fetched} layers");
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
}

#[test]
fn an_empty_machine_in_a_network_of_its_own_executes_nothing() {
    if need::root().is_none() {
        return;
    }
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    let cache = |registry: &DockerRegistry| format!("ref={}/team/cache", registry.host());
    let to = format!("--cache-to=type=registry,{},mode=max", cache(&registry));
    here.build(&context, &["-otype=cacheonly", &to]).ok();
    drop(registry);
    there.in_network(&["create"], || {
        // What was pushed is all that the second machine can reach of the first.
        let registry = DockerRegistry::start(&here).expect("it was there");
        let from = format!("--cache-from=type=registry,{}", cache(&registry));
        let second = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
        context.write("b", "b2");
        let third = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(third.executed(), BELOW_B);
    });
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
}

#[test]
fn a_registry_that_goes_away_costs_no_build_and_loses_nothing() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    let cache = format!("type=registry,ref={}/team/cache", registry.host());
    let (to, from) = (
        format!("--cache-to={cache},mode=max"),
        format!("--cache-from={cache}"),
    );
    here.build(&context, &["-t=a", &to]).ok();
    drop(registry);
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed().len(), 7, "{}", second.outcome);
    let gone = here.build(&context, &["-t=a", &to]).exits(1);
    gone.says("cannot write the cache to").says("refused");
    here.build(&context, &["-t=a", &format!("{to},ignore-error=true")])
        .ok();
    for machine in [here, there] {
        machine
            .run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b1");
        machine.run(&["cache", "fsck"]).ok();
    }
}

#[test]
fn min_has_what_is_part_of_the_image_and_max_all_in_a_registry() {
    let Some(here) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    for (mode, executed) in [("min", 2), ("max", 0)] {
        let name = format!("{}/team/{mode}", registry.host());
        let to = format!("--cache-to=type=registry,ref={name},mode={mode}");
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let Some(there) = Cooper::new() else { return };
        let from = format!("--cache-from={name}");
        let whole = there.steps(&context, &["-otype=cacheonly", &from]).ok();
        assert_eq!(whole.executed(), NOTHING, "{mode}: {}", whole.outcome);
        let args = ["-otype=cacheonly", "--target=two", &from];
        let stage = there.steps(&context, &args).ok();
        assert_eq!(stage.executed().len(), executed, "{mode}");
    }
}

#[test]
fn the_cache_is_in_the_image_itself_by_option_or_argument() {
    let Some(here) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    for (number, how) in [
        "--cache-to=type=inline",
        "--build-arg=BUILDKIT_INLINE_CACHE=1",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{}/team/image:{number}", registry.host());
        let push = format!("-otype=registry,name={name}");
        here.build(&context, &[push.as_str(), how]).ok();
        let Some(there) = Cooper::new() else { return };
        let second = there
            .steps(&context, &["-t=a", &format!("--cache-from={name}")])
            .ok();
        assert_eq!(second.executed(), NOTHING, "{how}: {}", second.outcome);
        context.write("b", "b2");
        let changed = there
            .steps(&context, &["-t=b", &format!("--cache-from={name}")])
            .ok();
        assert!(
            changed
                .cached()
                .contains(&"COPY --from=one /one /".to_owned())
        );
        there
            .run(&["run", "--rm", "b", "cat", "/all"])
            .ok()
            .prints("a1b2");
        context.write("b", "b1");
    }
}

#[test]
fn a_base_image_that_another_machine_built_is_known_by_its_content() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let base = format!("{}/team/base:1", registry.host());
    let of_base = crate::support::Context::new("FROM busybox\nRUN echo base >/base\n");
    here.build(
        &of_base,
        &[format!("-otype=registry,name={base}"), format!("-t={base}")],
    )
    .ok();
    let child = crate::support::Context::new(&format!("FROM {base}\nRUN cat /base >/child\n"));
    let cache = format!("{}/team/cache:1", registry.host());
    here.build(&child, &["-t=c".to_owned(), format!("--cache-to={cache}")])
        .ok();
    let second = there
        .steps(
            &child,
            &["-t=c".to_owned(), format!("--cache-from={cache}")],
        )
        .ok();
    assert_eq!(second.executed(), NOTHING);
    there
        .run(&["run", "--rm", "c", "cat", "/child"])
        .ok()
        .prints("base\n");
}
