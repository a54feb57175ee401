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
