//! The `cooper` command.

fn main() -> std::process::ExitCode {
    cooper_runner::init();
    cooper_builder::cli::main(std::env::args_os())
}
