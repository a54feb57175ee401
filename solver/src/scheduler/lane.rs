//! Threads that take jobs from a queue, started on demand up to an allowance.

use std::io;
use std::thread::{Builder, Scope};

use crossbeam_channel::{Sender, unbounded};

use crate::op::Op;

use super::worker::{Job, Worker};

/// A queue of jobs and the threads that serve it. They end when the lane is dropped.
pub(super) struct Lane<'scope, 'env, O: Op> {
    name: &'static str,
    scope: &'scope Scope<'scope, 'env>,
    worker: &'env Worker<'env, O>,
    queue: Sender<Job<O::Output>>,
    jobs: crossbeam_channel::Receiver<Job<O::Output>>,
    allowance: usize,
    threads: usize,
    /// Jobs that are handed out and not yet reported.
    pending: usize,
}

impl<'scope, 'env, O: Op> Lane<'scope, 'env, O> {
    pub(super) fn new(
        name: &'static str,
        allowance: usize,
        scope: &'scope Scope<'scope, 'env>,
        worker: &'env Worker<'env, O>,
    ) -> Self {
        let (queue, jobs) = unbounded();
        Self {
            name,
            scope,
            worker,
            queue,
            jobs,
            allowance,
            threads: 0,
            pending: 0,
        }
    }

    /// Hands out a job. An error says that not even one thread could be started.
    pub(super) fn push(&mut self, job: Job<O::Output>) -> io::Result<()> {
        if self.threads <= self.pending && self.threads < self.allowance {
            match self.start_thread() {
                Ok(()) => self.threads += 1,
                Err(error) if self.threads == 0 => return Err(error),
                // The machine allows no more: make do with those that there are.
                Err(_) => self.allowance = self.threads,
            }
        }
        self.pending += 1;
        self.queue
            .send(job)
            .expect("the lane holds a receiver itself");
        Ok(())
    }

    /// Takes note that a job was reported.
    pub(super) fn reported(&mut self) {
        self.pending -= 1;
    }

    /// Returns the number of jobs that are handed out and not yet reported.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Returns whether a job would be taken up at once.
    pub(super) fn has_room(&self) -> bool {
        self.pending < self.allowance
    }

    fn start_thread(&self) -> io::Result<()> {
        let (jobs, worker) = (self.jobs.clone(), self.worker);
        let name = format!("{}-{}", self.name, self.threads);
        let serve = move || jobs.iter().for_each(|job| worker.serve(job));
        Builder::new()
            .name(name)
            .spawn_scoped(self.scope, serve)
            .map(drop)
    }
}
