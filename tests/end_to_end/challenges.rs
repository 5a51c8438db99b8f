//! Stock clients prove names that no grant covers: http-01, tls-alpn-01 and dns-01, each in a zone of the policy.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use crate::harness::{Demo, expect_success, free_port, serial_of};

/// A name server: every name has the address 127.0.0.1, and the TXT records that stand in files of its folder.
struct NameServer {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start(folder: PathBuf) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket has a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; 1500];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                let _ = socket.send_to(&answer(&query, &folder).to_vec().expect("a message"), peer);
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(query: &Message, folder: &Path) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    let Some(question) = query.queries.first() else { return answer };
    answer.add_query(question.clone());
    let name = question.name().to_ascii();
    let data = match question.query_type() {
        RecordType::A => Some(RData::A(A::new(127, 0, 0, 1))),
        RecordType::TXT => std::fs::read_to_string(folder.join(&name)).ok().map(|text| RData::TXT(TXT::new(vec![text.trim().to_owned()]))),
        _ => None,
    };
    if let Some(data) = data {
        answer.add_answer(Record::from_rdata(question.name().clone(), 1, data));
    }
    answer
}

/// A demonstration whose officers put a challenge zone in force.
struct Site {
    demo: Demo,
    names: NameServer,
    http_port: u16,
    tls_port: u16,
    records: PathBuf,
}

impl Site {
    fn start() -> Self {
        let mut demo = Demo::start();
        let records = demo.path("records");
        std::fs::create_dir(&records).unwrap();
        let names = NameServer::start(records.clone());
        let (http_port, tls_port) = (free_port(), free_port());

        demo.put_in_force(2, |text| {
            let names = "\"dns:*.demo.test\", \"dns:*.dmz.demo.test\", \"dns-wildcard:dmz.demo.test\"";
            let zone = "\n[[authority.challenge]]\nnames = [\"dns:*.dmz.demo.test\", \"dns-wildcard:dmz.demo.test\"]\nmethods = [\"http-01\", \"dns-01\", \"tls-alpn-01\"]\ncaa = [\"ca.demo.test\"]\n";
            text.replacen("\"dns:*.demo.test\"", names, 1) + zone
        });
        demo.stop();
        let config = demo.var().join("ca.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let validation = format!(
            "\n[validation]\nresolvers = [\"127.0.0.1:{}\"]\nnetworks = [\"127.0.0.1\"]\nhttp_port = {http_port}\ntls_port = {tls_port}\n",
            names.port
        );
        std::fs::write(&config, text + &validation).unwrap();
        demo.launch(&[]);
        Self { demo, names, http_port, tls_port, records }
    }

    fn certbot(&self, name: &str) -> (PathBuf, Output) {
        let (live, output) = self.demo.certbot("certbot", self.http_port, name, &[]);
        (live.join("cert.pem"), output)
    }

    fn lego(&self, name: &str, method: &[&str], environment: &[(&str, &str)]) -> PathBuf {
        let demo = &self.demo;
        let folder = demo.path("lego");
        let output = Command::new("lego")
            .env("LEGO_CA_CERTIFICATES", demo.fact("CA_BUNDLE"))
            .envs(environment.iter().copied())
            .arg("--path")
            .arg(&folder)
            .args(["--server", demo.fact("ACME_DIRECTORY"), "--eab", "--kid", demo.fact("EAB_KID"), "--hmac", demo.fact("EAB_HMAC")])
            .args(["--accept-tos", "--email", "ops@demo.test", "--domains", name])
            .args(method)
            .arg("run")
            .output()
            .expect("lego runs (package lego)");
        expect_success("lego run", &output);
        folder.join("certificates").join(format!("{}.crt", name.replace('*', "_")))
    }

    /// Asserts a good certificate, with its evidence in the audit trail.
    #[track_caller]
    fn check(&self, certificate: &Path, name: &str, method: &str) {
        assert_eq!(self.demo.ocsp(certificate), "good");
        let text = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(certificate).output().expect("openssl runs");
        assert!(expect_success("openssl x509", &text).contains(&format!("DNS:{name}")));
        let serial = serial_of(certificate);
        assert!(self.demo.certificates().iter().any(|c| c["serial"].as_str().is_some_and(|s| s.ends_with(&serial))), "{serial}");
        let trail = String::from_utf8(self.demo.ca(&["audit", "tail", "-n", "300", "--json"]).stdout).expect("text");
        for action in ["authorization.validate", "order.believe"] {
            let told = trail.lines().any(|line| line.contains(action) && line.contains(name) && line.contains(method));
            assert!(told, "{action} of {name} by {method} is not in the trail:\n{trail}");
        }
    }
}

#[test]
fn a12_certbot_proves_a_name_by_http_01() {
    let site = Site::start();
    let name = "web.dmz.demo.test";
    let (certificate, output) = site.certbot(name);
    expect_success("certbot", &output);
    site.check(&certificate, name, "http-01");

    // What is neither granted nor in the zone stays out of reach.
    let (_, refused) = site.certbot("web.bank.example");
    let printed = format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    assert!(!refused.status.success() && printed.contains("web.bank.example"), "{printed}");
}

#[test]
fn a12_lego_proves_names_by_tls_alpn_01_and_dns_01() {
    let site = Site::start();
    let name = "tls.dmz.demo.test";
    let certificate = site.lego(name, &["--tls", "--tls.port", &format!(":{}", site.tls_port)], &[]);
    site.check(&certificate, name, "tls-alpn-01");

    let script = site.demo.path("update-dns.sh");
    let text = format!(
        "#!/bin/sh\ncase \"$1\" in\npresent) printf '%s' \"$3\" > '{0}'/\"$2\" ;;\ncleanup) rm -f '{0}'/\"$2\" ;;\nesac\n",
        site.records.display()
    );
    std::fs::write(&script, text).unwrap();
    let made = Command::new("chmod").arg("0755").arg(&script).output().expect("chmod runs");
    expect_success("chmod", &made);
    let resolver = format!("127.0.0.1:{}", site.names.port);
    let method = ["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", &resolver];
    let environment = [("EXEC_PATH", script.to_str().unwrap()), ("EXEC_POLLING_INTERVAL", "1"), ("EXEC_PROPAGATION_TIMEOUT", "10")];
    let certificate = site.lego("*.dmz.demo.test", &method, &environment);
    site.check(&certificate, "*.dmz.demo.test", "dns-01");
}
