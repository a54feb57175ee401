//! Dockerfile text to build graph.
