//! The `cooper` command.

fn main() {}
