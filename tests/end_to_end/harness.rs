//! Starts, asks and stops demonstration instances.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountBuilder, ExternalAccountKey, Identifier, NewAccount, NewOrder, RetryPolicy};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// How long a state may take to be reached, on a machine that is slow and busy with other tests too; the benchmarks judge
/// speed, not the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A client that is as patient: its own 30 seconds can be short on a busy machine.
pub(crate) fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(PATIENCE)
}

/// A demonstration instance in a folder of its own.
pub(crate) struct Demo {
    folder: TempDir,
    acme_port: u16,
    status_port: u16,
    process: Option<Child>,
    facts: BTreeMap<String, String>,
    /// Further arguments of `ca demo`.
    arguments: Vec<String>,
}

/// What a subscriber holds after an order.
pub(crate) struct Issued {
    /// The chain's file.
    pub(crate) path: PathBuf,
    /// The serial number in lowercase hexadecimal.
    pub(crate) serial: String,
}

impl Demo {
    /// A fresh instance, ready.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A fresh instance, ready, with further environment variables at its first start.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::begin(environment, &[])
    }

    /// A fresh instance, ready, made with further arguments of `ca demo`.
    pub(crate) fn start_as(arguments: &[&str]) -> Self {
        Self::begin(&[], arguments)
    }

    fn begin(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut demo = Self { folder, acme_port: free_port(), status_port: free_port(), process: None, facts: BTreeMap::new(), arguments };
        demo.launch(environment);
        demo
    }

    /// Starts the process over the same folder.
    pub(crate) fn launch(&mut self, environment: &[(&str, &str)]) {
        self.spawn(environment);
        wait_for("the instance to be ready", || {
            if let Some(status) = self.ended() {
                panic!("ca demo ended with {status}:\n{}", self.log());
            }
            self.is_ready()
        });
        self.facts = read_facts(&self.var().join("demo.env"));
    }

    /// The same for a process that is to end by itself, which it may do before anybody finds it ready.
    pub(crate) fn launch_to_end(&mut self, environment: &[(&str, &str)]) {
        self.spawn(environment);
        wait_for("the instance to be ready, or at its end", || self.ended().is_some() || self.is_ready());
    }

    fn spawn(&mut self, environment: &[(&str, &str)]) {
        assert!(self.process.is_none(), "already running");
        let log = std::fs::File::options().create(true).append(true).open(self.path("server.log")).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_ca"))
            .arg("demo")
            .arg("--dir")
            .arg(self.var())
            .args(["--acme-port", &self.acme_port.to_string(), "--status-port", &self.status_port.to_string()])
            .args(&self.arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("ca starts");
        self.process = Some(child);
    }

    fn is_ready(&self) -> bool {
        let ready = format!("http://127.0.0.1:{}/readyz", self.status_port);
        let directory = format!("https://localhost:{}/acme/directory", self.acme_port);
        self.var().join("demo.env").exists()
            && succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready]))
            && succeeds(Command::new("curl").args(["-skf", "-o", "/dev/null", &directory]))
    }

    /// How the process ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().expect("it was started").try_wait().expect("a child can be asked")
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.process.take().expect("running");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be awaited");
    }

    /// SIGTERM; asserts that it stops cleanly.
    pub(crate) fn stop(&mut self) {
        let mut child = self.process.take().expect("running");
        assert!(succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()])));
        let status = child.wait().expect("a child can be awaited");
        assert!(status.success(), "stopped with {status}:\n{}", self.log());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_end(&mut self) {
        let mut child = self.process.take().expect("running");
        wait_for("the process to end", || child.try_wait().expect("a child can be asked").is_some());
    }

    /// The running process's id.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("running").id()
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_some() && self.ended().is_none()
    }

    /// A file in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The instance's state folder.
    pub(crate) fn var(&self) -> PathBuf {
        self.path("var")
    }

    /// A fact from `demo.env`.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.facts.get(name).unwrap_or_else(|| panic!("demo.env has no {name}: {:?}", self.facts.keys()))
    }

    /// What the process printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// Runs `ca` with this instance's configuration.
    pub(crate) fn ca(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ca"))
            .args(["--config", self.fact("CA_CONFIG")])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("ca runs")
    }

    /// Runs `ca … --json`, which must succeed, and reads what it prints.
    #[track_caller]
    pub(crate) fn ca_json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.ca(&[arguments, &["--json"]].concat());
        let text = expect_success("ca", &output);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("ca {arguments:?} --json printed no JSON ({e}): {text}"))
    }

    /// Has the officers put another policy in force: the one in force, edited, with this version.
    pub(crate) fn put_in_force(&self, version: u64, edit: impl FnOnce(String) -> String) {
        let text = expect_success("ca policy show", &self.ca(&["policy", "show"]));
        let before = text.lines().find(|l| l.starts_with("version = ")).expect("a version").to_owned();
        let text = edit(text.replacen(&before, &format!("version = {version}"), 1));
        let policy = self.path(&format!("policy-{version}.toml"));
        std::fs::write(&policy, text).unwrap();
        let proposed = self.ca_json(&["policy", "propose", &policy.display().to_string()]);
        let id = proposed["id"].as_str().expect("an id").to_owned();
        for officer in ["ana", "cora"] {
            let key = self.var().join("rehearsal/officers").join(officer).display().to_string();
            expect_success("ca approve sign", &self.ca(&["approve", "sign", &id, "--key", &key, "--submit"]));
        }
    }

    /// Every certificate on record.
    #[track_caller]
    pub(crate) fn certificates(&self) -> Vec<serde_json::Value> {
        let listed = self.ca_json(&["cert", "list", "--limit", "100000"]);
        listed.as_array().or_else(|| listed["certificates"].as_array()).expect("a list").clone()
    }

    /// An ACME account bound to the demonstration's grant.
    pub(crate) async fn account(&self) -> Account {
        self.try_account().await.expect("the account is accepted")
    }

    /// The same, which may fail while the server is away.
    pub(crate) async fn try_account(&self) -> Result<Account, instant_acme::Error> {
        self.account_by(Account::builder_with_root(self.fact("CA_BUNDLE"))?).await
    }

    /// The same with a client of the caller's.
    pub(crate) async fn account_by(&self, builder: AccountBuilder) -> Result<Account, instant_acme::Error> {
        self.bind(builder, self.fact("EAB_KID"), self.fact("EAB_HMAC")).await
    }

    /// An ACME account bound to this grant by this secret.
    pub(crate) async fn account_of(&self, kid: &str, hmac_key: &str) -> Result<Account, instant_acme::Error> {
        self.bind(Account::builder_with_root(self.fact("CA_BUNDLE"))?, kid, hmac_key).await
    }

    async fn bind(&self, builder: AccountBuilder, kid: &str, hmac_key: &str) -> Result<Account, instant_acme::Error> {
        let secret = URL_SAFE_NO_PAD.decode(hmac_key).expect("base64url");
        let binding = ExternalAccountKey::new(kid.to_owned(), &secret);
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        Ok(builder.create(&new, self.fact("ACME_DIRECTORY").to_owned(), Some(&binding)).await?.0)
    }

    /// [`certbot`] under the demonstration's grant, keeping its state in `folder`.
    pub(crate) fn certbot(&self, folder: &str, http_port: u16, name: &str, more: &[&str]) -> (PathBuf, Output) {
        certbot(|fact| self.fact(fact), &self.path(folder), http_port, name, more)
    }

    /// Orders a certificate for `name` and keeps it in the folder.
    pub(crate) async fn issue(&self, account: &Account, name: &str) -> Result<Issued, instant_acme::Error> {
        let identifiers = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        order.finalize().await?;
        let chain = order.poll_certificate(&patience()).await?;
        let key = instant_acme_url_tail(order.url());
        let path = self.path(&format!("{key}.pem"));
        std::fs::write(&path, &chain).expect("the folder is writable");
        let serial = serial_of(&path);
        Ok(Issued { path, serial })
    }

    /// Asks OCSP about a certificate with `openssl ocsp`; gives its first line's verdict: good, revoked or unknown.
    #[track_caller]
    pub(crate) fn ocsp(&self, certificate: &Path) -> String {
        self.ocsp_query(&["-cert", &certificate.display().to_string()])
    }

    /// Asks OCSP about a serial number.
    #[track_caller]
    pub(crate) fn ocsp_serial(&self, serial: &str) -> String {
        self.ocsp_query(&["-serial", &format!("0x{serial}")])
    }

    #[track_caller]
    fn ocsp_query(&self, about: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(["ocsp", "-issuer", self.fact("ISSUER_CERT"), "-CAfile", self.fact("CA_BUNDLE"), "-url", self.fact("OCSP_URL")])
            .args(about)
            .output()
            .expect("openssl runs (package openssl)");
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("Response verify OK"), "the OCSP answer does not verify:\n{printed}");
        let verdict = printed
            .lines()
            .find_map(|line| ["good", "revoked", "unknown"].into_iter().find(|word| line.trim_end().ends_with(&format!(": {word}"))));
        verdict.unwrap_or_else(|| panic!("no verdict:\n{printed}")).to_owned()
    }

    /// The serial numbers on the published CRL, after `openssl crl` verified it.
    #[track_caller]
    pub(crate) fn crl_serials(&self) -> Vec<String> {
        let file = self.path("fetched.crl");
        assert!(succeeds(Command::new("curl").args(["-sf", "-o"]).arg(&file).arg(self.fact("CRL_URL"))), "the CRL is served");
        let verify = Command::new("openssl")
            .args(["crl", "-inform", "DER", "-noout", "-text", "-CAfile", self.fact("ISSUER_CERT"), "-in"])
            .arg(&file)
            .output()
            .expect("openssl runs (package openssl)");
        assert!(String::from_utf8_lossy(&verify.stderr).contains("verify OK"), "{}", String::from_utf8_lossy(&verify.stderr));
        String::from_utf8_lossy(&verify.stdout)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Serial Number: "))
            .map(|serial| serial.trim().to_lowercase())
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the instance's last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn instant_acme_url_tail(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or("order")
}

/// The serial number of a PEM certificate, in lowercase hexadecimal, two digits an octet.
#[track_caller]
pub(crate) fn serial_of(certificate: &Path) -> String {
    let output = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(certificate).output().expect("openssl runs");
    let text = expect_success("openssl x509", &output);
    text.trim().trim_start_matches("serial=").to_lowercase()
}

/// A port that is this test's as long as its process lives. It lies below those that the kernel gives to outgoing connections.
///
/// Sockets that do not listen hold it: a server that lets its address be used again, as they all do, can listen there, and
/// whoever else looks for a port in this way, in another process too, finds it taken before it is listened on.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    const FIRST: u32 = 16_384;
    const COUNT: u32 = 16_000;
    let hold = |socket: std::io::Result<TcpSocket>, address: SocketAddr| {
        let socket = socket?;
        // Only then may it be used again: now it is nobody else's.
        socket.bind(address)?;
        socket.set_reuseaddr(true).map(|()| socket)
    };
    let hold_both = |port: u16| {
        let four = hold(TcpSocket::new_v4(), (Ipv4Addr::LOCALHOST, port).into()).ok()?;
        let six = hold(TcpSocket::new_v6(), (Ipv6Addr::LOCALHOST, port).into());
        // A host need not have the other kind.
        let is_free = six.as_ref().err().is_none_or(|e| e.kind() != std::io::ErrorKind::AddrInUse);
        HELD.lock().expect("nothing panics with it").extend(is_free.then_some(four).into_iter().chain(six));
        is_free.then_some(port)
    };
    let start = std::process::id().wrapping_mul(97);
    let ports = (0..COUNT).map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    ports.filter_map(|port| u16::try_from(port).ok()).find_map(hold_both).expect("a free port")
}

/// Writes a program to be executed.
///
/// By another process: what this one has open to write may be a child's of another test for a moment, and then it can't be
/// executed (ETXTBSY).
pub(crate) fn program(path: &Path, text: &str) {
    let source = path.with_extension("source");
    std::fs::write(&source, text).unwrap();
    assert!(succeeds(Command::new("install").args(["-m", "755"]).arg(&source).arg(path)), "install {}", path.display());
}

/// Whether a command ends with success.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Lets certbot enrol `name` under the grant that an instance's facts tell, keeping its state in `folder`; gives the folder
/// of the certificate's files, and what certbot said.
pub(crate) fn certbot<'a>(fact: impl Fn(&str) -> &'a str, folder: &Path, http_port: u16, name: &str, more: &[&str]) -> (PathBuf, Output) {
    let output = Command::new("certbot")
        .env("REQUESTS_CA_BUNDLE", fact("CA_BUNDLE"))
        .args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"])
        .args(["--server", fact("ACME_DIRECTORY"), "--eab-kid", fact("EAB_KID"), "--eab-hmac-key", fact("EAB_HMAC")])
        .args(["--http-01-port", &http_port.to_string(), "-d", name])
        .args(more)
        .arg("--config-dir")
        .arg(folder.join("config"))
        .arg("--work-dir")
        .arg(folder.join("work"))
        .arg("--logs-dir")
        .arg(folder.join("logs"))
        .output()
        .expect("certbot runs (package certbot)");
    (folder.join("config/live").join(name), output)
}

/// Asserts success and gives the standard output.
#[track_caller]
pub(crate) fn expect_success(what: &str, output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what} ended with {}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    stdout
}

/// Asserts that a command ended with this exit code and says this in its errors.
#[track_caller]
pub(crate) fn check_refused(what: &str, output: &Output, code: i32, says: &str) {
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{what}: {printed}");
    assert!(printed.contains(says), "{what}: `{says}` is not in: {printed}");
}

/// Waits until `reached`, at most [`PATIENCE`]; tells how long it took.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's patience is measured on the real clock")]
pub(crate) fn wait_for(what: &str, mut reached: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

/// The facts in a demo.env.
pub(crate) fn read_facts(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).expect("demo.env is there");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// A runtime for the client side of a test.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(work)
}
