//! The client of the keyholder.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::model::CredentialName;
use zeroize::Zeroizing;

use super::Unlock;
use super::protocol::{Answer, CredentialStatus, MAX_ANSWER, MAX_REQUEST, Refusal, Request, read_line, write_line};
use crate::shares::{Credential, Share, ShareError};
use crate::{CredentialError, CredentialSource};

const PATIENCE: Duration = Duration::from_secs(5);

/// Why the keyholder did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyholderError {
    /// It does not answer.
    #[error("the keyholder at `{}` does not answer: {source} (hint: `systemctl status countersign-keyholder`; the socket is `socket` in its configuration)", socket.display())]
    Away {
        /// Its socket.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What is at the socket's path may be somebody else's.
    #[error("`{}` is not trusted to be the keyholder's socket: {reason} (hint: its folder must be owned by the keyholder's user, 0755 or tighter)", socket.display())]
    Untrusted {
        /// The path.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("{message}")]
    Refused {
        /// Why, for programs.
        why: Refusal,
        /// Why, for people.
        message: String,
    },
    /// It answered something else than was asked.
    #[error("the keyholder answered something else than was asked (hint: are both of the same version?)")]
    Unexpected,
    /// What it gave is not the credential that was wanted.
    #[error(transparent)]
    Credential(#[from] ShareError),
}

/// The keyholder behind a socket. Each question is a connection of its own, answered within 5 seconds or an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyholder {
    socket: PathBuf,
}

impl Keyholder {
    /// The keyholder at this path.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// How its credentials are.
    ///
    /// # Errors
    /// When it is away, or this user may not ask.
    pub fn status(&self) -> Result<Vec<CredentialStatus>, KeyholderError> {
        match self.ask(&Request::Status)? {
            Answer::Status { credentials } => Ok(credentials),
            _ => Err(KeyholderError::Unexpected),
        }
    }

    /// Gives a share, and tells how many are still missing.
    ///
    /// # Errors
    /// When the share is refused; those given before are kept.
    pub fn give(&self, share: Share) -> Result<usize, KeyholderError> {
        match self.ask(&Request::Give { share })? {
            Answer::Accepted { missing } => Ok(missing),
            _ => Err(KeyholderError::Unexpected),
        }
    }

    /// Has it forget a credential, or all. Tells which were unsealed, wholly or in part.
    ///
    /// # Errors
    /// When it is away, or this user may not.
    pub fn seal(&self, credential: Option<CredentialName>) -> Result<Vec<CredentialName>, KeyholderError> {
        match self.ask(&Request::Seal { credential })? {
            Answer::Sealed { credentials } => Ok(credentials),
            _ => Err(KeyholderError::Unexpected),
        }
    }

    /// The credential itself, and how it came to be unsealed.
    ///
    /// # Errors
    /// When it is sealed, or this user may not have it.
    pub fn take(&self, name: &CredentialName) -> Result<(Credential, Unlock), KeyholderError> {
        match self.ask(&Request::Take { credential: name.clone() })? {
            Answer::Credential { purpose, unlock, secret } => {
                let mut bytes = Zeroizing::new(vec![0u8; 64]);
                let length = STANDARD.decode_slice(secret.as_bytes(), &mut bytes).map_err(|_| KeyholderError::Unexpected)?;
                bytes.truncate(length);
                Ok((Credential::from_bytes(name.clone(), purpose, bytes)?, unlock))
            }
            _ => Err(KeyholderError::Unexpected),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, KeyholderError> {
        let away = |source| KeyholderError::Away { socket: self.socket.clone(), source };
        let mut stream = UnixStream::connect(&self.socket).map_err(away)?;
        self.check_owner(&stream)?;
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(away)?;
        let answer = exchange(&mut stream, request).map_err(away)?;
        // The answer is whole; whether the other side hears the goodbye does not matter.
        let _ = stream.shutdown(Shutdown::Both);
        match answer {
            Answer::Refused { why, message } => Err(KeyholderError::Refused { why, message }),
            answer => Ok(answer),
        }
    }

    /// A share is given only to a process of whoever owns the socket's folder, or of root.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), KeyholderError> {
        let untrusted = |reason: String| KeyholderError::Untrusted { socket: self.socket.clone(), reason };
        let folder = self.socket.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let metadata = std::fs::metadata(folder).map_err(|e| untrusted(e.to_string()))?;
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err(untrusted(format!("others may change its folder (mode {:04o})", metadata.permissions().mode() & 0o7777)));
        }
        let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|e| untrusted(e.to_string()))?.uid.as_raw();
        if peer != 0 && peer != metadata.uid() {
            return Err(untrusted(format!("user {peer} answers there, and its folder belongs to user {}", metadata.uid())));
        }
        Ok(())
    }
}

/// Asks, and hears the answer. Who has no business there is told so before the request is read, and may find that nobody
/// reads it any more.
fn exchange(stream: &mut UnixStream, request: &Request) -> io::Result<Answer> {
    let unheard = match write_line(stream, request, MAX_REQUEST) {
        Ok(()) => None,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Some(e),
        Err(e) => return Err(e),
    };
    read_line(stream, MAX_ANSWER).map_err(|e| unheard.unwrap_or(e))
}

impl CredentialSource for Keyholder {
    fn credential(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        let name: CredentialName = name.parse().map_err(|e: ca_core::model::IdError| CredentialError::Wrong(e.to_string()))?;
        match self.take(&name) {
            Ok((credential, _)) => Ok(Zeroizing::new(credential.expose().to_vec())),
            Err(e @ (KeyholderError::Away { .. } | KeyholderError::Refused { why: Refusal::Sealed | Refusal::Failed, .. })) => {
                Err(CredentialError::Unavailable(e.to_string()))
            }
            Err(e) => Err(CredentialError::Wrong(e.to_string())),
        }
    }
}

impl fmt::Debug for Keyholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyholder({})", self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_before_it_asks_hears_why() {
        let refused = Answer::Refused { why: Refusal::Denied, message: "user 7 has no business with this keyholder".to_owned() };
        let (mut here, mut there) = UnixStream::pair().unwrap();
        write_line(&mut there, &refused, MAX_ANSWER).unwrap();
        drop(there);
        let Ok(Answer::Refused { why: Refusal::Denied, message }) = exchange(&mut here, &Request::Status) else {
            panic!("it heard nothing")
        };
        assert!(message.contains("no business"), "{message}");
        // Without an answer it is the request that failed.
        let (mut here, there) = UnixStream::pair().unwrap();
        drop(there);
        let error = exchange(&mut here, &Request::Status).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
