//! The socket: one thread and one request a connection, all bounded.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ca_core::ports::Clock;
use ca_keystore::Unsealer;
use ca_keystore::keyholder::{Answer, MAX_ANSWER, MAX_REQUEST, Refusal, read_line, write_line};
use ca_keystore::shares::Credential;

use super::audit::AuditFile;
use super::config::{CredentialConfig, KeyholderConfig};
use super::custody::{Custody, Peer};
use super::harden::close_process;
use crate::Error;
use crate::credential::read_set;

const MAX_CONNECTIONS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);
/// Memory is locked as soon as it is there, so stacks are small.
const STACK: usize = 512 * 1024;

/// A keyholder that listens.
pub struct Server {
    listener: UnixListener,
    socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    custody: Mutex<Custody<AuditFile>>,
    clock: Box<dyn Clock>,
    connections: AtomicUsize,
}

impl Shared {
    fn custody(&self) -> MutexGuard<'_, Custody<AuditFile>> {
        // A panic leaves entries that are whole: each changes in one assignment.
        self.custody.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what each credential's configuration names.
///
/// # Errors
/// When a file cannot be read or is of another credential.
pub fn open_credentials(config: &KeyholderConfig, custody: &mut Custody<AuditFile>) -> Result<(), Error> {
    for CredentialConfig { name, set, sealed, key_file, give_to, .. } in &config.credentials {
        match (set, sealed, key_file) {
            (Some(path), ..) => {
                let set = read_set(path)?;
                if set.credential() != name {
                    return Err(Error::file(path, format!("it describes `{}`, not `{name}`", set.credential())));
                }
                custody.add_attended(set, give_to.clone());
            }
            (None, Some(path), Some(key)) => {
                let unsealer = Unsealer::file_key_from(key)?;
                custody.add_host_sealed(Credential::open(path, name, &unsealer)?, give_to.clone());
            }
            // The configuration's check lets nothing else through.
            _ => return Err(Error::Usage(format!("the credential `{name}` names no files"))),
        }
    }
    Ok(())
}

impl Server {
    /// Closes the process, opens what the configuration names, and listens.
    ///
    /// # Errors
    /// When the process cannot be closed, a file is wrong, or the socket cannot be had.
    pub fn start(config: &KeyholderConfig, clock: Box<dyn Clock>) -> Result<Self, Error> {
        close_process(config.allow_swap)?;
        let mut custody = Custody::new(config.officers.clone(), AuditFile::open(config.audit.as_deref())?);
        open_credentials(config, &mut custody)?;
        let listener = bind(&config.socket)?;
        custody.started(clock.now()).map_err(Error::io("write the first audit line of", &config.socket))?;
        let shared = Shared { custody: Mutex::new(custody), clock, connections: AtomicUsize::new(0) };
        Ok(Self { listener, socket: config.socket.clone(), shared: Arc::new(shared) })
    }

    /// Answers until the process ends, which a signal does: there is nothing to save.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub fn run(self) -> Result<(), Error> {
        for stream in self.listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                // One who hung up is no reason to go.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => continue,
                Err(e) => return Err(Error::io("listen at", &self.socket)(e)),
            };
            let shared = Arc::clone(&self.shared);
            if shared.connections.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
                shared.connections.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let slot = Slot(shared);
            // Without a thread this connection is closed, and the next may go better.
            let _ = std::thread::Builder::new().stack_size(STACK).spawn(move || slot.converse(stream));
        }
        Ok(())
    }
}

/// A place among the connections; it is free again whatever happens.
struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slot {
    fn converse(self, mut stream: UnixStream) {
        let Ok(credentials) = rustix::net::sockopt::socket_peercred(&stream) else { return };
        let peer = Peer { uid: credentials.uid.as_raw(), pid: credentials.pid.as_raw_nonzero().get() };
        let now = self.0.clock.now();
        if stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).is_err() {
            return;
        }
        let answer = {
            let mut custody = self.0.custody();
            (!custody.knows(peer.uid)).then(|| {
                custody.turned_away(peer, now);
                let message = format!("user {} has no business with this keyholder", peer.uid);
                Answer::Refused { why: Refusal::Denied, message }
            })
        };
        let answer = answer.unwrap_or_else(|| match read_line(&mut stream, MAX_REQUEST) {
            Ok(request) => self.0.custody().answer(request, peer, now),
            Err(e) => Answer::Refused { why: Refusal::Failed, message: format!("the request: {e}") },
        });
        // Who does not wait for the answer asks again.
        let _ = write_line(&mut stream, &answer, MAX_ANSWER);
    }
}

/// Binds the socket. One that a dead process left is replaced; a live one's is not.
fn bind(path: &Path) -> Result<UnixListener, Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = fs::metadata(folder).map_err(Error::io("look at the socket's folder", folder))?;
    if metadata.permissions().mode() & 0o022 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::file(
            folder,
            "the socket's folder must belong to this user, and nobody else may change it (hint: chmod 755; RuntimeDirectory= in a unit makes one)",
        ));
    }
    if fs::symlink_metadata(path).is_ok() {
        if UnixStream::connect(path).is_ok() {
            return Err(Error::file(path, "another keyholder answers there (hint: stop it, or name another socket)"));
        }
        fs::remove_file(path).map_err(Error::io("remove the dead socket", path))?;
    }
    let listener = UnixListener::bind(path).map_err(Error::io("listen at", path))?;
    // Who may do what is decided by the user at the other end, which the kernel tells.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(Error::io("open to its users", path))?;
    Ok(listener)
}
