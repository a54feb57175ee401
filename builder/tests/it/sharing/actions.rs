//! `type=gha`, against a service that holds to GitHub's protocols.

use super::{BELOW_B, NOTHING, THREE_READERS, machines, three_readers, with_a_large_file};
use crate::support::actions::{ActionsService, token};
use crate::support::{Context, Cooper};

const MAIN: &str = "refs/heads/main";

/// Returns what names the cache as a job of `token` has it; `version` is the protocol's.
fn cache(service: &ActionsService, version: u32, token: &str) -> String {
    let url = service.url();
    let named = match version {
        1 => format!("url={url}"),
        _ => format!("url_v2={url}"),
    };
    format!("type=gha,{named},token={token}")
}

/// Returns the options that write and read it.
fn options(service: &ActionsService, version: u32, token: &str) -> (String, String) {
    let cache = cache(service, version, token);
    (
        format!("--cache-to={cache},mode=max,part_size=1m"),
        format!("--cache-from={cache}"),
    )
}

#[test]
fn a_job_gives_its_cache_to_an_empty_machine_and_only_what_is_missing_travels() {
    for version in [1, 2] {
        let Some((here, there)) = machines() else {
            return;
        };
        let service = ActionsService::start();
        // Its result is read, the file itself is not.
        let large = "FROM busybox AS one\nCOPY large /large\n";
        let dockerfile = THREE_READERS.replacen("FROM busybox AS one\n", large, 1);
        let context = with_a_large_file(&dockerfile, 2_500_000);
        let (to, from) = options(&service, version, &token(MAIN, &[]));
        let first = here.build(&context, &["-otype=cacheonly", &to, &from]).ok();
        first
            .says("there is no cache of the scope buildkit")
            .says("sent 8 blobs, 0 were there");
        let sent = service.sent();
        assert!(sent > 2_500_000, "{sent}");
        let parts = match version {
            1 => service.requests("PATCH /_apis/artifactcache/caches/").len(),
            _ => service
                .requests("PUT /content/")
                .iter()
                .filter(|request| request.query.contains("comp=block&"))
                .count(),
        };
        assert!(parts >= 3, "{parts} parts");

        here.build(&context, &["-otype=cacheonly", &to])
            .ok()
            .says("sent 0 blobs, 8 were there");
        let list = service.sent() - sent;
        assert!(list < 20_000, "the list alone: {list}");
        let mut lists = service.keys();
        lists.retain(|key| key.starts_with("index-"));
        assert_eq!(
            lists,
            ["index-buildkit-1-f921bd05#1", "index-buildkit-1-f921bd05#2"]
        );

        // Nothing is executed, and nothing fetched but the list.
        let fetched = || service.requests("GET /content/").len();
        let known = fetched();
        let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
        assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
        assert_eq!(fetched(), known + 1);
        // What a changed step stands on is fetched; the large layer is nobody's.
        context.write("b", "b2");
        let known = fetched();
        let third = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(third.executed(), BELOW_B);
        assert!(fetched() - known <= 3, "{}", fetched() - known);
        there
            .run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b2");
        there.run(&["cache", "fsck"]).ok();
        service.assert_lawful();
    }
}

#[test]
fn an_image_is_made_of_layers_that_came_in_parts() {
    for version in [1, 2] {
        let Some((here, there)) = machines() else {
            return;
        };
        let service = ActionsService::start();
        let dockerfile = "FROM busybox\nCOPY large /\nRUN wc -c </large >/count\n";
        let context = with_a_large_file(dockerfile, 2_500_000);
        let (to, from) = options(&service, version, &token(MAIN, &[]));
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let second = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(second.executed(), NOTHING);
        there
            .run(&["run", "--rm", "a", "sh", "-c", "cat /count; wc -c </large"])
            .ok()
            .prints("2500000\n2500000\n");
        service.assert_lawful();
    }
}

#[test]
fn layers_travel_several_at_once_both_ways() {
    let Some((here, there)) = machines() else {
        return;
    };
    let service = ActionsService::start();
    let lines = [0, 1, 2, 3, 4, 5].map(|number| format!("RUN echo {number} >/{number}\n"));
    let lines = lines.concat();
    let context = Context::new(&format!("FROM busybox\n{lines}"));
    let (to, from) = options(&service, 2, &token(MAIN, &[]));
    service.gather(4);
    here.build(&context, &["-otype=cacheonly", &to]).ok();
    let sent = service.gather(0);
    assert!(sent >= 4, "{sent} at once");
    // The list travels by itself.
    let warm = there.steps(&context, &["-otype=cacheonly", &from]).ok();
    assert_eq!(warm.executed(), NOTHING);
    service.gather(4);
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed(), NOTHING);
    let fetched = service.gather(0);
    assert!(fetched >= 4, "{fetched} at once");
    service.assert_lawful();
}

#[test]
fn min_has_what_is_part_of_the_image_and_max_all() {
    let service = ActionsService::start();
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    for (mode, executed) in [("min", 2), ("max", 0)] {
        let cache = format!("{},scope={mode}", cache(&service, 2, &token(MAIN, &[])));
        let to = format!("--cache-to={cache},mode={mode}");
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let Some(there) = Cooper::new() else { return };
        let from = format!("--cache-from={cache}");
        let whole = there.steps(&context, &["-otype=cacheonly", &from]).ok();
        assert_eq!(whole.executed(), NOTHING, "{mode}");
        let Some(there) = Cooper::new() else { return };
        let args = ["-otype=cacheonly", "--target=two", &from];
        let stage = there.steps(&context, &args).ok();
        assert_eq!(stage.executed().len(), executed, "{mode}");
    }
    service.assert_lawful();
}

#[test]
fn a_branch_reads_what_the_default_branch_wrote_and_not_the_other_way_round() {
    for version in [1, 2] {
        let Some((main, branch)) = machines() else {
            return;
        };
        let service = ActionsService::start();
        let context = three_readers();
        let (to_main, from_main) = options(&service, version, &token(MAIN, &[]));
        let (to_own, from_own) = options(&service, version, &token("refs/heads/x", &[MAIN]));
        main.build(&context, &["-otype=cacheonly", &to_main]).ok();
        context.write("b", "b2");
        let args = ["-otype=cacheonly", &from_own, &to_own];
        let own = branch.steps(&context, &args).ok();
        assert_eq!(own.executed(), BELOW_B);
        let Some(next) = Cooper::new() else { return };
        let again = next.steps(&context, &["-otype=cacheonly", &from_own]).ok();
        assert_eq!(again.executed(), NOTHING, "both lists are read");
        let back = main.steps(&context, &["-otype=cacheonly", &from_main]).ok();
        assert_eq!(back.executed(), BELOW_B);
        service.assert_lawful();
    }
}

#[test]
fn what_is_there_is_asked_for_at_once_if_github_may_be_asked() {
    let Some(here) = Cooper::new() else { return };
    let service = ActionsService::start();
    let context = three_readers();
    let cache = cache(&service, 2, &token(MAIN, &[]));
    let build = |ghtoken: &str| {
        let to = format!("--cache-to={cache},mode=max,repository=owner/name,ghtoken={ghtoken}");
        let args = ["--progress=plain", "-otype=cacheonly", &to];
        let mut command = here.build_command(context.path(), &args);
        command.env("GITHUB_API_URL", service.url());
        crate::support::process::run(command)
    };
    build("ghs_token").ok().says("sent 7 blobs, 0 were there");
    let lookups = || service.requests("POST").len();
    let known = lookups();
    build("ghs_token").ok().says("sent 0 blobs, 7 were there");
    // Which list is the newest, its reservation, and its commit.
    assert_eq!(lookups() - known, 3);
    assert_eq!(
        service
            .requests("GET /repos/owner/name/actions/caches")
            .len(),
        2
    );
    build("wrong").exits(1).says("Bad credentials");
    service.assert_lawful();
}

#[test]
fn the_runner_says_where_the_service_is_and_outside_of_jobs_there_is_none() {
    let Some((here, there)) = machines() else {
        return;
    };
    let service = ActionsService::start();
    let context = three_readers();
    let args = [
        "--progress=plain",
        "-otype=cacheonly",
        "--cache-from=type=gha",
        "--cache-to=type=gha,mode=max",
    ];
    let job = |cooper: &Cooper, second: &str| {
        let mut command = cooper.build_command(context.path(), &args);
        let token = token(MAIN, &[]);
        let url = service.url();
        for (name, value) in [
            ("ACTIONS_CACHE_SERVICE_V2", second),
            ("ACTIONS_RESULTS_URL", &url),
            ("ACTIONS_CACHE_URL", &url),
            ("ACTIONS_RUNTIME_TOKEN", &token),
        ] {
            command.env(name, value);
        }
        crate::support::process::run(command).ok()
    };
    job(&here, "true").says("sent 7 blobs");
    assert!(!service.requests("POST /twirp/").is_empty());
    assert!(service.requests("GET /_apis/").is_empty());
    job(&there, "")
        .says("sent 0 blobs, 7 were there")
        .says("keys: ");
    assert!(!service.requests("GET /_apis/").is_empty());
    service.assert_lawful();

    let known = service.requests("").len();
    let elsewhere = here.build(&context, &args[1..]).ok();
    elsewhere
        .says("the cache gha:buildkit is not used: GitHub's cache is not to be had here")
        .says("the cache was not written to gha:buildkit");
    assert_eq!(service.requests("").len(), known);
}

#[test]
fn a_wrong_token_is_an_error_with_advice_and_a_warning_where_that_is_asked_for() {
    let Some(cooper) = Cooper::new() else { return };
    let service = ActionsService::start();
    let context = three_readers();
    for version in [1, 2] {
        let (to, from) = options(&service, version, "e30.e30.wrong");
        let read = cooper.build(&context, &["-otype=cacheonly", &from]).ok();
        read.says("401").says("ACTIONS_RUNTIME_TOKEN");
        let failed = cooper.build(&context, &["-t=a", &to]).exits(1);
        let failed = failed
            .says("401")
            .says("ACTIONS_RUNTIME_TOKEN")
            .says("ignore-error=true");
        assert!(!failed.stderr.contains("e30.e30"), "{failed}");
        let ignored = format!("{to},ignore-error=true");
        cooper.build(&context, &["-t=a", &ignored]).ok();
    }
    service.assert_lawful();
}

#[test]
fn a_service_that_goes_away_costs_no_build_and_loses_nothing() {
    for version in [1, 2] {
        let Some((here, there)) = machines() else {
            return;
        };
        let service = ActionsService::start();
        let context = three_readers();
        let (to, from) = options(&service, version, &token(MAIN, &[]));
        // In the middle of the writing: some blobs are there, no list is.
        service.answer_only(9);
        let failed = here.build(&context, &["-t=a", &to]).exits(1);
        failed.says("cannot write the cache to gha:buildkit");
        here.run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b1");
        service.answer_only(9);
        let ignored = format!("{to},ignore-error=true");
        here.build(&context, &["-t=a", &ignored]).ok();
        service.answer_only(usize::MAX);
        assert!(!service.keys().iter().any(|key| key.starts_with("index-")));
        let again = here.steps(&context, &["-t=a", &to]).ok();
        assert_eq!(again.executed(), NOTHING, "nothing of the build is lost");

        // In the middle of the reading: what was reserved and never came is missing, too.
        service.answer_only(2);
        let second = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(second.executed().len(), 7);
        there
            .run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b1");
        there.run(&["cache", "fsck"]).ok();
        service.answer_only(usize::MAX);
        service.assert_lawful();
    }
}

#[test]
fn a_blob_that_was_evicted_is_sent_again_and_missed_by_nobody() {
    let Some((here, there)) = machines() else {
        return;
    };
    let service = ActionsService::start();
    let context = three_readers();
    let (to, from) = options(&service, 2, &token(MAIN, &[]));
    here.build(&context, &["-otype=cacheonly", &to]).ok();
    service.evict(|key| key.starts_with("buildkit-blob-"));
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed().len(), 7, "{}", second.outcome);
    here.build(&context, &["-otype=cacheonly", &to])
        .ok()
        .says("sent 7 blobs, 0 were there");
    service.assert_lawful();
}

#[test]
fn cache_mounts_come_back_from_it() {
    let Some((here, there)) = machines() else {
        return;
    };
    let service = ActionsService::start();
    let cache = cache(&service, 2, &token(MAIN, &[]));
    let step = |what: &str| {
        Context::new(&format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c {what}\n"
        ))
    };
    here.steps(&step("echo here >/c/f"), &["-otype=cacheonly"])
        .ok();
    here.run(&["cache", "export", &cache]).ok();
    there.run(&["cache", "import", &cache]).ok();
    let shown = there.steps(&step("cat /c/f"), &["-otype=cacheonly"]).ok();
    assert_eq!(shown.output(), "here\n");
    service.assert_lawful();
}
