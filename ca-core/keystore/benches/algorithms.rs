//! What a hierarchy of each kind of key costs: sizes, signatures a second by the software key store, verifications a second
//! by the second library. One thread, one line for each algorithm (docs/post-quantum.md).
//!
//! `cargo bench -p ca-keystore --bench algorithms`
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement asks the clock, and a panic is its report")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ca_core::model::KeyLabel;
use ca_core::pki::{KeyAlgorithm, SerialNumber, Timestamp, assemble_signed, verify_signature};
use ca_core::ports::{GenerateKey, KeyStore};
use ca_core::profile::{CaSubject, RootRequest, build_root};
use ca_keystore::{SoftwareKeyStore, Unsealer};
use ca_testkit::{SeededRng, sign_off_the_record};
use zeroize::Zeroizing;

/// A certificate's to-be-signed bytes.
const MESSAGE: [u8; 1000] = [0x5a; 1000];

fn main() {
    // `cargo test` runs benchmarks without this, to see that they work.
    let length = if std::env::args().any(|a| a == "--bench") { Duration::from_millis(500) } else { Duration::from_millis(2) };
    let folder = tempfile::tempdir().unwrap();
    let store = SoftwareKeyStore::open(folder.path().join("keys"), Unsealer::FileKey(Zeroizing::new([7; 32]))).unwrap();
    let store: Arc<dyn KeyStore> = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("bytes, and how often a second on one thread");
    println!("{:10} {:>11} {:>10} {:>12} {:>12} {:>12}", "algorithm", "public key", "signature", "certificate", "signs", "verifies");
    for algorithm in KeyAlgorithm::ALL {
        let label: KeyLabel = format!("bench-{algorithm}").parse().unwrap();
        let info = runtime.block_on(store.generate(GenerateKey::new(label.clone(), algorithm))).unwrap();
        let alg = algorithm.signature_algorithm();
        let sign = |message: &[u8]| runtime.block_on(sign_off_the_record(&*store, &label, alg, message)).unwrap();
        let signature = sign(&MESSAGE);
        let now = Timestamp::from_unix(1_795_000_000);
        let request = RootRequest {
            subject: CaSubject { country: None, organization: "Countersign".to_owned(), common_name: "Benchmark CA".to_owned() },
            serial: SerialNumber::random(&SeededRng::new(1)),
            not_before: now,
            not_after: now.plus(Duration::from_secs(86_400)),
            public_key: info.public_key.clone(),
            algorithm: alg,
        };
        let tbs = build_root(&request).unwrap();
        let certificate = assemble_signed(&tbs, alg, &sign(&tbs));
        let signs = rate(length, || drop(sign(&MESSAGE)));
        let verifies = rate(length, || verify_signature(&info.public_key, alg, &MESSAGE, &signature).unwrap());
        println!(
            "{:10} {:>11} {:>10} {:>12} {signs:>12.0} {verifies:>12.0}",
            algorithm.name(),
            info.public_key.spki_der().len(),
            signature.len(),
            certificate.len()
        );
    }
}

/// How often a second.
fn rate(length: Duration, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut count = 0u32;
    while begun.elapsed() < length {
        work();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
