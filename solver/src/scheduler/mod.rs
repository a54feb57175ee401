//! Decides what runs.

use crate::error::SolveError;
use crate::graph::{Graph, VertexId};
use crate::index::KeyIndex;
use crate::op::{ExecContext, Op};
use crate::options::SolveOptions;

/// Returns the outputs of the targets, in their order.
pub fn solve<O: Op>(
    graph: &Graph<O>,
    targets: &[VertexId],
    _index: &dyn KeyIndex<O::Output>,
    options: &SolveOptions<'_>,
) -> Result<Vec<O::Output>, SolveError<O::Error>> {
    if let Some(&vertex) = targets.iter().find(|target| !graph.contains(**target)) {
        return Err(SolveError::UnknownTarget { vertex });
    }
    let mut outputs = vec![None; graph.len()];
    for vertex in graph.reachable(targets) {
        let inputs: Vec<_> = graph
            .inputs(vertex)
            .iter()
            .map(|input| outputs[input.index()].clone().expect("inputs come first"))
            .collect();
        let name = graph.vertex(vertex).name.as_str();
        let cx = ExecContext {
            vertex,
            name,
            key: None,
            cancel: options.cancel,
            log_sink: &|_, _| {},
        };
        let output = graph.vertex(vertex).op.exec(&inputs, &cx);
        let failed = |source| SolveError::Op {
            vertex,
            name: name.to_owned(),
            source,
        };
        outputs[vertex.index()] = Some(output.map_err(failed)?);
    }
    let output = |target: &VertexId| {
        outputs[target.index()]
            .clone()
            .expect("targets are reached")
    };
    Ok(targets.iter().map(output).collect())
}
