//! Services that keep caches badly: they fail, break off, and give other bytes than they got.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{NOTHING, machines, three_readers};
use crate::support::Cooper;
use crate::support::cooper::Ended;
use crate::support::http::{Request, Response, Server};

/// What a service does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It answers with an error of its own.
    Fails,
    /// It ends the connection in the middle of the body.
    Truncates,
    /// It ends the connection without an answer.
    Drops,
    /// One byte is another one.
    Flips,
}

const FAULTS: [Fault; 4] = [Fault::Fails, Fault::Truncates, Fault::Drops, Fault::Flips];

/// Which requests it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Those that read the list.
    List,
    /// Those that read a layer.
    Layers,
    /// Those that write.
    Writes,
}

impl To {
    fn is(self, request: &Request) -> bool {
        match self {
            Self::List => request.method == "GET" && request.path.contains("/manifests/"),
            Self::Layers => request.method == "GET" && request.path.contains("/blobs/"),
            Self::Writes => request.method == "PUT" && !request.path.ends_with("/caches"),
        }
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// What goes wrong, to which requests, how often.
    faults: Vec<(Fault, To, usize)>,
}

/// A service as S3 and Azure's are, as far as a cache of small layers asks: objects by path.
struct Shelf {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Shelf {
    fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| shared.lock().unwrap().answer(request));
        Self { state, server }
    }

    /// Returns what names a cache there, in the words of each service.
    fn caches(&self) -> [String; 2] {
        let url = self.server.url("");
        let url = url.trim_end_matches('/');
        [
            format!(
                "type=s3,bucket=caches,region=here,prefix=ci/,use_path_style=true,endpoint_url={url},\
                 access_key_id=a,secret_access_key=b"
            ),
            format!(
                "type=azblob,account_url={url}/account,account_name=account,container=caches,\
                 prefix=ci/,secret_access_key=c2VjcmV0"
            ),
        ]
    }

    fn go_wrong(&self, faults: &[(Fault, To, usize)]) {
        self.state.lock().unwrap().faults = faults.to_vec();
    }

    fn lists(&self) -> usize {
        let state = self.state.lock().unwrap();
        let names = state.objects.keys();
        names.filter(|name| name.contains("/manifests/")).count()
    }

    fn clear(&self) {
        *self.state.lock().unwrap() = State::default();
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        let fault = self.faults.iter_mut();
        let due = fault
            .filter(|(_, to, left)| to.is(request) && *left > 0)
            .map(|(fault, _, left)| {
                *left -= 1;
                *fault
            })
            .next();
        match due {
            Some(Fault::Fails) => Response::new("500 Internal Server Error", "it is down"),
            Some(Fault::Drops) => Response::none(),
            Some(Fault::Truncates) if request.method == "PUT" => Response::none(),
            Some(Fault::Truncates) => self.good(request).truncated(),
            Some(Fault::Flips) => {
                let mut response = self.good(request);
                let middle = response.body.len() / 2;
                if let Some(byte) = response.body.get_mut(middle) {
                    *byte ^= 1;
                }
                response
            }
            None => self.good(request),
        }
    }

    fn good(&mut self, request: &Request) -> Response {
        let known = self.objects.get(&request.path);
        match request.method.as_str() {
            "PUT" => {
                let known = self
                    .objects
                    .insert(request.path.clone(), request.body.clone());
                drop(known);
                Response::new("201 Created", "")
            }
            "GET" | "HEAD" => {
                let Some(object) = known else {
                    return Response::not_found();
                };
                let modified = "Sun, 22 Nov 2026 00:00:00 GMT";
                let range = request.header("range").strip_prefix("bytes=");
                let from = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
                let response = match from {
                    Some(from) => Response::new("206 Partial Content", &object[from..]).with(
                        "Content-Range",
                        &format!("bytes {from}-{}/{}", object.len() - 1, object.len()),
                    ),
                    None => Response::ok(object.clone()),
                };
                response
                    .with("Last-Modified", modified)
                    .with("ETag", "\"e\"")
            }
            _ => Response::new("405 Method Not Allowed", ""),
        }
    }
}

/// Options that make retries short.
const AT_ONCE: [&str; 2] = ["--retry=2", "--retry-delay=1ms"];

#[test]
fn a_service_that_fails_breaks_off_or_lies_costs_time_and_gives_no_bad_byte() {
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    for which in 0..2 {
        let shelf = Shelf::start();
        let cache = &shelf.caches()[which];
        let to = format!("--cache-to={cache},mode=max");
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        assert_eq!(shelf.lists(), 1);
        let from = format!("--cache-from={cache}");
        let read = |faults: &[(Fault, To, usize)]| {
            shelf.go_wrong(faults);
            let there = Cooper::new().expect("it was had before");
            let args = ["-t=a", &from, AT_ONCE[0], AT_ONCE[1]];
            let build = there.steps(&context, &args).ok();
            there
                .run(&["run", "--rm", "a", "cat", "/all"])
                .ok()
                .prints("a1b1");
            there.run(&["cache", "fsck"]).ok();
            assert_eq!(build.that(Ended::Failed), NOTHING, "{faults:?}");
            build
        };
        for fault in FAULTS {
            let all = read(&[(fault, To::List, usize::MAX)]);
            assert_eq!(
                all.executed().len(),
                7,
                "{cache} {fault:?}: {}",
                all.outcome
            );
            let some = read(&[(fault, To::Layers, usize::MAX)]);
            assert!(
                !some.executed().is_empty(),
                "{cache} {fault:?}: {}",
                some.outcome
            );
            if fault != Fault::Flips {
                let none = read(&[(fault, To::List, 1), (fault, To::Layers, 2)]);
                assert_eq!(
                    none.executed(),
                    NOTHING,
                    "{cache} {fault:?}: {}",
                    none.outcome
                );
            }
        }
        let none = read(&[]);
        assert_eq!(none.executed(), NOTHING, "{}", none.outcome);
    }
}

#[test]
fn a_service_that_takes_nothing_is_told_of_and_names_no_layer_that_it_has_not() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = three_readers();
    for which in 0..2 {
        for fault in [Fault::Fails, Fault::Drops] {
            let shelf = Shelf::start();
            let cache = &shelf.caches()[which];
            let to = format!("--cache-to={cache},mode=max");
            let args = ["-otype=cacheonly", &to, AT_ONCE[0], AT_ONCE[1]];
            shelf.go_wrong(&[(fault, To::Writes, usize::MAX)]);
            let failed = here.build(&context, &args).exits(1);
            failed.says("cannot write the cache to");
            assert_eq!(shelf.lists(), 0);
            let ignoring = format!("{to},ignore-error=true");
            let ignored = ["-otype=cacheonly", &ignoring, AT_ONCE[0], AT_ONCE[1]];
            here.build(&context, &ignored)
                .ok()
                .says("the cache was not written to");
            // Some get there, the list does not.
            shelf.clear();
            shelf.go_wrong(&[(fault, To::Writes, 2)]);
            here.build(&context, &args).ok();
            assert_eq!(shelf.lists(), 1);
            let from = format!("--cache-from={cache}");
            let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
            assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
        }
    }
}

#[test]
fn min_has_what_is_part_of_the_image_and_max_all_in_s3() {
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    for (mode, executed) in [("min", 2), ("max", 0)] {
        let shelf = Shelf::start();
        let [cache, _] = shelf.caches();
        let to = format!("--cache-to={cache},mode={mode}");
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let Some(there) = Cooper::new() else { return };
        let from = format!("--cache-from={cache}");
        let whole = there.steps(&context, &["-otype=cacheonly", &from]).ok();
        assert_eq!(whole.executed(), NOTHING, "{mode}: {}", whole.outcome);
        let args = ["-otype=cacheonly", "--target=two", &from];
        let stage = there.steps(&context, &args).ok();
        assert_eq!(
            stage.executed().len(),
            executed,
            "{mode}: {}",
            stage.outcome
        );
    }
}
