//! A PIN that nobody knows: random, in shares, on a real SoftHSM2 token, through a real keyholder.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ca_core::pki::{KeyAlgorithm, SignatureAlgorithm, verify_signature};
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError};
use ca_custody::credential::{Made, Recipients, create};
use ca_custody::{SystemClock, SystemRng};
use ca_keystore::keyholder::Keyholder;
use ca_keystore::shares::{Purpose, ShareFile};
use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec, Unsealer};
use ca_testkit::sign_off_the_record;
use ca_testkit::softhsm::{self, SO_PIN, SoftHsm};
use zeroize::Zeroizing;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn secret_of(position: u8) -> Unsealer {
    Unsealer::FileKey(Zeroizing::new([position; 32]))
}

fn token_with(hsm: &SoftHsm, pin: &[u8]) -> Result<(), String> {
    let pin = std::str::from_utf8(pin).map_err(|e| e.to_string())?;
    // In a ceremony the PIN is set through the module; SoftHSM's tool has it as an argument only.
    let mut command = Command::new("softhsm2-util");
    command.args(["--init-token", "--free", "--label", "attended", "--so-pin", SO_PIN, "--pin", pin]);
    let (name, value) = hsm.environment();
    let output = command.env(name, value).output().map_err(|e| format!("{e} (package softhsm2)"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

async fn sign(store: &dyn KeyStore, key: &KeyInfo) -> Result<(), KeyStoreError> {
    let signature = sign_off_the_record(store, &key.label, SignatureAlgorithm::EcdsaP256Sha256, b"message").await?;
    verify_signature(&key.public_key, SignatureAlgorithm::EcdsaP256Sha256, b"message", &signature).unwrap();
    Ok(())
}

#[test]
fn ceremony_24_a_pin_that_nobody_knows_opens_the_token_when_two_of_three_come() {
    softhsm::isolated("ceremony_24_a_pin_that_nobody_knows_opens_the_token_when_two_of_three_come", &[], |hsm| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(attended(hsm));
    });
}

async fn attended(hsm: &SoftHsm) {
    let folder = hsm.folder().join("shares");
    let holders = (1u8..).zip(["ana", "bela", "cora"]).map(|(i, name)| (name.parse().unwrap(), secret_of(i))).collect();
    let to = Recipients { threshold: 2, holders, folder: &folder, clock: &SystemClock, rng: &SystemRng };
    let made = create("token".parse().unwrap(), Purpose::Pkcs11Pin, &to, &mut |pin| token_with(hsm, pin.expose())).unwrap();

    let run = hsm.folder().join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
    let socket = run.join("keyholder.sock");
    let me = rustix::process::geteuid().as_raw();
    let config = format!(
        "socket = \"{}\"\nofficers = [{me}]\nallow_swap = true\n[[credential]]\nname = \"token\"\nunlock = \"attended\"\nset = \"{}\"\ngive_to = [{me}]\n",
        socket.display(),
        made.set_file.display()
    );
    let config_file = hsm.folder().join("keyholder.toml");
    fs::write(&config_file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ca-keyholder"));
    let child = command.args(["serve", "--keyholder-config"]).arg(&config_file).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _running = Running(child);
    let keyholder = Keyholder::at(&socket);
    tokio::time::timeout(Duration::from_secs(60), async {
        while keyholder.status().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the keyholder listens");

    let pin = CredentialSpec::Keyholder { socket, credential: "token".to_owned() };
    let spec = Pkcs11Spec { module: softhsm::module(), token: Some("attended".to_owned()), serial: None, pin, sessions: 2 };
    let open = || KeyStoreSpec::Pkcs11(spec.clone()).open("test").unwrap();
    let give = |made: &Made, position: u8| {
        let (_, path) = &made.share_files[usize::from(position) - 1];
        keyholder.give(ShareFile::read(path).unwrap().open(&secret_of(position)).unwrap()).unwrap()
    };

    // Sealed: the store is there, and says what it waits for.
    let worker = open();
    let sealed = worker.health().await.unwrap_err();
    assert!(matches!(&sealed, KeyStoreError::Unavailable(m) if m.contains("needs 2 shares and has 0")), "{sealed}");
    assert_eq!(give(&made, 1), 1);
    let sealed = worker.health().await.unwrap_err();
    assert!(sealed.to_string().contains("has 1, of ana: 1 more"), "{sealed}");
    assert_eq!(give(&made, 3), 0);
    // The same store goes on, without being opened again.
    worker.health().await.unwrap();
    let key = worker.generate(GenerateKey::new("bank".parse().unwrap(), KeyAlgorithm::P256)).await.unwrap();
    sign(&*worker, &key).await.unwrap();
    // A restarted worker needs no people.
    drop(worker);
    let worker = open();
    sign(&*worker, &key).await.unwrap();
    // One person seals: what is logged in goes on, no new session opens.
    keyholder.seal(None).unwrap();
    sign(&*worker, &key).await.unwrap();
    drop(worker);
    let refused = sign(&*open(), &key).await.unwrap_err();
    assert!(matches!(&refused, KeyStoreError::Unavailable(m) if m.contains("needs 2 shares and has 0")), "{refused}");
}
