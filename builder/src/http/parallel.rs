//! Doing several transfers at once: they wait for the network, not for processors, so that there
//! are more of them than a pool for computing has threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many blobs travel at once.
pub(crate) const TRANSFERS: usize = 6;

/// Does `work` for all items on a few threads; the first failure ends it, and what each returned is
/// in the items' order.
pub(crate) fn at_once<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    at_once_or_stop(items, threads, |item, _| work(item))
}

/// As [`at_once`], for work that need not go on once other work has failed: it is handed a flag
/// that says so. How it ends then is no longer asked.
pub(crate) fn at_once_or_stop<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T, &AtomicBool) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Result<Vec<(usize, R)>, E>> = Mutex::new(Ok(Vec::new()));
    let go = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item, &stop);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *done, result) {
                (Ok(results), Ok(result)) => results.push((at, result)),
                (Ok(_), Err(error)) => *done = Err(error),
                (Err(_), _) => {}
            }
            if done.is_err() {
                stop.store(true, Ordering::Relaxed);
                next.store(items.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(go);
        }
        go();
    });
    let mut results = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    results.sort_unstable_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_at_once_keeps_its_order_and_ends_with_the_first_failure() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = at_once(&items, 4, |item| Ok::<_, ()>(item * 2)).expect("done");
        assert!(
            doubled
                .iter()
                .enumerate()
                .all(|(at, value)| *value == at * 2)
        );
        let begun = AtomicUsize::new(0);
        let failed = at_once(&items, 1, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            match item {
                3 => Err(()),
                _ => Ok(()),
            }
        });
        assert!(failed.is_err());
        assert_eq!(begun.into_inner(), 4);
        let (halted, both) = (AtomicBool::new(false), std::sync::Barrier::new(2));
        let failed = at_once_or_stop(&[false, true], 2, |fails, stop| {
            both.wait();
            while !fails && !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            halted.fetch_or(!fails, Ordering::Relaxed);
            Err::<(), _>(*fails)
        });
        assert_eq!(failed, Err(true), "the cause, not what ends because of it");
        assert!(halted.into_inner());
        assert!(
            at_once(&[0; 0], 4, |_| Ok::<_, ()>(()))
                .expect("nothing")
                .is_empty()
        );
    }
}
