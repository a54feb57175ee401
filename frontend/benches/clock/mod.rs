//! How long work takes a processor: what else the machine does is none of its time.

use std::time::Duration;

/// So many turns make the kernel's ticks, in which it counts, small beside their time.
const TURNS: u32 = 50;

/// Returns the mean time that this thread runs for `work`.
pub(crate) fn mean(work: impl Fn()) -> Duration {
    work();
    let started = so_far();
    (0..TURNS).for_each(|_| work());
    so_far().saturating_sub(started) / TURNS
}

/// Returns the time that this thread has run.
fn so_far() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let nanos = statistics
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}
