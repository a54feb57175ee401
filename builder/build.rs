//! Links the program so that it starts quickly.
//!
//! Linked to run where it is laid out, there is nothing for the loader to correct: an eighth less
//! time and half of a monitor's private memory (`docs/adr/0022-fixed-address.md`). What is given up
//! is that the program's own code lies at a random address; stack, heap and libraries still do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let gnu = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu");
    if gnu {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
