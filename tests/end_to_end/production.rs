//! From nothing to a production CA by the documented steps: service keys, a ceremony with three officers' real keys,
//! import, serve, a grant signed by an operator, enrolment. Nothing here is the demonstration's.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ca_testkit::plan::FirstPlan;

use crate::harness::{expect_success, free_port, succeeds, wait_for};

struct Site {
    folder: tempfile::TempDir,
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
    }
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ca"))
            .current_dir(self.folder.path())
            .args(["--config", "ca.toml"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("ca runs")
    }

    fn ssh_key(&self, name: &str) -> String {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(self.path(name)).output();
        expect_success("ssh-keygen", &made.expect("ssh-keygen runs (package openssh-client)"));
        std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    fn officer_signs(&self, officer: &str, file: &Path, subject: &str) {
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "ceremony@countersign", "-f"])
            .arg(self.path(officer))
            .stdin(std::fs::File::open(file).unwrap())
            .output()
            .unwrap();
        std::fs::write(self.path(&format!("bundle/sigs/{subject}.{officer}.sig")), expect_success("ssh-keygen -Y sign", &signed)).unwrap();
    }

    /// Signs a file in place, and gives the signature's file.
    fn officer_signs_file(&self, officer: &str, file: &str) -> String {
        let signature = format!("{file}.{officer}.sig");
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "ceremony@countersign", "-f"])
            .arg(self.path(officer))
            .stdin(std::fs::File::open(self.path(file)).unwrap())
            .output()
            .unwrap();
        std::fs::write(self.path(&signature), expect_success("ssh-keygen -Y sign", &signed)).unwrap();
        signature
    }

    #[track_caller]
    fn refused(&self, config: &str, arguments: &[&str], code: i32, part: &str) {
        // A start that is not refused would serve for ever.
        let output = Command::new("timeout")
            .current_dir(self.folder.path())
            .args(["300", env!("CARGO_BIN_EXE_ca"), "--config", config])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("timeout runs (package coreutils)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part) && said.contains("hint:"), "{said}");
    }

    /// A worker's anchor is signed by officers; without one nothing starts.
    fn make_anchor(&self) {
        std::fs::write(self.path("bare.toml"), self.configuration().replace("[anchor]\nfile = \"anchor/anchor\"\n", "")).unwrap();
        self.refused("bare.toml", &["serve"], 3, "needs an anchor");
        self.refused("ca.toml", &["serve"], 3, "the folder of the anchor");
        DirBuilder::new().mode(0o700).create(self.path("anchor")).unwrap();
        self.refused("ca.toml", &["serve"], 3, "there is no anchor");
        expect_success("ca anchor statement", &self.ca(&["anchor", "statement", "anchor.json"]));
        let (ana, cora) = (self.officer_signs_file("ana", "anchor.json"), self.officer_signs_file("cora", "anchor.json"));
        let one = self.ca(&["anchor", "init", "anchor.json", "--signature", &ana, "--signature", &ana]);
        assert_eq!(one.status.code(), Some(4), "one person's signatures count once: {one:?}");
        assert!(!self.path("anchor/anchor").exists());
        let mallory = self.officer_signs_file("mallory", "anchor.json");
        let other = self.ca(&["anchor", "init", "anchor.json", "--signature", &ana, "--signature", &mallory]);
        assert_eq!(other.status.code(), Some(4), "{other:?}");
        let init = ["anchor", "init", "anchor.json", "--signature", &ana, "--signature", &cora];
        expect_success("ca anchor init", &self.ca(&init));
        self.refused("ca.toml", &init, 4, "already");
        expect_success("ca anchor verify", &self.ca(&["anchor", "verify"]));
    }

    fn run_ceremony(&self) -> Output {
        let stores = [
            "--root-keys",
            "root-keys",
            "--root-key-file",
            "root.key",
            "--online-keys",
            "authority-keys",
            "--online-key-file",
            "authority.key",
        ];
        self.ca(&[&["ceremony", "run", "plan.toml", "--out", "bundle"][..], &stores].concat())
    }

    /// The plan's table of a device, as the tool prints it.
    fn device(&self, place: &str, keys: &str, key_file: &str) -> String {
        expect_success("ca ceremony device", &self.ca(&["ceremony", "device", place, "--keys", keys, "--key-file", key_file]))
    }

    /// Something is written down, and where it is somebody's own word, that person signs it.
    fn note(&self, arguments: &[&str], signed: Option<(&str, &str)>) {
        expect_success("ca ceremony note", &self.ca(&[&["ceremony", "note", "bundle"][..], arguments].concat()));
        if let Some((record, who)) = signed {
            self.officer_signs(who, &self.path(&format!("bundle/records/{record}.json")), &format!("record-{record}"));
        }
    }

    fn configuration(&self) -> String {
        format!(
            r#"
[store]
path = "ca.db"
[trust]
roster = "bundle/roster.toml"
[anchor]
file = "anchor/anchor"
[keystore]
dir = "authority-keys"
unseal = {{ key_file = "authority.key" }}
[service_keys]
unseal = {{ key_file = "service.key" }}
master = "service/master.sealed"
server = "service/server.sealed"
[service_keys.ocsp]
bank = "service/ocsp.sealed"
[acme]
listen = ["127.0.0.1:{acme}"]
url = "https://localhost:{acme}"
[status]
listen = ["127.0.0.1:{status}"]
url = "http://127.0.0.1:{status}"
[control]
socket = "ca.sock"
"#,
            acme = self.acme,
            status = self.status
        )
    }

    fn plan(&self, digests: &serde_json::Value, officers: &[(&str, String)], operator: &str) -> String {
        let digest = |shape: &str| {
            let keys = digests.as_array().expect("a list");
            keys.iter().find(|k| k["shape"] == shape).expect("one of this shape")["key_sha256"].as_str().unwrap().to_owned()
        };
        let policy = format!(
            r#"max_per_hour = 100
crl_validity = 86400
crl_interval = 3600
profile.client = {{ shape = "client", lifetime = 2592000 }}
[[policy.authority.own]]
name = "ocsp"
shape = "ocsp"
key_sha256 = "{ocsp}"
lifetime = 604800
[[policy.authority.own]]
name = "server"
shape = "server"
names = [{{ type = "dns", value = "localhost" }}]
key_sha256 = "{server}"
lifetime = 2592000
[[policy.operator]]
name = "olga"
key = "{operator}"
may = ["grant", "revoke"]
"#,
            ocsp = digest("ocsp"),
            server = digest("server"),
        );
        let first = FirstPlan {
            kind: "production",
            status_base_url: &format!("http://127.0.0.1:{}", self.status),
            tool: ca_core::pki::sha256(&std::fs::read(env!("CARGO_BIN_EXE_ca")).unwrap()).to_string(),
            evidence: ["root-keys", "bundle-copy"],
            // The machine that runs the tests is on a network; a ceremony's is not.
            environment: "offline = false\nno_swap = false\nno_core_dumps = true",
            devices: self.device("root", "root-keys", "root.key") + &self.device("online", "authority-keys", "authority.key"),
            others: [self.ssh_key("dora"), self.ssh_key("wim")],
            officers: officers.iter().map(|(name, key)| (*name, vec![key.clone()])).collect(),
            permitted: &["dns:bank.test", "dns:localhost"],
            policy,
        };
        first.text()
    }
}

#[test]
fn a_production_ca_comes_up_by_the_documented_steps() {
    let mut site = Site { folder: tempfile::tempdir().unwrap(), acme: free_port(), status: free_port(), serve: None };
    std::fs::write(site.path("ca.toml"), site.configuration()).unwrap();
    let digests: serde_json::Value = serde_json::from_str(&expect_success("ca keys init", &site.ca(&["keys", "init", "--json"]))).unwrap();
    let again: serde_json::Value = serde_json::from_str(&expect_success("ca keys init", &site.ca(&["keys", "init", "--json"]))).unwrap();
    assert_eq!(digests, again, "keys that exist are left alone");

    let officers = ["ana", "bela", "cora"].map(|name| (name, site.ssh_key(name)));
    let operator = site.ssh_key("olga");
    site.ssh_key("mallory");
    std::fs::write(site.path("plan.toml"), site.plan(&digests, &officers, &operator)).unwrap();
    assert_eq!(site.run_ceremony().status.code(), Some(5), "the plan waits for signatures");
    site.officer_signs("ana", &site.path("bundle/plan.toml"), "plan");
    site.officer_signs("cora", &site.path("bundle/plan.toml"), "plan");
    assert_eq!(site.run_ceremony().status.code(), Some(5), "people come into the room");
    let time = expect_success("date", &Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap());
    for name in ["dora", "ana", "cora", "wim"] {
        let record = format!("attendance-{name}");
        site.note(&["attendance", name, "--own-clock", time.trim()], Some((&record, name)));
    }
    assert_eq!(site.run_ceremony().status.code(), Some(5), "the statements wait for signatures");
    for entry in std::fs::read_dir(site.path("bundle/statements")).unwrap().flatten() {
        let subject = entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        site.officer_signs("ana", &entry.path(), &subject);
        site.officer_signs("cora", &entry.path(), &subject);
    }
    site.note(&["bag", "root-keys", "TB-0001"], None);
    site.note(&["media", "bundle-copy", "--file", "plan.toml"], None);
    site.note(&["custody", "ana", "--bag", "TB-0001"], Some(("custody-ana", "ana")));
    expect_success("ca ceremony run", &site.run_ceremony());
    expect_success("ca import", &site.ca(&["import", "bundle"]));
    site.make_anchor();
    // The root's keys go offline.
    std::fs::remove_dir_all(site.path("root-keys")).unwrap();

    let log = std::fs::File::create(site.path("serve.log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_ca"))
        .current_dir(site.folder.path())
        .args(["--config", "ca.toml", "serve"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("ca serve starts");
    site.serve = Some(child);
    let ready = format!("http://127.0.0.1:{}/readyz", site.status);
    wait_for("ca serve to be ready", || succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready])));

    let create = ["grant", "create", "--service", "payments", "--name", "payments.bank.test", "--json", "--operator-key"];
    let refused = site.ca(&[&create[..], &["mallory"]].concat());
    assert_eq!(refused.status.code(), Some(4), "an operator that the policy does not name: {refused:?}");
    let outside = ["grant", "create", "--service", "x", "--name", "dns:*.example", "--json", "--operator-key", "olga"];
    assert_eq!(site.ca(&outside).status.code(), Some(4), "a grant outside the policy");
    let grant: serde_json::Value =
        serde_json::from_str(&expect_success("ca grant create", &site.ca(&[&create[..], &["olga"]].concat()))).unwrap();
    let text = grant.to_string();
    let field =
        |names: &[&str]| names.iter().find_map(|n| grant[*n].as_str()).unwrap_or_else(|| panic!("none of {names:?} in {text}")).to_owned();
    let (kid, hmac) = (field(&["kid", "id", "eab_kid"]), field(&["hmac_key", "eab_hmac", "eab_hmac_key", "secret", "hmac_key_base64url"]));

    let folder = site.path("lego");
    let root = site.path("bundle/certs/bank-root.pem");
    let enrolled = Command::new("lego")
        .env("LEGO_CA_CERTIFICATES", &root)
        .arg("--path")
        .arg(&folder)
        .args(["--server", &format!("https://localhost:{}/acme/directory", site.acme), "--eab", "--kid", &kid, "--hmac", &hmac])
        .args([
            "--accept-tos",
            "--email",
            "ops@bank.test",
            "--http",
            "--http.port",
            &format!(":{}", free_port()),
            "--domains",
            "payments.bank.test",
            "run",
        ])
        .output()
        .expect("lego runs (package lego)");
    expect_success("lego run", &enrolled);
    let certificate = folder.join("certificates/payments.bank.test.crt");
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
        .arg(&root)
        .arg("-untrusted")
        .arg(site.path("bundle/certs/bank.pem"))
        .arg(&certificate)
        .output()
        .unwrap();
    expect_success("openssl verify", &verified);
}
