//! `ca serve` with the worker under another user: three processes, started and kept by one that does nothing else.
//!
//! The parent is root, because only root can start processes as other users, and start them again. So it has nothing
//! that is worth having: no key, no credential, no database, no listener, no input but signals and its children's ends.
//! The children are the worker, the ACME server and the responder as they also run under a service manager, each as its
//! user, without privileges or a way to gain one (setpriv(1)). Each holds the other end of a pipe and stops when that
//! closes, so that none outlives the parent, however it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ca_keystore::{CredentialSpec, KeyStoreSpec, UnsealSpec};
use ca_service::signal::{notify_ready, until_signal};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::run::wait;
use crate::config::{Config, Identity, User};
use crate::exit::{Exit, configuration, failure};

/// util-linux's, which every host has.
const SETPRIV: &str = "/usr/bin/setpriv";
/// The pause before a part that died is started again: it doubles from the first to the second, and begins anew after
/// the part has lived for [`STEADY`].
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const STEADY: Duration = Duration::from_secs(60);
/// What a part may take to stop besides draining its open requests.
const GRACE: Duration = Duration::from_secs(15);

/// One child: what runs, as whom.
struct Part {
    name: &'static str,
    user: Identity,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// How long it may take to stop.
    patience: Duration,
}

/// Runs the parts until a signal, or until one cannot be run.
pub(crate) async fn supervise(config: &Config, file: &Path, worker: User) -> anyhow::Result<()> {
    ca_service::logging::start(&config.log)?;
    let [worker, acme, responder] = parts(config, file, worker)?;
    let signal = until_signal();
    let ((stop_fronts, fronts_stopped), (stop_worker, worker_stopped)) = (watch::channel(false), watch::channel(false));
    let (mut fronts, mut workers) = (JoinSet::new(), JoinSet::new());
    workers.spawn(worker.keep(worker_stopped));
    for front in [acme, responder] {
        fronts.spawn(front.keep(fronts_stopped.clone()));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), acme = config.acme.url, status = config.status.url, "three processes run");
    notify_ready();
    let result = tokio::select! {
        () = signal => {
            tracing::info!("stopping: open requests may finish");
            Ok(())
        }
        Some(ended) = fronts.join_next() => ended.map_err(anyhow::Error::from).and_then(|ended| ended),
        Some(ended) = workers.join_next() => ended.map_err(anyhow::Error::from).and_then(|ended| ended),
    };
    // The fronts first: what they still have to finish needs the worker. Receivers may all be gone already.
    let _ = stop_fronts.send(true);
    while fronts.join_next().await.is_some() {}
    let _ = stop_worker.send(true);
    while workers.join_next().await.is_some() {}
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

/// The parts, with everything refused that would give one part another's powers.
fn parts(config: &Config, file: &Path, worker: User) -> anyhow::Result<[Part; 3]> {
    let wrong = |reason: &str| configuration(format!("[serve] {reason}"));
    if !geteuid().is_root() {
        return Err(wrong(
            "wants the worker under another user, which only root can do (hint: start `ca serve` as root; without --worker-user and serve.worker it is one process)",
        ));
    }
    let (Some(acme), Some(responder), Some(socket)) = (&config.serve.acme, &config.serve.responder, &config.store.socket) else {
        return Err(wrong(
            "needs serve.acme and serve.responder, each with its user and its configuration, and store.socket between them and the worker (hint: deploy/README.md, \"Without a service manager\")",
        ));
    };
    let identity = |what: &str, user: &User| user.identity().map_err(|e| wrong(&format!("{what}: {e}")));
    let users = [identity("worker", &worker)?, identity("acme.user", &acme.user)?, identity("responder.user", &responder.user)?];
    let [w, a, r] = users.each_ref().map(|user| user.uid);
    if [w, a, r].contains(&0) || w == a || w == r || a == r {
        return Err(wrong("the worker, the ACME server and the responder need three different users, none of them root"));
    }
    for (what, listed, uid) in [("acme", &socket.acme, a), ("responder", &socket.responder, r)] {
        if !listed.iter().any(|user| user.uid() == Ok(uid)) {
            return Err(wrong(&format!("store.socket.{what} does not have the user {uid}, as which serve.{what} runs")));
        }
    }
    if asks_a_person(config) {
        return Err(wrong(
            "starts the worker without a terminal, and its configuration asks for a secret there (hint: a file or a keyholder)",
        ));
    }
    let own = std::env::current_exe().map_err(|e| wrong(&format!("cannot tell where this program lies: {e}")))?;
    let beside = |name: &str| {
        let program = own.with_file_name(name);
        let missing = || wrong(&format!("needs the program {} (hint: install it beside `ca`)", program.display()));
        if program.is_file() { Ok(program.clone()) } else { Err(missing()) }
    };
    if !Path::new(SETPRIV).is_file() {
        return Err(wrong(&format!("needs {SETPRIV} (hint: the package util-linux has it)")));
    }
    let arguments = |file: &Path, rest: &[&str]| {
        let named = [OsString::from("--config"), file.as_os_str().to_owned()];
        named.into_iter().chain(rest.iter().map(OsString::from)).collect::<Vec<_>>()
    };
    let patience = GRACE + Duration::from_secs(config.limits.drain_seconds);
    let [worker, acme_user, responder_user] = users;
    let part = |name, user, program, arguments| Part { name, user, program, arguments, patience };
    Ok([
        part("worker", worker, own.clone(), arguments(file, &["worker", "--supervised"])),
        part("ACME server", acme_user, beside("acme-server")?, arguments(&acme.config, &["--supervised"])),
        part("responder", responder_user, beside("ocsp-responder")?, arguments(&responder.config, &["--supervised"])),
    ])
}

/// Whether a key store or the service keys are opened by what somebody types.
fn asks_a_person(config: &Config) -> bool {
    let typed = |spec: &UnsealSpec| matches!(spec, UnsealSpec::Terminal);
    let given = |spec: &CredentialSpec| matches!(spec, CredentialSpec::Terminal);
    typed(&config.service_keys.unseal)
        || match &config.keystore {
            KeyStoreSpec::Software(spec) => typed(&spec.unseal),
            KeyStoreSpec::Pkcs11(spec) => given(&spec.pin),
            KeyStoreSpec::YubiHsm(spec) => spec.keys.iter().any(|key| given(&key.credential)),
        }
}

impl Part {
    /// Runs it, and again when it dies, until `stopped`.
    ///
    /// # Errors
    /// When it says that to run it again will not help, or does not come up at all.
    async fn keep(self, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut pause = BACKOFF.0;
        let mut first = true;
        loop {
            let began = Instant::now();
            let mut child = self.start()?;
            // Waiting would close it.
            let _pipe = child.stdin.take();
            tracing::info!(part = self.name, user = self.user.uid, pid = child.id(), "started");
            let status = tokio::select! {
                status = child.wait() => status?,
                () = wait(stopped.clone()) => return self.end(child).await,
            };
            self.judge(status, first)?;
            first = false;
            if began.elapsed() >= STEADY {
                pause = BACKOFF.0;
            }
            tracing::error!(part = self.name, %status, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "it died; it is started again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wait(stopped.clone()) => return Ok(()),
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    fn start(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(SETPRIV);
        let (uid, gid) = (self.user.uid.to_string(), self.user.gid.to_string());
        command.args(["--reuid", &uid, "--regid", &gid]);
        // Groups of its own may open devices; a number has none.
        command.arg(if self.user.is_listed { "--init-groups" } else { "--clear-groups" });
        command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"]);
        command.arg(&self.program).args(&self.arguments);
        // The pipe's other end is the parent's until it is no more. Signals of the terminal are the parent's to pass on.
        command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true).env_remove("NOTIFY_SOCKET");
        let wrong = |e| failure(Exit::Failed, format!("the {} cannot be started: {e}", self.name));
        command.spawn().map_err(wrong)
    }

    /// Whether to run it again may help. What it said is on standard error.
    fn judge(&self, status: ExitStatus, first: bool) -> anyhow::Result<()> {
        let Some(code) = status.code().and_then(|code| u8::try_from(code).ok()) else { return Ok(()) };
        let exit = Exit::from_code(code);
        let for_good = matches!(exit, Exit::Usage | Exit::Configuration | Exit::Refused);
        if for_good || first && code != 0 {
            return Err(failure(exit, format!("the {} ended with exit code {code}; what it said stands above", self.name)));
        }
        Ok(())
    }

    async fn end(&self, mut child: Child) -> anyhow::Result<()> {
        // None: it has ended already.
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            tracing::warn!(part = self.name, %error, "it could not be told to stop");
        }
        match tokio::time::timeout(self.patience, child.wait()).await {
            Ok(status) => {
                let status = status?;
                if !status.success() {
                    tracing::warn!(part = self.name, %status, "it did not stop cleanly");
                }
            }
            Err(_) => {
                tracing::error!(part = self.name, "it did not stop in time and is killed");
                child.kill().await?;
            }
        }
        Ok(())
    }
}

/// Keys in a hardware module are in a process of their own, so that a fault in what faces the network, or in the vendor's
/// code, does not reach across; unless the site says that it does without.
pub(crate) fn one_process_is_enough(config: &Config) -> anyhow::Result<()> {
    match &config.keystore {
        KeyStoreSpec::Software(_) => Ok(()),
        KeyStoreSpec::Pkcs11(_) | KeyStoreSpec::YubiHsm(_) if config.serve.hardware_keys_in_one_process => Ok(()),
        KeyStoreSpec::Pkcs11(_) | KeyStoreSpec::YubiHsm(_) => Err(configuration(
            "the authority keys are in a hardware module, and `ca serve` would use it in the process that faces the network (hint: run the worker as another user: --worker-user; or the three processes of deploy/README.md; or accept it: serve.hardware_keys_in_one_process = true)",
        )),
    }
}
