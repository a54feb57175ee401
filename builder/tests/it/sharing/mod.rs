//! Caches that machines share. A machine is a `Cooper` with a store of its own.

mod actions;
mod bucket;
mod container;
mod directory;
mod faults;
mod mounts;
mod packages;
mod registry;
mod wrong;

use crate::support::{Context, Cooper};

/// Two stages that are read by a third one: the last step's result hides the first's.
const THREE_READERS: &str = "FROM busybox AS one\nCOPY a /a\nRUN cat /a >/one\n\
     FROM busybox AS two\nCOPY b /b\nRUN cat /b >/two\n\
     FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\nRUN cat /one /two >/all\n";

fn three_readers() -> Context {
    Context::new(THREE_READERS).with("a", "a1").with("b", "b1")
}

/// A context with a file that no compression makes smaller, of so many bytes.
fn with_a_large_file(dockerfile: &str, size: usize) -> Context {
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    let context = Context::new(dockerfile).with("a", "a1").with("b", "b1");
    context.write("large", noise.take(size).collect::<Vec<_>>());
    context
}

/// What is executed for a changed `b` if everything else is known.
const BELOW_B: [&str; 4] = [
    "COPY --from=two /two /",
    "COPY b /b",
    "RUN cat /b >/two",
    "RUN cat /one /two >/all",
];

/// Two machines.
fn machines() -> Option<(Cooper, Cooper)> {
    Some((Cooper::new()?, Cooper::new()?))
}

/// Nothing.
const NOTHING: [&str; 0] = [];
