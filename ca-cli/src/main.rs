//! The binary ca.

use std::process::ExitCode;

fn main() -> ExitCode {
    ca_cli::main()
}
