//! A simulated YubiHSM 2 behind its connector's interface, until the process is ended.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ca_yubihsm_simulator::{Options, Simulator};
use clap::Parser;

/// A YubiHSM 2 for rehearsals and tests. It keeps private keys in a file as they are: never use it for anything else.
#[derive(Parser)]
#[command(name = "yubihsm-simulator", version)]
struct Arguments {
    /// Where the connector listens; loopback only, port 0 for a free one.
    #[arg(long, default_value = "127.0.0.1:12345")]
    listen: SocketAddr,
    /// The directory of the device's state; empty: a device from the factory.
    #[arg(long)]
    state: PathBuf,
    /// The device's serial number.
    #[arg(long)]
    serial: Option<u32>,
    /// Lets `POST /simulator/fault` make things go wrong.
    #[arg(long)]
    faults: bool,
    /// Also writes the maker's root certificate (DER) here.
    #[arg(long)]
    root: Option<PathBuf>,
}

fn run(arguments: Arguments) -> std::io::Result<()> {
    std::fs::create_dir_all(&arguments.state)?;
    let options = Options { listen: arguments.listen, serial: arguments.serial, switches: arguments.faults, ..Options::default() };
    let simulator = Simulator::start(&arguments.state, options)?;
    if let Some(path) = arguments.root {
        std::fs::write(path, simulator.attestation_root())?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{}", simulator.address())?;
    out.flush()?;
    simulator.wait();
    Ok(())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("yubihsm-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}
