//! The owner's side: who is at the other end, what it may send, and how much of it at a time.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca_core::model::{Actor, AuditEntry, Outcome};
use ca_core::pki::Timestamp;
use ca_core::ports::{Clock, StoreError, WorkerStore};
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::command::{Answer, Command, Greeting, Role, VERSION};
use crate::execute::{encode, encode_answer, execute};
use crate::frame::{self, MAX_COMMAND, PIECE};

/// Connections of one role at a time.
const CONNECTIONS: usize = 8;
/// Commands of one role under way at a time, waiting ones aside; who sends more is read more slowly.
const COMMANDS: usize = 256;
/// Commands of one role that wait for a wake-up at a time. Beyond them one waits for nothing and counts among [`COMMANDS`].
const WAITS: usize = 8192;
/// Frames that wait to be written on a connection.
const FRAMES: usize = 64;
/// How long a client may take to read what was written.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Refusals of one role get one audit row and one line in this time, which tell how many there were.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// Which users have which role. A user has one at most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    acme: Vec<u32>,
    responder: Vec<u32>,
}

impl Peers {
    /// The users of the ACME front end and those of the responder.
    ///
    /// # Errors
    /// When a user would have both roles: a break into one would then be one into the other.
    pub fn new(acme: Vec<u32>, responder: Vec<u32>) -> Result<Self, String> {
        match acme.iter().find(|uid| responder.contains(uid)) {
            Some(uid) => {
                Err(format!("user {uid} is named for both roles (hint: run the ACME server and the responder as different users)"))
            }
            None => Ok(Self { acme, responder }),
        }
    }

    /// The role of a user.
    pub fn role(&self, uid: u32) -> Option<Role> {
        match (self.acme.contains(&uid), self.responder.contains(&uid)) {
            (true, _) => Some(Role::Acme),
            (false, true) => Some(Role::Responder),
            (false, false) => None,
        }
    }
}

/// How often something was refused since the start.
#[derive(Debug, Default)]
pub struct Refusals {
    peers: AtomicU64,
    commands: AtomicU64,
}

impl Refusals {
    /// Connections of users without a role, or of one too many.
    pub fn peers(&self) -> u64 {
        self.peers.load(Ordering::Relaxed)
    }

    /// Commands that were not the role's, not understood, or carried a forged audit entry.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }
}

/// Whether the store is served at all. Closed, every command gets [`StoreError::Unavailable`] with the reason: a store
/// that its owner can't believe must not decide what a responder signs.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Option<String>>);

impl Gate {
    /// Closes it for this reason, or opens it.
    pub fn set(&self, closed: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = closed;
    }

    fn check(&self) -> Result<(), StoreError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(StoreError::Unavailable(format!("its owner does not serve it: {reason}"))),
            None => Ok(()),
        }
    }
}

/// The bounds of one role, over all its connections: what one role does leaves the other its share.
struct Bounds {
    connections: Arc<Semaphore>,
    commands: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    on_record: Occasionally,
}

/// Tells whether it is time to speak of something again, so that a flood of it makes no flood of words.
#[derive(Default)]
struct Occasionally(Mutex<(Option<Timestamp>, u64)>);

impl Occasionally {
    /// It happened again. Gives how often since it was last spoken of, where it is time.
    fn happened(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        if state.0.is_some_and(|at| at <= now && now.since(at) < AUDIT_INTERVAL) {
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

impl Bounds {
    fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            connections: semaphore(CONNECTIONS),
            commands: semaphore(COMMANDS),
            waits: semaphore(WAITS),
            on_record: Occasionally::default(),
        }
    }
}

/// Serves a store to other processes.
pub struct StoreServer {
    store: Arc<dyn WorkerStore>,
    clock: Arc<dyn Clock>,
    peers: Peers,
    refusals: Arc<Refusals>,
    gate: Arc<Gate>,
    strangers: Occasionally,
    acme: Bounds,
    responder: Bounds,
}

impl StoreServer {
    /// A server for `store`.
    pub fn new(store: Arc<dyn WorkerStore>, clock: Arc<dyn Clock>, peers: Peers) -> Self {
        Self {
            store,
            clock,
            peers,
            refusals: Arc::default(),
            gate: Arc::default(),
            strangers: Occasionally::default(),
            acme: Bounds::new(),
            responder: Bounds::new(),
        }
    }

    /// The counters of refusals, which go on counting.
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The gate, open at first.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Serves until `shutdown` is done. Commands that are under way then get no answer; their senders know that they
    /// may have been carried out.
    pub async fn serve(self, listener: UnixListener, shutdown: impl Future<Output = ()> + Send) {
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        while connections.try_join_next().is_some() {}
                        if let Some(serving) = Arc::clone(&server).receive(stream) {
                            connections.spawn(serving);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a store connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
        connections.shutdown().await;
    }

    const fn bounds(&self, role: Role) -> &Bounds {
        match role {
            Role::Acme => &self.acme,
            Role::Responder => &self.responder,
        }
    }

    /// Finds out who connected. Strangers cost nothing but this.
    fn receive(self: Arc<Self>, stream: UnixStream) -> Option<impl Future<Output = ()> + Send> {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                tracing::warn!(%error, "a store connection without a known user was refused");
                self.refusals.peers.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let admitted = match self.peers.role(uid) {
            Some(role) => Arc::clone(&self.bounds(role).connections)
                .try_acquire_owned()
                .map(|slot| (role, slot))
                .map_err(|_| format!("there are {CONNECTIONS} connections of this role already")),
            None => Err(format!("user {uid} has no role here (hint: [store.socket] in the worker's configuration names the users)")),
        };
        match admitted {
            Ok((role, slot)) => Some(async move {
                let _slot = slot;
                if let Err(error) = self.converse(stream, role, uid).await {
                    tracing::warn!(%role, uid, %error, "a store connection ended early");
                }
            }),
            Err(reason) => {
                let total = self.refusals.peers.fetch_add(1, Ordering::Relaxed) + 1;
                if self.strangers.happened(self.clock.now()).is_some() {
                    tracing::warn!(uid, %reason, total, "a store connection was refused");
                }
                // A new socket's buffer takes this without waiting; where it does not, the close says enough.
                let _ = stream.try_write(&greeting(&Greeting::Refused { reason }));
                None
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream, role: Role, uid: u32) -> io::Result<()> {
        tracing::info!(%role, uid, "a process is connected to the store");
        let (reader, writer) = stream.into_split();
        let (frames, queue) = mpsc::channel::<Vec<u8>>(FRAMES);
        let mut writing = tokio::spawn(write(writer, queue));
        let greeted = frames.send(greeting(&Greeting::Welcome { version: VERSION, role })).await;
        debug_assert!(greeted.is_ok(), "the writer has just begun");
        let mut running = JoinSet::new();
        let reading = async {
            let mut reader = BufReader::with_capacity(PIECE, reader);
            while let Some(frame) = frame::read(&mut reader, MAX_COMMAND).await? {
                while running.try_join_next().is_some() {}
                match understand(&frame.payload, role) {
                    Ok(command) => self.start(frame.id, command, role, &frames, &mut running).await,
                    Err(reason) => {
                        self.refuse(role, uid, &reason).await;
                        send(&frames, frame.id, &encode_answer(&Answer::<()>::Refused(reason))).await;
                        return Ok(());
                    }
                }
            }
            io::Result::Ok(())
        };
        let result = tokio::select! {
            read = reading => read,
            written = &mut writing => return written.unwrap_or_else(|e| Err(io::Error::other(e))),
        };
        running.shutdown().await;
        drop(frames);
        // What was still to be written is; the writer ends by itself, in bounded time.
        writing.await.unwrap_or_else(|e| Err(io::Error::other(e)))?;
        result
    }

    /// Starts a command; waits where as many are under way as may be.
    async fn start(&self, id: u64, mut command: Command, role: Role, frames: &mpsc::Sender<Vec<u8>>, running: &mut JoinSet<()>) {
        let bounds = self.bounds(role);
        let wait = if command.waits() { Arc::clone(&bounds.waits).try_acquire_owned().ok() } else { None };
        let (permit, may_wait) = match wait {
            Some(permit) => (permit, true),
            None => (place(&bounds.commands).await, false),
        };
        command.set_times(self.clock.now());
        let (store, gate, frames) = (Arc::clone(&self.store), Arc::clone(&self.gate), frames.clone());
        running.spawn(async move {
            let _permit = permit;
            let answer = match gate.check() {
                Ok(()) => execute(store.as_ref(), command, may_wait).await,
                closed => encode(closed),
            };
            send(&frames, id, &answer).await;
        });
    }

    /// Counts a refusal and puts it on record; of a flood, the first one and the number of the others.
    async fn refuse(&self, role: Role, uid: u32, reason: &str) {
        let total = self.refusals.commands.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.clock.now();
        let Some(since) = self.bounds(role).on_record.happened(now) else { return };
        tracing::error!(%role, uid, reason, total, "a store command was refused (hint: no part of this product sends it; look at that process)");
        let entry = AuditEntry {
            at: now,
            actor: Actor::system("store-socket"),
            action: "store.refuse".to_owned(),
            authority: None,
            object: role.to_string(),
            outcome: Outcome::Refused { reason: reason.to_owned() },
            correlation: format!("store-socket-{uid}"),
            detail: json!({ "uid": uid, "refused": since }),
        };
        if let Err(error) = self.store.append_audit(&entry).await {
            tracing::error!(%error, "the refusal could not be put on record");
        }
    }
}

/// Waits for a place, without which nothing is started.
async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("it is never closed")
}

/// From octets to a command that `role` may send.
fn understand(payload: &[u8], role: Role) -> Result<Command, String> {
    let command: Command = serde_json::from_slice(payload).map_err(|e| {
        // The parser's text quotes what it met: enough of it for a person, no more.
        format!("not understood: {}", e.to_string().chars().take(200).collect::<String>())
    })?;
    match command.refusal(role) {
        Some(reason) => Err(reason),
        None => Ok(command),
    }
}

fn greeting(greeting: &Greeting) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, 0, false, &serde_json::to_vec(greeting).expect("a greeting has a JSON form"));
    bytes
}

/// Queues an answer, in pieces where it is long. A connection that is gone needs no answer.
async fn send(frames: &mpsc::Sender<Vec<u8>>, id: u64, answer: &[u8]) {
    let pieces = answer.len().div_ceil(PIECE).max(1);
    for (index, piece) in answer.chunks(PIECE).enumerate() {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, id, index + 1 < pieces, piece);
        if frames.send(bytes).await.is_err() {
            return;
        }
    }
}

/// Writes what is queued, many frames at a time.
async fn write(mut to: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(2 * PIECE);
    while let Some(first) = queue.recv().await {
        buffer.extend_from_slice(&first);
        while buffer.len() < PIECE
            && let Ok(next) = queue.try_recv()
        {
            buffer.extend_from_slice(&next);
        }
        tokio::time::timeout(WRITE_PATIENCE, to.write_all(&buffer))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers"))??;
        buffer.clear();
    }
    Ok(())
}
