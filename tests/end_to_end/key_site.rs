//! A CA whose issuing key is in a device: its configuration, its rehearsed ceremony, its process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_ceremony::{RehearsalOptions, SystemClock, SystemMachine, SystemRng, open_key_store, rehearse};
use ca_core::pki::{KeyAlgorithm, Sha256Digest};
use ca_core::policy::{OwnCertificate, ProfilePolicy};
use ca_core::profile::LeafShape;
use instant_acme::{Account, ExternalAccountKey, Identifier, NewAccount, NewOrder};

use crate::harness::{block_on, expect_success, free_port, patience, succeeds, wait_for};

/// A CA in a folder that also has its key store files, `root.toml` and `online.toml`.
pub(crate) struct KeySite {
    folder: PathBuf,
    acme: u16,
    status: u16,
    serve: Option<Child>,
}

impl Drop for KeySite {
    fn drop(&mut self) {
        if let Some(mut child) = self.serve.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.path("serve.log")).unwrap_or_default());
        }
    }
}

/// What the rehearsed authority may issue.
pub(crate) struct Offering {
    /// What its certificate constrains it to.
    pub(crate) permitted: Vec<&'static str>,
    /// What its policy has.
    pub(crate) names: Vec<&'static str>,
    /// The profiles.
    pub(crate) profiles: BTreeMap<String, ProfilePolicy>,
}

impl Default for Offering {
    fn default() -> Self {
        Self {
            permitted: vec!["dns:demo.test", "dns:localhost"],
            names: vec!["dns:*.demo.test"],
            profiles: BTreeMap::from([("client".to_owned(), ProfilePolicy::new(LeafShape::Client, 86_400))]),
        }
    }
}

impl KeySite {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), acme: free_port(), status: free_port(), serve: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `ca.toml`, with `keystore` under `[keystore]`.
    pub(crate) fn write_configuration(&self, keystore: &str) {
        let text = format!(
            r#"
[store]
path = "ca.db"
[trust]
roster = "rehearsal/bundle/roster.toml"
[keystore]
{keystore}
[service_keys]
unseal = {{ key_file = "service.key" }}
master = "service/master.sealed"
server = "service/server.sealed"
[service_keys.ocsp]
demo = "service/ocsp.sealed"
[acme]
listen = ["127.0.0.1:{acme}"]
url = "https://localhost:{acme}"
[status]
listen = ["127.0.0.1:{status}"]
url = "http://127.0.0.1:{status}"
[control]
socket = "ca.sock"
[serve]
hardware_keys_in_one_process = true
[operator]
key = "rehearsal/operator"
[log]
filter = "trace"
"#,
            acme = self.acme,
            status = self.status
        );
        std::fs::write(self.path("ca.toml"), text).unwrap();
    }

    pub(crate) fn ca(&self, arguments: &[&str]) -> Output {
        let mut ca = Command::new(env!("CARGO_BIN_EXE_ca"));
        ca.current_dir(&self.folder).args(["--config", "ca.toml"]).args(arguments).stdin(Stdio::null()).output().expect("ca runs")
    }

    pub(crate) fn ca_json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&expect_success("ca", &self.ca(&[arguments, &["--json"]].concat()))).unwrap()
    }

    /// Rehearses the ceremony; the root's key and the issuing authority's are in different stores.
    pub(crate) fn rehearse(&self, attestation_roots: Vec<String>) {
        self.rehearse_offering(attestation_roots, Offering::default());
    }

    /// The same for an authority that offers other profiles.
    pub(crate) fn rehearse_offering(&self, attestation_roots: Vec<String>, offering: Offering) {
        let made = self.ca_json(&["keys", "init"]);
        let own = |name: &str, names: &[&str]| {
            let digests = made.as_array().expect("a list");
            let digest = digests.iter().find(|k| k["shape"] == name).and_then(|k| k["key_sha256"].as_str()).expect("its digest");
            OwnCertificate {
                name: name.to_owned(),
                shape: name.to_owned(),
                names: names.iter().map(|n| ca_core::pki::Identifier::from_text(n).unwrap()).collect(),
                key_sha256: digest.parse::<Sha256Digest>().unwrap(),
                lifetime: 604_800,
            }
        };
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let options = RehearsalOptions {
            dir: self.path("rehearsal"),
            root_keys: open_key_store(&self.path("root.toml"), "root").unwrap(),
            online_keys: open_key_store(&self.path("online.toml"), "online").unwrap(),
            machine: Arc::new(SystemMachine::default()),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            organization: "Demo".to_owned(),
            authority: "demo".parse().unwrap(),
            algorithm: KeyAlgorithm::P256,
            status_base_url: format!("http://127.0.0.1:{}", self.status),
            permitted: patterns(&offering.permitted),
            names: patterns(&offering.names),
            attestation_roots,
            profiles: offering.profiles,
            challenge_zones: Vec::new(),
            open_enrolment: None,
            own: vec![own("ocsp", &[]), own("server", &["localhost"])],
            max_per_hour: 1000,
            crl_validity: 86_400,
            crl_interval: 3600,
        };
        block_on(async { rehearse(options).await.unwrap() });
    }

    pub(crate) fn serve(&mut self) {
        let log = std::fs::File::create(self.path("serve.log")).unwrap();
        let mut ca = Command::new(env!("CARGO_BIN_EXE_ca"));
        ca.current_dir(&self.folder).args(["--config", "ca.toml", "serve"]).stdin(Stdio::null());
        self.serve = Some(ca.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("ca serve starts"));
        wait_for("ca serve to be ready", || {
            self.process_id();
            self.is_ready()
        });
    }

    /// SIGTERM; it must stop cleanly.
    pub(crate) fn stop(&mut self) {
        let mut child = self.serve.take().expect("running");
        assert!(succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()])));
        assert!(child.wait().unwrap().success(), "ca serve stops cleanly");
    }

    /// The running process, which must still be there.
    pub(crate) fn process_id(&mut self) -> u32 {
        let child = self.serve.as_mut().expect("running");
        assert!(child.try_wait().unwrap().is_none(), "the process lives on");
        child.id()
    }

    /// The URL of the status service.
    pub(crate) fn status_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.status)
    }

    pub(crate) fn is_ready(&self) -> bool {
        succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &format!("http://127.0.0.1:{}/readyz", self.status)]))
    }

    pub(crate) fn readyz(&self) -> String {
        let output = Command::new("curl").args(["-s", &format!("http://127.0.0.1:{}/readyz", self.status)]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The ACME directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/acme/directory", self.acme)
    }

    /// The certificate of an authority.
    pub(crate) fn authority_certificate(&self, name: &str) -> PathBuf {
        self.path(&format!("rehearsal/bundle/certs/{name}.pem"))
    }

    pub(crate) async fn account(&self, grant: &serde_json::Value) -> Account {
        let field = |name: &str| grant[name].as_str().unwrap_or_else(|| panic!("no {name} in {grant}")).to_owned();
        let secret = URL_SAFE_NO_PAD.decode(field("hmac_key")).unwrap();
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_root(self.path("rehearsal/bundle/certs/demo-root.pem")).unwrap();
        builder.create(&new, self.directory(), Some(&ExternalAccountKey::new(field("kid"), &secret))).await.unwrap().0
    }
}

pub(crate) async fn order(account: &Account, name: &str) -> Result<String, instant_acme::Error> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    order.finalize().await?;
    order.poll_certificate(&patience()).await
}
