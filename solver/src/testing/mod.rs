//! Fakes for tests of the solver and of its callers.
