//! A ceremony in a temporary folder, with officers whose keys and signatures are those of the real `ssh-keygen`.
#![allow(unreachable_pub, dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::new_without_default, reason = "a test that meets an error has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ca_ceremony::{Error, Observer, RunOptions, RunOutcome, SystemRng, run};
use ca_core::pki::Timestamp;
use ca_keystore::{SoftwareKeyStore, Unsealer};
use ca_testkit::FakeClock;
use zeroize::Zeroizing;

pub const NAMESPACE: &str = "ceremony@countersign";

pub struct Ceremony {
    pub dir: tempfile::TempDir,
    pub clock: Arc<FakeClock>,
}

impl Ceremony {
    /// Three officers, ana with two keys, and a plan that asks for two people.
    pub fn new() -> Self {
        Self::of("production", "")
    }

    pub fn of(kind: &str, mark: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for key in ["ana", "ana2", "bela", "cora", "mallory"] {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
                .arg(dir.path().join(key))
                .status()
                .expect("ssh-keygen is installed (Debian: openssh-client)");
            assert!(status.success());
        }
        let ceremony = Self { dir, clock: Arc::new(FakeClock::at(Timestamp::from_unix(1_800_000_000))) };
        std::fs::write(ceremony.plan(), ceremony.plan_text(kind, mark)).unwrap();
        ceremony
    }

    fn plan_text(&self, kind: &str, mark: &str) -> String {
        let public = |key: &str| std::fs::read_to_string(self.dir.path().join(format!("{key}.pub"))).unwrap().trim().to_owned();
        let officer = |name: &str, keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|k| format!("{:?}", public(k))).collect();
            format!("[[roster.officer]]\nname = \"{name}\"\nkeys = [{}]\n", keys.join(", "))
        };
        format!(
            r#"format = "countersign/plan/1"
kind = "{kind}"
title = "First ceremony"
status_base_url = "http://127.0.0.1:14002"
approval_days = 30

[roster]
threshold = 2
{}{}{}
[root]
authority = "bank-root"
key = "bank-root-2026"
algorithm = "p384"
subject = {{ organization = "Bank", common_name = "{mark}Bank Root" }}
lifetime_days = 3650
crl_lifetime_days = 365
next_ceremony_days = 330

[[issuing]]
authority = "bank"
key = "bank-2026"
algorithm = "p256"
subject = {{ country = "DE", organization = "Bank", common_name = "{mark}Bank Issuing" }}
lifetime_days = 1825
permitted = ["dns:bank.test", "ip:127.0.0.0/8"]

[policy]
version = 1
[[policy.authority]]
name = "bank"
names = ["dns:*.bank.test"]
max_per_hour = 10
crl_validity = 86400
crl_interval = 3600
profile.client = {{ shape = "client", lifetime = 3600 }}
"#,
            officer("ana", &["ana", "ana2"]),
            officer("bela", &["bela"]),
            officer("cora", &["cora"]),
        )
    }

    pub fn plan(&self) -> PathBuf {
        self.dir.path().join("plan.toml")
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn keys(&self, name: &str) -> Arc<SoftwareKeyStore> {
        let unsealer = Unsealer::FileKey(Zeroizing::new([7; 32]));
        Arc::new(SoftwareKeyStore::open(self.dir.path().join(name), unsealer).unwrap())
    }

    pub async fn run(&self) -> Result<RunOutcome, Error> {
        self.observed(None).await
    }

    pub async fn observed(&self, observer: Option<Observer>) -> Result<RunOutcome, Error> {
        let clock = Arc::clone(&self.clock);
        let rng = Arc::new(SystemRng);
        let (root_keys, online_keys) = (self.keys("root-keys"), self.keys("online-keys"));
        run(RunOptions {
            plan: self.plan(),
            bundle: self.bundle(),
            root_keys: Some(root_keys),
            online_keys: Some(online_keys),
            backup_keys: None,
            wrapped: None,
            previous: None,
            requests: Vec::new(),
            clock,
            rng,
            observer,
        })
        .await
    }

    /// `key` signs `file` of the bundle, into `sigs/SUBJECT.KEY.sig`.
    pub fn sign_in(&self, namespace: &str, file: &Path, subject: &str, key: &str) {
        let output = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(self.dir.path().join(key))
            .stdin(std::fs::File::open(file).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(self.bundle().join(format!("sigs/{subject}.{key}.sig")), output.stdout).unwrap();
    }

    pub fn sign(&self, file: &Path, subject: &str, key: &str) {
        self.sign_in(NAMESPACE, file, subject, key);
    }

    pub fn sign_plan(&self, keys: &[&str]) {
        keys.iter().for_each(|key| self.sign(&self.bundle().join("plan.toml"), "plan", key));
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
    pub async fn complete(&self) -> ca_ceremony::VerifiedBundle {
        for _ in 0..3 {
            match self.run().await.unwrap() {
                RunOutcome::Complete(verified) => return *verified,
                RunOutcome::NeedsSignatures(needed) if needed[0].file.ends_with("plan.toml") => self.sign_plan(&["ana", "bela"]),
                RunOutcome::NeedsSignatures(_) => self.sign_statements(&["ana", "bela"]),
            }
        }
        panic!("the ceremony does not end");
    }
}

/// What is missing, as (file name, who signed).
pub fn missing(outcome: Result<RunOutcome, Error>) -> Vec<(String, Vec<String>)> {
    match outcome.unwrap() {
        RunOutcome::NeedsSignatures(needed) => {
            needed.into_iter().map(|n| (n.file.file_name().unwrap().to_str().unwrap().to_owned(), n.signed)).collect()
        }
        RunOutcome::Complete(_) => panic!("nothing is missing"),
    }
}

pub fn refused(outcome: Result<RunOutcome, Error>) -> String {
    let error = outcome.expect_err("it is refused");
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string()
}
