//! The binary `ocsp-responder`: for now it says how a responder is started.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("ocsp-responder does not run by itself yet: `ca serve` runs the responder together with the store that it reads");
    // 2: usage.
    ExitCode::from(2)
}
