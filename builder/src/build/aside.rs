//! Work that cannot be told to stop, done aside.
//!
//! A read from a pipe or a server may block for as long as the other side likes. Done by a
//! thread of its own, nobody waits for it once the build is canceled: the thread is left behind
//! and ends with the process, or when its read returns to find that nobody wants the result.

use std::time::Duration;

use cooper_solver::CancelToken;
use crossbeam_channel::{RecvTimeoutError, bounded};

/// The build was canceled before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canceled;

/// Returns what `work` returns, unless the build is canceled first.
pub(crate) fn unless_canceled<T: Send + 'static>(
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Canceled> {
    waiting(cancel, work, Duration::MAX, || {})
}

/// Does the same, and calls `tell` whenever another `pause` has gone by.
pub(crate) fn waiting<T: Send + 'static>(
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
    pause: Duration,
    mut tell: impl FnMut(),
) -> Result<T, Canceled> {
    let (sender, receiver) = bounded(2);
    let interrupt = sender.clone();
    let _guard = cancel.on_cancel(move || {
        let _ = interrupt.try_send(None);
    });
    let started = std::thread::Builder::new()
        .name("aside".into())
        .spawn(move || {
            // After a cancellation nobody receives.
            let _ = sender.send(Some(work()));
        });
    // Without a thread, or if it panics, there is no result to wait for.
    if started.is_err() {
        return Err(Canceled);
    }
    loop {
        match receiver.recv_timeout(pause) {
            Ok(done) => return done.ok_or(Canceled),
            Err(RecvTimeoutError::Timeout) => tell(),
            Err(RecvTimeoutError::Disconnected) => return Err(Canceled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_waited_for_until_it_is_canceled() {
        let cancel = CancelToken::new();
        assert_eq!(unless_canceled(&cancel, || 7), Ok(7));
        let (_never, blocked) = bounded::<()>(0);
        let canceler = cancel.clone();
        let result = unless_canceled(&cancel, move || {
            std::thread::spawn(move || canceler.cancel());
            blocked.recv()
        });
        assert_eq!(result, Err(Canceled));
        assert_eq!(unless_canceled(&cancel, || 7).err(), Some(Canceled));
    }

    #[test]
    fn who_waits_is_told_of_every_pause() {
        let (go, wait) = bounded::<()>(1);
        let mut pauses = 0;
        let tell = || {
            pauses += 1;
            if pauses == 3 {
                go.send(()).expect("somebody waits");
            }
        };
        let pause = Duration::from_millis(1);
        let done = waiting(&CancelToken::new(), move || wait.recv(), pause, tell);
        assert_eq!(done, Ok(Ok(())));
        assert!(pauses >= 3);
    }
}
