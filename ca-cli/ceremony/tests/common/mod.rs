//! A ceremony in a temporary folder, with people whose keys and signatures are those of the real `ssh-keygen`.
#![allow(unreachable_pub, dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::new_without_default, reason = "a test that meets an error has failed")]

pub mod custody;
#[cfg(feature = "pkcs11")]
pub mod devices;
pub mod later;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use ca_ceremony::{Error, Machine, Observer, RunOptions, RunOutcome, SystemRng, VerifiedBundle, dispose_exception, note, run};
use ca_core::ceremony::{CoreDumps, Duty, Fact, MachineFacts};
use ca_core::pki::{Sha256Digest, Timestamp, sha256};
use ca_core::ports::{Clock as _, KeyDevice};
use ca_keystore::{SoftwareKeyStore, Unsealer};
use ca_testkit::FakeClock;
use ca_testkit::plan::{CLIENTS, FirstPlan};
use zeroize::Zeroizing;

pub const NAMESPACE: &str = "ceremony@countersign";
const START: i64 = 1_800_000_000;
/// The digest that the plan pins for runs inside the test's own process.
const TOOL: [u8; 32] = [0x11; 32];

/// A machine as a plan wants it, whose monotonic clock goes with the fake one.
pub struct FakeMachine {
    pub tool: Mutex<Sha256Digest>,
    pub facts: Mutex<MachineFacts>,
    clock: Arc<FakeClock>,
}

impl Machine for FakeMachine {
    fn tool_sha256(&self) -> Result<Sha256Digest, Error> {
        Ok(*self.tool.lock().unwrap())
    }

    fn facts(&self) -> MachineFacts {
        let facts = self.facts.lock().unwrap().clone();
        // `uptime` in the facts is what the monotonic clock is ahead of the wall clock.
        let since = self.clock.now().since(Timestamp::from_unix(START - 1000)).as_secs();
        MachineFacts { uptime: facts.uptime + since, ..facts }
    }
}

pub struct Ceremony {
    /// Signatures are made in this process, as OpenSSH makes them: for tests of many ceremonies.
    quick: bool,
    pub dir: tempfile::TempDir,
    pub clock: Arc<FakeClock>,
    pub machine: Arc<FakeMachine>,
    pub namespace: &'static str,
    /// The ceremony at hand: empty for the first, the name of its plan and its bundle for a later one.
    pub current: String,
    /// The bundle that the ceremony at hand continues.
    pub previous: Option<PathBuf>,
    pub requests: Vec<PathBuf>,
    /// Shares, of a ceremony that deals credentials.
    pub deals: Option<custody::Deals>,
}

/// What differs between the plans of tests.
pub struct Options {
    pub kind: &'static str,
    pub tool: Sha256Digest,
    pub environment: &'static str,
}

/// What a plan asks of the machine that runs the tests: it is nobody's ceremony machine.
pub const ANY_MACHINE: &str = "offline = false\nno_swap = false\nno_core_dumps = true";
pub const STRICT: &str = "offline = true\nno_swap = true\nno_core_dumps = true";

impl Ceremony {
    /// Three officers, ana with two keys, and a plan that asks for two people.
    pub fn new() -> Self {
        Self::of("production")
    }

    /// As [`Self::new`], without a process for each signature.
    pub fn quick() -> Self {
        Self { quick: true, ..Self::new() }
    }

    /// For runs inside this process.
    pub fn of(kind: &'static str) -> Self {
        Self::with(&Options { kind, tool: Sha256Digest(TOOL), environment: STRICT })
    }

    /// For runs of the binary.
    pub fn for_binary(kind: &'static str, environment: &'static str) -> Self {
        let tool = sha256(&std::fs::read(env!("CARGO_BIN_EXE_ca-ceremony")).unwrap());
        Self::with(&Options { kind, tool, environment })
    }

    fn with(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // One set of keys for all ceremonies of a test program; each has its own copy.
        static KEYS: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(ssh_keys);
        for entry in std::fs::read_dir(KEYS.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        let clock = Arc::new(FakeClock::at(Timestamp::from_unix(START)));
        let core = CoreDumps { limit: Some(0), pattern: "core".to_owned(), dumpable: false };
        let facts = MachineFacts { boot: "boot-1".to_owned(), uptime: 0, interfaces_up: vec![], swaps: vec![], core };
        let machine = Arc::new(FakeMachine { tool: Mutex::new(options.tool), facts: Mutex::new(facts), clock: Arc::clone(&clock) });
        let namespace = if options.kind == "rehearsal" { "rehearsal@countersign" } else { NAMESPACE };
        let ceremony = Self {
            quick: false,
            dir,
            clock,
            machine,
            namespace,
            current: String::new(),
            previous: None,
            requests: Vec::new(),
            deals: None,
        };
        std::fs::write(ceremony.plan(), ceremony.plan_text(options)).unwrap();
        ceremony
    }

    fn plan_text(&self, options: &Options) -> String {
        let public = |key: &str| std::fs::read_to_string(self.dir.path().join(format!("{key}.pub"))).unwrap().trim().to_owned();
        let officer = |name: &'static str, keys: &[&str]| (name, keys.iter().map(|key| public(key)).collect::<Vec<_>>());
        let serial = |store: &str| ready(self.keys(store).identity()).unwrap().serial;
        let device = |place: &str, store: &str, before: &str| {
            format!("[device.{place}]\nkind = \"software\"\nserial = \"{}\"\nbefore = {before}\n", serial(store))
        };
        let first = FirstPlan {
            kind: options.kind,
            status_base_url: "http://127.0.0.1:14002",
            tool: options.tool.to_string(),
            evidence: ["root-keys", "bundle-copy"],
            environment: options.environment,
            devices: [device("root", "root-keys", "\"new\""), device("online", "online-keys", "[]")].join("\n"),
            others: [public("dora"), public("wim")],
            officers: vec![officer("ana", &["ana", "ana2"]), officer("bela", &["bela"]), officer("cora", &["cora"])],
            permitted: &["dns:bank.test", "ip:127.0.0.0/8"],
            policy: CLIENTS.to_owned(),
        };
        first.text()
    }

    pub fn plan(&self) -> PathBuf {
        self.dir.path().join(if self.current.is_empty() { "plan.toml".to_owned() } else { format!("{}.toml", self.current) })
    }

    pub fn edit_plan(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.plan()).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(self.plan(), text.replacen(from, to, 1)).unwrap();
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join(if self.current.is_empty() { "bundle" } else { &self.current })
    }

    pub fn keys(&self, name: &str) -> Arc<SoftwareKeyStore> {
        let unsealer = Unsealer::FileKey(Zeroizing::new([7; 32]));
        let wrapping = Unsealer::FileKey(Zeroizing::new([9; 32]));
        Arc::new(SoftwareKeyStore::open(self.dir.path().join(name), unsealer).unwrap().with_wrapping_key("backup-2026", wrapping))
    }

    /// Runs, and does what people owe, until it is done or signatures are missing.
    pub async fn run(&self) -> Result<RunOutcome, Error> {
        for _ in 0..8 {
            match self.bare().await? {
                RunOutcome::NeedsPeople(duties) => self.fulfil(&duties),
                other => return Ok(other),
            }
        }
        panic!("people never owe nothing");
    }

    /// Runs once.
    pub async fn bare(&self) -> Result<RunOutcome, Error> {
        self.observed(None).await
    }

    pub async fn observed(&self, observer: Option<Observer>) -> Result<RunOutcome, Error> {
        self.with_devices(self.keys("root-keys"), self.keys("online-keys"), observer).await
    }

    pub async fn with_devices(
        &self,
        root_keys: Arc<dyn KeyDevice>,
        online_keys: Arc<dyn KeyDevice>,
        observer: Option<Observer>,
    ) -> Result<RunOutcome, Error> {
        let clock = Arc::clone(&self.clock);
        let machine = Arc::clone(&self.machine);
        let options = RunOptions {
            plan: self.plan(),
            bundle: self.bundle(),
            root_keys: Some(root_keys),
            online_keys: Some(online_keys),
            backup_keys: Some(self.keys("backup-keys")),
            wrapped: Some(self.dir.path().join("wrapped")),
            previous: self.previous.clone(),
            requests: self.requests.clone(),
            custody: self.deals.as_ref().map(|deals| deals.custody(self.dir.path())),
            machine,
            clock,
            rng: Arc::new(SystemRng),
            observer,
        };
        run(options).await
    }

    /// What people owe, done by them.
    pub fn fulfil(&self, duties: &[Duty]) {
        let (bundle, clock) = (self.bundle(), self.clock.as_ref());
        for duty in duties {
            let fact = match duty.clone() {
                Duty::Attend { role, missing, of } => {
                    for name in of.into_iter().take(missing) {
                        note(&bundle, Fact::Attendance { name, role, own_clock: Some(clock.now()) }, None, clock).unwrap();
                    }
                    continue;
                }
                Duty::Sign { record, who } => {
                    self.sign(&bundle.join(format!("records/{record}.json")), &format!("record-{record}"), &who);
                    continue;
                }
                Duty::Dispose { line, .. } => {
                    dispose_exception(&bundle, line, "looked at, and harmless", &["ana".to_owned(), "wim".to_owned()], clock).unwrap();
                    continue;
                }
                Duty::ConfirmClock { .. } => panic!("everybody gave the time"),
                Duty::Acknowledge { name, holds } => Fact::Custody { name, holds, bag: "TB-0001".to_owned() },
                Duty::Bag { what } => Fact::Bag { what, id: "TB-0001".to_owned() },
                Duty::Media { what } => Fact::Media { what, sha256: sha256(b"medium") },
            };
            note(&bundle, fact, None, clock).unwrap();
        }
    }

    /// `key` signs `file` of the bundle, into `sigs/SUBJECT.KEY.sig`.
    pub fn sign_in(&self, namespace: &str, file: &Path, subject: &str, key: &str) {
        let signature = self.bundle().join(format!("sigs/{subject}.{key}.sig"));
        if self.quick {
            let private = ssh_key::PrivateKey::read_openssh_file(&self.dir.path().join(key)).unwrap();
            let armored = ca_core::evidence::sshsig::sign(&private, namespace, &std::fs::read(file).unwrap()).unwrap();
            std::fs::write(signature, armored).unwrap();
            return;
        }
        let output = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(self.dir.path().join(key))
            .stdin(std::fs::File::open(file).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(signature, output.stdout).unwrap();
    }

    pub fn sign(&self, file: &Path, subject: &str, key: &str) {
        self.sign_in(self.namespace, file, subject, key);
    }

    pub fn sign_plan(&self, keys: &[&str]) {
        keys.iter().for_each(|key| self.sign(&self.bundle().join("plan.toml"), "plan", key));
    }

    pub fn cosign(&self, keys: &[&str]) {
        keys.iter().for_each(|key| self.sign(&self.bundle().join("transcript.jsonl"), "transcript", key));
    }

    pub fn statements(&self) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(self.bundle().join("statements")).unwrap().map(|e| e.unwrap().path());
        let mut found: Vec<_> = entries.map(|p| (p.clone(), p.file_stem().unwrap().to_str().unwrap().to_owned())).collect();
        found.sort();
        found
    }

    pub fn sign_statements(&self, keys: &[&str]) {
        for (path, name) in self.statements() {
            keys.iter().for_each(|key| self.sign(&path, &name, key));
        }
    }

    /// Runs until nothing is missing, with ana and bela signing.
    pub async fn complete(&self) -> VerifiedBundle {
        for _ in 0..4 {
            match self.run().await.unwrap() {
                RunOutcome::Complete(verified) => return *verified,
                RunOutcome::NeedsSignatures(needed) if needed[0].file.ends_with("plan.toml") => self.sign_plan(&["ana", "bela"]),
                RunOutcome::NeedsSignatures(_) => self.sign_statements(&["ana", "bela"]),
                RunOutcome::NeedsPeople(duties) => panic!("{duties:?}"),
            }
        }
        panic!("the ceremony does not end");
    }

    /// The binary, in the ceremony's folder.
    pub fn tool(&self, args: &[&str]) -> Output {
        self.tool_command(args).output().unwrap()
    }

    pub fn tool_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ca-ceremony"));
        command.args(args).current_dir(self.dir.path()).stdin(std::process::Stdio::null());
        command
    }

    /// A file that only its owner reads.
    pub fn secret_file(&self, name: &str, content: &str) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The arguments of `run`, with a passphrase for the root and a file key for the rest.
    pub fn run_args(&self) -> Vec<&'static str> {
        let stores = ["--root-keys", "root-keys", "--root-passphrase-file", "pass", "--online-keys", "online-keys"];
        [&["run", "plan.toml", "--out", "bundle"], stores.as_slice(), &["--online-key-file", "file-key"]].concat()
    }

    /// The plan pins the devices as `device PLACE --keystore PLACE.toml` prints them; `tool` runs that.
    pub fn pin_devices(&self, tool: &mut dyn FnMut(&[&str]) -> String) {
        for place in ["root", "online"] {
            let table = tool(&["device", place, "--keystore", &format!("{place}.toml")]);
            let plan = std::fs::read_to_string(self.plan()).unwrap();
            let start = plan.find(&format!("[device.{place}]")).unwrap();
            let end = start + plan[start..].find("\n\n").unwrap();
            std::fs::write(self.plan(), format!("{}{}{}", &plan[..start], table.trim_end(), &plan[end..])).unwrap();
        }
    }

    /// Everyone comes in. `run` runs the binary with arguments and the exit code that is expected.
    pub fn attend_by_binary(&self, run: &mut dyn FnMut(&[&str], i32)) {
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let time = Timestamp::from_unix(i64::try_from(time).unwrap()).to_rfc3339();
        for name in ["dora", "ana", "bela", "wim"] {
            run(&["note", "bundle", "attendance", name, "--own-clock", &time], 0);
            self.sign(&self.bundle().join(format!("records/attendance-{name}.json")), &format!("record-attendance-{name}"), name);
        }
    }

    /// Bags, media, custody.
    pub fn note_by_binary(&self, run: &mut dyn FnMut(&[&str], i32)) {
        run(&["note", "bundle", "bag", "root-keys", "TB-0001"], 0);
        run(&["note", "bundle", "media", "bundle-copy", "--file", "plan.toml"], 0);
        run(&["note", "bundle", "custody", "ana", "--bag", "TB-0001"], 0);
        self.sign(&self.bundle().join("records/custody-ana.json"), "record-custody-ana", "ana");
    }

    /// The whole ceremony by the binary, as people type it; gives everything that was printed.
    pub fn complete_by_binary(&self) -> String {
        let mut printed = String::new();
        let mut run = |args: &[&str], code: i32| {
            let output = self.tool_command(args).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").output().unwrap();
            let all = text(&output);
            assert_eq!(output.status.code(), Some(code), "{args:?}: {all}");
            printed.push_str(&all);
        };
        run(&self.run_args(), 5);
        self.sign_plan(&["ana", "bela"]);
        run(&self.run_args(), 5);
        self.attend_by_binary(&mut run);
        run(&self.run_args(), 5);
        run(&["show", "bundle"], 0);
        self.sign_statements(&["ana", "bela"]);
        run(&self.run_args(), 5);
        self.note_by_binary(&mut run);
        run(&["exception", "list", "bundle"], 0);
        run(&self.run_args(), 0);
        self.cosign(&["ana", "bela", "wim"]);
        run(&["verify", "bundle", "--roster", "bundle/roster.toml", "--require-cosigned"], 0);
        printed
    }
}

fn ssh_keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for key in ["ana", "ana2", "bela", "cora", "dora", "wim", "mallory"] {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
            .arg(dir.path().join(key))
            .status()
            .expect("ssh-keygen is installed (Debian: openssh-client)");
        assert!(status.success());
    }
    dir
}

/// The result of a future that never waits.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("a folder of files does not wait"),
    }
}

/// What is missing, as (file name, who signed).
pub fn missing(outcome: Result<RunOutcome, Error>) -> Vec<(String, Vec<String>)> {
    match outcome.unwrap() {
        RunOutcome::NeedsSignatures(needed) => {
            needed.into_iter().map(|n| (n.file.file_name().unwrap().to_str().unwrap().to_owned(), n.signed)).collect()
        }
        RunOutcome::NeedsPeople(duties) => panic!("people owe {duties:?}"),
        RunOutcome::Complete(_) => panic!("nothing is missing"),
    }
}

/// What people owe.
pub fn owed(outcome: Result<RunOutcome, Error>) -> Vec<Duty> {
    match outcome.unwrap() {
        RunOutcome::NeedsPeople(duties) => duties,
        other => panic!("nobody owes anything: {other:?}"),
    }
}

pub fn refused(outcome: Result<RunOutcome, Error>) -> String {
    let error = outcome.expect_err("it is refused");
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string()
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
