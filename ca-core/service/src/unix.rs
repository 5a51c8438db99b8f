//! Sockets in the file system.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::exit::{Exit, failure};

/// A bound socket; its file goes away with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's name in the file system. Keep it as long as the socket is served.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl UnixSocket {
    /// Binds `path` and gives it `mode`. A file that a dead process left is replaced; a live one's is not. `key` is the
    /// configuration's name for it. Until the mode is set another user may connect: whoever serves checks each
    /// connection's user.
    ///
    /// # Errors
    /// When another process answers there, or the file cannot be made.
    pub async fn bind(path: &Path, mode: u32, key: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let wrong = |e: io::Error| {
            failure(
                Exit::Configuration,
                format!(
                    "cannot make the socket {shown}: {e} (hint: see {key}; its folder must exist and belong to this user, and a path has at most 107 bytes)"
                ),
            )
        };
        if path.exists() {
            if UnixStream::connect(path).await.is_ok() {
                return Err(failure(
                    Exit::Temporary,
                    format!("another instance answers at {shown} (hint: stop it, or give this one its own {key})"),
                ));
            }
            std::fs::remove_file(path).map_err(wrong)?;
        }
        let listener = UnixListener::bind(path).map_err(wrong)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
        Ok(Self { listener, file: SocketFile(path.to_owned()) })
    }

    /// The socket to accept from, and its file to keep.
    pub fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever starts next replaces a file that stayed.
        let _ = std::fs::remove_file(&self.0);
    }
}
