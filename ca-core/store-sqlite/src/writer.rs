//! The one writer, a thread of its own: commands in, one fsync for as many as wait.
//!
//! It takes the commands that wait (at most [`BATCH`]), runs them in one transaction, commits, and answers all. A command
//! that fails is rolled back alone: where it had changed something by then, the transaction begins anew with a savepoint for
//! each command, which costs more than a failure is likely. When the commit fails, or SQLite gave the whole transaction up,
//! nobody knows what to believe, so everyone hears [`StoreError::Unavailable`] and may try again.

use std::sync::Arc;
use std::time::Duration;

use ca_core::pki::Sha256Digest;
use ca_core::ports::{StoreError, StoreResult};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::lock::FileLock;
use crate::remembered::Remembered;
use crate::sql::{self, Sql};
use crate::wake::{Touched, Wakers};

/// The most commands in one transaction.
const BATCH: usize = 64;

/// The most commands that wait; callers beyond it wait for room.
const QUEUE: usize = 1024;

/// What a command works with: the connection, inside a transaction, and what to tell once it is durable.
pub(crate) struct Tx {
    pub(crate) connection: Connection,
    pub(crate) touched: Touched,
    /// The audit trail's last number and hash, where they are known: nobody else writes.
    pub(crate) trail: Option<(i64, Sha256Digest)>,
}

impl Tx {
    /// After a failure: nothing that was remembered counts.
    fn forget(&mut self) {
        self.touched.clear();
        self.trail = None;
    }

    /// Runs a statement that begins or ends something.
    fn run(&self, sql: &'static str) -> StoreResult<()> {
        sql::run(&self.connection, &Sql::new(sql), &[]).map(|_| ())
    }
}

/// Where several commands came together, others are on their way: waiting for them saves commits. So long for each of
/// those that came together last, at most [`LINGER_MOST`].
const LINGER: Duration = Duration::from_micros(100);

/// The longest wait for further commands.
const LINGER_MOST: Duration = Duration::from_millis(2);

/// A command in the queue, its result type erased.
trait Command: Send {
    /// Runs it, perhaps again after its transaction was rolled back; whether its changes stand.
    fn run(&mut self, tx: &mut Tx) -> bool;
    /// Answers the caller with the command's result, or with `failure` where its transaction failed.
    fn answer(self: Box<Self>, failure: Option<&str>);
}

struct Call<T, F> {
    command: F,
    result: Option<StoreResult<T>>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, F> Command for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Tx) -> StoreResult<T> + Send,
{
    fn run(&mut self, tx: &mut Tx) -> bool {
        let result = (self.command)(tx);
        let stands = result.is_ok();
        self.result = Some(result);
        stands
    }

    fn answer(self: Box<Self>, failure: Option<&str>) {
        let unavailable = |why: &str| Err(StoreError::Unavailable(why.to_owned()));
        let result = match failure {
            Some(why) => unavailable(why),
            None => self.result.unwrap_or_else(|| unavailable("the command was not run")),
        };
        // The caller may have gone away; the change stands all the same.
        let _ = self.reply.send(result);
    }
}

enum Message {
    Run(Box<dyn Command>),
    Close(oneshot::Sender<()>),
}

/// The queue's near end.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the writer's thread on the only connection that writes. The thread holds the lock until it ends.
    pub(crate) fn spawn(connection: Connection, lock: FileLock, wakers: Arc<Wakers>, remembered: Arc<Remembered>) -> StoreResult<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let tx = Tx { connection, touched: Touched::default(), trail: None };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let spawned = thread.spawn(move || serve(tx, waiting, &wakers, &remembered, lock));
        spawned.map_err(|error| StoreError::Unavailable(format!("the writer's thread did not start: {error}")))?;
        Ok(Self { queue })
    }

    /// Queues a command and waits until it is durable or failed.
    pub(crate) async fn run<T, F>(&self, command: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx) -> StoreResult<T> + Send + 'static,
    {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let call = Call { command, result: None, reply };
        self.queue.send(Message::Run(Box::new(call))).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends the writer after the commands before this one.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // An error means that it ended otherwise: it is closed either way.
            let _ = answer.await;
        }
    }
}

fn serve(mut tx: Tx, mut waiting: mpsc::Receiver<Message>, wakers: &Wakers, remembered: &Remembered, lock: FileLock) {
    let (mut closing, mut together) = (None, 1);
    while closing.is_none() {
        let Some(mut message) = waiting.blocking_recv() else { break };
        if together > 1 {
            std::thread::sleep((LINGER * together).min(LINGER_MOST));
        }
        let mut batch = Vec::new();
        loop {
            match message {
                Message::Run(command) => batch.push(command),
                Message::Close(reply) => {
                    closing = Some(reply);
                    break;
                }
            }
            if batch.len() >= BATCH {
                break;
            }
            match waiting.try_recv() {
                Ok(next) => message = next,
                Err(_) => break,
            }
        }
        together = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if !batch.is_empty() {
            commit(&mut tx, batch, wakers, remembered);
        }
    }
    drop(waiting);
    if let Err((_, error)) = tx.connection.close() {
        tracing::warn!(%error, "the database did not close cleanly; it recovers from its write-ahead log at the next start");
    }
    drop(lock);
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

/// Runs a batch in one transaction and answers everyone in it.
fn commit(tx: &mut Tx, mut batch: Vec<Box<dyn Command>>, wakers: &Wakers, remembered: &Remembered) {
    let mut durable = Touched::default();
    let failure = transaction(tx, &mut batch, &mut durable).err();
    if let Some(error) = &failure {
        tracing::error!(%error, commands = batch.len(), "a group commit failed");
        tx.forget();
        // Where SQLite has rolled back by itself this says so, and changes nothing.
        let _ = tx.run("ROLLBACK");
    }
    remembered.drop_changed();
    if failure.is_none() {
        wakers.tell(&mut durable);
    }
    let failure = failure.map(|error| error.to_string());
    for command in batch {
        command.answer(failure.as_deref());
    }
}

fn transaction(tx: &mut Tx, batch: &mut [Box<dyn Command>], durable: &mut Touched) -> StoreResult<()> {
    tx.run("BEGIN IMMEDIATE")?;
    if !run_all(tx, batch, durable)? {
        tx.run("ROLLBACK")?;
        tx.forget();
        durable.clear();
        tx.run("BEGIN IMMEDIATE")?;
        run_each(tx, batch, durable)?;
    }
    tx.run("COMMIT")
}

/// Runs the commands of a batch; whether those that failed had changed nothing.
fn run_all(tx: &mut Tx, batch: &mut [Box<dyn Command>], durable: &mut Touched) -> StoreResult<bool> {
    for command in batch {
        let before = tx.connection.total_changes();
        let stands = command.run(tx);
        if tx.connection.is_autocommit() {
            return Err(StoreError::Unavailable("the transaction has ended before its time".to_owned()));
        }
        if stands {
            durable.append(&mut tx.touched);
        } else if tx.connection.total_changes() == before {
            tx.forget();
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs the commands of a batch so that each can be taken back alone.
fn run_each(tx: &mut Tx, batch: &mut [Box<dyn Command>], durable: &mut Touched) -> StoreResult<()> {
    for command in batch {
        tx.run("SAVEPOINT command")?;
        if command.run(tx) {
            durable.append(&mut tx.touched);
        } else {
            tx.forget();
            tx.run("ROLLBACK TO command")?;
        }
        // Fails where the command's error was one for which SQLite rolls the whole transaction back.
        tx.run("RELEASE command")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ca_core::model::{Actor, AuditEntry, Outcome};
    use ca_core::pki::Timestamp;
    use ca_core::ports::{AuditStore as _, StoreError, StoreResult};
    use ca_testkit::SeededRng;
    use tokio::sync::oneshot;

    use super::{Call, Tx, commit};
    use crate::SqliteStore;
    use crate::remembered::Remembered;
    use crate::wake::Wakers;

    fn entry(action: &str) -> AuditEntry {
        AuditEntry {
            at: Timestamp::from_unix(0),
            actor: Actor::Anonymous,
            action: action.to_owned(),
            authority: None,
            object: String::new(),
            outcome: Outcome::Done,
            correlation: String::new(),
            detail: serde_json::Value::Null,
        }
    }

    type Command = Box<dyn super::Command>;

    /// A command with its answer's far end.
    fn call(command: impl FnMut(&mut Tx) -> StoreResult<u64> + Send + 'static) -> (Command, oneshot::Receiver<StoreResult<u64>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Call { command, result: None, reply }), answer)
    }

    /// Three commands of one batch: the one between writes an audit row, does `sql` to the transaction, and says that
    /// all is well or not.
    async fn batch(store: &SqliteStore, sql: &'static str, fails: bool) -> [StoreResult<u64>; 3] {
        let sabotage = move |tx: &mut Tx| {
            let number = tx.audit(&entry("sabotaged"))?;
            tx.run(sql)?;
            if fails { Err(StoreError::Fenced) } else { Ok(number) }
        };
        let (first, first_answer) = call(|tx| tx.audit(&entry("neighbour")));
        let (bad, bad_answer) = call(sabotage);
        let (last, last_answer) = call(|tx| tx.audit(&entry("neighbour")));
        let mut three = vec![first, bad, last];
        let all_at_once = move |tx: &mut Tx| {
            // Out of the transaction that this command is given, and back into one that its writer can end.
            tx.run("ROLLBACK")?;
            commit(tx, std::mem::take(&mut three), &Wakers::default(), &Remembered::default());
            tx.run("BEGIN IMMEDIATE")
        };
        store.write(all_at_once).await.unwrap();
        [first_answer.await.unwrap(), bad_answer.await.unwrap(), last_answer.await.unwrap()]
    }

    /// SQLite rolls a whole transaction back by itself when the disk is full or fails.
    #[tokio::test]
    async fn a_transaction_that_is_lost_is_lost_for_all_in_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        for (sql, fails) in [("ROLLBACK", false), ("ROLLBACK", true), ("RELEASE command", false), ("COMMIT", true)] {
            let before = store.audit_after(0, 100).await.unwrap().len();
            for failed in batch(&store, sql, fails).await {
                assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{sql}: {failed:?}");
            }
            if sql != "COMMIT" {
                assert_eq!(store.audit_after(0, 100).await.unwrap().len(), before, "{sql}");
            }
            store.append_audit(&entry("neighbour")).await.unwrap();
        }
    }

    /// A command that fails takes back its own changes only, and nobody else's.
    #[tokio::test]
    async fn a_failed_command_is_rolled_back_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        let [first, bad, last] = batch(&store, "SAVEPOINT inner", true).await;
        assert_eq!((first.unwrap(), last.unwrap()), (1, 2));
        assert!(matches!(bad, Err(StoreError::Fenced)));
        assert_eq!(store.audit_after(0, 100).await.unwrap().len(), 2);
    }
}
