//! The one writer: commands in, one fsync for as many as wait.
//!
//! It takes the commands that wait (at most [`BATCH`]), runs each in a savepoint of one transaction, commits, and
//! answers all. A command that fails is rolled back alone. When the commit fails, or SQLite gave the whole
//! transaction up, nobody knows what to believe, so everyone hears [`StoreError::Unavailable`] and may try again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ca_core::pki::Sha256Digest;
use ca_core::ports::{StoreError, StoreResult};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::error::from_sqlx;
use crate::lock::FileLock;
use crate::remembered::Remembered;
use crate::wake::{Touched, Wakers};

/// The most commands in one transaction.
const BATCH: usize = 64;

/// The most commands that wait; callers beyond it wait for room.
const QUEUE: usize = 1024;

/// A command's future.
pub(crate) type Step<'t, T> = Pin<Box<dyn Future<Output = StoreResult<T>> + Send + 't>>;

/// What a command works with: the connection, inside its savepoint, and what to tell once it is durable.
pub(crate) struct Tx {
    pub(crate) connection: SqliteConnection,
    pub(crate) touched: Touched,
    /// The audit trail's last number and hash, where they are known: nobody else writes.
    pub(crate) trail: Option<(i64, Sha256Digest)>,
    /// The command's last audit row, which is written with its end.
    pub(crate) row: Option<Row>,
}

/// A row of the audit trail on its way.
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) leaf: Vec<u8>,
    pub(crate) hash: Sha256Digest,
}

impl Tx {
    /// After a rollback: nothing that was remembered counts.
    fn forget(&mut self) {
        self.touched.clear();
        (self.trail, self.row) = (None, None);
    }
}

/// A command in the queue, its result type erased.
trait Command: Send {
    /// Runs it; whether its changes stand.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>>;
    /// Answers the caller with the command's result, or with `failure` where its transaction failed.
    fn answer(self: Box<Self>, failure: Option<&str>);
}

struct Call<T, F> {
    command: Option<F>,
    result: Option<StoreResult<T>>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, F> Command for Call<T, F>
where
    T: Send,
    F: for<'t> FnOnce(&'t mut Tx) -> Step<'t, T> + Send,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>> {
        Box::pin(async move {
            let Some(command) = self.command.take() else { return false };
            let result = command(tx).await;
            let stands = result.is_ok();
            self.result = Some(result);
            stands
        })
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
    /// Starts the writer's task on the only connection that writes. The task holds the lock until it ends.
    pub(crate) fn spawn(connection: SqliteConnection, lock: FileLock, wakers: Arc<Wakers>, remembered: Arc<Remembered>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(serve(Tx { connection, touched: Touched::default(), trail: None, row: None }, waiting, wakers, remembered, lock));
        Self { queue }
    }

    /// Queues a command and waits until it is durable or failed.
    pub(crate) async fn run<T, F>(&self, command: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Step<'t, T> + Send + 'static,
    {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let call = Call { command: Some(command), result: None, reply };
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

async fn serve(mut tx: Tx, mut waiting: mpsc::Receiver<Message>, wakers: Arc<Wakers>, remembered: Arc<Remembered>, lock: FileLock) {
    let mut closing = None;
    while closing.is_none() {
        let Some(mut message) = waiting.recv().await else { break };
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
        if !batch.is_empty() {
            commit(&mut tx, batch, &wakers, &remembered).await;
        }
    }
    drop(waiting);
    if let Err(error) = tx.connection.close().await {
        tracing::warn!(%error, "the database did not close cleanly; it recovers from its write-ahead log at the next start");
    }
    drop(lock);
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

/// Runs a batch in one transaction and answers everyone in it.
async fn commit(tx: &mut Tx, mut batch: Vec<Box<dyn Command>>, wakers: &Wakers, remembered: &Remembered) {
    let mut durable = Touched::default();
    let failure = match transaction(tx, &mut batch, &mut durable).await {
        Ok(()) => {
            remembered.committed();
            wakers.tell(&durable);
            None
        }
        Err(error) => {
            tracing::error!(%error, commands = batch.len(), "a group commit failed");
            tx.forget();
            // Where SQLite has rolled back by itself this says so, and changes nothing.
            let _ = sqlx::query("ROLLBACK").execute(&mut tx.connection).await;
            Some(from_sqlx(error).to_string())
        }
    };
    for command in batch {
        command.answer(failure.as_deref());
    }
}

/// The statements between commands go together: each call to the connection costs two changes of thread.
async fn transaction(tx: &mut Tx, batch: &mut [Box<dyn Command>], durable: &mut Touched) -> Result<(), sqlx::Error> {
    execute(tx, "BEGIN IMMEDIATE; SAVEPOINT command").await?;
    let mut left = batch.len();
    for command in batch {
        left -= 1;
        let stands = command.run(tx).await;
        if stands {
            durable.append(&mut tx.touched);
        } else {
            tx.forget();
        }
        // RELEASE fails where the command's error was one for which SQLite rolls the whole transaction back: first, so
        // that no row is written outside of it.
        match (tx.row.take(), stands, left) {
            (Some(row), _, 0) => {
                write_row(tx, row, "RELEASE command; INSERT INTO audit (number, leaf, hash) VALUES ($1, $2, $3); COMMIT").await?
            }
            (Some(row), ..) => {
                let sql = "RELEASE command; INSERT INTO audit (number, leaf, hash) VALUES ($1, $2, $3); SAVEPOINT command";
                write_row(tx, row, sql).await?;
            }
            (None, true, 0) => execute(tx, "RELEASE command; COMMIT").await?,
            (None, true, _) => execute(tx, "RELEASE command; SAVEPOINT command").await?,
            (None, false, 0) => execute(tx, "ROLLBACK TO command; RELEASE command; COMMIT").await?,
            (None, false, _) => execute(tx, "ROLLBACK TO command; RELEASE command; SAVEPOINT command").await?,
        }
    }
    Ok(())
}

/// Writes a row of the audit trail, among what else `sql` has.
pub(crate) async fn write_row(tx: &mut Tx, row: Row, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).bind(row.number).bind(row.leaf).bind(row.hash.0.to_vec()).execute(&mut tx.connection).await.map(|_| ())
}

/// Runs statements without results, one after another until one fails.
async fn execute(tx: &mut Tx, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(&mut tx.connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ca_core::model::{Actor, AuditEntry, Outcome};
    use ca_core::pki::Timestamp;
    use ca_core::ports::{AuditStore as _, StoreError};
    use ca_testkit::SeededRng;

    use super::execute;
    use crate::SqliteStore;
    use crate::error::from_sqlx;

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

    /// Writes an audit row, then does `sql` to the transaction, and says that all is well or not.
    async fn sabotage(store: &SqliteStore, sql: &'static str, fails: bool) -> Result<(), StoreError> {
        store
            .write(move |tx| {
                Box::pin(async move {
                    tx.audit(&entry("sabotaged")).await?;
                    execute(tx, sql).await.map_err(from_sqlx)?;
                    if fails { Err(StoreError::Fenced) } else { Ok(()) }
                })
            })
            .await
    }

    /// SQLite rolls a whole transaction back by itself when the disk is full or fails.
    #[tokio::test]
    async fn a_transaction_that_is_lost_is_lost_for_all_in_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        for (sql, fails) in [("ROLLBACK", false), ("ROLLBACK", true), ("ROLLBACK TO command; RELEASE command", false), ("COMMIT", true)] {
            let before = store.audit_after(0, 100).await.unwrap().len();
            let neighbour = entry("neighbour");
            // Polled together before the writer's task runs, so they are of one batch.
            let (first, bad, last) =
                tokio::join!(store.append_audit(&neighbour), sabotage(&store, sql, fails), store.append_audit(&neighbour));
            for failed in [first.map(|_| ()), bad, last.map(|_| ())] {
                assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{sql}: {failed:?}");
            }
            if sql != "COMMIT" {
                assert_eq!(store.audit_after(0, 100).await.unwrap().len(), before, "{sql}");
            }
            store.append_audit(&neighbour).await.unwrap();
        }
    }

    /// A command that fails takes back its own changes only, and nobody else's.
    #[tokio::test]
    async fn a_failed_command_is_rolled_back_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        let neighbour = entry("neighbour");
        let (first, bad, last) =
            tokio::join!(store.append_audit(&neighbour), sabotage(&store, "SELECT 1", true), store.append_audit(&neighbour));
        assert_eq!((first.unwrap(), last.unwrap()), (1, 2));
        assert!(matches!(bad, Err(StoreError::Fenced)));
        assert_eq!(store.audit_after(0, 100).await.unwrap().len(), 2);
    }
}
