//! A production host in a folder: a rehearsed CA whose parts run as three processes under three users.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountBuilder, ExternalAccountKey, Identifier, NewAccount, NewOrder, RetryPolicy};
use tempfile::TempDir;

use crate::harness::{expect_success, free_port, succeeds, wait_for};

/// Whom a process runs as. The numbers are nobody's on a usual host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum User {
    Worker,
    Acme,
    Responder,
    /// Someone on the host who has nothing to do with the CA.
    Stranger,
}

impl User {
    pub(crate) const fn uid(self) -> u32 {
        match self {
            Self::Worker => 61_001,
            Self::Acme => 61_002,
            Self::Responder => 61_003,
            Self::Stranger => 61_004,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Acme => "acme",
            Self::Responder => "ocsp",
            Self::Stranger => "stranger",
        }
    }

    /// A command as this user, without any privilege or a way to gain one.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let uid = self.uid().to_string();
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"])
            .arg("--")
            .arg(program)
            // What root's own search path names may be closed to others.
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }
}

pub(crate) struct Site {
    folder: TempDir,
    acme_port: u16,
    status_port: u16,
    facts: BTreeMap<String, String>,
    processes: BTreeMap<User, Child>,
    /// `ca serve` as root, which has the others as its children.
    parent: Option<Child>,
}

/// The front ends as they are deployed: built by themselves, without the code that holds authority keys.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let ca = Path::new(env!("CARGO_BIN_EXE_ca"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--offline",
            "--locked",
            "-p",
            "acme-server",
            "-p",
            "ocsp-responder",
            "--bins",
        ]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        // Where this test's own binary was built.
        let folder = ca.parent().expect("a binary lies in a folder");
        cargo.env("CARGO_TARGET_DIR", folder.parent().expect("target/debug"));
        expect_success("cargo build", &cargo.output().expect("cargo runs"));
        folder.to_owned()
    })
}

impl Site {
    pub(crate) fn start() -> Self {
        let mut site = Self::prepared();
        for user in [User::Acme, User::Responder, User::Worker] {
            // The worker last: the others wait for it.
            site.launch(user);
        }
        site.wait_until_ready();
        site
    }

    /// The same, with the three processes started by `ca serve` as root.
    pub(crate) fn start_supervised() -> Self {
        let mut site = Self::prepared();
        site.serve(&["--worker-user", &User::Worker.uid().to_string()]);
        site.wait_until_ready();
        site
    }

    /// A rehearsed CA, nothing of which runs.
    pub(crate) fn prepared() -> Self {
        assert!(
            succeeds(Command::new("sh").args(["-c", "test $(id -u) = 0 && command -v setpriv"])),
            "this test runs processes as other users: run it as root, with setpriv (package util-linux)"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut site = Self {
            folder,
            acme_port: free_port(),
            status_port: free_port(),
            facts: BTreeMap::new(),
            processes: BTreeMap::new(),
            parent: None,
        };
        for (name, mode) in [("bin", 0o755), ("public", 0o755), ("logs", 0o755), ("run", 0o755)] {
            site.make_folder(name, mode, None);
        }
        for user in [User::Worker, User::Acme, User::Responder, User::Stranger] {
            site.make_folder(user.folder(), 0o700, Some(user));
        }
        chown(site.path("run"), Some(User::Worker.uid()), Some(User::Worker.uid())).unwrap();
        let built = binaries();
        for (name, from) in [
            ("ca", PathBuf::from(env!("CARGO_BIN_EXE_ca"))),
            ("acme-server", built.join("acme-server")),
            ("ocsp-responder", built.join("ocsp-responder")),
        ] {
            let to = site.path("bin").join(name);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        site.rehearse();
        site
    }

    fn make_folder(&self, name: &str, mode: u32, owner: Option<User>) {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if let Some(user) = owner {
            chown(&path, Some(user.uid()), Some(user.uid())).unwrap();
        }
    }

    /// Makes the services' keys with their own commands and the CA with the demonstration, all as the worker's user;
    /// then gives each service what is its own.
    fn rehearse(&mut self) {
        let service = self.path("worker/var/keys/service");
        self.write(
            "acme/setup.toml",
            &self.acme_toml(&service.join("server.sealed"), &self.path("worker/var/keys/service.key")),
            User::Worker,
        );
        self.write(
            "ocsp/setup.toml",
            &self.ocsp_toml(&service.join("ocsp.sealed"), &self.path("worker/var/keys/service.key")),
            User::Worker,
        );
        for (program, config) in [("acme-server", "acme/setup.toml"), ("ocsp-responder", "ocsp/setup.toml")] {
            let readable = self.path("public/setup.toml");
            std::fs::copy(self.path(config), &readable).unwrap();
            chown(&readable, Some(User::Worker.uid()), None).unwrap();
            let made = User::Worker.command(self.path("bin").join(program)).arg("--config").arg(&readable).arg("keys").output().unwrap();
            assert!(expect_success(program, &made).contains("key_sha256"), "{made:?}");
            std::fs::remove_file(readable).unwrap();
        }
        let log = std::fs::File::create(self.path("logs/demo.log")).unwrap();
        let mut demo = User::Worker
            .command(self.path("bin/ca"))
            .arg("demo")
            .arg("--dir")
            .arg(self.path("worker/var"))
            .args(["--acme-port", &self.acme_port.to_string(), "--status-port", &self.status_port.to_string()])
            .current_dir(self.path("worker"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let env = self.path("worker/var/demo.env");
        wait_for("the rehearsal", || {
            assert!(demo.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(self.path("logs/demo.log")).unwrap());
            env.exists()
        });
        assert!(succeeds(Command::new("kill").args(["-TERM", &demo.id().to_string()])));
        assert!(demo.wait().unwrap().success());
        self.facts = crate::harness::read_facts(&env);

        for (name, user) in [("server", User::Acme), ("ocsp", User::Responder)] {
            self.give(&service.join(format!("{name}.sealed")), &format!("{}/{name}.sealed", user.folder()), user);
            std::fs::copy(self.path("worker/var/keys/service.key"), self.path(&format!("{}/service.key", user.folder()))).unwrap();
            chown(self.path(&format!("{}/service.key", user.folder())), Some(user.uid()), Some(user.uid())).unwrap();
            std::fs::rename(service.join(format!("{name}.pub")), self.path(&format!("public/{name}.pub"))).unwrap();
        }
        let acme = self.acme_toml(Path::new("server.sealed"), Path::new("service.key"));
        self.write("acme/acme.toml", &acme, User::Acme);
        let ocsp = self.ocsp_toml(Path::new("ocsp.sealed"), Path::new("service.key"));
        self.write("ocsp/ocsp.toml", &ocsp, User::Responder);
        let worker = self.worker_toml();
        self.write("worker/var/worker.toml", &worker, User::Worker);
    }

    fn give(&self, from: &Path, to: &str, user: User) {
        std::fs::rename(from, self.path(to)).unwrap();
        chown(self.path(to), Some(user.uid()), Some(user.uid())).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str, owner: User) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.uid())).unwrap();
    }

    /// The demonstration's own file, less what is now others', and with the store's socket.
    fn worker_toml(&self) -> String {
        let text = std::fs::read_to_string(self.path("worker/var/ca.toml")).unwrap();
        let mut config: toml::Table = toml::from_str(&text).unwrap();
        let mut section = |name: &str| config[name].as_table_mut().unwrap().clone();
        let (mut store, mut keys, mut acme, mut status, mut control) =
            (section("store"), section("service_keys"), section("acme"), section("status"), section("control"));
        let socket: toml::Table = toml::from_str(&format!(
            "path = {:?}\nacme = [{}]\nresponder = [{}]\n",
            self.store_socket(),
            User::Acme.uid(),
            User::Responder.uid()
        ))
        .unwrap();
        store.insert("socket".to_owned(), socket.into());
        keys.remove("server");
        keys.remove("ocsp");
        let public: Vec<toml::Value> =
            ["server", "ocsp"].iter().map(|name| self.path(&format!("public/{name}.pub")).display().to_string().into()).collect();
        keys.insert("public".to_owned(), public.into());
        acme.remove("listen");
        status.remove("listen");
        let serve: toml::Table = toml::from_str(&format!(
            "acme = {{ user = {}, config = {:?} }}\nresponder = {{ user = {}, config = {:?} }}\n",
            User::Acme.uid(),
            self.path("acme/acme.toml"),
            User::Responder.uid(),
            self.path("ocsp/ocsp.toml")
        ))
        .unwrap();
        control.insert("socket".to_owned(), self.path("run/ca.sock").display().to_string().into());
        let sections =
            [("store", store), ("service_keys", keys), ("acme", acme), ("status", status), ("control", control), ("serve", serve)];
        config.extend(sections.map(|(name, table)| (name.to_owned(), toml::Value::from(table))));
        config.to_string()
    }

    pub(crate) fn store_socket(&self) -> PathBuf {
        self.path("run/store.sock")
    }

    fn acme_toml(&self, key: &Path, secret: &Path) -> String {
        format!(
            "[store]\nsocket = {:?}\n[acme]\nlisten = [\"127.0.0.1:{port}\"]\nurl = \"https://localhost:{port}\"\n[key]\nfile = {key:?}\nunseal = {{ key_file = {secret:?} }}\n",
            self.store_socket(),
            port = self.acme_port,
        )
    }

    pub(crate) fn ocsp_toml(&self, key: &Path, secret: &Path) -> String {
        format!(
            "[store]\nsocket = {:?}\n[status]\nlisten = [\"127.0.0.1:{}\"]\n[keys]\nunseal = {{ key_file = {secret:?} }}\n[keys.ocsp]\ndemo = {key:?}\n",
            self.store_socket(),
            self.status_port,
        )
    }

    /// `ca serve`, as whoever runs this test.
    pub(crate) fn serve_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/ca"));
        command.arg("--config").arg(self.path("worker/var/worker.toml")).arg("serve").args(arguments).stdin(Stdio::null());
        command
    }

    /// Starts the three processes as children of one.
    pub(crate) fn serve(&mut self, arguments: &[&str]) {
        // The children write to the same file.
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(User::Worker)).unwrap();
        let child = self.serve_command(arguments).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        assert!(self.parent.replace(child).is_none(), "it runs already");
    }

    /// SIGKILL to the parent alone; gives the processes that it had.
    pub(crate) fn kill_parent(&mut self) -> Vec<u32> {
        let children = [User::Worker, User::Acme, User::Responder].map(|user| self.pid(user));
        let mut parent = self.parent.take().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        children.into()
    }

    /// Starts a user's process.
    pub(crate) fn launch(&mut self, user: User) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(user)).unwrap();
        let mut command = match user {
            User::Worker => {
                let mut command = user.command(self.path("bin/ca"));
                command.arg("--config").arg(self.path("worker/var/worker.toml")).arg("worker");
                command
            }
            User::Acme => {
                let mut command = user.command(self.path("bin/acme-server"));
                command.arg("--config").arg(self.path("acme/acme.toml"));
                command
            }
            User::Responder => {
                let mut command = user.command(self.path("bin/ocsp-responder"));
                command.arg("--config").arg(self.path("ocsp/ocsp.toml"));
                command
            }
            User::Stranger => unreachable!("a stranger runs nothing of ours"),
        };
        let child = command.current_dir(self.path(user.folder())).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        assert!(self.processes.insert(user, child).is_none(), "it runs already");
    }

    pub(crate) fn wait_until_ready(&mut self) {
        let ready = format!("http://127.0.0.1:{}/readyz", self.status_port);
        let directory = format!("https://localhost:{}/acme/directory", self.acme_port);
        wait_for("all three processes to be ready", || {
            for (user, child) in &mut self.processes {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("the process of {user:?} ended with {status}");
                }
            }
            if let Some(status) = self.parent.as_mut().and_then(|parent| parent.try_wait().unwrap()) {
                panic!("ca serve ended with {status}");
            }
            succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready]))
                && succeeds(Command::new("curl").args(["-skf", "-o", "/dev/null", &directory]))
        });
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self, user: User) {
        let mut child = self.processes.remove(&user).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM to all; each stops cleanly.
    pub(crate) fn stop(mut self) {
        if let Some(mut parent) = self.parent.take() {
            let children = [User::Worker, User::Acme, User::Responder].map(|user| child_of(parent.id(), user).expect("it runs"));
            assert!(succeeds(Command::new("kill").args(["-TERM", &parent.id().to_string()])));
            let status = parent.wait().unwrap();
            assert!(status.success(), "ca serve stopped with {status}:\n{}", self.log(User::Worker));
            assert!(children.iter().all(|pid| !is_alive(*pid)), "its children are gone with it");
        }
        for (user, mut child) in std::mem::take(&mut self.processes) {
            assert!(succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()])));
            let status = child.wait().unwrap();
            assert!(status.success(), "{user:?} stopped with {status}:\n{}", self.log(user));
        }
    }

    pub(crate) fn pid(&self, user: User) -> u32 {
        match &self.parent {
            Some(parent) => child_of(parent.id(), user).unwrap_or_else(|| panic!("no process of {user:?}")),
            None => self.processes[&user].id(),
        }
    }

    pub(crate) fn parent_pid(&self) -> u32 {
        self.parent.as_ref().expect("ca serve runs").id()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn acme_port(&self) -> u16 {
        self.acme_port
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    fn log_path(&self, user: User) -> PathBuf {
        self.path(&format!("logs/{}.log", user.folder()))
    }

    pub(crate) fn log(&self, user: User) -> String {
        std::fs::read_to_string(self.log_path(user)).unwrap_or_default()
    }

    /// `ca` as the worker's user, who may use the control socket.
    pub(crate) fn ca(&self, arguments: &[&str]) -> Output {
        User::Worker.command(self.path("bin/ca")).arg("--config").arg(self.path("worker/var/worker.toml")).args(arguments).output().unwrap()
    }

    pub(crate) fn ca_json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = expect_success("ca", &self.ca(&[arguments, &["--json"]].concat()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
    }

    pub(crate) fn certificates(&self) -> Vec<serde_json::Value> {
        let listed = self.ca_json(&["cert", "list", "--limit", "100000"]);
        listed.as_array().or_else(|| listed["certificates"].as_array()).expect("a list").clone()
    }

    pub(crate) async fn account(&self) -> Account {
        let builder = Account::builder_with_root(self.fact("CA_BUNDLE")).unwrap();
        self.account_by(builder).await.expect("the account is accepted")
    }

    /// The same with a client of the caller's.
    pub(crate) async fn account_by(&self, builder: AccountBuilder) -> Result<Account, instant_acme::Error> {
        let secret = URL_SAFE_NO_PAD.decode(self.fact("EAB_HMAC")).unwrap();
        let binding = ExternalAccountKey::new(self.fact("EAB_KID").to_owned(), &secret);
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        Ok(builder.create(&new, self.fact("ACME_DIRECTORY").to_owned(), Some(&binding)).await?.0)
    }

    /// Orders a certificate and gives its chain.
    pub(crate) async fn issue(&self, account: &Account) -> Result<String, instant_acme::Error> {
        let identifiers = [Identifier::Dns(self.fact("DEMO_NAME").to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        order.finalize().await?;
        order.poll_certificate(&RetryPolicy::default()).await
    }

    /// Asks OCSP about a certificate: good, revoked or unknown; or the client's words where there was no such answer.
    pub(crate) fn ocsp(&self, certificate: &Path) -> String {
        let output = Command::new("openssl")
            // Without a nonce: what is signed once may be kept, and must be dropped at a revocation.
            .args([
                "ocsp",
                "-no_nonce",
                "-issuer",
                self.fact("ISSUER_CERT"),
                "-CAfile",
                self.fact("CA_BUNDLE"),
                "-url",
                self.fact("OCSP_URL"),
                "-cert",
            ])
            .arg(certificate)
            .output()
            .expect("openssl runs (package openssl)");
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let verdict = printed
            .lines()
            .find_map(|line| ["good", "revoked", "unknown"].into_iter().find(|word| line.trim_end().ends_with(&format!(": {word}"))));
        match verdict {
            Some(word) if printed.contains("Response verify OK") => word.to_owned(),
            _ => printed,
        }
    }

    /// The published CRL as openssl prints it.
    pub(crate) fn crl_text(&self) -> String {
        let file = self.path("fetched.crl");
        if !succeeds(Command::new("curl").args(["-sf", "-o"]).arg(&file).arg(self.fact("CRL_URL"))) {
            return String::new();
        }
        let output = Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(&file).output().unwrap();
        expect_success("openssl crl", &output)
    }
}

/// A child of `parent` that is the user's by now.
pub(crate) fn child_of(parent: u32, user: User) -> Option<u32> {
    let field = |status: &str, name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let is_it = field(&status, "PPid:") == Some(parent) && field(&status, "Uid:") == Some(user.uid());
        (is_it && !status.contains("State:\tZ")).then_some(pid)
    })
}

pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.processes.values_mut().chain(&mut self.parent) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for user in [User::Worker, User::Acme, User::Responder] {
                let log = self.log(user);
                eprintln!("--- the last lines of {user:?} ---");
                let tail: Vec<_> = log.lines().rev().take(25).collect();
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
