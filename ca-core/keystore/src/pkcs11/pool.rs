//! Threads that call the module, each with one session of its own, behind one bounded queue.
//!
//! No call blocks an async thread. A session that died is opened again, and where the work may be done twice it is
//! tried once more.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ca_core::model::KeyLabel;
use ca_core::ports::{KeyInfo, KeyStoreError};
use cryptoki::context::Pkcs11;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use tokio::sync::oneshot;

use super::PATIENCE;
use super::fault::Fault;
use super::module::{Module, lock};
use super::token::Token;

/// The most calls that wait; further ones are turned away.
const MAX_WAITING: usize = 1024;
/// The most keys that a session remembers the handles of.
const MAX_HANDLES: usize = 256;
/// The most answers that a thread keeps back to hand them over together.
const MAX_ANSWERS: usize = 4;
/// How long it may keep one back: waking whoever waits costs about as much as a quick signature.
const HOLD: Duration = Duration::from_micros(250);
/// How long the end of a store waits for its threads.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Work, and what is then left to be told.
struct Job {
    /// Whether finished answers may wait for it: nothing that makes a key.
    brief: bool,
    work: Box<dyn FnOnce(&mut Line) -> Answer + Send>,
}
/// Hands a result to whoever waits for it.
type Answer = Box<dyn FnOnce() + Send>;

/// Whether work may be done a second time when its session dies under it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It may: it changes nothing, or a second result is as good as the first.
    May,
    /// Only when it had not begun.
    MustNot,
}

/// A session, and what was found in it. Handles die with the session's login.
pub(super) struct Link {
    pub(super) session: Session,
    pub(super) context: Pkcs11,
    pub(super) slot: Slot,
    pub(super) keys: HashMap<KeyLabel, (ObjectHandle, Arc<KeyInfo>)>,
    generation: u64,
}

impl Link {
    /// Whether session, login and token are still there, found out without a key.
    pub(super) fn probe(&mut self) -> Result<(), Fault> {
        let info = self.session.get_session_info().map_err(Fault::of("inspect the session"))?;
        if !matches!(info.session_state(), SessionState::RwUser) {
            return Err(Fault::Lost("the session is no longer logged in".to_owned()));
        }
        self.token_answers()
    }

    /// Whether the token is there: one that vanished may show itself as empty rather than fail.
    pub(super) fn token_answers(&self) -> Result<(), Fault> {
        self.context.get_token_info(self.slot).map(drop).map_err(Fault::of("inspect the token"))
    }

    pub(super) fn remember(&mut self, label: KeyLabel, handle: ObjectHandle, info: Arc<KeyInfo>) {
        if self.keys.len() >= MAX_HANDLES {
            self.keys.clear();
        }
        self.keys.insert(label, (handle, info));
    }
}

/// What a thread works with: its way to the token.
pub(super) struct Line {
    module: Arc<Module>,
    token: Arc<Token>,
    link: Option<Link>,
}

impl Line {
    fn perform<T>(&mut self, again: Again, work: &mut dyn FnMut(&mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        if again == Again::MustNot {
            // A session that died while nobody used it is noticed before the work begins.
            self.perform(Again::May, &mut |link| link.probe())?;
            return self.once(work);
        }
        match self.once(work) {
            Err(Fault::Lost(_)) => self.once(work),
            other => other,
        }
    }

    fn once<T>(&mut self, work: &mut dyn FnMut(&mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        let module = Arc::clone(&self.module);
        let mut restarted = false;
        loop {
            let pass = module.enter().map_err(|fault| self.token.name(fault))?;
            let generation = pass.generation;
            // A session from before a restart is gone; it must not be closed, for its handle may be another's now.
            let link = match self.link.take().filter(|link| link.generation == generation) {
                Some(link) => Ok(link),
                None => self.open(pass.context(), generation),
            };
            match link {
                Ok(link) => {
                    let link = self.link.insert(link);
                    let done = work(link);
                    if let Err(Fault::Lost(_)) = done
                        && let Some(link) = self.link.take()
                    {
                        // It may be dead already.
                        let _ = link.session.close();
                    }
                    return done;
                }
                Err(Fault::Lost(_)) if !restarted && self.token.may_restart() => {
                    drop(pass);
                    module.restart(generation).map_err(|fault| self.token.name(fault))?;
                    restarted = true;
                }
                Err(fault) => {
                    if restarted {
                        self.token.restarted_in_vain();
                    }
                    return Err(fault);
                }
            }
        }
    }

    fn open(&self, context: &Pkcs11, generation: u64) -> Result<Link, Fault> {
        let (session, slot) = self.token.session(context)?;
        Ok(Link { session, context: context.clone(), slot, keys: HashMap::new(), generation })
    }

    fn close(mut self) {
        if let Some(link) = self.link.take()
            && self.module.enter().is_ok_and(|pass| pass.generation == link.generation)
        {
            // Nothing is lost with it.
            let _ = link.session.close();
        }
    }
}

struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    ended: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    threads: usize,
    /// How many of them wait for a job.
    idle: usize,
}

/// The threads and their queue.
pub(super) struct Pool {
    queue: Arc<Queue>,
    token: Arc<Token>,
}

impl Pool {
    /// Starts `token.spec.sessions` threads. None has a session before its first call.
    pub(super) fn start(module: &Arc<Module>, token: Token) -> Result<Self, KeyStoreError> {
        let token = Arc::new(token);
        let state = State { jobs: VecDeque::new(), closed: false, threads: 0, idle: 0 };
        let queue = Arc::new(Queue { state: Mutex::new(state), filled: Condvar::new(), ended: Condvar::new() });
        let pool = Self { queue: Arc::clone(&queue), token: Arc::clone(&token) };
        for _ in 0..token.spec.sessions {
            let line = Line { module: Arc::clone(module), token: Arc::clone(&token), link: None };
            let theirs = Arc::clone(&queue);
            lock(&queue.state).threads += 1;
            let started = std::thread::Builder::new().name("pkcs11".to_owned()).spawn(move || serve(&theirs, line));
            if let Err(error) = started {
                lock(&queue.state).threads -= 1;
                return Err(KeyStoreError::Unavailable(format!("cannot start a thread for the {}: {error}", token.spec)));
            }
        }
        Ok(pool)
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Does `work` on one of the threads and waits for it, at most for `patience`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        again: Again,
        patience: Duration,
        mut work: impl FnMut(&mut Link) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let spec = &self.token.spec;
        let unavailable = |reason: &str| KeyStoreError::Unavailable(format!("the {spec}: {reason}"));
        let (reply, answer) = oneshot::channel();
        let brief = patience <= PATIENCE;
        let work = Box::new(move |line: &mut Line| -> Answer {
            // Whoever asked may have given up.
            let done = if reply.is_closed() { None } else { Some(line.perform(again, &mut work)) };
            Box::new(move || {
                if let Some(done) = done {
                    let _ = reply.send(done);
                }
            })
        });
        let someone_is_idle = {
            let mut state = lock(&self.queue.state);
            if state.jobs.len() >= MAX_WAITING {
                return Err(unavailable("too many calls wait for it"));
            }
            state.jobs.push_back(Job { brief, work });
            state.idle > 0
        };
        if someone_is_idle {
            self.queue.filled.notify_one();
        }
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(Fault::Store(error)))) => Err(error),
            Ok(Ok(Err(Fault::Lost(reason) | Fault::Refused(reason)))) => Err(unavailable(&reason)),
            Ok(Err(_)) => Err(unavailable("the call to its module ended in a panic (hint: this is a defect)")),
            Err(_) => Err(unavailable(&format!("no answer within {} seconds", patience.as_secs()))),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.closed = true;
        state.jobs.clear();
        self.queue.filled.notify_all();
        // Sessions are closed before the process may end. A module that hangs must not hold that up.
        let _ = self.queue.ended.wait_timeout_while(state, END_PATIENCE, |s| s.threads > 0).unwrap_or_else(PoisonError::into_inner);
    }
}

fn serve(queue: &Queue, mut line: Line) {
    let mut answers: Vec<Answer> = Vec::with_capacity(MAX_ANSWERS);
    while let Some(job) = next(queue) {
        #[expect(clippy::disallowed_methods, reason = "how long answers are kept back is no time of the CA's")]
        let began = Instant::now();
        let mut next_job = Some(job);
        while let Some(job) = next_job.take() {
            // A thread outlives a job that panics; the session that it left half-way does not.
            match catch_unwind(AssertUnwindSafe(|| (job.work)(&mut line))) {
                Ok(answer) => answers.push(answer),
                Err(_) => line.link = None,
            }
            if answers.len() < MAX_ANSWERS && began.elapsed() < HOLD {
                next_job = lock(&queue.state).jobs.pop_front_if(|job| job.brief);
            }
        }
        answers.drain(..).for_each(|answer| answer());
    }
    line.close();
    lock(&queue.state).threads -= 1;
    queue.ended.notify_all();
}

fn next(queue: &Queue) -> Option<Job> {
    let mut state = lock(&queue.state);
    state.idle += 1;
    let waiting = |s: &mut State| s.jobs.is_empty() && !s.closed;
    state = queue.filled.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
    state.idle -= 1;
    state.jobs.pop_front()
}
