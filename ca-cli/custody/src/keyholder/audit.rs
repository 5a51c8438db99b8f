//! What happened, one JSON line each: who, when, which credential; never content.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::Timestamp;
use serde::Serialize;

use crate::Error;

/// One act.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// What: `started`, `share-accepted`, `share-refused`, `shares-expired`, `unsealed`, `given`, `denied`, `sealed`.
    pub event: &'static str,
    /// Which credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialName>,
    /// Whose share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderName>,
    /// The user at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Why, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where acts are written.
pub trait Audit: Send {
    /// Writes them. When it returns, they are durable; until then nothing that depends on them is done.
    ///
    /// # Errors
    /// When they could not be written.
    fn write(&mut self, events: &[AuditEvent]) -> io::Result<()>;
}

/// Standard error, and a file where one is named.
#[derive(Debug)]
pub struct AuditFile(Option<File>);

impl AuditFile {
    /// Opens the file (0600), to append to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let open =
            |path| OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(Error::io("open the audit file", path));
        path.map(open).transpose().map(Self)
    }
}

impl Audit for AuditFile {
    fn write(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        for event in events {
            let mut line = serde_json::to_vec(event)?;
            line.push(b'\n');
            // A journal that went away must not stop what the file records.
            let shown = io::stderr().write_all(&line);
            match &mut self.0 {
                Some(file) => file.write_all(&line)?,
                None => shown?,
            }
        }
        self.0.as_ref().map_or(Ok(()), File::sync_data)
    }
}
