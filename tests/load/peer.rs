//! Another CA where one is installed: the same clients, the same challenged names, the same machine, in turns, because a
//! machine's speed drifts.
//!
//! Neither can bind accounts to a grant as the product does: all that they issue is challenged.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use instant_acme::{AccountBuilder, NewAccount};

use crate::clients::{Limits, Load, block_on};
use crate::harness::{Demo, expect_success, free_port, succeeds, wait_for};
use crate::orders::{Course, Measured, below};
use crate::zone::Zone;

/// How often each has its turn.
const TURNS: usize = 4;

struct Peer {
    what: String,
    process: Child,
    /// What its clients trust.
    bundle: PathBuf,
    directory: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says how the product stands beside a peer, with granted and with challenged names, each for this span in all.
pub(crate) fn beside(demo: &Demo, zone: &Zone, span: Duration) {
    let found = |program: &str| succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]));
    let peer = if found("step-ca") && found("step") {
        step_ca(&demo.path("step-ca"), zone)
    } else if found("pebble") {
        pebble(&demo.path("pebble"), zone)
    } else {
        println!("beside another CA: neither step-ca (with step) nor pebble is installed, so nothing is compared");
        return;
    };
    wait_for("the other CA to be ready", || {
        succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", "--cacert"]).arg(&peer.bundle).arg(&peer.directory))
    });
    let account = async |builder: AccountBuilder| {
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        Ok(builder.create(&new, peer.directory.clone(), None).await?.0)
    };
    let bundle = peer.bundle.display().to_string();
    let [theirs, challenged, granted] = block_on(async {
        let names = below(zone).await;
        let courses = [
            Course::begin(&[peer.process.id()], &bundle, names.clone(), account).await,
            Course::of(demo, names).await,
            Course::granted(demo).await,
        ];
        let mut seen: [(Load, f64); 3] = Default::default();
        for _ in 0..TURNS {
            for (course, (loads, cpus)) in courses.iter().zip(&mut seen) {
                let (load, cpu) = course.run(Limits::span(span / TURNS as u32)).await;
                loads.add(load);
                *cpus += cpu;
            }
        }
        seen
    });
    let say = |what: &str, (load, cpu): &(Load, f64)| Measured::say(&format!("in {TURNS} turns, {what}"), load, *cpu);
    let theirs = say(&format!("{}, orders with http-01", peer.what), &theirs);
    for (what, ours) in [
        ("http-01 here too", say("ACME orders with http-01", &challenged)),
        ("where a grant covers the name (aim beside step-ca: 5 times its rate)", say("ACME orders of granted names", &granted)),
    ] {
        let (rate, cpu) = (ours.rate / theirs.rate, ours.milliseconds / theirs.milliseconds);
        println!("beside it, {what}: {rate:.1} times its rate, {cpu:.2} times its CPU for each certificate");
    }
}

/// The first line that a program says of its version.
fn version(program: &str, option: &str) -> String {
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output().expect("it is installed");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or(program).to_owned()
}

/// A server in a folder of its own, that takes nothing from this process's environment that would lead it elsewhere.
fn launch(folder: &Path, command: &mut Command) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("the folder is writable");
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log).spawn().expect("it is installed")
}

/// step-ca as `step ca init` sets it up, with its own database on disk.
fn step_ca(folder: &Path, zone: &Zone) -> Peer {
    std::fs::create_dir(folder).expect("the folder is writable");
    let (port, password) = (free_port(), folder.join("password"));
    std::fs::write(&password, "a measurement's\n").expect("the folder is writable");
    let made = Command::new("step")
        .env("STEPPATH", folder)
        .args(["ca", "init", "--deployment-type", "standalone", "--acme", "--name", "load", "--provisioner", "load"])
        .args(["--dns", "localhost", "--address", &format!("127.0.0.1:{port}"), "--password-file"])
        .arg(&password)
        .arg("--provisioner-password-file")
        .arg(&password)
        .stdin(Stdio::null())
        .output();
    expect_success("step ca init", &made.expect("it is installed"));
    let mut server = Command::new("step-ca");
    // Options first: what follows a bare option may be taken for its value.
    server
        .env("STEPPATH", folder)
        .args(["--resolver", &zone.resolver(), "--acme-http-port", &zone.http_port.to_string(), "--insecure", "--password-file"])
        .arg(&password)
        .arg(folder.join("config/ca.json"));
    Peer {
        what: version("step-ca", "--version"),
        process: launch(folder, &mut server),
        bundle: folder.join("certs/root_ca.crt"),
        directory: format!("https://localhost:{port}/acme/acme/directory"),
    }
}

/// Pebble without its deliberate delays and refusals. It keeps everything in memory.
fn pebble(folder: &Path, zone: &Zone) -> Peer {
    std::fs::create_dir(folder).expect("the folder is writable");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the folder is writable");
        path
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (bundle, key) = (write("server.pem", &own.cert.pem()), write("server.key", &own.signing_key.serialize_pem()));
    let port = free_port();
    let config = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{}", free_port()),
        "certificate": bundle,
        "privateKey": key,
        "httpPort": zone.http_port,
        "tlsPort": zone.tls_port,
        "keyAlgorithm": "ecdsa",
        "externalAccountBindingRequired": false,
    }});
    let config = write("pebble.json", &config.to_string());
    let mut server = Command::new("pebble");
    server.arg("-config").arg(config).args(["-dnsserver", &zone.resolver()]);
    server.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")]);
    Peer {
        what: version("pebble", "-version"),
        process: launch(folder, &mut server),
        bundle,
        directory: format!("https://localhost:{port}/dir"),
    }
}
