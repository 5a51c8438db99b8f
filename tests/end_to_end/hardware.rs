//! A CA whose issuing key is on a PKCS#11 token: it issues, notices that the token dies, and goes on when it is back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_ceremony::{RehearsalOptions, SystemClock, SystemRng, open_key_store, rehearse};
use ca_core::pki::{KeyAlgorithm, Sha256Digest};
use ca_core::policy::{OwnCertificate, ProfilePolicy};
use ca_testkit::softhsm::{self, PIN, SoftHsm};
use instant_acme::{Account, ExternalAccountKey, Identifier, NewAccount, NewOrder, RetryPolicy};

use crate::harness::{block_on, expect_success, free_port, succeeds, wait_for};

struct Site {
    hsm: SoftHsm,
    acme: u16,
    status: u16,
    serve: Option<Child>,
}

impl Drop for Site {
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

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.hsm.folder().join(name)
    }

    fn keystore(&self, token: &str) -> String {
        format!("kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{token}\"\npin = {{ file = \"pin\" }}\n", softhsm::module().display())
    }

    fn write_configuration(&self) {
        self.hsm.pin_file();
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
[operator]
key = "rehearsal/operator"
[log]
filter = "trace"
"#,
            keystore = self.keystore("online"),
            acme = self.acme,
            status = self.status
        );
        std::fs::write(self.path("ca.toml"), text).unwrap();
        for token in ["root", "online"] {
            std::fs::write(self.path(&format!("{token}.toml")), self.keystore(token)).unwrap();
        }
    }

    fn ca(&self, arguments: &[&str]) -> Output {
        let mut ca = Command::new(env!("CARGO_BIN_EXE_ca"));
        ca.current_dir(self.hsm.folder()).args(["--config", "ca.toml"]).args(arguments).stdin(Stdio::null()).output().expect("ca runs")
    }

    fn ca_json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&expect_success("ca", &self.ca(&[arguments, &["--json"]].concat()))).unwrap()
    }

    /// Both keys on tokens, the root's on another one than the issuing authority's.
    fn rehearse(&self) {
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
        let client = ProfilePolicy { shape: "client".to_owned(), lifetime: 86_400, subject_cn: false };
        let options = RehearsalOptions {
            dir: self.path("rehearsal"),
            root_keys: open_key_store(&self.path("root.toml"), "root").unwrap(),
            online_keys: open_key_store(&self.path("online.toml"), "online").unwrap(),
            machine: Arc::new(ca_ceremony::SystemMachine::default()),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            organization: "Demo".to_owned(),
            authority: "demo".parse().unwrap(),
            algorithm: KeyAlgorithm::P256,
            status_base_url: format!("http://127.0.0.1:{}", self.status),
            permitted: vec!["dns:demo.test".parse().unwrap(), "dns:localhost".parse().unwrap()],
            names: vec!["dns:*.demo.test".parse().unwrap()],
            profiles: BTreeMap::from([("client".to_owned(), client)]),
            own: vec![own("ocsp", &[]), own("server", &["localhost"])],
            max_per_hour: 1000,
            crl_validity: 86_400,
            crl_interval: 3600,
        };
        block_on(async { rehearse(options).await.unwrap() });
    }

    fn serve(&mut self) {
        let log = std::fs::File::create(self.path("serve.log")).unwrap();
        let mut ca = Command::new(env!("CARGO_BIN_EXE_ca"));
        ca.current_dir(self.hsm.folder()).args(["--config", "ca.toml", "serve"]).stdin(Stdio::null());
        self.serve = Some(ca.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("ca serve starts"));
        wait_for("ca serve to be ready", || self.is_ready());
    }

    fn is_ready(&self) -> bool {
        succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &format!("http://127.0.0.1:{}/readyz", self.status)]))
    }

    fn readyz(&self) -> String {
        let output = Command::new("curl").args(["-s", &format!("http://127.0.0.1:{}/readyz", self.status)]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn account(&self, grant: &serde_json::Value) -> Account {
        let field = |name: &str| grant[name].as_str().unwrap_or_else(|| panic!("no {name} in {grant}")).to_owned();
        let secret = URL_SAFE_NO_PAD.decode(field("hmac_key")).unwrap();
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_root(self.path("rehearsal/bundle/certs/demo-root.pem")).unwrap();
        let directory = format!("https://localhost:{}/acme/directory", self.acme);
        builder.create(&new, directory, Some(&ExternalAccountKey::new(field("kid"), &secret))).await.unwrap().0
    }
}

async fn order(account: &Account, name: &str) -> Result<String, instant_acme::Error> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    order.finalize().await?;
    order.poll_certificate(&RetryPolicy::default()).await
}

#[test]
fn a_dead_token_turns_readiness_red_and_comes_back_without_a_restart() {
    let name = "hardware::a_dead_token_turns_readiness_red_and_comes_back_without_a_restart";
    softhsm::isolated(name, &["root", "online"], |_| {
        let mut site = Site { hsm: SoftHsm::current(), acme: free_port(), status: free_port(), serve: None };
        site.write_configuration();
        site.rehearse();
        expect_success("ca import", &site.ca(&["import", "rehearsal/bundle"]));
        site.serve();
        let grant = site.ca_json(&["grant", "create", "--service", "payments", "--name", "payments.demo.test"]);
        let account = block_on(site.account(&grant));
        block_on(order(&account, "payments.demo.test")).expect("issued by a key on the token");
        assert_eq!(site.ca_json(&["status"])["keystore_error"], serde_json::Value::Null);

        let away = site.path("away");
        std::fs::rename(site.hsm.tokens(), &away).unwrap();
        wait_for("readiness to turn red", || !site.is_ready());
        assert!(site.readyz().contains("the key store is not available: the token `online`"), "{}", site.readyz());
        let status = site.ca_json(&["status"]);
        assert!(status["ready"] == false && status["keystore_error"].as_str().is_some_and(|e| e.contains("hint:")), "{status}");
        let shown = expect_success("ca status", &site.ca(&["status"]));
        assert!(shown.contains("NOT READY"), "{shown}");
        // What needs no authority key goes on.
        let issuer = format!("http://127.0.0.1:{}/a/demo/issuer.cer", site.status);
        assert!(succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &issuer])), "the issuer's certificate is served");
        assert!(site.serve.as_mut().unwrap().try_wait().unwrap().is_none(), "the process lives on");

        std::fs::rename(&away, site.hsm.tokens()).unwrap();
        wait_for("readiness to turn green", || site.is_ready());
        block_on(order(&account, "payments.demo.test")).expect("issued again, by the same process");
        assert_eq!(site.ca_json(&["status"])["ready"], true);

        // Not at the finest level of the log, either (ceremony requirement 15).
        let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is at its finest level");
        assert!(!log.contains(PIN), "the PIN is in the log");
        let process = site.serve.as_ref().unwrap().id();
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{process}/{file}")).unwrap();
            assert!(!bytes.windows(PIN.len()).any(|w| w == PIN.as_bytes()), "the PIN is in the process's {file}");
        }
    });
}
