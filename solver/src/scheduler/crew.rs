//! Threads that take jobs of two lanes, started on demand.

use std::collections::VecDeque;
use std::io;
use std::thread::{Builder, Scope};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::op::Op;

use super::worker::{Job, LaneName, Worker};

/// The threads, and what each lane has for them. They end when the crew is dropped.
pub(super) struct Crew<'scope, 'env, O: Op> {
    scope: &'scope Scope<'scope, 'env>,
    worker: &'env Worker<'env, O>,
    queue: Sender<Job<O::Output>>,
    jobs: Receiver<Job<O::Output>>,
    threads: usize,
    exec: Lane<O::Output>,
    key: Lane<O::Output>,
}

/// The jobs of one lane.
struct Lane<T> {
    allowance: usize,
    /// Jobs that a thread has, or may take: no more than the allowance.
    in_work: usize,
    waiting: VecDeque<Job<T>>,
}

impl<T> Lane<T> {
    fn new(allowance: usize) -> Self {
        Self {
            allowance,
            in_work: 0,
            waiting: VecDeque::new(),
        }
    }

    fn pending(&self) -> usize {
        self.in_work + self.waiting.len()
    }
}

impl<'scope, 'env, O: Op> Crew<'scope, 'env, O> {
    /// Returns a crew without threads yet, and with so many jobs at once of each lane.
    pub(super) fn new(
        (exec, key): (usize, usize),
        scope: &'scope Scope<'scope, 'env>,
        worker: &'env Worker<'env, O>,
    ) -> Self {
        let (queue, jobs) = unbounded();
        Self {
            scope,
            worker,
            queue,
            jobs,
            threads: 0,
            exec: Lane::new(exec),
            key: Lane::new(key),
        }
    }

    /// Hands out a job. An error says that not even one thread could be started.
    pub(super) fn push(&mut self, job: Job<O::Output>) -> io::Result<()> {
        let lane = self.lane(job.lane());
        if lane.in_work == lane.allowance {
            lane.waiting.push_back(job);
            return Ok(());
        }
        if self.threads <= self.exec.in_work + self.key.in_work {
            match self.start_thread() {
                Ok(()) => self.threads += 1,
                Err(error) if self.threads == 0 => return Err(error),
                // The machine allows no more: make do with those that there are.
                Err(_) => {}
            }
        }
        self.give(job);
        Ok(())
    }

    /// Takes note that a job of a lane was reported. The thread that did it takes the next one.
    pub(super) fn reported(&mut self, name: LaneName) {
        let lane = self.lane(name);
        lane.in_work -= 1;
        if let Some(job) = lane.waiting.pop_front() {
            self.give(job);
        }
    }

    /// Returns the number of jobs that are handed out and not yet reported.
    pub(super) fn pending(&self) -> usize {
        self.exec.pending() + self.key.pending()
    }

    /// Returns whether an op would be run at once.
    pub(super) fn has_room(&self) -> bool {
        self.exec.pending() < self.exec.allowance
    }

    fn lane(&mut self, name: LaneName) -> &mut Lane<O::Output> {
        match name {
            LaneName::Exec => &mut self.exec,
            LaneName::Key => &mut self.key,
        }
    }

    fn give(&mut self, job: Job<O::Output>) {
        self.lane(job.lane()).in_work += 1;
        self.queue
            .send(job)
            .expect("the crew holds a receiver itself");
    }

    fn start_thread(&self) -> io::Result<()> {
        let (jobs, worker) = (self.jobs.clone(), self.worker);
        let serve = move || jobs.iter().for_each(|job| worker.serve(job));
        Builder::new()
            .name(format!("solve-{}", self.threads))
            .spawn_scoped(self.scope, serve)
            .map(drop)
    }
}
