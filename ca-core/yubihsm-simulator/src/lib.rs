//! A YubiHSM 2 for tests and rehearsals, at its connector's HTTP interface.
//!
//! It speaks the secure channel and enforces what the hardware enforces: capabilities of the authentication key and of
//! the object, domains, delegated capabilities, limits, sixteen sessions that end when idle, the chained log of 62
//! entries and forced audit. Where the maker's documents leave a case open it takes the stricter reading (see
//! `docs/hardware-yubihsm.md`). Its state lives in a directory and survives a power cut.
//!
//! It is not a place for keys: private values lie in a file as they are. No product crate depends on it.

mod attestation;
mod channel;
mod clock;
mod commands;
mod device;
mod fault;
mod hex;
mod http;
mod keys;
mod log;
mod state;
mod wire;
mod wrap;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;

pub use clock::{Clock, ManualClock};
pub use fault::{Fault, Moment};
pub use log::LOG_CAPACITY;
pub use state::MAX_OBJECTS;
pub use wire::DeviceError;

use device::Device;
use http::Shared;
use state::State;

/// How a simulated device differs from the usual one.
pub struct Options {
    /// Where the connector listens; the default is a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// The serial number; the default keeps that of the directory, or takes 12345678.
    pub serial: Option<u32>,
    /// The firmware; the default keeps that of the directory, or takes 2.4.1.
    pub firmware: Option<[u8; 3]>,
    /// What tells the time, for idle sessions and the log's ticks.
    pub clock: Clock,
    /// Whether faults can be switched on by `POST /simulator/fault`.
    pub switches: bool,
    /// Whether the state also survives the machine's own power cut, at the price of a disk's flush for each change.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { listen, serial: None, firmware: None, clock: Clock::real(), switches: false, durable: true }
    }
}

/// A running device. It stops when dropped; its directory keeps what it holds.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Simulator {
    /// Switches a device on whose state is in `directory`; an empty directory is a device from the factory.
    ///
    /// # Errors
    /// When the directory cannot be used, its state is not one of a device, or the address is not on loopback or taken.
    pub fn start(directory: impl AsRef<Path>, options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            return Err(io::Error::other(format!("`{}` is not on loopback (hint: a simulated device serves one machine)", options.listen)));
        }
        let directory = directory.as_ref();
        let mut state = match State::load(directory)? {
            Some(state) => state,
            None => State::new(options.serial.unwrap_or(12_345_678), options.firmware.unwrap_or([2, 4, 1])),
        };
        state.serial = options.serial.unwrap_or(state.serial);
        state.firmware = options.firmware.unwrap_or(state.firmware);
        let device = Device::power_on(directory, state, options.clock, options.durable)?;
        let listener = TcpListener::bind(options.listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(device, options.switches, address.port()));
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || http::serve(&listener, &served));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.shared.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the connector listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate (DER) of the maker's root, which device attestations chain to.
    pub fn attestation_root(&self) -> Vec<u8> {
        self.device().state.maker.root.clone()
    }

    /// The device's own certificate (DER), by which it attests its keys and which the maker's root signed.
    pub fn device_certificate(&self) -> Vec<u8> {
        self.device().state.maker.certificate.clone()
    }

    /// Makes something go wrong.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn inject(&self, fault: Fault) -> io::Result<()> {
        self.device().inject(fault)
    }

    /// How many commands inside sessions the device has carried out or refused.
    pub fn commands(&self) -> u64 {
        self.device().commands
    }

    /// Waits until the process is ended from outside.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so.
            let _ = thread.join();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the accepting thread; where that fails, the listener is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
