//! Ceremonies after the first.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use ca_ceremony::{Error, Observer, RunOutcome, SystemRng};
use ca_core::pki::{Timestamp, sha256};
use ca_core::ports::{Clock as _, KeyDevice as _, KeyStore as _};

use super::{Ceremony, ready};

impl Ceremony {
    /// Turns to a later ceremony that continues the one at hand: the first plan's frame and root, with this `[acts]`
    /// (but for `continues`) and what else the kind has.
    pub fn next(&mut self, name: &str, acts: &str, places: &[&str]) {
        let verified = ca_ceremony::verify(&self.bundle(), None).unwrap();
        let hierarchy = verified.hierarchy.as_ref().unwrap();
        self.previous = Some(self.bundle());
        self.current = name.to_owned();
        self.requests.clear();
        let mut plan = self.later_frame(places);
        let mut own: toml::Table = acts.parse().unwrap();
        let policy = verified.policy.map_or_else(
            || {
                let continues = verified.acts.continues().unwrap();
                (continues.policy_version, continues.policy_sha256)
            },
            |policy| (policy.version, sha256(verified.policy_bundle.as_ref().unwrap().policy.as_bytes())),
        );
        let mut continues = toml::Table::new();
        continues.insert("policy_version".into(), toml::Value::Integer(i64::try_from(policy.0).unwrap()));
        let digests = [
            ("transcript", verified.transcript_head),
            ("root_certificate", sha256(hierarchy.root().der())),
            ("hierarchy", hierarchy.digest()),
            ("policy_sha256", policy.1),
        ];
        for (key, digest) in digests {
            continues.insert(key.into(), toml::Value::String(digest.to_string()));
        }
        own["acts"].as_table_mut().unwrap().insert("continues".into(), toml::Value::Table(continues));
        plan.extend(own);
        plan.insert("title".into(), toml::Value::String(format!("Ceremony {name}")));
        std::fs::write(self.plan(), toml::to_string(&plan).unwrap()).unwrap();
    }

    /// The first plan without what is its own, with the devices as they are now.
    pub(super) fn later_frame(&self, places: &[&str]) -> toml::Table {
        let mut plan: toml::Table = std::fs::read_to_string(self.dir.path().join("plan.toml")).unwrap().parse().unwrap();
        for own in ["issuing", "policy", "device"] {
            plan.remove(own);
        }
        let mut devices = toml::Table::new();
        for place in places {
            let keys = self.keys(&format!("{place}-keys"));
            let serial = ready(keys.identity()).unwrap().serial;
            let lines = ca_core::ceremony::inventory_lines(&ready(keys.inventory()).unwrap());
            let pin = toml::Table::from_iter([
                ("kind".to_owned(), toml::Value::String("software".to_owned())),
                ("serial".to_owned(), toml::Value::String(serial)),
                ("before".to_owned(), toml::Value::Array(lines.into_iter().map(toml::Value::String).collect())),
            ]);
            devices.insert((*place).to_owned(), toml::Value::Table(pin));
        }
        plan.insert("device".into(), toml::Value::Table(devices));
        plan
    }

    /// The same ceremony in a folder of its own, as it stands.
    pub fn fork(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("cp").arg("-a").arg(format!("{}/.", self.dir.path().display())).arg(dir.path()).status().unwrap();
        assert!(status.success());
        let moved = |path: &PathBuf| dir.path().join(path.strip_prefix(self.dir.path()).unwrap());
        Self {
            previous: self.previous.as_ref().map(moved),
            requests: self.requests.iter().map(moved).collect(),
            clock: Arc::clone(&self.clock),
            machine: Arc::clone(&self.machine),
            namespace: self.namespace,
            // Forks are many.
            quick: true,
            current: self.current.clone(),
            deals: self.deals.clone(),
            dir,
        }
    }

    /// A request for `authority`, made where its key is.
    pub async fn request(&self, authority: &str, keys: &str, certificate: Option<PathBuf>) -> Result<PathBuf, Error> {
        self.request_observed(authority, keys, certificate, None).await
    }

    pub async fn request_observed(
        &self,
        authority: &str,
        keys: &str,
        certificate: Option<PathBuf>,
        observer: Option<Observer>,
    ) -> Result<PathBuf, Error> {
        let options = ca_ceremony::RequestOptions {
            plan: self.plan(),
            authority: authority.parse().unwrap(),
            keys: self.keys(keys),
            certificate,
            life: std::time::Duration::from_secs(72 * 3600),
            folder: self.dir.path().join(format!("request-{}-{authority}", self.current)),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            observer,
        };
        Ok(ca_ceremony::make_request(options).await?.0)
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn public_key(&self, store: &str, label: &str) -> String {
        ready(self.keys(store).describe(&label.parse().unwrap())).unwrap().public_key.spki_sha256().to_string()
    }
}

/// A digest or a nonce of a test.
pub const NONCE: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

impl Ceremony {
    /// Goes on until the run dies at this line of the transcript, or is done; whether it died.
    pub async fn dies(&self, number: u64, moment: ca_ceremony::Moment) -> bool {
        for _ in 0..10 {
            match self.observed(Some(dies_at(number, moment))).await {
                Ok(RunOutcome::NeedsSignatures(_)) => self.sign_statements(&["ana", "bela"]),
                Ok(RunOutcome::NeedsPeople(duties)) => self.fulfil(&duties),
                Ok(RunOutcome::Complete(_)) => return false,
                Err(Error::Io { .. } | Error::Issuance { .. }) => return true,
                Err(e) => panic!("line {number} {moment:?}: {e}"),
            }
        }
        panic!("line {number} {moment:?}: neither dead nor done")
    }
}

/// Stops the run at line `number` of the transcript, and every write after it: as if the process had died there.
pub fn dies_at(number: u64, moment: ca_ceremony::Moment) -> Observer {
    let dead = std::sync::atomic::AtomicBool::new(false);
    Arc::new(move |line, at| {
        use std::sync::atomic::Ordering;
        if dead.load(Ordering::SeqCst) || (line, at) == (number, moment) {
            dead.store(true, Ordering::SeqCst);
            return Err(std::io::Error::other("the process died here"));
        }
        Ok(())
    })
}
