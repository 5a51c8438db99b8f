//! Writes the seeds of the fuzz targets, one small folder for each: `cargo run -p ca-testkit --example fuzz_seeds -- fuzz/corpus`.
//!
//! Certificates, CRLs and OCSP messages are specimens, good and flawed; the rest is what clients, operators and officers send.

#![expect(clippy::unwrap_used, reason = "a tool of developers fails by panicking")]

use std::path::Path;

use ca_core::evidence::statement::Operation;
use ca_core::pki::{Identifier, KeyAlgorithm, Timestamp, pem_encode};
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::attestation::{Maker, Tpm, apple, csr, managed_device, step, yubikey_serial};
use ca_testkit::officers;
use ca_testkit::operator::Operator;
use ca_testkit::specimens::{self, Key, Kind, Selection, Specimen};

/// The seeds' own present, so that their times do not wander.
const NOW: Timestamp = Timestamp::from_unix(1_795_651_200);
/// The longest seed: mutations of long inputs find little.
const MAX_LEN: usize = 6000;

const NAMES: [&str; 18] = [
    "dns:payments.*.bank.test",
    "dns-wildcard:bank.test",
    "ip:10.0.0.0/8",
    "ip:fd00::/8",
    "uri:spiffe://bank.test/ns/*",
    "email:*@bank.test",
    "payments.bank.test",
    "*.bank.test",
    "xn--bcher-kva.bank.test",
    "127.0.0.1",
    "fd00::7",
    "spiffe://bank.test/ns/payments",
    "https://[fd00::7]:8443/a?b#c",
    "payments+alerts@bank.test",
    "dns:*",
    "ip:0.0.0.0/0",
    "permanent-identifier:SN-*",
    "hardware-module:SN-1/1.2.3",
];

fn main() {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: fuzz_seeds FOLDER (hint: fuzz/corpus)");
        std::process::exit(2);
    };
    let folder = Path::new(&folder);
    let put = |target: &str, name: &str, bytes: &[u8]| {
        assert!(bytes.len() <= MAX_LEN, "the seed {target}/{name} has {} octets", bytes.len());
        std::fs::create_dir_all(folder.join(target)).unwrap();
        std::fs::write(folder.join(target).join(name), bytes).unwrap();
    };
    signed(&put);
    requests(&put);
    texts(&put);
    attestations(&put);
}

/// What the CA signs.
fn signed(put: &dyn Fn(&str, &str, &[u8])) {
    let (authorities, subjects) = ([KeyAlgorithm::P256], [KeyAlgorithm::P256, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048]);
    let good = specimens::make(Selection { authorities: &authorities, subjects: &subjects }, NOW);
    for Specimen { name, der, chain, kind, .. } in good.iter().chain(&specimens::broken::make(NOW)) {
        let name = name.replace('/', "-");
        match kind {
            Kind::Certificate { .. } => put("certificate", &name, der),
            Kind::Crl => put("crl", &name, der),
            Kind::OcspResponse { request, .. } => {
                put("ocsp_response", &name, der);
                put("ocsp_request", &name, request);
            }
        }
        if name == "p256-client-p256" {
            let text: String = chain.certificates.iter().map(|der| pem_encode("CERTIFICATE", der)).collect();
            put("pem", "chain", text.as_bytes());
            put("pem", "chain-with-words", format!("subject=x\r\n{}\r\n# end", text.replace('\n', "\r\n")).as_bytes());
        }
    }
}

/// What ACME clients send.
fn requests(put: &dyn Fn(&str, &str, &[u8])) {
    let (key, other) = (ClientKey::default(), ClientKey::default());
    let (account, order) = ("acct-1".parse().unwrap(), "order-1".parse().unwrap());
    for (name, names, common_name) in [
        ("names", &["b.demo.test", "a.demo.test", "127.0.0.1"][..], None),
        ("common-name", &["a.demo.test"], Some("a.demo.test")),
        ("none", &[], Some("a.demo.test")),
    ] {
        put("csr", name, &key.csr(names, common_name));
    }
    let payload = acme::order_payload(&["a.demo.test", "b.demo.test"]);
    put("jws", "new-account", acme::new_account(&key, "grant-1", b"secret").as_bytes());
    put("jws", "new-order", acme::by_account(&key, &account, "/acme/new-order", &payload).as_bytes());
    put("jws", "finalize", acme::finalize(&key, &account, &order, &key.csr(&["a.demo.test"], None)).as_bytes());
    put("jws", "key-change", acme::key_change(&key, &other, &account).as_bytes());
    put(
        "jws",
        "signed-by-jwk",
        key.jws(serde_json::json!({ "jwk": key.jwk(), "url": acme::BASE, "nonce": "bm9uY2U" }), &payload).as_bytes(),
    );
}

/// What people write and sign.
fn texts(put: &dyn Fn(&str, &str, &[u8])) {
    let operator = Operator::new("ana", 1);
    let stop = operator.sign(Operation::IssuanceStop { reason: "a drill".to_owned() }, "1", NOW);
    let publish = operator.sign(Operation::CrlPublish { authority: "demo".parse().unwrap() }, "2", NOW);
    for (name, signed) in [("stop", &stop), ("publish", &publish)] {
        put("statement", name, signed.statement.as_bytes());
        put("sshsig", name, signed.signature.as_bytes());
    }
    put("sshsig", "officer", officers::signatures(&[103], "a plan")[0].as_bytes());
    put("sshsig", "public-key", officers::officer("bela", &[103]).keys[0].as_bytes());
    put("statement", "root", include_bytes!("../../../ceremony-docs/rehearsal/statements/1-root.json"));
    let transcript = include_str!("../../../ceremony-docs/rehearsal/transcript.jsonl");
    put("statement", "transcript", transcript.lines().take(2).map(|line| format!("{line}\n")).collect::<String>().as_bytes());
    put("policy", "rehearsal", include_bytes!("../../../ceremony-docs/rehearsal/policy.toml"));
    put("policy", "kinds", include_bytes!("../../../ceremony-docs/kinds/policy.toml"));
    for (i, name) in NAMES.iter().enumerate() {
        put("name", &format!("{i:02}"), name.as_bytes());
    }
}

/// What devices attest: all of one maker, for the challenge that the target's body has.
fn attestations(put: &dyn Fn(&str, &str, &[u8])) {
    const PROOF: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    let (maker, name) = (Maker::new("Maker"), [Identifier::parse("permanent-identifier", "1337").unwrap()]);
    let (key, rsa) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::Rsa2048));
    put("attestation", "root.pem", maker.root_pem().as_bytes());
    put("attestation", "apple", &apple(&maker, &key, "1337", "U", PROOF));
    put("attestation", "apple-other-device", &apple(&maker, &key, "1338", "U", PROOF));
    put("attestation", "step", &step(&maker, &key, yubikey_serial(1337), PROOF));
    put("attestation", "step-managed", &step(&maker, &key, managed_device("1337"), PROOF));
    put("attestation", "tpm", &Tpm::new(&name, PROOF).object(&maker, &key));
    put("attestation", "tpm-rsa", &Tpm::new(&name, PROOF).object(&maker, &rsa));
    put("csr", "device", &csr(&key, &name));
}
