//! Signing through the PKCS#11 key store beside a bare loop over the same module: same token, same keys, same number of
//! threads in the module, same run. Prints a line for each algorithm: signatures a second by the clock, their ratio,
//! and the ratio by processor time, runtime and hand-over included, which a busy machine blurs less: there, whoever has
//! more threads gets more of the machine. The issue wants at least 80 %.
//!
//! `cargo bench -p ca-keystore --features pkcs11 --bench pkcs11`
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement asks the clock, and a panic is its report")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ca_core::model::KeyLabel;
use ca_core::pki::KeyAlgorithm;
use ca_core::ports::{GenerateKey, KeyDevice, SignInput};
use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec};
use ca_testkit::softhsm::{self, SoftHsm};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass};

const TOKEN: &str = "bench";
const CHILD: &str = "COUNTERSIGN_BENCH_PKCS11";
/// Bare and store take turns, so that what else the machine does hits both.
const ROUNDS: usize = 30;
/// Calls that wait for each thread, as a worker with a backlog has them.
const IN_FLIGHT: usize = 8;
/// A certificate's to-be-signed bytes.
const MESSAGE: [u8; 1000] = [0x5a; 1000];

fn main() {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let hsm = SoftHsm::new();
    hsm.add_token(TOKEN);
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (name, conf) = hsm.environment();
    let status = Command::new(std::env::current_exe().unwrap()).args(arguments).env(CHILD, "1").env(name, conf).status().unwrap();
    assert!(status.success(), "{status}");
}

fn measure() {
    // `cargo test` runs benchmarks without this, to see that they work.
    let length = if std::env::args().any(|a| a == "--bench") { Duration::from_millis(100) } else { Duration::from_millis(2) };
    let hsm = SoftHsm::current();
    println!("signatures a second on SoftHSM2, {IN_FLIGHT} calls in flight for each thread, the best of {ROUNDS} rounds");
    println!("{:10} {:>8} {:>12} {:>12} {:>8} {:>10}", "algorithm", "threads", "bare loop", "key store", "ratio", "by cpu");
    for threads in [1u8, 2] {
        let pin = CredentialSpec::File(hsm.pin_file());
        let spec = Pkcs11Spec { module: softhsm::module(), token: Some(TOKEN.to_owned()), serial: None, pin, sessions: threads };
        let store = KeyStoreSpec::Pkcs11(spec).open("benchmark").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(usize::from(threads)).enable_all().build().unwrap();
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072] {
            let label: KeyLabel = format!("{algorithm}-{threads}").parse().unwrap();
            runtime.block_on(store.generate(GenerateKey::new(label.clone(), algorithm))).unwrap();
            let (mut bare, mut ours) = (Rate::default(), Rate::default());
            for _ in 0..ROUNDS {
                bare = bare.and(bare_loop(&label, algorithm, threads, length));
                ours = ours.and(runtime.block_on(through_store(&store, &label, algorithm, threads, length)));
            }
            let (clock, cpu) = (100.0 * ours.per_second / bare.per_second, 100.0 * ours.per_cpu_second() / bare.per_cpu_second());
            println!("{:10} {threads:>8} {:>12.0} {:>12.0} {clock:>7.0}% {cpu:>9.0}%", algorithm.name(), bare.per_second, ours.per_second);
        }
    }
}

/// What rounds gave together.
#[derive(Clone, Copy, Default)]
struct Rate {
    /// By the clock: the best round, the one least disturbed.
    per_second: f64,
    count: u64,
    cpu: Duration,
}

impl Rate {
    fn new(count: u64, elapsed: Duration, cpu: Duration) -> Self {
        // Linux gives the processor time; elsewhere the clock must do.
        let cpu = if cpu.is_zero() { elapsed } else { cpu };
        Self { per_second: count as f64 / elapsed.as_secs_f64(), count, cpu }
    }

    fn and(self, other: Self) -> Self {
        Self { per_second: self.per_second.max(other.per_second), count: self.count + other.count, cpu: self.cpu + other.cpu }
    }

    fn per_cpu_second(self) -> f64 {
        self.count as f64 / self.cpu.as_secs_f64()
    }
}

/// The processor time of a thread so far.
fn cpu_of(task: &Path) -> Duration {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// The same of all threads that live.
fn cpu_of_all() -> Duration {
    std::fs::read_dir("/proc/self/task").map_or(Duration::ZERO, |tasks| tasks.flatten().map(|t| cpu_of(&t.path())).sum())
}

/// Signs as fast as the module does, each thread with a session of its own; the digest is made, as the store makes it.
fn bare_loop(label: &KeyLabel, algorithm: KeyAlgorithm, threads: u8, length: Duration) -> Rate {
    use aws_lc_rs::digest::{SHA256, SHA384, digest};
    let context = Pkcs11::new(softhsm::module()).unwrap();
    // The store was first, and logged in for the process.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = context.get_slots_with_token().unwrap();
    let slot = slots.into_iter().find(|s| context.get_token_info(*s).is_ok_and(|i| i.label() == TOKEN)).unwrap();
    let (count, cpu, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let session = context.open_rw_session(slot).unwrap();
            let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.as_str().as_bytes().to_vec())];
            let key = session.find_objects(&template).unwrap()[0];
            let (count, cpu, stop) = (&count, &cpu, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let signed = match algorithm {
                        KeyAlgorithm::P256 => session.sign(&Mechanism::Ecdsa, key, digest(&SHA256, &MESSAGE).as_ref()),
                        KeyAlgorithm::P384 => session.sign(&Mechanism::Ecdsa, key, digest(&SHA384, &MESSAGE).as_ref()),
                        KeyAlgorithm::Ed25519 => {
                            session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), key, &MESSAGE)
                        }
                        // The bytes of a DigestInfo are as many.
                        _ => session.sign(&Mechanism::RsaPkcs, key, &[&[0; 19], digest(&SHA256, &MESSAGE).as_ref()].concat()),
                    };
                    assert!(!signed.unwrap().is_empty());
                    count.fetch_add(1, Ordering::Relaxed);
                }
                let spent = cpu_of(Path::new("/proc/thread-self"));
                cpu.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            });
        }
        std::thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
    });
    Rate::new(count.load(Ordering::Relaxed), began.elapsed(), Duration::from_nanos(cpu.load(Ordering::Relaxed)))
}

async fn through_store(store: &Arc<dyn KeyDevice>, label: &KeyLabel, algorithm: KeyAlgorithm, threads: u8, length: Duration) -> Rate {
    let count = Arc::new(AtomicU64::new(0));
    let before = cpu_of_all();
    let began = Instant::now();
    let tasks: Vec<_> = (0..IN_FLIGHT * usize::from(threads))
        .map(|_| {
            let (store, label, count) = (Arc::clone(store), label.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                while began.elapsed() < length {
                    let signature = store.sign(&label, algorithm.signature_algorithm(), SignInput::Message(&MESSAGE)).await.unwrap();
                    assert!(!signature.is_empty());
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    Rate::new(count.load(Ordering::Relaxed), began.elapsed(), cpu_of_all().saturating_sub(before))
}
