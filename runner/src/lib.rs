//! Processes in namespaces.
