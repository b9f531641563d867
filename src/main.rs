//! The executable: parse, run, map the outcome to an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

/// librdkafka's too, which allocates a record on one thread and frees it on another: with the C library's, `generate`
/// costs a sixth more, and restoring 100,000 windows a third.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Where jemalloc looks for its options: few arenas, for few busy threads, and what is free goes back within two
/// seconds: sooner would cost `brownian` a twentieth of its time, in pages that it asks for again.
#[expect(unsafe_code, reason = "the name is jemalloc's")]
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:2,dirty_decay_ms:2000,muzzy_decay_ms:0\0";

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
