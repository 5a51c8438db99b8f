//! The commands' side of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::frame::{MAX_ANSWER, read, write};
use super::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};

/// The longest that an answer may take: a revocation waits for the store only.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the instance behind `socket` once.
pub(crate) async fn ask(socket: &Path, request: &ControlRequest) -> anyhow::Result<ControlAnswer> {
    let away = |e: io::Error| {
        let hint = match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "hint: no instance runs with this configuration; start one with `ca serve`"
            }
            io::ErrorKind::PermissionDenied => "hint: run this as the user that `ca serve` runs as",
            _ => "hint: see the instance's log",
        };
        failure(Exit::Temporary, format!("the instance at {} does not answer: {e} ({hint})", socket.display()))
    };
    let stream = UnixStream::connect(socket).await.map_err(away)?;
    let (reader, mut writer) = stream.into_split();
    write(&mut writer, request, PATIENCE).await.map_err(away)?;
    match read(&mut BufReader::new(reader), MAX_ANSWER, PATIENCE).await.map_err(away)? {
        Some(ControlAnswer::Failed { code, message }) => Err(failure(Exit::from_code(code), message)),
        Some(answer) => Ok(answer),
        None => Err(failure(Exit::Temporary, "the instance went away before it answered (hint: see its log, then try again)")),
    }
}

/// An answer of another kind than was asked for: the two sides differ in version.
pub(crate) fn unexpected() -> anyhow::Error {
    failure(Exit::Failed, "the instance answered something else than was asked (hint: is it another version of ca?)")
}
