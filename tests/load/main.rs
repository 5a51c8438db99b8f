//! `make bench`: the hot paths under load, each beside its peer or limit in the same run, as ratios.
//!
//! Needs `wrk` and `nginx` for the comparisons; what is missing is said and left out, never guessed.

#![expect(clippy::unwrap_used, reason = "a measurement that meets an error has failed")]

mod client;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "the tests use more of the harness than the benchmark does")]
mod harness;
mod idle;
#[path = "../separate/site.rs"]
#[allow(dead_code, reason = "the tests use more of it than the benchmark does")]
mod site;
#[path = "../end_to_end/wire.rs"]
#[allow(dead_code, reason = "the tests use more of it than the benchmark does")]
mod wire;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Demo, block_on, free_port, succeeds};

/// How long each measurement runs.
const SPAN: Duration = Duration::from_secs(8);
/// Clients that order at the same time.
const CLIENTS: usize = 16;

fn main() {
    let begun = now();
    let demo = Demo::start();
    let first_start = begun.elapsed();
    println!("cores: {}", std::thread::available_parallelism().map_or(0, usize::from));
    println!("binary: {:.1} MB (aim: below 30)", file_megabytes(env!("CARGO_BIN_EXE_ca")));
    println!("first start, ceremony included: {:.2} s", first_start.as_secs_f64());
    let demo = restart(demo);
    let together = orders(&demo, "");
    half_load(&demo, together);
    let demo = without_anchor(demo);
    ocsp(&demo);
    println!("memory after the load: {:.1} MB", resident_megabytes(demo.process_id()));
    key_checks(&demo);
    let _demo = idle::idle(demo);
    separate_processes(together);
}

/// The whole check of a key's numbers, which each request's key meets twice: at the front end and at the worker.
fn key_checks(demo: &Demo) {
    const ROUNDS: u32 = 2000;
    for (name, kind) in
        [("RSA-2048", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), ("P-256", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])]
    {
        let (private, public) = (demo.path("bench.key"), demo.path("bench.pub"));
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm"]).args(kind).arg("-out").arg(&private).output().expect("openssl runs");
        harness::expect_success("openssl genpkey", &made);
        let made =
            Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&private).arg("-out").arg(&public).output();
        harness::expect_success("openssl pkey", &made.expect("openssl runs"));
        let key = ca_core::pki::PublicKey::from_spki_der(std::fs::read(&public).expect("openssl wrote it"));
        ca_core::profile::check_key(&key).expect("a fresh key keeps every rule");
        let begun = now();
        for _ in 0..ROUNDS {
            std::hint::black_box(ca_core::profile::check_key(std::hint::black_box(&key))).expect("as before");
        }
        println!("key check, {name}: {:.1} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
}

/// The same orders where the front end, the responder and the worker are processes of three users.
fn separate_processes(together: f64) {
    if !succeeds(Command::new("sh").args(["-c", "test $(id -u) = 0 && command -v setpriv"])) {
        println!("orders across separate processes: this needs root and setpriv, so nothing was measured");
        return;
    }
    let site = site::Site::start();
    let users = [site::User::Worker, site::User::Acme, site::User::Responder];
    let cpu = || users.iter().map(|user| cpu_seconds(site.pid(*user))).sum::<f64>();
    let before = cpu();
    let load = load_of(site.fact("CA_BUNDLE"), site.fact("DEMO_NAME"), None, async |builder| site.account_by(builder).await);
    let (rate, issued) = (load.rate(), load.finalized.len() as f64);
    println!("ACME orders across three processes: {rate:.0} a second, {:.0}% of one process's", 100.0 * rate / together);
    println!("CPU of all three for each certificate: {:.2} ms", (cpu() - before) * 1000.0 / issued);
    for user in users {
        println!("memory of {user:?}: {:.1} MB", resident_megabytes(site.pid(user)));
    }
    site.stop();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures on the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn restart(mut demo: Demo) -> Demo {
    demo.stop();
    let begun = now();
    demo.launch(&[]);
    println!("start to ready: {:.2} s (aim: below 1; measured in steps of 0.05)", begun.elapsed().as_secs_f64());
    println!("idle memory: {:.1} MB (aim: below 40)", resident_megabytes(demo.process_id()));
    demo
}

/// Orders a second in one process.
fn orders(demo: &Demo, how: &str) -> f64 {
    let before = cpu_seconds(demo.process_id());
    let load = load_of(demo.fact("CA_BUNDLE"), demo.fact("DEMO_NAME"), None, async |builder| demo.account_by(builder).await);
    let cpu = cpu_seconds(demo.process_id()) - before;
    println!("ACME orders{how}, {CLIENTS} clients on the same cores: {:.0} a second ({load})", load.rate());
    println!(
        "server CPU for each certificate{how}: {:.2} ms (aim: below 1; step-ca 0.30.2 was measured at 6.8)",
        cpu * 1000.0 / load.finalized.len() as f64
    );
    load.rate()
}

/// At half of what it can do: how long a finalize takes then.
fn half_load(demo: &Demo, rate: f64) {
    let pace = Duration::from_secs_f64(2.0 * CLIENTS as f64 / rate);
    let load = load_of(demo.fact("CA_BUNDLE"), demo.fact("DEMO_NAME"), Some(pace), async |builder| demo.account_by(builder).await);
    println!("at half load, {:.0} orders a second: {load} (aim: 99 % below 50 ms)", load.rate());
}

/// What a load saw.
struct Load {
    /// How long each finalize took, in order.
    finalized: Vec<Duration>,
    seconds: f64,
}

impl Load {
    fn rate(&self) -> f64 {
        self.finalized.len() as f64 / self.seconds
    }

    fn milliseconds(&self, part: f64) -> f64 {
        let at = (self.finalized.len() as f64 * part) as usize;
        self.finalized.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (half, most, nearly_all) = (self.milliseconds(0.5), self.milliseconds(0.99), self.milliseconds(0.999));
        write!(f, "{} in {:.1} s; finalize {half:.1} ms, 99 %: {most:.1}, 99.9 %: {nearly_all:.1}", self.finalized.len(), self.seconds)
    }
}

/// A client that asks again at once: the default's quarter of a second would be most of what is measured.
fn eager() -> instant_acme::RetryPolicy {
    instant_acme::RetryPolicy::default().initial_delay(Duration::from_millis(2))
}

/// Orders certificates for `name` from [`CLIENTS`] accounts for [`SPAN`], each one after the other; with a pace, each
/// account one in that time.
fn load_of(
    bundle: &str,
    name: &str,
    pace: Option<Duration>,
    account: impl AsyncFn(instant_acme::AccountBuilder) -> Result<instant_acme::Account, instant_acme::Error>,
) -> Load {
    block_on(async {
        let mut accounts = Vec::new();
        for _ in 0..CLIENTS {
            let http = Box::new(client::Client::trusting(bundle.as_ref()));
            accounts.push(account(instant_acme::Account::builder_with_http(http)).await.expect("the account is accepted"));
        }
        let begun = now();
        let clients = accounts.into_iter().enumerate().map(|(index, account)| {
            let names = [instant_acme::Identifier::Dns(name.to_owned())];
            async move {
                let mut next = begun + pace.map_or(Duration::ZERO, |pace| pace * index as u32 / CLIENTS as u32);
                let mut took = Vec::new();
                while begun.elapsed() < SPAN {
                    if let Some(pace) = pace {
                        tokio::time::sleep_until(next.into()).await;
                        next += pace;
                    }
                    let mut order = account.new_order(&instant_acme::NewOrder::new(&names)).await.expect("an order");
                    let asked = now();
                    order.finalize().await.expect("finalized");
                    took.push(asked.elapsed());
                    order.poll_certificate(&eager()).await.expect("a certificate");
                }
                took
            }
        });
        let tasks: tokio::task::JoinSet<_> = clients.collect();
        let mut finalized: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
        finalized.sort_unstable();
        Load { finalized, seconds: begun.elapsed().as_secs_f64() }
    })
}

/// The same load on the same instance when it remembers nothing outside the database: what the anchor costs.
fn without_anchor(mut demo: Demo) -> Demo {
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let (before, rest) = text.split_once("[anchor]").expect("the demonstration has an anchor");
    let (_, after) = rest.split_once("\n[").expect("other sections follow");
    std::fs::write(&file, format!("{before}[{after}")).expect("the folder is writable");
    demo.launch(&[]);
    orders(&demo, " without the anchor");
    demo.stop();
    std::fs::write(&file, text).expect("the folder is writable");
    demo.launch(&[]);
    demo
}

fn ocsp(demo: &Demo) {
    if !succeeds(Command::new("wrk").arg("--version")) && !succeeds(Command::new("sh").args(["-c", "command -v wrk"])) {
        println!("OCSP: wrk is not installed (package wrk), so nothing was measured");
        return;
    }
    let issued = block_on(async {
        let account = demo.account().await;
        demo.issue(&account, demo.fact("DEMO_NAME")).await.expect("a certificate")
    });
    let request = |nonce: &str, name: &str| {
        let file = demo.path(name);
        let done = Command::new("openssl")
            .args(["ocsp", "-issuer", demo.fact("ISSUER_CERT"), nonce, "-cert"])
            .arg(&issued.path)
            .arg("-reqout")
            .arg(&file)
            .output()
            .expect("openssl runs");
        harness::expect_success("openssl ocsp -reqout", &done);
        file
    };
    let url = demo.fact("OCSP_URL").to_owned();
    let cached = wrk_post(demo, &url, &request("-no_nonce", "plain.req"));
    let live = wrk_post(demo, &url, &request("-nonce", "nonce.req"));
    println!("OCSP, cached: {cached:.0} requests a second");
    println!("OCSP, with nonce (signed each time): {live:.0} requests a second");
    if let Some(limit) = nginx_static(demo, &url, &request("-no_nonce", "plain.req")) {
        println!(
            "nginx, one worker, a file of the same size: {limit:.0} requests a second; OCSP cached reaches {:.0}% of it",
            100.0 * cached / limit
        );
    }
    let speed = Command::new("openssl").args(["speed", "-seconds", "2", "ecdsap256"]).output().expect("openssl runs");
    let printed = String::from_utf8_lossy(&speed.stdout);
    let signs = printed.lines().last().and_then(|l| l.split_whitespace().rev().nth(1).and_then(|n| n.parse::<f64>().ok()));
    if let Some(signs) = signs {
        println!(
            "openssl speed, P-256 signatures on one core: {signs:.0} a second; OCSP with nonce reaches {:.0}% of it",
            100.0 * live / signs
        );
    }
}

/// Requests a second of a POST with this body.
fn wrk_post(demo: &Demo, url: &str, body: &std::path::Path) -> f64 {
    let script = demo.path("post.lua");
    let lua = format!(
        "local f = io.open(\"{}\", \"rb\")\nwrk.method = \"POST\"\nwrk.body = f:read(\"*all\")\nf:close()\nwrk.headers[\"Content-Type\"] = \"application/ocsp-request\"\n",
        body.display()
    );
    std::fs::write(&script, lua).expect("the folder is writable");
    wrk(&["-s", &script.display().to_string(), url])
}

fn wrk(arguments: &[&str]) -> f64 {
    let output = Command::new("wrk").args(["-t1", "-c32", "-d5s"]).args(arguments).output().expect("wrk runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!printed.contains("Non-2xx"), "the load met errors:\n{printed}");
    let rate = printed.lines().find_map(|l| l.trim().strip_prefix("Requests/sec:")).and_then(|n| n.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("wrk printed no rate:\n{printed}"))
}

/// The limit: nginx serving a file of an OCSP answer's size.
fn nginx_static(demo: &Demo, url: &str, request: &std::path::Path) -> Option<f64> {
    let folder = demo.path("limit");
    std::fs::create_dir_all(&folder).ok()?;
    let answer = folder.join("answer");
    if !succeeds(
        Command::new("curl")
            .args(["-sf", "-H", "content-type: application/ocsp-request", "--data-binary", &format!("@{}", request.display()), "-o"])
            .arg(&answer)
            .arg(url),
    ) {
        return None;
    }
    let port = free_port();
    let configuration = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log /dev/null;\nevents {{}}\nhttp {{ access_log off; keepalive_requests 10000000; server {{ listen 127.0.0.1:{port}; root {dir}; }} }}\n",
        dir = folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration).ok()?;
    let mut nginx = Command::new("nginx").arg("-c").arg(&file).stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    harness::wait_for("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let rate = wrk(&[&format!("http://127.0.0.1:{port}/answer")]);
    let _ = nginx.kill();
    let _ = nginx.wait();
    Some(rate)
}

/// User and system time of a process so far (proc(5): fields 14 and 15, in ticks of 1/100 s).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn resident_megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")).and_then(|n| n.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

fn file_megabytes(path: &str) -> f64 {
    std::fs::metadata(path).map_or(f64::NAN, |m| m.len() as f64 / 1_048_576.0)
}
