//! The DAG solver.
