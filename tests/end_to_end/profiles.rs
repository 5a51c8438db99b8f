//! Profiles whose certificates say what policy and grant say: enrolled by stock clients and by the agent.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ca_ceremony::SystemRng;
use ca_core::policy::{ProfilePolicy, SubjectParts};
use ca_core::profile::{Attribute, LeafShape, Psd2, Psd2Role};
use ca_keystore::Unsealer;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{expect_success, free_port, serial_of};
use crate::key_site::{KeySite, Offering};

/// A CA with software keys that offers one profile, `x`.
fn site(folder: &TempDir, profile: ProfilePolicy, uris: &[&'static str]) -> KeySite {
    let mut site = KeySite::new(folder.path());
    for store in ["root", "online"] {
        Unsealer::create_file_key(site.path(&format!("{store}.key")), &SystemRng).unwrap();
        let text = format!("dir = \"{store}-keys\"\nunseal = {{ key_file = \"{store}.key\" }}\n");
        std::fs::write(site.path(&format!("{store}.toml")), text).unwrap();
    }
    site.write_configuration("dir = \"online-keys\"\nunseal = { key_file = \"online.key\" }");
    let defaults = Offering::default();
    let with_uris = |names: Vec<&'static str>| names.into_iter().chain(uris.iter().copied()).collect();
    site.rehearse_offering(
        Vec::new(),
        Offering {
            permitted: with_uris(defaults.permitted),
            names: with_uris(defaults.names),
            profiles: BTreeMap::from([("x".to_owned(), profile)]),
        },
    );
    expect_success("ca import", &site.ca(&["import", "rehearsal/bundle"]));
    site.serve();
    site
}

#[track_caller]
fn verify_strictly(site: &KeySite, certificate: &Path, purpose: &str) {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
        .arg(site.authority_certificate("demo-root"))
        .arg("-untrusted")
        .arg(site.authority_certificate("demo"))
        .arg(certificate)
        .output()
        .expect("openssl runs (package openssl)");
    expect_success("openssl verify", &output);
}

#[track_caller]
fn openssl_x509(certificate: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").arg("x509").arg("-noout").arg("-in").arg(certificate).args(arguments).output();
    expect_success("openssl x509", &output.expect("openssl runs (package openssl)"))
}

/// What `ca cert show` says of a certificate is what OpenSSL reads in it.
#[track_caller]
fn shown(site: &KeySite, certificate: &Path) -> Value {
    let serial = serial_of(certificate);
    let value = site.ca_json(&["cert", "show", &serial]);
    let fingerprint = openssl_x509(certificate, &["-fingerprint", "-sha256"]);
    let digits = fingerprint.trim().rsplit('=').next().unwrap().replace(':', "");
    let octets: Vec<u8> = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect();
    let thumbprint = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, octets);
    assert_eq!(value["x5t#S256"], thumbprint.as_str());
    let text = expect_success("ca cert show", &site.ca(&["cert", "show", &serial]));
    assert!(text.contains(&thumbprint) && text.contains("subject"), "{text}");
    assert!(expect_success("ca cert list", &site.ca(&["cert", "list"])).contains(&thumbprint));
    value
}

#[test]
fn a17_lego_enrols_a_workload_and_renews_it() {
    let folder = tempfile::tempdir().unwrap();
    let template = Some("spiffe://demo.test/ns/{service}".parse().unwrap());
    let profile = ProfilePolicy { uri: template, ..ProfilePolicy::new(LeafShape::Spiffe, 86_400) };
    let site = site(&folder, profile, &["uri:spiffe://demo.test/ns/*"]);
    let name = "payments.demo.test";
    let refused = site.ca(&["grant", "create", "--service", "pay ments", "--name", name, "--profile", "x"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("can't stand in"), "{refused:?}");
    let grant = site.ca_json(&["grant", "create", "--service", "payments", "--name", name, "--profile", "x"]);

    let lego = |arguments: &[&str]| {
        let output = Command::new("lego")
            .env("LEGO_CA_CERTIFICATES", site.authority_certificate("demo-root"))
            .arg("--path")
            .arg(site.path("lego"))
            .args(["--server", &site.directory(), "--eab", "--kid", grant["kid"].as_str().unwrap()])
            .args(["--hmac", grant["hmac_key"].as_str().unwrap(), "--accept-tos", "--email", "ops@demo.test"])
            .args(["--http", "--http.port", &format!(":{}", free_port()), "--domains", name])
            .args(arguments)
            .output();
        expect_success("lego", &output.expect("lego runs (package lego)"))
    };
    lego(&["run"]);
    let certificate = site.path("lego/certificates").join(format!("{name}.crt"));
    verify_strictly(&site, &certificate, "sslclient");
    let names = openssl_x509(&certificate, &["-ext", "subjectAltName"]);
    assert!(names.contains("critical") && names.contains("URI:spiffe://demo.test/ns/payments") && !names.contains("DNS:"), "{names}");
    let value = shown(&site, &certificate);
    assert_eq!((value["names"][0].as_str(), value["subject"].as_str()), (Some("spiffe://demo.test/ns/payments"), Some("")));

    let first = serial_of(&certificate);
    lego(&["renew", "--days", "90", "--no-random-sleep"]);
    assert_ne!(serial_of(&certificate), first, "a new certificate");
    assert_eq!(openssl_x509(&certificate, &["-ext", "subjectAltName"]), names);
    let serial = serial_of(&certificate);
    lego(&["revoke"]);
    assert!(!site.ca_json(&["cert", "show", &serial])["revoked"].is_null());
}

#[test]
fn a17_the_agent_enrols_an_open_banking_seal() {
    let folder = tempfile::tempdir().unwrap();
    let psd2 = Psd2 {
        roles: vec![Psd2Role::PaymentInitiation, Psd2Role::AccountInformation],
        nca_name: "Financial Conduct Authority".to_owned(),
        nca_id: "GB-FCA".to_owned(),
    };
    let fixed = SubjectParts::new([(Attribute::Country, "GB".to_owned())]).unwrap();
    let profile = ProfilePolicy { psd2: Some(psd2), subject: fixed, ..ProfilePolicy::new(LeafShape::Obseal, 86_400) };
    let site = site(&folder, profile, &[]);
    let name = "payments.demo.test";
    let base = ["grant", "create", "--service", "payments", "--name", name, "--profile", "x"];
    let identity =
        ["--subject", "O=Bank plc", "--subject", "organizationIdentifier=PSDGB-FCA-123456", "--subject", "CN=0015800001HQQrZAAX"];
    let refusals: [(&[&str], &str); 5] = [
        (&identity[..4], "needs CN"),
        (&["--subject", "O=Bank plc", "--subject", "organizationIdentifier=PSDDE-BAFIN-1", "--subject", "CN=x"], "another authority"),
        (&["--subject", "C=DE"], "the policy fixes C"),
        (&["--subject", "XX=DE"], "unknown subject attribute"),
        (&["--uri", "https://demo.test/a"], "needs O"),
    ];
    for (more, reason) in refusals {
        let refused = site.ca(&[&base[..], more].concat());
        let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && printed.contains(reason), "{reason}: {printed}");
    }
    let grant = site.ca_json(&[&base[..], &identity].concat());
    let listed = site.ca_json(&["grant", "list"]);
    assert_eq!(listed[0]["subject"]["organizationIdentifier"], "PSDGB-FCA-123456");

    let secret = site.path("hmac");
    std::fs::write(&secret, grant["hmac_key"].as_str().unwrap()).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let agent = || {
        let output = Command::new(env!("CARGO_BIN_EXE_ca"))
            .args(["agent", "enrol", "--directory", &site.directory(), "--eab-kid", grant["kid"].as_str().unwrap(), "--name", name])
            .arg("--ca-bundle")
            .arg(site.authority_certificate("demo-root"))
            .arg("--eab-hmac-file")
            .arg(&secret)
            .arg("--dir")
            .arg(site.path("agent"))
            .output();
        expect_success("ca agent enrol", &output.expect("ca runs"))
    };
    agent();
    let certificate = site.path("agent/live/cert.pem");
    let serial = serial_of(&certificate);
    verify_strictly(&site, &certificate, "any");
    assert_eq!(
        shown(&site, &certificate)["subject"],
        "CN=0015800001HQQrZAAX,2.5.4.97=#0c1050534447422d4643412d313233343536,O=Bank plc,C=GB"
    );
    let text = openssl_x509(&certificate, &["-text"]);
    assert!(
        text.contains("Digital Signature, Non Repudiation") && text.contains("qcStatements") && !text.contains("Alternative Name"),
        "{text}"
    );
    agent();
    assert_eq!(serial_of(&certificate), serial, "what it holds fits: it enrols no second time");
}
