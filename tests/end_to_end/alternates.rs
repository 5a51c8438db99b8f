//! Alternate chains: another root, of a ceremony of its own, cross-certifies this CA's, and a stock client asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ca_ceremony::{
    RehearsalOptions, RequestOptions, RunOptions, SystemClock, SystemMachine, SystemRng, VerifiedBundle, make_request, rehearse,
    rehearse_with,
};
use ca_core::pki::{KeyAlgorithm, Sha256Digest, pem_decode_all, pem_encode, sha256};
use ca_core::policy::ProfilePolicy;
use ca_core::profile::LeafShape;
use ca_keystore::{SoftwareKeyStore, Unsealer};
use zeroize::Zeroizing;

use crate::harness::{Demo, block_on, expect_success, free_port};

/// Another CA's ceremonies, rehearsed.
struct Partner {
    folder: PathBuf,
}

impl Partner {
    fn keys(&self, name: &str) -> Arc<SoftwareKeyStore> {
        Arc::new(SoftwareKeyStore::open(self.folder.join(name), Unsealer::FileKey(Zeroizing::new([7; 32]))).unwrap())
    }

    async fn first(&self) -> VerifiedBundle {
        let rehearsal = rehearse(RehearsalOptions {
            dir: self.folder.join("rehearsal"),
            root_keys: self.keys("root"),
            online_keys: self.keys("online"),
            machine: Arc::new(SystemMachine::default()),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            organization: "Partner".to_owned(),
            authority: "partner".parse().unwrap(),
            algorithm: KeyAlgorithm::P256,
            status_base_url: "http://127.0.0.1:14002".to_owned(),
            permitted: vec!["dns:partner.test".parse().unwrap(), "dns:demo.test".parse().unwrap()],
            names: vec!["dns:*.partner.test".parse().unwrap()],
            attestation_roots: Vec::new(),
            profiles: BTreeMap::from([("client".to_owned(), ProfilePolicy::new(LeafShape::Client, 3600))]),
            challenge_zones: Vec::new(),
            open_enrolment: None,
            own: Vec::new(),
            max_per_hour: 10,
            crl_validity: 3600,
            crl_interval: 600,
        });
        rehearsal.await.unwrap().verified
    }

    /// The ceremony that cross-certifies a root, whose certificate is in the file given and whose key is in this store.
    async fn cross_sign(&self, before: &VerifiedBundle, certificate: &Path, keys: Arc<SoftwareKeyStore>) -> PathBuf {
        let own = pem_decode_all(&std::fs::read_to_string(certificate).unwrap(), "CERTIFICATE").unwrap().remove(0);
        let hierarchy = before.hierarchy.as_ref().unwrap();
        let mut plan: toml::Table = std::fs::read_to_string(self.folder.join("rehearsal/plan.toml")).unwrap().parse().unwrap();
        for first in ["issuing", "policy", "device"] {
            plan.remove(first);
        }
        let digest = |digest: Sha256Digest| digest.to_string();
        let acts = format!(
            r#"[acts]
kind = "cross-sign"
nonce = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
[acts.continues]
transcript = "{}"
root_certificate = "{}"
hierarchy = "{}"
policy_version = 1
policy_sha256 = "{}"
[[acts.subject]]
authority = "demo-root"
key = "demo-root"
certificate_sha256 = "{}"
lifetime_days = 100
path_len = 1
permitted = ["dns:demo.test"]
"#,
            digest(before.transcript_head),
            digest(sha256(hierarchy.root().der())),
            digest(hierarchy.digest()),
            digest(sha256(b"policy")),
            digest(sha256(&own)),
        );
        plan.extend(acts.parse::<toml::Table>().unwrap());
        let (path, bundle) = (self.folder.join("cross.toml"), self.folder.join("cross"));
        std::fs::write(&path, toml::to_string(&plan).unwrap()).unwrap();
        let request = make_request(RequestOptions {
            plan: path.clone(),
            authority: "demo-root".parse().unwrap(),
            keys,
            certificate: Some(certificate.to_owned()),
            life: Duration::from_secs(3600),
            folder: self.folder.join("request"),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            observer: None,
        });
        let request = request.await.unwrap().0;
        let options = || RunOptions {
            plan: path.clone(),
            bundle: bundle.clone(),
            root_keys: Some(self.keys("root")),
            online_keys: None,
            backup_keys: None,
            wrapped: None,
            previous: Some(self.folder.join("rehearsal/bundle")),
            requests: vec![request.clone()],
            custody: None,
            machine: Arc::new(SystemMachine::default()),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            observer: None,
        };
        rehearse_with(&self.folder.join("rehearsal"), options).await.unwrap();
        bundle
    }
}

/// Enrols with certbot; gives the folder of the certificate.
#[track_caller]
fn certbot(demo: &Demo, folder: &str, more: &[&str]) -> PathBuf {
    let (live, output) = demo.certbot(folder, free_port(), demo.fact("DEMO_NAME"), more);
    expect_success("certbot", &output);
    live
}

/// What `openssl verify` says of a client's files against this root alone.
fn verifies(live: &Path, root: &Path) -> bool {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-no-CAfile", "-no-CApath", "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .args([live.join("chain.pem"), live.join("cert.pem")])
        .output()
        .expect("openssl runs (package openssl)");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

#[test]
fn a10_certbot_gets_the_chain_to_the_root_that_it_prefers() {
    let mut demo = Demo::start();
    let own_root = demo.var().join("root.pem");
    let partner = Partner { folder: demo.path("partner") };
    std::fs::create_dir(&partner.folder).unwrap();
    let key = Unsealer::file_key_from(demo.var().join("keys/root.key")).unwrap();
    let root_keys = Arc::new(SoftwareKeyStore::open(demo.var().join("keys/root"), key).unwrap());
    let (first, bundle) = block_on(async {
        let first = partner.first().await;
        let bundle = partner.cross_sign(&first, &own_root, root_keys).await;
        (first, bundle)
    });
    let other = first.hierarchy.as_ref().unwrap().root();
    let other_root = demo.path("other-root.pem");
    std::fs::write(&other_root, pem_encode("CERTIFICATE", other.der())).unwrap();
    let common_name = other.subject_text().split(',').find_map(|part| part.strip_prefix("CN=")).expect("a common name").to_owned();

    let (bundle, roster) = (bundle.display().to_string(), partner.folder.join("rehearsal/bundle/roster.toml").display().to_string());
    let import = ["import", &*bundle, "--cross-signed-by", &*roster];
    let running = demo.ca(&import);
    assert!(!running.status.success() && String::from_utf8_lossy(&running.stderr).contains("hint:"), "one process owns the database");
    demo.stop();
    let told = expect_success("ca import", &demo.ca(&import));
    assert!(told.contains("1 new cross-certificates") && told.contains("demo-root"), "{told}");
    demo.launch(&[]);

    let usual = certbot(&demo, "usual", &[]);
    assert_eq!((verifies(&usual, &own_root), verifies(&usual, &other_root)), (true, false));
    let preferred = certbot(&demo, "preferred", &["--preferred-chain", &common_name]);
    assert_eq!((verifies(&preferred, &own_root), verifies(&preferred, &other_root)), (true, true), "leaf, issuing, cross-certificate");
    let chain = std::fs::read_to_string(preferred.join("chain.pem")).unwrap();
    assert_eq!(pem_decode_all(&chain, "CERTIFICATE").unwrap().len(), 2);
}
