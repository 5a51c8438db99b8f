//! What every process of the product needs to run, in one place for `ca`, `acme-server` and `ocsp-responder`.
//!
//! - [`system`]: the one implementation of clock and randomness;
//! - [`exit`]: exit codes and errors that carry one; [`logging`]: lines on standard error; [`metrics`]: numbers for a scrape;
//! - [`config`]: a TOML file, bounded, from the text to a value;
//! - [`listen`]: addresses; [`proxies`]: who is behind the proxies in front of them; [`shares`]: what one network has of the connections; [`unix`]: sockets in the file system; [`signal`]: when to stop, and telling that it is ready;
//! - [`blocked_keys`]: lists of keys whose private half is known; [`attestation`]: CRLs of whoever certifies devices;
//! - [`service_key`]: the sealed key of a service of this CA's own, and its public half for the worker.
//!
//! It deliberately lacks any store and any authority key.

pub mod attestation;
pub mod blocked_keys;
pub mod config;
pub mod exit;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod proxies;
pub mod service_key;
pub mod shares;
pub mod signal;
pub mod system;
pub mod unix;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// A file's content, of which one octet more than `most` is read at most: that it is too large, its reader says.
fn read_one_more(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// A span as people say it: `45 s`, `12 min`, `5 h`, `29 days`.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}
