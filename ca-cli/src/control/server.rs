//! The instance's side of the control socket.

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ca_service::unix::UnixSocket;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::frame::{MAX_REQUEST, read, write};
use super::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, configuration};

const MAX_CONNECTIONS: usize = 32;
const READ_PATIENCE: Duration = Duration::from_secs(10);
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// What answers requests.
#[async_trait]
pub(crate) trait Answers: Send + Sync {
    /// Answers one request.
    async fn answer(&self, request: ControlRequest) -> ControlAnswer;
}

/// A bound control socket; its file goes away with it.
pub(crate) struct ControlSocket {
    socket: UnixSocket,
    uid: u32,
}

impl ControlSocket {
    /// Binds `path`. A socket file that a dead process left is replaced; a live one's is not.
    pub(crate) async fn bind(path: &Path) -> anyhow::Result<Self> {
        let socket = UnixSocket::bind(path, 0o600, "control.socket").await?;
        let wrong = |e: io::Error| configuration(format!("the control socket {} went away: {e}", path.display()));
        let uid = std::fs::metadata(path).map_err(wrong)?.uid();
        Ok(Self { socket, uid })
    }

    /// Answers until `shutdown` is done.
    pub(crate) async fn serve(self, answers: Arc<dyn Answers>, shutdown: impl Future<Output = ()> + Send) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (uid, (listener, _file)) = (self.uid, self.socket.into_parts());
        let accept = async {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a control connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                match stream.peer_cred() {
                    Ok(peer) if peer.uid() == uid || peer.uid() == 0 => {}
                    Ok(peer) => {
                        tracing::warn!(uid = peer.uid(), "a control connection of another user was refused");
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a control connection without a known user was refused");
                        continue;
                    }
                }
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let _slot = slot;
                    if let Err(error) = converse(stream, answers.as_ref()).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
    }
}

async fn converse(stream: UnixStream, answers: &dyn Answers) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let answer = match read(&mut reader, MAX_REQUEST, READ_PATIENCE).await {
            Ok(None) => return Ok(()),
            Ok(Some(request)) => answers.answer(request).await,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // The rest of the stream has no known beginning: answer and close.
                let answer = ControlAnswer::Failed { code: Exit::Failed as u8, message: format!("the control request: {error}") };
                return write(&mut writer, &answer, WRITE_PATIENCE).await;
            }
            Err(error) => return Err(error),
        };
        write(&mut writer, &answer, WRITE_PATIENCE).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use std::os::unix::fs::PermissionsExt as _;

    use super::super::client::ask;
    use super::*;

    struct Fixed;

    #[async_trait]
    impl Answers for Fixed {
        async fn answer(&self, request: ControlRequest) -> ControlAnswer {
            match request {
                ControlRequest::Grants { .. } => ControlAnswer::Grants { grants: Vec::new() },
                _ => ControlAnswer::Failed { code: 4, message: "not here".to_owned() },
            }
        }
    }

    #[tokio::test]
    async fn asks_and_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.sock");
        // A file that a dead process left is no obstacle.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(socket.serve(Arc::new(Fixed), async {
            let _ = stopped.await;
        }));

        assert_eq!(
            ask(&path, &ControlRequest::Grants { after: None, limit: 1 }).await.unwrap(),
            ControlAnswer::Grants { grants: Vec::new() }
        );
        let refused = ask(&path, &ControlRequest::Status).await.unwrap_err();
        assert_eq!(crate::exit::code_of(&refused), Exit::Refused);
        assert!(ControlSocket::bind(&path).await.is_err(), "a live instance's socket is not taken over");

        let mut raw = UnixStream::connect(&path).await.unwrap();
        raw.write_all(b"{\"ask\":\"no-such\"}\n").await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("failed") && answer.contains("not understood"), "{answer}");

        stop.send(()).unwrap();
        server.await.unwrap();
        let gone = ask(&path, &ControlRequest::Status).await.unwrap_err();
        assert_eq!(crate::exit::code_of(&gone), Exit::Temporary);
        assert!(!path.exists());
    }
}
