//! OCSP answers, cached and signed each time, beside a web server's files and the signatures that a core can make.
//!
//! Needs `wrk`, and `nginx` and `openssl` for the comparisons.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clients::block_on;
use crate::harness::{Demo, expect_success, free_port, succeeds, wait_for};

pub(crate) fn answers(demo: &Demo, asking: Duration) {
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
        expect_success("openssl ocsp -reqout", &done);
        file
    };
    let url = demo.fact("OCSP_URL").to_owned();
    let cached = wrk_post(demo, asking, &url, &request("-no_nonce", "plain.req"));
    let live = wrk_post(demo, asking, &url, &request("-nonce", "nonce.req"));
    println!("OCSP, cached: {cached:.0} requests a second");
    println!("OCSP, with nonce (signed each time): {live:.0} requests a second");
    if let Some(limit) = nginx_static(demo, asking, &url, &request("-no_nonce", "plain.req")) {
        println!(
            "nginx, one worker, a file of the same size: {limit:.0} requests a second; OCSP cached reaches {:.0}% of it",
            100.0 * cached / limit
        );
    }
    let speed = Command::new("openssl").args(["speed", "-seconds", "1", "ecdsap256"]).output().expect("openssl runs");
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
fn wrk_post(demo: &Demo, asking: Duration, url: &str, body: &Path) -> f64 {
    let script = demo.path("post.lua");
    let lua = format!(
        "local f = io.open(\"{}\", \"rb\")\nwrk.method = \"POST\"\nwrk.body = f:read(\"*all\")\nf:close()\nwrk.headers[\"Content-Type\"] = \"application/ocsp-request\"\n",
        body.display()
    );
    std::fs::write(&script, lua).expect("the folder is writable");
    wrk(asking, &["-s", &script.display().to_string(), url])
}

fn wrk(asking: Duration, arguments: &[&str]) -> f64 {
    let span = format!("-d{}s", asking.as_secs());
    let output = Command::new("wrk").args(["-t1", "-c32", &span]).args(arguments).output().expect("wrk runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!printed.contains("Non-2xx"), "the load met errors:\n{printed}");
    let rate = printed.lines().find_map(|l| l.trim().strip_prefix("Requests/sec:")).and_then(|n| n.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("wrk printed no rate:\n{printed}"))
}

/// The limit: nginx serving a file of an OCSP answer's size.
fn nginx_static(demo: &Demo, asking: Duration, url: &str, request: &Path) -> Option<f64> {
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
    wait_for("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let rate = wrk(asking, &[&format!("http://127.0.0.1:{port}/answer")]);
    let _ = nginx.kill();
    let _ = nginx.wait();
    Some(rate)
}
