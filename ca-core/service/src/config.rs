//! Configuration files: bounded TOML in which unknown keys are errors.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit::configuration;

/// The most octets of a file.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file's text, and tells the folder at which relative paths in it start.
///
/// # Errors
/// When it cannot be read or is too large; the message ends with `hint`.
pub fn read_text(path: &Path, hint: &str) -> anyhow::Result<(String, PathBuf)> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| configuration(format!("cannot read the configuration {shown}: {e} {hint}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(configuration(format!("the configuration {shown} has more than {MAX_BYTES} bytes")));
    }
    let folder = std::path::absolute(path).map_err(unreadable)?;
    Ok((text, folder.parent().unwrap_or_else(|| Path::new("/")).to_owned()))
}

/// `[store]` of a process that the worker serves.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// The worker's store socket.
    pub socket: PathBuf,
}

impl StoreSection {
    /// Makes a relative path start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        self.socket = folder.join(&self.socket);
    }
}

/// A process's configuration.
pub trait Settings: DeserializeOwned {
    /// What is wrong with it as a whole, with the key's name.
    ///
    /// # Errors
    /// The text for the operator.
    fn check(&self) -> Result<(), String>;

    /// Makes relative paths start at `folder`.
    fn resolve(&mut self, folder: &Path);

    /// Reads its text.
    ///
    /// # Errors
    /// When it is not TOML, has unknown keys, or [`Self::check`] finds something.
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut settings: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.check()?;
        settings.resolve(folder);
        Ok(settings)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the file cannot be read.
    fn load(path: &Path) -> anyhow::Result<Self> {
        let (text, folder) = read_text(path, "(hint: name it with --config FILE)")?;
        Self::parse(&text, &folder).map_err(|reason| configuration(format!("the configuration {}: {reason}", path.display())))
    }
}

/// Whether `url` is `scheme` (as `https://`) and a host with or without a port, without a path.
///
/// # Errors
/// The text for the operator, with `key`.
pub fn check_url(key: &str, url: &str, scheme: &str) -> Result<(), String> {
    let plain = |h: &str| !h.is_empty() && h.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\"".contains(&b));
    match url.strip_prefix(scheme).map(|h| h.trim_end_matches('/')) {
        Some(host) if plain(host) => Ok(()),
        _ => Err(format!("{key} is `{url}`, not {scheme}HOST[:PORT] without a path")),
    }
}

/// Whether there is a sensible number of addresses.
///
/// # Errors
/// The text for the operator, with `key`.
pub fn check_listen(key: &str, addresses: &[std::net::SocketAddr]) -> Result<(), String> {
    match addresses.len() {
        1..=16 => Ok(()),
        _ => Err(format!("{key} needs 1 to 16 addresses, for example [\"127.0.0.1:14000\"]")),
    }
}

/// Whether each of the values, with its key and bounds, lies in them.
///
/// # Errors
/// The text for the operator.
pub fn check_bounds(bounded: &[(&str, u64, u64, u64)]) -> Result<(), String> {
    match bounded.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        Some((key, value, low, high)) => Err(format!("{key} is {value}, not {low} to {high}")),
        None => Ok(()),
    }
}
