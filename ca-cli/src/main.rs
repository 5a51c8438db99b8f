//! The binary ca.

use std::process::ExitCode;

/// Many small pieces for each request, from many threads: the system's takes more CPU for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ca_cli::main()
}
