//! Links the program so that it starts quickly.
//!
//! Two executions of it stand between `cooper run` and the container's process: the command's and
//! the monitor's. A position-independent executable of this size has some 35,000 addresses to
//! correct at each of them, in 165 pages that the kernel copies first and that every monitor then
//! keeps for itself: a third of all page faults of such a run, and 650 KiB of a monitor's memory.
//! Linked to run where it is laid out, there is nothing to correct. What is given up is that the
//! program's own code lies at a random address; stack, heap and libraries still do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let gnu = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu");
    if gnu {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
