//! The client's connection: made, kept, and made again when the store's owner comes back.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ca_core::ports::{StoreError, StoreResult};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::command::{Greeting, Role, VERSION};
use crate::frame::{self, MAX_ANSWER, PIECE, wrong};

/// Commands without an answer yet, on this side.
pub(crate) const IN_FLIGHT: usize = 8192;
/// Failed attempts after which callers hear at once that the owner is away, about a second after it went.
const AWAY_AFTER: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the owner may take to greet, and to read what was written.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command on its way.
pub(crate) struct Call {
    pub(crate) payload: Vec<u8>,
    pub(crate) is_repeatable: bool,
    pub(crate) reply: oneshot::Sender<StoreResult<Vec<u8>>>,
}

impl Call {
    /// Tells the caller, who may have stopped waiting.
    fn answer(self, result: StoreResult<Vec<u8>>) {
        let _ = self.reply.send(result);
    }
}

/// Commands sent on a connection, by number.
type Pending = Mutex<HashMap<u64, Call>>;

fn lock(pending: &Pending) -> MutexGuard<'_, HashMap<u64, Call>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a connection until the last sender of `calls` is gone.
pub(crate) async fn keep(path: PathBuf, role: Role, mut calls: mpsc::Receiver<Call>) {
    let mut carried = VecDeque::new();
    let mut failures = 0u32;
    loop {
        match connect(&path, role).await {
            Ok((reader, writer)) => {
                tracing::info!(store = %path.display(), %role, "connected to the store");
                failures = 0;
                let Some(error) = converse(reader, writer, &mut carried, &mut calls).await else { return };
                tracing::warn!(store = %path.display(), %error, "the connection to the store broke");
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == AWAY_AFTER {
                    tracing::error!(store = %path.display(), %error, "the store's owner does not answer; it is tried on");
                }
                if failures >= AWAY_AFTER {
                    let away = || Err(StoreError::Unavailable(format!("the store's owner does not answer: {error}")));
                    carried.drain(..).for_each(|call: Call| call.answer(away()));
                    // Whoever asks during the pause hears it at once.
                    let refuse = async {
                        while let Some(call) = calls.recv().await {
                            call.answer(away());
                        }
                    };
                    tokio::select! {
                        // The last sender is gone.
                        () = refuse => return,
                        () = tokio::time::sleep(LONGEST_PAUSE) => {}
                    }
                    continue;
                }
            }
        }
        if calls.is_closed() && calls.is_empty() && carried.is_empty() {
            return;
        }
        tokio::time::sleep(FIRST_PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE)).await;
    }
}

async fn connect(path: &Path, wanted: Role) -> io::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
    let attempt = async {
        let hint = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => io::Error::new(
                e.kind(),
                format!("{}: {e} (hint: is the worker running, with [store.socket] in its configuration?)", path.display()),
            ),
            kind => io::Error::new(kind, format!("{}: {e}", path.display())),
        };
        let (reader, writer) = UnixStream::connect(path).await.map_err(hint)?.into_split();
        let mut reader = BufReader::with_capacity(PIECE, reader);
        let greeting = frame::read(&mut reader, PIECE).await?.ok_or_else(|| wrong("it closed the connection without a greeting"))?;
        match serde_json::from_slice(&greeting.payload).map_err(|e| wrong(format!("its greeting is not understood: {e}")))? {
            Greeting::Welcome { version: VERSION, role } if role == wanted => Ok((reader, writer)),
            Greeting::Welcome { version: VERSION, role } => Err(wrong(format!(
                "it takes this process for the {role} (hint: [store.socket] in the worker's configuration names this user for the wrong role)"
            ))),
            Greeting::Welcome { version, .. } => Err(wrong(format!(
                "it speaks version {version} on this socket, not {VERSION} (hint: install the same version of every part)"
            ))),
            Greeting::Refused { reason } => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it refuses this process: {reason}")))
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempt).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no greeting came"))?
}

/// Sends and receives until the connection breaks. What may be sent again is then in `carried`, in the order in which
/// it was sent; all else was answered. None: nobody is left who could ask.
async fn converse(
    reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    carried: &mut VecDeque<Call>,
    calls: &mut mpsc::Receiver<Call>,
) -> Option<io::Error> {
    let pending: Arc<Pending> = Arc::default();
    let reading = read_answers(reader, &pending);
    let writing = async {
        let mut next_id = 1u64;
        let mut buffer = Vec::with_capacity(PIECE);
        loop {
            let first = match carried.pop_front() {
                Some(call) => call,
                None => calls.recv().await?,
            };
            enqueue(&mut buffer, &pending, &mut next_id, first);
            while buffer.len() < PIECE
                && let Some(call) = carried.pop_front().or_else(|| calls.try_recv().ok())
            {
                enqueue(&mut buffer, &pending, &mut next_id, call);
            }
            match tokio::time::timeout(PATIENCE, writer.write_all(&buffer)).await {
                Ok(Ok(())) => buffer.clear(),
                Ok(Err(error)) => return Some(error),
                Err(_) => return Some(io::Error::new(io::ErrorKind::TimedOut, "it does not read what is sent")),
            }
        }
    };
    let error = tokio::select! {
        error = reading => Some(error),
        error = writing => error,
    }?;
    let mut sent: Vec<_> = lock(&pending).drain().collect();
    sent.sort_unstable_by_key(|(id, _)| *id);
    for (_, call) in sent.into_iter().rev() {
        if call.is_repeatable {
            carried.push_front(call);
        } else {
            call.answer(Err(StoreError::Unavailable("the connection to the store broke before it answered".to_owned())));
        }
    }
    Some(error)
}

fn enqueue(buffer: &mut Vec<u8>, pending: &Pending, next_id: &mut u64, call: Call) {
    // Its caller no longer waits, and nothing was sent.
    if call.reply.is_closed() {
        return;
    }
    let mut pending = lock(pending);
    if pending.len() >= IN_FLIGHT {
        // Answers that nobody waits for may still come; they are dropped then.
        pending.retain(|_, call| !call.reply.is_closed());
    }
    frame::append(buffer, *next_id, false, &call.payload);
    pending.insert(*next_id, call);
    *next_id += 1;
}

/// Hands answers to their callers; ends with the connection.
async fn read_answers(mut reader: BufReader<OwnedReadHalf>, pending: &Pending) -> io::Error {
    let mut partial: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut held = 0usize;
    loop {
        let frame = match frame::read(&mut reader, PIECE).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the store's owner closed it"),
            Err(error) => return error,
        };
        if frame.more {
            held += frame.payload.len();
            if held > MAX_ANSWER {
                return wrong(format!("unfinished answers have more than {MAX_ANSWER} octets"));
            }
            partial.entry(frame.id).or_default().extend_from_slice(&frame.payload);
            continue;
        }
        let answer = match partial.remove(&frame.id) {
            Some(mut begun) => {
                held -= begun.len();
                begun.extend_from_slice(&frame.payload);
                begun
            }
            None => frame.payload,
        };
        let call = lock(pending).remove(&frame.id);
        if let Some(call) = call {
            call.answer(Ok(answer));
        }
    }
}
