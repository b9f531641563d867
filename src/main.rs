//! The executable: parse, run, map the outcome to an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match fireworks::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the one place that prints the error of the process"
            )]
            {
                eprintln!("{}", fireworks::error::report(&error));
            }
            ExitCode::FAILURE
        }
    }
}
