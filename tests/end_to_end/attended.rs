//! Keys that holders unseal: the CA starts sealed, says so, and goes on by itself; a restart needs no people; one person
//! seals; a policy can ask for nothing less.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ca_keystore::Unsealer;
use ca_keystore::sealed::{self, Kind};
use ca_testkit::SeededRng;

use crate::harness::{Demo, block_on, expect_success, succeeds, wait_for};

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn end(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A demonstration whose online keys are sealed under a credential that three holders share.
struct Site {
    demo: Demo,
    /// The file key that nobody has but this test, in the form of its file.
    secret: String,
}

impl Site {
    fn new() -> Self {
        let mut demo = Demo::start();
        demo.stop();
        for holder in ["ana", "bela", "cora"] {
            private(&demo.path(&format!("passphrases/{holder}")), &format!("a long passphrase of {holder}"));
        }
        // The credential goes through a pipe into what uses it, as in a ceremony; it is on no disk.
        let made = Command::new("sh")
            .args(["-c", r#""$0" credential create --for software-key:authority --holders ana,bela,cora --threshold 2 --out shares --passphrase-dir passphrases --hand-to /dev/fd/3 3>&1 >made"#])
            .arg(env!("CARGO_BIN_EXE_ca"))
            .current_dir(demo.path(""))
            .output()
            .unwrap();
        let secret = expect_success("ca credential create", &made);
        let site = Self { demo, secret };
        site.reseal();
        let run = site.demo.path("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        site
    }

    /// Puts the authority's keys under the credential, and the configuration at the keyholder.
    fn reseal(&self) {
        let (keys, rng) = (self.demo.var().join("keys"), SeededRng::new(1));
        private(&self.demo.path("new.key"), self.secret.trim_end());
        let (old, new) =
            (Unsealer::file_key_from(keys.join("authority.key")).unwrap(), Unsealer::file_key_from(self.demo.path("new.key")).unwrap());
        for entry in fs::read_dir(keys.join("authority")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "sealed") {
                continue;
            }
            let label = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let (description, secret) = sealed::open(&path, Kind::AuthorityKey, Some(&label), &old).unwrap();
            fs::remove_file(&path).unwrap();
            sealed::create(&path, &description, &secret, &new, &rng).unwrap();
        }
        fs::remove_file(self.demo.path("new.key")).unwrap();
        fs::remove_file(keys.join("authority.key")).unwrap();
        let keyholder = format!(r#"unseal = {{ keyholder = "{}", credential = "authority" }}"#, self.socket().display());
        self.edit_config(r#"unseal = { key_file = "keys/authority.key" }"#, &keyholder);
    }

    fn edit_config(&self, from: &str, to: &str) {
        let path = self.demo.var().join("ca.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.demo.path("run/keyholder.sock")
    }

    fn spawn(&self, arguments: &[&str], log: &str) -> Running {
        let log = File::options().create(true).append(true).open(self.demo.path(log)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ca"));
        command.args(["--config", self.demo.fact("CA_CONFIG")]).args(arguments).stdin(Stdio::null());
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn keyholder(&self) -> Running {
        let me = fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap();
        let set = self.demo.path("shares/authority.set.json");
        let config = self.demo.path("keyholder.toml");
        let text = format!(
            "socket = \"{}\"\nofficers = [{me}]\nallow_swap = true\n[[credential]]\nname = \"authority\"\nunlock = \"attended\"\nset = \"{}\"\ngive_to = [{me}]\n",
            self.socket().display(),
            set.display()
        );
        fs::write(&config, text).unwrap();
        let running = self.spawn(&["keyholder", "--keyholder-config", config.to_str().unwrap()], "keyholder.log");
        wait_for("the keyholder", || self.demo.ca(&["unseal", "--status"]).status.success());
        running
    }

    /// `ca serve`, once its status port answers at all.
    fn serve(&self) -> Running {
        let running = self.spawn(&["serve"], "serve.log");
        wait_for("the status port", || succeeds(Command::new("curl").args(["-s", "-o", "/dev/null", &self.readyz()])));
        running
    }

    fn readyz(&self) -> String {
        let url = self.demo.fact("OCSP_URL");
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        format!("{origin}/readyz")
    }

    /// The answer of /readyz: its status code and its text.
    fn ready(&self) -> (String, String) {
        let output = Command::new("curl").args(["-s", "-w", "\n%{http_code}", &self.readyz()]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        (code.to_owned(), body.to_owned())
    }

    fn await_ready(&self) {
        wait_for("readiness", || self.ready().0 == "200");
    }

    fn unseal(&self, holder: &str) -> String {
        let (share, passphrase) = (format!("shares/authority.{holder}.share"), format!("passphrases/{holder}"));
        let (share, passphrase) = (self.demo.path(&share), self.demo.path(&passphrase));
        let output = self.demo.ca(&["unseal", share.to_str().unwrap(), "--passphrase-file", passphrase.to_str().unwrap()]);
        expect_success("ca unseal", &output)
    }
}

fn private(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_sealed_ca_waits_for_its_holders_and_goes_on_without_a_restart() {
    let site = Site::new();
    site.edit_config("[control]", "[log]\nfilter = \"trace\"\n\n[limits]\nworker_wait_seconds = 1\n\n[control]");
    let keyholder = site.keyholder();
    let serve = site.serve();

    // Red, and it says what it waits for; OCSP answers, and ACME tells clients to come back.
    wait_for("the reason", || site.ready().1.contains("needs 2 shares and has 0"));
    assert_eq!(site.ready().0, "503");
    let status = String::from_utf8(site.demo.ca(&["status"]).stdout).unwrap();
    assert!(status.contains("NOT READY") && status.contains("any of ana, bela, cora"), "{status}");
    let before = site.demo.certificates().len();
    // With Retry-After, as every answer of this status (acme-server/src/problem.rs).
    match block_on(site.demo.try_account()).map(drop).unwrap_err() {
        instant_acme::Error::Api(problem) => assert_eq!(problem.status, Some(503), "{problem}"),
        other => panic!("{other}"),
    }
    assert!(site.unseal("ana").contains("needs 1 more"));
    wait_for("the share to be seen", || site.ready().1.contains("has 1, of ana"));
    assert_eq!(site.demo.certificates().len(), before, "nothing was signed or recorded for it");

    // The second holder: it goes on by itself.
    assert!(site.unseal("cora").contains("is unsealed"));
    site.await_ready();
    // It waits for the worker a second only: on a busy machine it may have to be asked again.
    let mut account = None;
    wait_for("an account", || {
        account = block_on(site.demo.try_account()).ok();
        account.is_some()
    });
    let account = account.unwrap();
    let issued = block_on(site.demo.issue(&account, "one.demo.test")).unwrap();
    assert_eq!(site.demo.ocsp(&issued.path), "good");

    // A canary: neither the credential nor a passphrase is anywhere that others look.
    let key = site.secret.trim().rsplit(' ').next().unwrap().to_owned();
    let mut canaries = vec![key];
    canaries.extend(["ana", "cora"].map(|h| format!("a long passphrase of {h}")));
    for process in [&serve, &keyholder] {
        for name in ["cmdline", "environ"] {
            let seen = String::from_utf8_lossy(&fs::read(format!("/proc/{}/{name}", process.0.id())).unwrap()).into_owned();
            canaries.iter().for_each(|c| assert!(!seen.contains(c), "a canary is in {name}"));
        }
    }
    let log = fs::read_to_string(site.demo.path("serve.log")).unwrap();
    assert!(log.contains("TRACE"), "the log is at its most talkative");
    for log in [log, fs::read_to_string(site.demo.path("keyholder.log")).unwrap()] {
        canaries.iter().for_each(|c| assert!(!log.contains(c), "a canary is in a log"));
    }

    // A restart of the CA needs no people.
    serve.end();
    let serve = site.serve();
    site.await_ready();
    block_on(site.demo.issue(&account, "two.demo.test")).unwrap();

    // One person seals. Software keys that are open stay so until the process ends; no new one gets them.
    assert!(expect_success("ca seal", &site.demo.ca(&["seal"])).contains("`authority` is sealed"));
    block_on(site.demo.issue(&account, "three.demo.test")).unwrap();
    let early = Early::new(&site.demo);
    serve.end();
    let _serve = site.serve();
    wait_for("the reason", || site.ready().1.contains("needs 2 shares and has 0"));
    for _ in 0..2 {
        let output = early.enrol();
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    }
    site.unseal("bela");
    site.unseal("cora");
    site.await_ready();
    block_on(site.demo.issue(&account, "four.demo.test")).unwrap();

    // The one account that the grant binds was asked for while the CA was sealed, and the agent has its key.
    wait_for("the agent's certificate", || early.enrol().status.success());
    assert_eq!(site.demo.ocsp(&site.demo.path("early/live/cert.pem")), "good");
}

/// A service's agent, with a grant that binds one account, as they usually do.
struct Early<'a> {
    demo: &'a Demo,
    kid: String,
}

impl<'a> Early<'a> {
    const NAME: &'static str = "early.demo.test";

    fn new(demo: &'a Demo) -> Self {
        let grant = demo.ca_json(&["grant", "create", "--service", "early", "--name", Self::NAME]);
        private(&demo.path("early.hmac"), grant["hmac_key"].as_str().unwrap());
        Self { demo, kid: grant["kid"].as_str().unwrap().to_owned() }
    }

    fn enrol(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ca"))
            .args(["agent", "enrol", "--directory", self.demo.fact("ACME_DIRECTORY"), "--ca-bundle", self.demo.fact("CA_BUNDLE")])
            .args(["--eab-kid", &self.kid, "--name", Self::NAME, "--eab-hmac-file"])
            .arg(self.demo.path("early.hmac"))
            .arg("--dir")
            .arg(self.demo.path("early"))
            .output()
            .unwrap()
    }
}

#[test]
fn a_policy_can_ask_for_attended_keys() {
    let site = Site::new();
    let policy = fs::read_to_string(site.demo.var().join("rehearsal/bundle/policy.toml")).unwrap();
    let attended = policy.replacen("version = 1\n", "version = 2\n", 1).replacen("max_per_hour", "unlock = \"attended\"\nmax_per_hour", 1);
    assert!(attended.contains("version = 2") && attended.contains("unlock"), "{policy}");
    fs::write(site.demo.path("policy.toml"), attended).unwrap();
    let file = site.demo.path("policy.toml");
    expect_success("ca rehearsal approve", &site.demo.ca(&["rehearsal", "approve", file.to_str().unwrap()]));

    // A file that opens the keys is refused by policy, whatever is in it.
    let keyholder = format!(r#"unseal = {{ keyholder = "{}", credential = "authority" }}"#, site.socket().display());
    site.edit_config(&keyholder, r#"unseal = { key_file = "keys/service.key" }"#);
    let refused = site.demo.ca(&["serve"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(4) && text.contains("wants the key of `demo` attended"), "{text}");

    // So is a credential that the keyholder has from a file of the host.
    site.edit_config(r#"unseal = { key_file = "keys/service.key" }"#, &keyholder);
    let at = |name: &str| site.demo.path(name).display().to_string();
    let sealed = site.demo.ca(&[
        "credential",
        "host-seal",
        &at("shares/authority.set.json"),
        &at("shares/authority.ana.share"),
        &at("shares/authority.bela.share"),
        "--passphrase-dir",
        &at("passphrases"),
        "--out",
        &at("authority.credential"),
        "--key-file",
        &at("host.key"),
    ]);
    assert!(expect_success("ca credential host-seal", &sealed).contains("Whoever is root"));
    let running = site.keyholder();
    running.end();
    let text = fs::read_to_string(site.demo.path("keyholder.toml")).unwrap();
    let set = format!("unlock = \"attended\"\nset = \"{}\"", at("shares/authority.set.json"));
    let host = format!("unlock = \"host-sealed\"\nsealed = \"{}\"\nkey_file = \"{}\"", at("authority.credential"), at("host.key"));
    fs::write(site.demo.path("keyholder.toml"), text.replace(&set, &host)).unwrap();
    let running = site.spawn(&["keyholder", "--keyholder-config", &at("keyholder.toml")], "keyholder.log");
    wait_for("the keyholder", || site.demo.ca(&["unseal", "--status"]).status.success());
    let refused = site.demo.ca(&["serve"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(4) && text.contains("has `authority` host-sealed"), "{text}");
    running.end();

    // With its holders it serves.
    let _keyholder = site.keyholder();
    let _serve = site.serve();
    site.unseal("ana");
    site.unseal("bela");
    site.await_ready();
}
