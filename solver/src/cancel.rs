//! Cancellation: a flag that can be waited for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// A wish to stop that is shared by its clones, set once and never taken back.
#[derive(Clone, Default)]
pub struct CancelToken {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    canceled: AtomicBool,
    hooks: Mutex<Hooks>,
    hook_ended: Condvar,
}

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Hooks {
    next: u64,
    waiting: BTreeMap<u64, Hook>,
    /// The one that is being called, and by which thread.
    running: Option<(u64, ThreadId)>,
}

impl CancelToken {
    /// Returns a token that is not canceled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether it was canceled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.canceled.load(Ordering::Acquire)
    }

    /// Cancels and calls the hooks, in the order in which they were added.
    ///
    /// Only the first call does so. It is not for signal handlers: it locks.
    pub fn cancel(&self) {
        let mut hooks = self.inner.lock();
        if self.inner.canceled.swap(true, Ordering::AcqRel) {
            return;
        }
        while let Some((id, hook)) = hooks.waiting.pop_first() {
            hooks.running = Some((id, std::thread::current().id()));
            drop(hooks);
            let ended = HookEnded(&self.inner);
            hook();
            drop(ended);
            hooks = self.inner.lock();
        }
    }

    /// Calls `hook` on cancellation, at once if that has been, unless the guard is dropped before.
    ///
    /// When the guard is gone, the hook is not running and never will: what it refers to (a
    /// process id, say) may be reused. It must not panic.
    #[must_use = "dropping the guard takes the hook back"]
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> CancelGuard {
        let mut hooks = self.inner.lock();
        let id = hooks.next;
        hooks.next += 1;
        if self.is_cancelled() {
            drop(hooks);
            hook();
        } else {
            hooks.waiting.insert(id, Box::new(hook));
        }
        CancelGuard {
            inner: Arc::clone(&self.inner),
            id,
        }
    }

    /// Returns a token that is canceled with this one, or by itself, as long as the guard lives.
    pub fn child(&self) -> (Self, CancelGuard) {
        let child = Self::new();
        let hook = child.clone();
        let guard = self.on_cancel(move || hook.cancel());
        (child, guard)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken")
            .field(&self.is_cancelled())
            .finish()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the running hook as ended, even if it panics.
struct HookEnded<'a>(&'a Inner);

impl Drop for HookEnded<'_> {
    fn drop(&mut self) {
        self.0.lock().running = None;
        self.0.hook_ended.notify_all();
    }
}

/// Takes a hook back when dropped; see [`CancelToken::on_cancel`].
pub struct CancelGuard {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut hooks = self.inner.lock();
        let hook = hooks.waiting.remove(&self.id);
        let this_thread = std::thread::current().id();
        while hooks
            .running
            .is_some_and(|(id, thread)| id == self.id && thread != this_thread)
        {
            hooks = self
                .inner
                .hook_ended
                .wait(hooks)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(hooks);
        // What the hook holds is dropped without the lock: it may use the token.
        drop(hook);
    }
}

impl fmt::Debug for CancelGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelGuard")
            .field("hook", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// Returns a counter and a hook that counts.
    fn counting() -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let hook = Arc::clone(&count);
        (count, move || {
            hook.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn hooks_are_called_once_unless_taken_back() {
        let token = CancelToken::new();
        let (kept, hook) = counting();
        let _guard = token.on_cancel(hook);
        let (taken_back, hook) = counting();
        drop(token.on_cancel(hook));
        assert!(!token.is_cancelled());

        token.cancel();
        token.clone().cancel();

        assert!(token.is_cancelled());
        assert_eq!(kept.load(Ordering::SeqCst), 1);
        assert_eq!(taken_back.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_hook_on_a_canceled_token_is_called_at_once() {
        let token = CancelToken::new();
        token.cancel();
        let (count, hook) = counting();
        let _guard = token.on_cancel(hook);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_child_is_canceled_with_its_parent_and_not_the_other_way_round() {
        let parent = CancelToken::new();
        let (child, _guard) = parent.child();
        let (sibling, _guard) = parent.child();
        child.cancel();
        assert_eq!(
            [&parent, &sibling].map(CancelToken::is_cancelled),
            [false, false]
        );
        parent.cancel();
        assert!(sibling.is_cancelled());
    }

    #[test]
    fn a_hook_may_use_its_token_and_drop_its_own_guard() {
        let token = CancelToken::new();
        let own_guard = Arc::new(Mutex::new(None));
        let (inner, slot) = (token.clone(), Arc::clone(&own_guard));
        let guard = token.on_cancel(move || {
            assert!(inner.is_cancelled());
            let guard: Option<CancelGuard> = slot.lock().expect("no panic").take();
            drop(guard);
            drop(inner.on_cancel(|| {}));
        });
        *own_guard.lock().expect("no panic") = Some(guard);
        token.cancel();
        assert!(own_guard.lock().expect("no panic").is_none());
    }

    #[test]
    fn a_dropped_guard_waits_for_its_hook() {
        let token = CancelToken::new();
        let (entered, wait_entered) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let hook_ended = Arc::clone(&ended);
        let guard = token.on_cancel(move || {
            entered.send(()).expect("the test waits");
            std::thread::sleep(Duration::from_millis(20));
            hook_ended.store(true, Ordering::SeqCst);
        });
        let canceling = token.clone();
        let thread = std::thread::spawn(move || canceling.cancel());
        wait_entered.recv().expect("the hook is called");
        drop(guard);
        assert!(ended.load(Ordering::SeqCst));
        thread.join().expect("it does not panic");
    }
}
