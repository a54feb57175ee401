//! What follows from a change: names, demand, and what is ready to run.

use std::cmp::Reverse;
use std::time::Duration;

use crate::graph::VertexId;
use crate::key::{CacheKey, InputName, vertex_key};
use crate::op::Op;

use super::super::state::{Draft, Keys, Name, Phase};
use super::super::worker::Job;
use super::{Machine, Step};

impl<O: Op> Machine<'_, '_, O> {
    pub(super) fn work_off(&mut self) {
        while let Some(step) = self.steps.pop() {
            if self.stop.is_some() {
                self.steps.clear();
                return;
            }
            match step {
                Step::Named(vertex) => self.named(vertex),
                Step::Demand(vertex) => self.demand(vertex),
                Step::Gathered(vertex) => self.gathered(vertex),
                Step::Skip(vertex) => self.skip(vertex),
            }
        }
        self.fill_slots();
    }

    pub(super) fn part_named(&mut self, vertex: VertexId) {
        if self.slot_mut(vertex).part_named() {
            self.steps.push(Step::Named(vertex));
        }
    }

    fn named(&mut self, vertex: VertexId) {
        if self.slot(vertex).name == Name::Nameless {
            // Its consumers are named by what it gives.
            self.steps.push(Step::Demand(vertex));
        } else {
            self.make_definition_key(vertex);
            let graph = self.graph;
            for (consumer, _) in graph.consumers(vertex) {
                if self.takes_part(consumer) {
                    self.part_named(consumer);
                }
            }
        }
        if matches!(self.slot(vertex).phase, Phase::Wanted) {
            self.slot_mut(vertex).phase = Phase::Idle;
            self.steps.push(Step::Demand(vertex));
        }
    }

    fn make_definition_key(&mut self, vertex: VertexId) {
        let slot = self.slot(vertex);
        let op = slot
            .op
            .expect("an op without definition has no key to be made");
        let mut forced = self.graph.vertex(vertex).ignore_cache;
        let mut names = Vec::with_capacity(self.graph.inputs(vertex).len());
        for (index, &input) in self.graph.inputs(vertex).iter().enumerate() {
            names.push(match self.slot(input).name {
                Name::Key(key) => {
                    forced |= self.slot(input).forced;
                    InputName::Definition(key)
                }
                _ => InputName::Content(slot.content(index).expect("counted as missing else")),
            });
        }
        let key = vertex_key(op, names);
        let slot = self.slot_mut(vertex);
        slot.forced = forced;
        slot.name = Name::Key(key);
        if let Some(named) = self.named {
            named(vertex, key);
        }
    }

    fn demand(&mut self, vertex: VertexId) {
        if !matches!(self.slot(vertex).phase, Phase::Idle) {
            return;
        }
        match self.slot(vertex).name {
            Name::Pending { .. } => self.slot_mut(vertex).phase = Phase::Wanted,
            Name::Key(key) if !self.slot(vertex).forced => {
                self.slot_mut(vertex).phase = Phase::LookingUp;
                self.hand_out(Job::LookUp { vertex, key });
            }
            Name::Key(_) | Name::Nameless => self.gather(vertex),
        }
    }

    pub(super) fn gather(&mut self, vertex: VertexId) {
        let mut missing = 0;
        for &input in self.graph.inputs(vertex) {
            if self.slot(input).output().is_none() {
                missing += 1;
                self.steps.push(Step::Demand(input));
            }
        }
        self.slot_mut(vertex).phase = Phase::Gathering { missing };
        if missing == 0 {
            self.steps.push(Step::Gathered(vertex));
        }
    }

    fn gathered(&mut self, vertex: VertexId) {
        let Name::Key(definition) = self.slot(vertex).name else {
            return self.enqueue(vertex, None);
        };
        match self.draft(vertex, definition).finish() {
            // The definition key says it all, and was looked up.
            Ok(keys) => self.lead_or_follow(vertex, Box::new(keys)),
            Err(draft) => {
                self.slot_mut(vertex).phase = Phase::Settling;
                let look_up = !self.graph.vertex(vertex).ignore_cache;
                let inputs = self.input_outputs(vertex);
                self.hand_out(Job::Settle {
                    vertex,
                    draft,
                    inputs,
                    look_up,
                });
            }
        }
    }

    fn draft(&self, vertex: VertexId, definition: CacheKey) -> Draft {
        let slot = self.slot(vertex);
        let input = |(index, input): (usize, &VertexId)| {
            let definition = match self.slot(*input).name {
                Name::Key(key) => Some(key),
                _ => None,
            };
            (definition, slot.content(index))
        };
        Draft {
            op: slot.op.expect("a named vertex has an op's digest"),
            definition,
            inputs: self
                .graph
                .inputs(vertex)
                .iter()
                .enumerate()
                .map(input)
                .collect(),
        }
    }

    fn input_outputs(&self, vertex: VertexId) -> Vec<O::Output> {
        let output = |input: &VertexId| self.slot(*input).output().cloned();
        let outputs: Option<_> = self.graph.inputs(vertex).iter().map(output).collect();
        outputs.expect("inputs are gathered first")
    }

    /// Lets a vertex run, unless one with the same content key does or did.
    pub(super) fn lead_or_follow(&mut self, vertex: VertexId, keys: Box<Keys>) {
        let ignore_cache = self.graph.vertex(vertex).ignore_cache;
        let leader = *self
            .leaders
            .entry((keys.content, ignore_cache))
            .or_insert(vertex);
        if leader == vertex {
            self.enqueue(vertex, Some(keys));
        } else if let Some(output) = self.slot(leader).output().cloned() {
            self.share(vertex, keys, output);
        } else {
            self.slot_mut(vertex).phase = Phase::Following(keys);
            self.followers.entry(leader).or_default().push(vertex);
        }
    }

    /// Gives a vertex the result of its leader, and records it under its own definition key.
    pub(super) fn share(&mut self, vertex: VertexId, keys: Box<Keys>, output: O::Output) {
        self.hand_out(Job::Alias {
            vertex,
            keys,
            output: output.clone(),
        });
        self.finish(vertex, output, None);
    }

    pub(super) fn enqueue(&mut self, vertex: VertexId, keys: Option<Box<Keys>>) {
        // What has no definition is cheap, and the names of whatever is below wait for it.
        let path = if keys.is_none() {
            Duration::MAX
        } else {
            self.path(vertex)
        };
        self.slot_mut(vertex).phase = Phase::Queued(keys);
        self.ready.push((path, Reverse(vertex)));
    }

    fn fill_slots(&mut self) {
        while self.stop.is_none() && self.crew.has_room() {
            let Some(vertex) = self.next_to_run() else {
                return;
            };
            let queued = std::mem::replace(&mut self.slot_mut(vertex).phase, Phase::Running);
            let Phase::Queued(keys) = queued else {
                unreachable!("only queued vertices are ready")
            };
            let inputs = self.input_outputs(vertex);
            let look_up = !self.graph.vertex(vertex).ignore_cache;
            self.hand_out(Job::Execute {
                vertex,
                inputs,
                keys,
                look_up,
            });
        }
    }

    /// Returns the most urgent vertex for which there is memory.
    fn next_to_run(&mut self) -> Option<VertexId> {
        /// How many are looked past: the rest is looked at when those have begun.
        const LOOK_PAST: usize = 64;
        let mut waiting = Vec::new();
        let mut found = None;
        while waiting.len() < LOOK_PAST
            && let Some(ready) = self.ready.pop()
        {
            let Reverse(vertex) = ready.1;
            if self.budget.admit(vertex, !waiting.is_empty()) {
                found = Some(vertex);
                break;
            }
            waiting.push(ready);
        }
        self.ready.extend(waiting);
        found
    }

    /// Has the content of an input digested if the vertex's name needs it and the input is there.
    ///
    /// It is called when the definition of the vertex comes and when the input's result does;
    /// the later of the two, and it alone, finds both.
    pub(super) fn weigh(&mut self, vertex: VertexId, index: usize, input: VertexId) {
        let source = self.slot(input);
        if source.name != Name::Nameless || self.slot(vertex).op.is_none() {
            return;
        }
        if let Some(output) = source.output().cloned() {
            self.hand_out(Job::Weigh {
                vertex,
                index,
                output,
            });
        }
    }
}
