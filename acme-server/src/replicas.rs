//! Nonces across replicas (ACME requirement A3): the replica that issued a nonce redeems it, whoever gets it.
//!
//! Several ACME servers over one store may stand behind one address, without stickiness. A nonce names its issuer; a replica
//! that gets another's asks that one over TCP, on the operators' network. Both sides prove with the replicas' shared key
//! that they are replicas: who could ask without it could use up nonces, and who could answer could have a replayed request
//! accepted. An answer is bound to its question, which has fresh random octets. Nothing secret crosses: a nonce in a request
//! that was received is of no more use to anyone.
//!
//! An issuer that is gone, late or restarted gives no, and the client gets a fresh nonce with the refusal.
//! Deliberately absent: any memory beside the issuer's own; so a nonce is accepted at most once, whatever happens here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use ca_core::ports::Rng;
use ca_keystore::Unsealer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::front::AcmeServer;
use crate::nonce::OCTETS;

/// The longest that a request waits for another replica, if nothing else is set; then its nonce is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// After how long without a question a connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Connections of other replicas at a time, and idle ones that are kept to each.
const CONNECTIONS: usize = 256;
const KEPT: usize = 32;
/// The most requests that ask one replica at a time, so that a gone one, and nonces invented in its name, hold no more
/// connections than this.
const ASKING: usize = 128;
/// What a question begins with, its version at the end.
const MAGIC: [u8; 4] = *b"CSN\x01";
const RANDOM: usize = 16;
const TAG: usize = 32;
const QUESTION: usize = MAGIC.len() + OCTETS + RANDOM;

/// The other replicas, and the key that all of them share.
pub struct Replicas {
    key: hmac::Key,
    peers: BTreeMap<u16, Peer>,
    patience: Duration,
}

struct Peer {
    address: SocketAddr,
    /// Open connections that wait for a question.
    idle: Mutex<Vec<TcpStream>>,
    asking: Semaphore,
}

impl Replicas {
    /// Replicas at these addresses, by their numbers, with a file key; none for any other kind of secret.
    pub fn new(key: &Unsealer, peers: impl IntoIterator<Item = (u16, SocketAddr)>) -> Option<Self> {
        let Unsealer::FileKey(key) = key else { return None };
        let peer = |(id, address)| (id, Peer { address, idle: Mutex::default(), asking: Semaphore::new(ASKING) });
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
        Some(Self { key, peers: peers.into_iter().map(peer).collect(), patience: PATIENCE })
    }

    /// Waits no longer than this for another replica, its turn to ask included (2 s if never called).
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether replica `issuer` accepts the nonce now, which it does once.
    pub(crate) async fn ask(&self, issuer: u16, nonce: &[u8; OCTETS], rng: &dyn Rng) -> bool {
        let Some(peer) = self.peers.get(&issuer) else { return false };
        let mut question = [0u8; QUESTION];
        question[..MAGIC.len()].copy_from_slice(&MAGIC);
        question[MAGIC.len()..MAGIC.len() + OCTETS].copy_from_slice(nonce);
        rng.fill(&mut question[MAGIC.len() + OCTETS..]);
        match tokio::time::timeout(self.patience, self.ask_peer(peer, &question)).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                tracing::warn!(replica = issuer, address = %peer.address, %error, "another replica did not answer; its nonce is refused");
                false
            }
            Err(_) => {
                tracing::warn!(replica = issuer, address = %peer.address, "another replica took too long; its nonce is refused");
                false
            }
        }
    }

    async fn ask_peer(&self, peer: &Peer, question: &[u8; QUESTION]) -> std::io::Result<bool> {
        let _turn = peer.asking.acquire().await.map_err(std::io::Error::other)?;
        let kept = peer.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut stream) = kept
            && let Ok(accepted) = self.converse(&mut stream, question).await
        {
            peer.keep(stream);
            return Ok(accepted);
        }
        // A connection that was kept may have died with its replica. Asked twice, the issuer says no the second time.
        let mut stream = TcpStream::connect(peer.address).await?;
        let _ = stream.set_nodelay(true);
        let accepted = self.converse(&mut stream, question).await?;
        peer.keep(stream);
        Ok(accepted)
    }

    async fn converse(&self, stream: &mut TcpStream, question: &[u8; QUESTION]) -> std::io::Result<bool> {
        let mut message = [0u8; QUESTION + TAG];
        message[..QUESTION].copy_from_slice(question);
        message[QUESTION..].copy_from_slice(self.question_tag(question).as_ref());
        stream.write_all(&message).await?;
        let mut answer = [0u8; 1 + TAG];
        stream.read_exact(&mut answer).await?;
        let (said, tag) = (answer[0], &answer[1..]);
        if hmac::verify(&self.key, &answered(question, said), tag).is_err() || said > 1 {
            return Err(std::io::Error::other("the answer is not a replica's (hint: all of them need the same key file)"));
        }
        Ok(said == 1)
    }

    fn question_tag(&self, question: &[u8; QUESTION]) -> hmac::Tag {
        hmac::sign(&self.key, &asked(question))
    }
}

impl Peer {
    fn keep(&self, stream: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(stream);
        }
    }
}

/// What a question's tag is over.
fn asked(question: &[u8; QUESTION]) -> Vec<u8> {
    [b"question".as_slice(), question].concat()
}

/// What an answer's tag is over: another word first, so that no question is an answer.
fn answered(question: &[u8; QUESTION], said: u8) -> Vec<u8> {
    [b"answer".as_slice(), question, &[said]].concat()
}

impl AcmeServer {
    /// Answers other replicas on `listener` until `shutdown` is done; without [`Replicas`] it closes each connection.
    pub async fn serve_replicas(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let (slots, mut connections) = (Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.as_mut() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "another replica's connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // One too many is closed; its replica refuses the nonce.
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let server = Arc::clone(&self);
            connections.spawn(async move {
                let _slot = slot;
                if let Err(error) = server.answer_replica(stream).await
                    && error.kind() != std::io::ErrorKind::UnexpectedEof
                {
                    tracing::warn!(%error, "a replica's connection ended");
                }
            });
        }
    }

    async fn answer_replica(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(replicas) = &self.replicas else { return Ok(()) };
        let _ = stream.set_nodelay(true);
        loop {
            let mut message = [0u8; QUESTION + TAG];
            match tokio::time::timeout(IDLE, stream.read_exact(&mut message)).await {
                Ok(read) => read?,
                Err(_) => return Ok(()),
            };
            let (mut question, mut nonce) = ([0u8; QUESTION], [0u8; OCTETS]);
            question.copy_from_slice(&message[..QUESTION]);
            if hmac::verify(&replicas.key, &asked(&question), &message[QUESTION..]).is_err() || question[..MAGIC.len()] != MAGIC {
                return Err(std::io::Error::other("a question was not a replica's (hint: all of them need the same key file)"));
            }
            nonce.copy_from_slice(&question[MAGIC.len()..MAGIC.len() + OCTETS]);
            let said = u8::from(self.nonces.redeem_own(&nonce));
            let mut answer = [0u8; 1 + TAG];
            answer[0] = said;
            answer[1..].copy_from_slice(hmac::sign(&replicas.key, &answered(&question, said)).as_ref());
            stream.write_all(&answer).await?;
        }
    }
}
