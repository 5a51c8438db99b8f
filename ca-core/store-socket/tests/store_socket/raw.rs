//! Octets on the socket, as a process that was taken over might send them.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A connection without the client's manners.
pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    /// Connects and gives the greeting.
    pub(crate) async fn connect(path: &Path) -> (Self, String) {
        let mut raw = Self(UnixStream::connect(path).await.unwrap());
        let greeting = raw.receive().await.unwrap_or_default();
        (raw, greeting)
    }

    pub(crate) async fn send(&mut self, id: u64, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(&id.to_be_bytes());
        frame.push(0);
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame's payload; none at the end.
    pub(crate) async fn receive(&mut self) -> Option<String> {
        let mut header = [0u8; 13];
        self.0.read_exact(&mut header).await.ok()?;
        let length = u32::from_be_bytes(header[..4].try_into().unwrap());
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(String::from_utf8(payload).unwrap())
    }
}
