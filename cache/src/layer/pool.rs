//! Threads that create small files while an archive is being read.
//!
//! One owner feeds jobs; the queue is bounded by bytes, so that a fast
//! archive on a slow disk does not fill the memory.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::checksum::ContentHash;
use crate::error::StoreError;
use crate::layer::Entry;
use crate::layer::form::Form;

const MOST_BYTES: usize = 32 << 20;
const MOST_JOBS: usize = 4096;

/// A file to be made.
pub(super) struct Job {
    pub(super) serial: usize,
    pub(super) entry: Entry,
    pub(super) data: Vec<u8>,
    /// Where in the pack its bytes go.
    pub(super) at: u64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    bytes: usize,
    active: usize,
    closed: bool,
    hashes: Vec<(usize, ContentHash)>,
    error: Option<StoreError>,
}

/// Jobs between one owner and its workers.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    to_workers: Condvar,
    to_owner: Condvar,
}

impl Pool {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, waiting while too much is queued. Fails with what a worker met.
    pub(super) fn push(&self, job: Job) -> Result<(), StoreError> {
        let full = |state: &mut State| {
            state.error.is_none() && (state.bytes > MOST_BYTES || state.queue.len() > MOST_JOBS)
        };
        let guard = self.to_owner.wait_while(self.locked(), full);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        state.bytes += job.data.len();
        state.queue.push_back(job);
        drop(state);
        self.to_workers.notify_one();
        Ok(())
    }

    /// Waits until everything queued is done; returns the hashes of what was made, by serial.
    pub(super) fn sync(&self) -> Result<Vec<(usize, ContentHash)>, StoreError> {
        let busy = |state: &mut State| {
            state.error.is_none() && (state.active > 0 || !state.queue.is_empty())
        };
        let guard = self.to_owner.wait_while(self.locked(), busy);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.hashes)),
        }
    }

    /// Lets the workers go when the queue is empty.
    pub(super) fn close(&self) {
        self.locked().closed = true;
        self.to_workers.notify_all();
    }

    /// Makes files until the pool is closed.
    pub(super) fn work(&self, form: &Form) {
        let idle = |state: &mut State| state.queue.is_empty() && !state.closed;
        loop {
            let guard = self.to_workers.wait_while(self.locked(), idle);
            let mut state = guard.unwrap_or_else(PoisonError::into_inner);
            let Some(job) = state.queue.pop_front() else {
                return;
            };
            state.bytes -= job.data.len();
            state.active += 1;
            drop(state);
            let made = form.small(&job.entry, &job.data, job.at);
            let mut state = self.locked();
            state.active -= 1;
            match made {
                Ok(content) => state.hashes.push((job.serial, content)),
                Err(error) => {
                    state.queue.clear();
                    state.bytes = 0;
                    state.error.get_or_insert(error);
                }
            }
            drop(state);
            self.to_owner.notify_one();
        }
    }
}

/// Closes the pool when its owner is done, however that ends.
pub(super) struct Closing<'a>(pub(super) &'a Pool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
