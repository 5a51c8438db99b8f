//! Stock clients prove names that no grant covers: http-01, tls-alpn-01 and dns-01, each in a zone of the policy.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Demo, expect_success, program, serial_of};
use crate::zone::Zone;

/// A demonstration whose officers put a challenge zone in force.
struct Site {
    demo: Demo,
    zone: Zone,
}

impl Site {
    fn start() -> Self {
        let mut demo = Demo::start();
        let zone = Zone::open(&mut demo, "caa = [\"ca.demo.test\"]");
        Self { demo, zone }
    }

    fn certbot(&self, name: &str) -> (PathBuf, Output) {
        let (live, output) = self.demo.certbot("certbot", self.zone.http_port, name, &[]);
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
    let certificate = site.lego(name, &["--tls", "--tls.port", &format!(":{}", site.zone.tls_port)], &[]);
    site.check(&certificate, name, "tls-alpn-01");

    let script = site.demo.path("update-dns.sh");
    let text = format!(
        "#!/bin/sh\ncase \"$1\" in\npresent) printf '%s' \"$3\" > '{0}'/\"$2\" ;;\ncleanup) rm -f '{0}'/\"$2\" ;;\nesac\n",
        site.zone.records.display()
    );
    program(&script, &text);
    let method = ["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", &site.zone.resolver()];
    let environment = [("EXEC_PATH", script.to_str().unwrap()), ("EXEC_POLLING_INTERVAL", "1"), ("EXEC_PROPAGATION_TIMEOUT", "10")];
    let certificate = site.lego("*.dmz.demo.test", &method, &environment);
    site.check(&certificate, "*.dmz.demo.test", "dns-01");
}
