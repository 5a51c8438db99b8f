//! Signing statements with an operator's SSH key.
//!
//! A plain key signs here. For an encrypted key, and for one that an agent or a token holds, `ssh-keygen` signs: it
//! asks for the passphrase or the touch itself, and this process never sees the private half.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ca_core::evidence::sshsig;
use ca_core::evidence::statement::{NAMESPACE, Operation, OperatorStatement};
use ca_core::model::SignedStatement;
use ca_core::pki::hex;
use ca_core::ports::{Clock, Rng};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::{Exit, configuration, failure};

/// How long a statement may be applied after it was signed.
const LIFE: Duration = Duration::from_secs(300);

const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Signs `operation` with the key at `given`, or else the configured one.
pub(crate) fn sign(
    config: &Config,
    given: Option<&Path>,
    operation: Operation,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> anyhow::Result<SignedStatement> {
    let path: PathBuf = given.map(Path::to_owned).or_else(|| config.operator.key.clone()).ok_or_else(|| {
        failure(Exit::Usage, "no operator key: give --operator-key FILE, or set operator.key in the configuration (hint: the policy's [[operator]] entries name the keys that count)")
    })?;
    let now = clock.now();
    let mut nonce = [0u8; 16];
    rng.fill(&mut nonce);
    let nonce = hex(&nonce);
    let statement = OperatorStatement::new(operation, nonce, now, now.plus(LIFE)).to_json();
    let signature = sign_text(&path, NAMESPACE, &statement, rng)?;
    Ok(SignedStatement { statement, signature })
}

/// Signs a statement in `namespace` with the key at `path`: a private key, or the public half of one that an agent or a
/// token holds.
pub(crate) fn sign_text(path: &Path, namespace: &str, statement: &str, rng: &dyn Rng) -> anyhow::Result<String> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| configuration(format!("cannot read the key {shown}: {e} (hint: --operator-key names another)"));
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.len() > MAX_KEY_BYTES {
        return Err(configuration(format!("the key {shown} has more than {MAX_KEY_BYTES} bytes: is it a key?")));
    }
    let text = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    if text.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(configuration(format!("others may read the key {shown} (hint: chmod 600 {shown})")));
        }
        let key = PrivateKey::from_openssh(text.as_slice()).map_err(|e| configuration(format!("the key {shown} is damaged: {e}")))?;
        if !key.is_encrypted() {
            return sshsig::sign(&key, namespace, statement.as_bytes())
                .map_err(|e| configuration(format!("the key {shown} does not sign: {e}")));
        }
    }
    ssh_keygen(path, namespace, statement, rng)
}

/// Has `ssh-keygen -Y sign` sign; the terminal is its own.
fn ssh_keygen(path: &Path, namespace: &str, statement: &str, rng: &dyn Rng) -> anyhow::Result<String> {
    let folder = Scratch::new(rng)?;
    let file = folder.0.join("statement");
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(statement.as_bytes())?;
    let status = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .arg(path)
        .arg(&file)
        .stdout(Stdio::null())
        .status()
        .map_err(|e| {
            failure(
                Exit::Failed,
                format!("ssh-keygen, which signs with encrypted keys, agents and tokens, does not run: {e} (hint: install openssh-client)"),
            )
        })?;
    if !status.success() {
        return Err(failure(Exit::Failed, format!("ssh-keygen did not sign with {} ({status}); nothing was sent", path.display())));
    }
    Ok(std::fs::read_to_string(file.with_extension("sig"))?)
}

/// A folder of our own (0700) that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(rng: &dyn Rng) -> anyhow::Result<Self> {
        let mut random = [0u8; 8];
        rng.fill(&mut random);
        let path = std::env::temp_dir().join(format!("ca-statement-{:016x}", u64::from_be_bytes(random)));
        std::fs::create_dir(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It holds nothing secret; the system's cleaning of /tmp takes what stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use ca_core::evidence::statement::verify;
    use ca_core::pki::Timestamp;
    use ca_core::policy::{OperatorPolicy, Permission, Policy};

    use super::*;
    use crate::system::{SystemClock, SystemRng};

    fn operation() -> Operation {
        Operation::CrlPublish { authority: "demo".parse().unwrap() }
    }

    #[track_caller]
    fn check(public: &str, signed: &SignedStatement) {
        let operators = vec![OperatorPolicy { name: "op".into(), key: public.trim().to_owned(), may: vec![Permission::Publish] }];
        let policy = Policy { version: 1, operator_bulk: 100, authorities: vec![], operators };
        let now: Timestamp = SystemClock.now();
        assert_eq!(verify(signed, &policy, now).unwrap().statement.operation, operation());
    }

    fn keygen(arguments: &[&str], file: &Path) {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-f"])
            .arg(file)
            .args(arguments)
            .status()
            .expect("ssh-keygen runs (package openssh-client)");
        assert!(status.success());
    }

    #[test]
    fn a_plain_key_signs_here_and_one_that_others_read_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        keygen(&["-N", ""], &file);
        let sign = |path: &Path| {
            let statement =
                OperatorStatement::new(operation(), "0123456789abcdef".into(), SystemClock.now(), SystemClock.now().plus(LIFE)).to_json();
            sign_text(path, NAMESPACE, &statement, &SystemRng).map(|signature| SignedStatement { statement, signature })
        };
        check(&std::fs::read_to_string(file.with_extension("pub")).unwrap(), &sign(&file).unwrap());
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(sign(&file).unwrap_err().to_string().contains("chmod 600"));
        assert!(sign(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
