//! Does what the plan says.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{Clock, Rng};

use super::Options;
use super::enrol::{self, Binding};
use super::error::AgentError;
use super::hook;
use super::http::Client;
use super::plan::{self, Action, Facts, Held};
use super::state::{Directory, Knowledge, Live, Settings, origin};

/// One attempt, from account to certificate.
const MAX_ATTEMPT: Duration = Duration::from_secs(180);
/// The longest sleep: a clock that was set, or a machine that slept, is noticed after that.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// When to ask for the window again where there was no answer, which named no time either.
const WINDOW_AWAY: Duration = Duration::from_secs(3600);
const MAX_NAMES: usize = 100;
const MAX_ERROR: usize = 1000;

/// An agent on its directory.
pub(super) struct Agent<'a> {
    directory: Directory,
    settings: Settings,
    identifiers: Vec<Identifier>,
    knowledge: Knowledge,
    live: Option<Live>,
    binding: Option<Binding>,
    clock: &'a dyn Clock,
    rng: &'a dyn Rng,
}

impl<'a> Agent<'a> {
    /// Opens the directory, and remembers the options there.
    pub(super) fn open(options: &Options, clock: &'a dyn Clock, rng: &'a dyn Rng) -> Result<Self, AgentError> {
        // What is wrong with the options is told before anything is made.
        let remembered = Directory::view(&options.dir).settings()?;
        let settings = options.over(remembered.clone())?;
        let identifiers = identifiers(&settings)?;
        Client::trusting(&settings.ca_bundle)?;
        let binding = match (&options.eab_kid, &options.eab_hmac_file) {
            (Some(kid), Some(path)) => Some(Binding::read(kid, path)?),
            _ => None,
        };
        let directory = Directory::lock(&options.dir)?;
        let moved = has_moved(&directory, &settings, binding.is_some())?;
        if remembered.as_ref() != Some(&settings) {
            directory.put_settings(&settings)?;
        }
        let live = directory.live()?;
        let mut knowledge = directory.knowledge()?;
        if let Some(version) = live.as_ref().map(|l| l.version).filter(|version| *version != knowledge.version) {
            // It was left between two steps: what is known is about another version, and the service may not have this one yet.
            let reload_at = settings.reload_cmd.as_ref().map(|_| clock.now());
            knowledge = Knowledge { version, draw: draw(rng), reload_at, ..Knowledge::default() };
        }
        if moved {
            // Last, so that a start which fails before it leaves the account where it was. The other CA knows no window of this one's.
            directory.retire_account()?;
            knowledge.window = None;
        }
        // A start by hand, or by a timer, is a reason to try, and to ask, at once.
        (knowledge.retry_at, knowledge.failures) = (None, 0);
        knowledge.check_window_at = live.as_ref().map(|_| clock.now());
        Ok(Self { directory, settings, identifiers, knowledge, live, binding, clock, rng })
    }

    /// Gets a certificate now, unless one that fits is in force and the CA does not want it renewed, and runs the hook.
    pub(super) async fn enrol(&mut self) -> Result<ExitCode, AgentError> {
        // Where a timer runs this, it is the only time to learn that a certificate is to be replaced (RFC 9773 §4.2). While
        // the CA is away, the one in force is as good as before.
        if self.live.is_some() {
            self.check_window().await;
            self.save();
        }
        let step = self.next();
        if matches!(step.action, Action::Enrol | Action::Renew) && step.at <= self.clock.now() {
            self.renew().await?;
        }
        if let Some(live) = &self.live {
            let path = self.directory.live_path();
            println!("{} holds a certificate until {}", path.display(), live.certificate.not_after());
        }
        if self.knowledge.reload_at.is_some() {
            self.reload().await;
            if let Some(error) = &self.knowledge.reload_error {
                return Err(AgentError::Local(error.clone()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Goes on until `stop`. A failure is no end: it is reported, and tried again.
    pub(super) async fn run(&mut self, stop: impl Future<Output = ()>) -> Result<ExitCode, AgentError> {
        tokio::pin!(stop);
        let mut announced = None;
        loop {
            let (step, now) = (self.next(), self.clock.now());
            if step.at > now {
                if announced.as_ref() != Some(&step) {
                    tracing::info!(action = ?step.action, at = %step.at, reason = step.reason, "next");
                    announced = Some(step.clone());
                }
                let sleep = tokio::time::sleep(step.at.since(now).min(MAX_SLEEP));
                tokio::select! {
                    () = &mut stop => return Ok(ExitCode::SUCCESS),
                    () = sleep => continue,
                }
            }
            announced = None;
            let act = async {
                match step.action {
                    Action::Enrol | Action::Renew => {
                        if let Err(error) = self.renew().await {
                            tracing::error!(%error, failures = self.knowledge.failures, retry_at = ?self.knowledge.retry_at.map(Timestamp::to_rfc3339), "no new certificate");
                        }
                    }
                    Action::CheckWindow => self.check_window().await,
                    Action::Reload => self.reload().await,
                }
                self.save();
            };
            tokio::select! {
                () = &mut stop => return Ok(ExitCode::SUCCESS),
                () = act => {}
            }
        }
    }

    fn next(&mut self) -> plan::Step {
        self.notice_the_clock();
        plan::next(&facts(self.live.as_ref(), &self.knowledge, &self.settings, &self.identifiers))
    }

    /// What a clock that was ahead has written would otherwise hold everything up until that time has come.
    fn notice_the_clock(&mut self) {
        let (now, known) = (self.clock.now(), &mut self.knowledge);
        let before = (known.obtained, known.retry_at, known.reload_at, known.check_window_at);
        known.obtained = known.obtained.map(|at| at.min(now));
        known.retry_at = plan::within_reach(known.retry_at, now, plan::longest_backoff(self.live.as_ref().map(Live::life)));
        known.reload_at = plan::within_reach(known.reload_at, now, plan::longest_backoff(None));
        if let Some(live) = &self.live {
            let longest = plan::longest_window_check(live.life_from(known.obtained));
            known.check_window_at = plan::within_reach(known.check_window_at, now, longest);
        }
        if before != (known.obtained, known.retry_at, known.reload_at, known.check_window_at) {
            tracing::warn!("the clock has been set back: what was waited for is due now");
            self.save();
        }
    }

    /// What cannot be written now is written with the next change. A start without it asks again, and owes the service a reload.
    fn save(&self) {
        if let Err(error) = self.directory.put_knowledge(&self.knowledge) {
            tracing::error!(%error, "the agent's state was not written");
        }
    }

    /// One attempt at a new certificate. On failure the next attempt's time is set.
    async fn renew(&mut self) -> Result<(), AgentError> {
        let client = Client::trusting(&self.settings.ca_bundle);
        let outcome = match &client {
            Ok(client) => match tokio::time::timeout(MAX_ATTEMPT, self.attempt_with_account(client)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(AgentError::Temporary(format!("no certificate within {} seconds", MAX_ATTEMPT.as_secs()))),
            },
            Err(error) => Err(AgentError::Configuration(error.to_string())),
        };
        if let Err(error) = &outcome {
            let asked = client.ok().and_then(|c| c.take_retry_after());
            let life = self.live.as_ref().map(Live::life);
            self.knowledge.failures = self.knowledge.failures.saturating_add(1);
            let wait = plan::backoff(self.knowledge.failures, life, draw(self.rng), asked);
            // Whole seconds, rounded up: a fraction must not make it due at once.
            self.knowledge.retry_at = Some(self.clock.now().plus(wait + Duration::from_millis(999)));
            self.knowledge.last_error = Some(error.to_string().chars().take(MAX_ERROR).collect());
            self.save();
        }
        outcome
    }

    /// A CA that was set up anew does not know the account, and one whose grant was revoked has ended; where there is a grant,
    /// another is made.
    async fn attempt_with_account(&mut self, client: &Client) -> Result<(), AgentError> {
        match self.attempt(client).await {
            Err(AgentError::UnknownAccount(why)) if self.binding.is_some() => {
                tracing::warn!(why, "the account is of no more use at the CA; making another");
                self.directory.retire_account()?;
                self.attempt(client).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&mut self, client: &Client) -> Result<(), AgentError> {
        let account = enrol::account(&self.directory, &self.settings, client, self.binding.as_ref()).await?;
        let replaced = self.live.as_ref().map(|l| &l.certificate);
        let old_key = if self.settings.reuse_key { self.directory.live_key()? } else { None };
        let old_key = old_key.as_ref().and_then(|k| std::str::from_utf8(k).ok());
        let issued = enrol::obtain(&account, &self.settings, &self.identifiers, replaced, old_key, self.clock.now()).await?;
        let leaf = issued.chain.first().ok_or_else(|| AgentError::Temporary("an empty chain".to_owned()))?;
        let (serial, not_after) = (leaf.serial(), leaf.not_after());
        let now = self.clock.now();
        let version = self.directory.stage(&issued.key_pem, &issued.chain)?;
        // First the swap: a certificate is not lost because something about it cannot be written. A start that finds the swap
        // alone sees it by the version, and owes a reload: perhaps a needless one, never a missing one.
        self.directory.activate(version)?;
        self.live = self.directory.live()?;
        self.knowledge = Knowledge {
            version,
            obtained: Some(now),
            draw: draw(self.rng),
            check_window_at: Some(now),
            reload_at: self.settings.reload_cmd.as_ref().map(|_| now),
            ..Knowledge::default()
        };
        self.save();
        tracing::info!(%serial, not_after = %not_after, live = %self.directory.live_path().display(), "installed a new certificate");
        self.check_window_with(client, &account).await;
        self.save();
        Ok(())
    }

    async fn check_window(&mut self) {
        let client = match Client::trusting(&self.settings.ca_bundle) {
            Ok(client) => client,
            Err(error) => return self.window_answer(Err(error), None),
        };
        match enrol::account(&self.directory, &self.settings, &client, self.binding.as_ref()).await {
            Ok(account) => self.check_window_with(&client, &account).await,
            Err(error) => self.window_answer(Err(error), client.take_retry_after()),
        }
    }

    async fn check_window_with(&mut self, client: &Client, account: &instant_acme::Account) {
        let Some(live) = &self.live else { return };
        // What an earlier refusal asked for is not about this.
        client.take_retry_after();
        let answer = enrol::window(account, &live.certificate).await;
        self.window_answer(answer, client.take_retry_after());
    }

    /// A window that cannot be had changes nothing: the last one, or the share of the life, stands. `asked` is how long a
    /// refusal asked to wait.
    fn window_answer(&mut self, answer: Result<Option<(plan::Window, Duration)>, AgentError>, asked: Option<Duration>) {
        let Some(live) = &self.live else { return };
        let (now, life) = (self.clock.now(), live.life_from(self.knowledge.obtained));
        self.knowledge.check_window_at = match answer {
            Ok(Some((window, again))) => {
                if self.knowledge.window != Some(window) {
                    tracing::info!(start = %window.start, end = %window.end, "the CA's renewal window");
                }
                self.knowledge.window = Some(window);
                Some(plan::window_check(now, life, again))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the CA's renewal window cannot be had");
                Some(plan::window_check(now, life, asked.unwrap_or(WINDOW_AWAY)))
            }
        };
    }

    async fn reload(&mut self) {
        let (shell, live) = (self.settings.reload_shell, self.directory.live_path());
        let result = match &self.settings.reload_cmd {
            Some(line) => hook::run(line, shell, &std::path::absolute(&live).unwrap_or(live)).await,
            None => Ok(()),
        };
        match result {
            Ok(()) => {
                tracing::info!("reloaded the service");
                (self.knowledge.reload_at, self.knowledge.reload_failures, self.knowledge.reload_error) = (None, 0, None);
            }
            Err(error) => {
                tracing::error!(%error, "the service was not reloaded");
                self.knowledge.reload_failures = self.knowledge.reload_failures.saturating_add(1);
                let wait = plan::backoff(self.knowledge.reload_failures.saturating_add(3), None, draw(self.rng), None);
                self.knowledge.reload_at = Some(self.clock.now().plus(wait));
                self.knowledge.reload_error = Some(error.to_string().chars().take(MAX_ERROR).collect());
            }
        }
        self.save();
    }
}

/// Whether the account kept is another CA's than the one asked for. CAs are told apart by their URLs' origins: the directories
/// of one CA, for example those of its profiles, share its accounts.
fn has_moved(directory: &Directory, settings: &Settings, bound: bool) -> Result<bool, AgentError> {
    let Some(account) = directory.account()?.filter(|a| origin(&a.directory) != origin(&settings.directory)) else { return Ok(false) };
    // A key without an account is no loss.
    if account.id.is_some() && !bound {
        return Err(AgentError::Configuration(format!(
            "--directory `{}` is of another CA than this account, which was made at `{}` (hint: give --eab-kid and --eab-hmac-file of a grant \
             of the other CA, or another --dir)",
            settings.directory, account.directory
        )));
    }
    Ok(true)
}

/// The names, as identifiers: sorted, each once.
pub(super) fn identifiers(settings: &Settings) -> Result<Vec<Identifier>, AgentError> {
    let wrong = |text: &str, e: String| AgentError::Configuration(format!("--name `{}`: {e}", text.escape_debug()));
    let mut all = Vec::new();
    for text in &settings.names {
        all.push(Identifier::from_text(text).map_err(|e| wrong(text, e.to_string()))?);
    }
    all.sort();
    all.dedup();
    if all.len() > MAX_NAMES {
        return Err(AgentError::Configuration(format!("more than {MAX_NAMES} names for one certificate")));
    }
    Ok(all)
}

/// What the plan is made from.
pub(super) fn facts(live: Option<&Live>, knowledge: &Knowledge, settings: &Settings, identifiers: &[Identifier]) -> Facts {
    let held = live.map(|live| {
        let certificate = &live.certificate;
        Held {
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            obtained: knowledge.obtained.unwrap_or(certificate.not_before()),
            draw: knowledge.draw,
            window: knowledge.window,
            check_window_at: knowledge.check_window_at,
            names_fit: enrol::covers(certificate, identifiers),
        }
    });
    Facts { held, renew_at: settings.renew_at, retry_at: knowledge.retry_at, reload_at: knowledge.reload_at }
}

fn draw(rng: &dyn Rng) -> u32 {
    let mut bytes = [0u8; 4];
    rng.fill(&mut bytes);
    u32::from_be_bytes(bytes) % plan::WHOLE
}
