//! The agent against a CA that does what the test says, on a clock that the test sets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ca_core::ports::Clock as _;
use ca_testkit::{FakeClock, SeededRng};
use clap::Parser;
use serde_json::Value;

use super::Options;
use super::error::AgentError;
use super::fake_ca::FakeCa;
use super::runner::Agent;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    ca: FakeCa,
    clock: FakeClock,
    rng: SeededRng,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = FakeCa::start(folder.path()).await;
        std::fs::write(folder.path().join("secret"), "c2VjcmV0").unwrap();
        std::fs::set_permissions(folder.path().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder, ca, clock: FakeClock::default(), rng: SeededRng::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn agent(&self, more: &[&str]) -> Agent<'_> {
        let (bundle, secret) = (self.ca.bundle.to_str().unwrap(), self.secret());
        let usual = ["--ca-bundle", bundle, "--directory", &self.ca.directory, "--name", "a.demo.test", "--profile", "short"];
        let bound = ["--eab-kid", "kid-1", "--eab-hmac-file", &secret];
        self.open(&[&usual[..], &bound, more].concat()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// With these options and what is remembered.
    fn open(&self, options: &[&str]) -> Result<Agent<'_>, AgentError> {
        let dir = self.path("agent");
        let options = Cli::parse_from([&["agent", "--dir", dir.to_str().unwrap()], options].concat()).options;
        Agent::open(&options, &self.clock, &self.rng)
    }

    fn secret(&self) -> String {
        self.path("secret").to_str().unwrap().to_owned()
    }

    fn live(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("agent/live").join(name)).unwrap_or_default()
    }

    /// Runs the agent until `done`, at most [`PATIENCE`].
    async fn run_until(&self, agent: &mut Agent<'_>, done: impl Fn() -> bool) {
        let stop = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ran = tokio::time::timeout(PATIENCE, agent.run(stop)).await;
        let ran = ran.unwrap_or_else(|_| panic!("not within {PATIENCE:?}; state: {}", self.state()));
        assert_eq!(ran.unwrap(), ExitCode::SUCCESS);
    }

    fn state(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("agent/state.json")).unwrap()).unwrap()
    }

    fn orders(&self) -> Vec<Value> {
        self.ca.script.lock().unwrap().orders.clone()
    }
}

#[tokio::test]
async fn enrols_once_with_the_grant_and_renews_with_a_new_key() {
    let world = World::new().await;
    world.agent(&[]).enrol().await.unwrap();
    let (key, certificate) = (world.live("key.pem"), world.live("cert.pem"));
    assert!(key.starts_with("-----BEGIN PRIVATE KEY") && certificate.starts_with("-----BEGIN CERTIFICATE"));
    world.agent(&[]).enrol().await.unwrap();
    assert_eq!(world.live("cert.pem"), certificate, "a certificate that fits is left alone");

    world.clock.advance(21 * DAY);
    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.live("cert.pem") != certificate && world.state()["version"] == 2).await;
    assert_ne!(world.live("key.pem"), key);

    let script = world.ca.script.lock().unwrap();
    assert_eq!((script.accounts.len(), script.orders.len()), (1, 2), "the account is kept");
    let binding = &script.accounts[0]["externalAccountBinding"];
    assert!(binding["signature"].is_string(), "{binding}");
    assert_eq!(script.orders[0]["profile"], "short");
    for file in ["config.json", "state.json"] {
        let text = std::fs::read_to_string(world.path("agent").join(file)).unwrap();
        assert!(!text.contains("c2VjcmV0"), "the grant's secret is not kept");
    }
    let mode = std::fs::metadata(world.path("agent/account.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// The CA's worker was slow, or away, or the answer was lost: the account is there, and with the usual grant it is the only one.
/// So the agent has its key from before it asked, whatever becomes of the process meanwhile.
#[tokio::test]
async fn an_account_whose_answer_was_lost_is_taken_up_with_the_same_key() {
    let world = World::new().await;
    {
        let mut script = world.ca.script.lock().unwrap();
        (script.max_accounts, script.lost_accounts, script.bad_nonces) = (Some(1), 2, 1);
    }
    for _ in 0..2 {
        let error = world.agent(&[]).enrol().await.unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
        let mode = std::fs::metadata(world.path("agent/account.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    world.agent(&[]).enrol().await.unwrap_or_else(|e| panic!("{e}"));
    world.agent(&[]).enrol().await.unwrap();
    let script = world.ca.script.lock().unwrap();
    let keys = &script.account_keys;
    assert_eq!((keys.len(), &keys[1], &keys[2]), (3, &keys[0], &keys[0]), "what is known is not asked for again");
    assert_eq!((script.accounts.len(), script.orders.len()), (1, 1));
}

/// It would be refused for ever.
#[tokio::test]
async fn a_key_that_the_ca_takes_for_no_account_is_not_shown_again() {
    let world = World::new().await;
    world.ca.script.lock().unwrap().bad_account_key = true;
    assert_eq!(world.agent(&[]).enrol().await.unwrap_err().exit_code(), 4);
    world.ca.script.lock().unwrap().bad_account_key = false;
    world.agent(&[]).enrol().await.unwrap();
    let keys = &world.ca.script.lock().unwrap().account_keys;
    assert!(keys.len() == 2 && keys[0] != keys[1]);
}

/// Its key was compromised, and so it is blocked: to insist on it would be an outage.
#[tokio::test]
async fn a_key_that_the_ca_takes_no_more_is_replaced_though_it_should_be_reused() {
    let world = World::new().await;
    world.agent(&["--reuse-key"]).enrol().await.unwrap();
    let (key, first) = (world.live("key.pem"), world.live("cert.pem"));
    {
        let mut script = world.ca.script.lock().unwrap();
        script.blocked = script.certified.clone();
    }
    world.clock.advance(21 * DAY);
    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.live("cert.pem") != first && world.state()["version"] == 2).await;
    assert_ne!(world.live("key.pem"), key);
    assert_eq!(world.orders().len(), 2, "the same order, with another key");
}

#[tokio::test]
async fn a_window_moves_the_renewal_and_the_order_names_what_it_replaces() {
    let world = World::new().await;
    world.ca.script.lock().unwrap().window = Some((world.clock.now().plus(3 * DAY), world.clock.now().plus(4 * DAY)));
    world.agent(&["--reuse-key"]).enrol().await.unwrap();
    let (key, first) = (world.live("key.pem"), world.live("cert.pem"));
    assert!(world.orders()[0]["replaces"].is_null());

    world.clock.advance(4 * DAY);
    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.live("cert.pem") != first && world.state()["version"] == 2).await;
    drop(agent);
    assert_eq!(world.live("key.pem"), key, "--reuse-key is remembered");
    let replaced = world.orders()[1]["replaces"].as_str().unwrap().to_owned();
    assert_eq!(replaced.split('.').count(), 2, "RFC 9773 §4.1: {replaced}");

    // An earlier order holds the place: the agent orders without naming what it replaces.
    world.ca.script.lock().unwrap().already_replaced = true;
    let second = world.live("cert.pem");
    world.clock.advance(DAY);
    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.live("cert.pem") != second && world.state()["version"] == 3).await;
    let orders = world.orders();
    assert_eq!((orders.len(), orders[2]["replaces"].is_string(), orders[3]["replaces"].is_null()), (4, true, true));
}

/// A timer that runs `enrol` now and then: each time it asks, and a window that has passed is a reason to renew.
#[tokio::test]
async fn a20_each_start_asks_whether_the_certificate_is_to_be_replaced() {
    let world = World::new().await;
    let set = |window| world.ca.script.lock().unwrap().window = Some(window);
    let now = world.clock.now();
    set((now.plus(20 * DAY), now.plus(21 * DAY)));
    world.agent(&[]).enrol().await.unwrap();
    let first = world.live("cert.pem");
    world.clock.advance(Duration::from_secs(600));
    world.agent(&[]).enrol().await.unwrap();
    assert_eq!((world.live("cert.pem") == first, world.ca.script.lock().unwrap().window_asked), (true, 2));

    // The CA marked it: its window has passed (RFC 9773 §4.2).
    set((now.minus(2 * DAY), now.minus(DAY)));
    world.agent(&[]).enrol().await.unwrap();
    let second = world.live("cert.pem");
    let orders = world.orders();
    assert_eq!((second != first, orders.len(), orders[1]["replaces"].is_string()), (true, 2, true));

    // While the CA is away, or busy, what is in force stays. When to ask again is what it asked for.
    set((now.plus(20 * DAY), now.plus(21 * DAY)));
    world.clock.advance(Duration::from_secs(600));
    world.agent(&[]).enrol().await.unwrap();
    world.ca.away(true);
    world.agent(&[]).enrol().await.unwrap();
    let again = || world.state()["check_window_at"].as_i64().unwrap() - world.clock.now().unix();
    assert_eq!((world.live("cert.pem") == second, again()), (true, 3600));
    world.ca.away(false);
    for (asked, waits) in [(7200, 7200), (0, 60), (10_000_000, 86_400)] {
        world.ca.script.lock().unwrap().window_busy = Some(asked);
        world.agent(&[]).enrol().await.unwrap();
        assert_eq!((again(), world.state()["window"].is_object()), (waits, true), "{asked}");
    }
    let mut agent = world.agent(&[]);
    let asked = world.ca.script.lock().unwrap().window_asked;
    world.run_until(&mut agent, || world.ca.script.lock().unwrap().window_asked > asked).await;
    assert_eq!(world.orders().len(), 2);
}

#[tokio::test]
async fn while_the_ca_is_away_it_goes_on_trying() {
    let world = World::new().await;
    world.ca.away(true);
    let error = world.agent(&[]).enrol().await.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert!(error.to_string().contains("TLS with 127.0.0.1"), "{error}");

    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.state()["failures"] == 1).await;
    let retry_at = world.state()["retry_at"].as_i64().unwrap() - world.clock.now().unix();
    assert!((1..=2).contains(&retry_at), "{retry_at}");
    world.ca.away(false);
    world.clock.advance(Duration::from_secs(10));
    world.run_until(&mut agent, || !world.live("cert.pem").is_empty() && world.state()["failures"] == 0).await;
}

#[tokio::test]
async fn a_busy_ca_is_given_the_time_that_it_asks_for() {
    let world = World::new().await;
    world.agent(&[]).enrol().await.unwrap();
    {
        let mut script = world.ca.script.lock().unwrap();
        (script.problem, script.retry_after) = (Some("rateLimited"), Some(7200));
    }
    world.clock.advance(25 * DAY);
    let mut agent = world.agent(&[]);
    world.run_until(&mut agent, || world.state()["failures"] == 1).await;
    assert_eq!(world.state()["retry_at"].as_i64().unwrap() - world.clock.now().unix(), 7200);
}

#[tokio::test]
async fn refusals_have_their_exit_code_and_change_nothing() {
    let world = World::new().await;
    world.agent(&[]).enrol().await.unwrap();
    let before = world.live("cert.pem");
    for (kind, code, accounts) in
        [("rejectedIdentifier", 4, 1), ("compound", 4, 1), ("unauthorized", 4, 1), ("serverInternal", 5, 1), ("accountDoesNotExist", 4, 2)]
    {
        world.clock.advance(DAY);
        world.ca.script.lock().unwrap().problem = Some(kind);
        let error = world.agent(&["--name", "b.demo.test"]).enrol().await.unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(world.state()["last_error"].as_str().unwrap().contains(kind), "{}", world.state());
        assert_eq!(world.live("cert.pem"), before);
        assert_eq!(world.ca.script.lock().unwrap().accounts.len(), accounts, "{kind}: an account that is unknown is made again, once");
    }
}

/// Its grant was revoked, or its account deactivated: with another grant it goes on in the same directory, though what it
/// replaces belongs to the account of before.
#[tokio::test]
async fn a15_with_another_grant_it_goes_on_where_its_account_has_ended() {
    let world = World::new().await;
    let now = world.clock.now();
    world.ca.script.lock().unwrap().window = Some((now, now));
    world.agent(&[]).enrol().await.unwrap();
    let certificate = world.live("cert.pem");
    world.ca.script.lock().unwrap().ended_accounts = 1;
    world.clock.advance(Duration::from_secs(120));
    world.agent(&[]).enrol().await.unwrap();
    assert_ne!(world.live("cert.pem"), certificate);
    assert_eq!(world.ca.script.lock().unwrap().accounts.len(), 2);
    assert!(world.path("agent/account.json.old").exists());

    // That one ended too, and there is no third grant: what to do is told.
    world.ca.script.lock().unwrap().ended_accounts = 3;
    world.clock.advance(Duration::from_secs(120));
    let error = world.agent(&[]).enrol().await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("of a grant in use"), "{error}");
}

#[tokio::test]
async fn the_hook_runs_after_each_certificate_and_its_failure_is_kept() {
    let world = World::new().await;
    let marker = world.path("marker");
    let touch = format!("touch '{}'", marker.display());
    world.agent(&["--reload-cmd", &touch]).enrol().await.unwrap();
    assert!(marker.exists());
    assert_eq!(world.state()["reload_at"], Value::Null);

    world.clock.advance(25 * DAY);
    let error = world.agent(&["--reload-cmd", "false"]).enrol().await.unwrap_err();
    assert_eq!((error.exit_code(), world.state()["version"].as_u64()), (1, Some(2)), "the certificate is in use all the same");
    assert!(world.state()["reload_error"].as_str().unwrap().contains("`false` failed"));

    // The hook is owed until it succeeds.
    std::fs::remove_file(&marker).unwrap();
    world.clock.advance(Duration::from_secs(600));
    let mut agent = world.agent(&["--reload-cmd", &touch]);
    world.run_until(&mut agent, || marker.exists() && world.state()["reload_error"] == Value::Null).await;
}

/// An hour of a wrong clock must not cost a year of certificates.
#[tokio::test]
async fn what_a_clock_that_was_ahead_put_off_is_done_when_it_is_set_right() {
    let world = World::new().await;
    let (start, marker) = (world.clock.now(), world.path("marker"));
    let hook = format!("test -e '{}'", marker.display());
    world.ca.script.lock().unwrap().window = Some((start.plus(20 * DAY), start.plus(21 * DAY)));
    world.agent(&["--reload-cmd", &hook]).enrol().await.unwrap_err();
    let first = world.live("cert.pem");

    // A year ahead, and nothing succeeds.
    world.clock.advance(365 * DAY);
    world.ca.away(true);
    let mut agent = world.open(&[]).unwrap();
    let ahead = |name: &str| world.state()[name].as_i64().is_some_and(|at| at > world.clock.now().unix());
    world.run_until(&mut agent, || ["retry_at", "reload_at", "check_window_at"].into_iter().all(ahead)).await;

    // It is set right while the agent runs.
    world.clock.set(start.plus(DAY));
    world.ca.away(false);
    std::fs::write(&marker, "").unwrap();
    let asked = world.ca.script.lock().unwrap().window_asked;
    let done = || world.state()["reload_at"].is_null() && world.ca.script.lock().unwrap().window_asked > asked;
    world.run_until(&mut agent, done).await;
    assert_eq!(world.live("cert.pem"), first, "its time has not come");
    world.clock.set(start.plus(22 * DAY));
    world.run_until(&mut agent, || world.live("cert.pem") != first).await;
}

/// It counts its life from then.
#[tokio::test]
async fn a_certificate_got_by_a_clock_that_was_ahead_is_renewed_in_time() {
    let world = World::new().await;
    let start = world.clock.now();
    world.clock.advance(29 * DAY);
    world.agent(&[]).enrol().await.unwrap();
    let first = world.live("cert.pem");
    let mut agent = world.open(&[]).unwrap();
    world.clock.set(start);
    world.run_until(&mut agent, || world.state()["obtained"] == start.unix()).await;
    world.clock.set(start.plus(21 * DAY));
    world.run_until(&mut agent, || world.live("cert.pem") != first).await;
}

/// A full disk, for example, or one that went bad: what is in the way of the state does not end the agent, and a certificate
/// that could be installed is not lost by it.
#[tokio::test]
async fn a_state_that_cannot_be_written_ends_nothing_and_loses_nothing() {
    let world = World::new().await;
    let marker = world.path("marker");
    let hook = format!("touch '{}'", marker.display());
    let mut agent = world.agent(&["--reload-cmd", &hook]);
    // A folder that is not empty cannot be replaced by a file.
    let state = world.path("agent/state.json");
    std::fs::create_dir_all(state.join("in the way")).unwrap();
    world.run_until(&mut agent, || marker.exists()).await;
    drop(agent);

    // Nothing is known of what it installed: the service may not have it yet.
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::remove_file(&marker).unwrap();
    world.open(&[]).unwrap().enrol().await.unwrap();
    assert_eq!((marker.exists(), world.orders().len()), (true, 1));
}

#[tokio::test]
async fn another_directory_of_the_same_ca_is_used_with_the_same_account() {
    let world = World::new().await;
    world.agent(&[]).enrol().await.unwrap();
    world.clock.advance(21 * DAY);
    let other = world.ca.directory.replace("/directory", "/p/other/directory");
    world.open(&["--directory", &other]).unwrap().enrol().await.unwrap();
    let script = world.ca.script.lock().unwrap();
    assert_eq!((script.accounts.len(), script.orders.len()), (1, 2));
    assert_eq!(script.directories.last().unwrap(), "/p/other/directory");
}

#[tokio::test]
async fn at_another_ca_it_wants_another_grant_and_makes_another_account() {
    let world = World::new().await;
    world.agent(&[]).enrol().await.unwrap();
    let (folder, secret) = (tempfile::tempdir().unwrap(), world.secret());
    let other = FakeCa::start(folder.path()).await;
    let there = ["--directory", &other.directory, "--ca-bundle", other.bundle.to_str().unwrap()];
    let files = ["agent/config.json", "agent/account.json"].map(|name| world.path(name));
    let before = files.each_ref().map(|file| std::fs::read_to_string(file).unwrap());

    let error = world.open(&there).err().unwrap();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("of a grant of the other CA"), "{error}");
    assert_eq!(files.each_ref().map(|file| std::fs::read_to_string(file).unwrap()), before, "nothing has changed");

    world.clock.advance(21 * DAY);
    world.open(&[&there[..], &["--eab-kid", "kid-2", "--eab-hmac-file", &secret]].concat()).unwrap().enrol().await.unwrap();
    assert_eq!(std::fs::read_to_string(world.path("agent/account.json.old")).unwrap(), before[1], "it is put aside");
    world.clock.advance(7 * DAY);
    world.open(&[]).unwrap().enrol().await.unwrap();
    let (here, there) = (world.ca.script.lock().unwrap(), other.script.lock().unwrap());
    assert_eq!((here.accounts.len(), here.orders.len(), there.accounts.len(), there.orders.len()), (1, 1, 1, 2));
    assert_ne!(here.account_keys[0], there.account_keys[0]);
}
