//! The agent's directory, and how it changes without ever being half changed.
//!
//! ```text
//! config.json       what was asked for (no secret)
//! account.json      the ACME account with its key, 0600; the key alone, until the CA has said which account it has
//! account.json.old  an account of before, put aside
//! state.json        what is known about the certificate in use, and failures
//! versions/000001/  key.pem (0600), cert.pem, chain.pem, fullchain.pem
//! live              a symbolic link to the version in use
//! ```
//! Key and certificate change together: a new version is written whole and made durable, then `live` is swapped by
//! a rename. A crash leaves the old version or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::pki::{Certificate, KeyAlgorithm, Timestamp, pem_decode_all, pem_encode};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::error::AgentError;
use super::plan::Window;
use crate::render::many;

const ACCOUNT: &str = "account.json";
const MAX_FILE: u64 = 1024 * 1024;
const MAX_CHAIN: usize = 10;
/// The version in use, and two before it for whoever still reads them.
const KEPT_VERSIONS: usize = 3;

/// What was asked for; kept, so that `ca agent run --dir` is enough after the first time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) directory: String,
    pub(super) ca_bundle: PathBuf,
    pub(super) names: Vec<String>,
    #[serde(default)]
    pub(super) profile: Option<String>,
    #[serde(default)]
    pub(super) reload_cmd: Option<String>,
    #[serde(default)]
    pub(super) reload_shell: bool,
    #[serde(default)]
    pub(super) reuse_key: bool,
    #[serde(default)]
    pub(super) key_algorithm: Option<KeyAlgorithm>,
    /// In millionths of the life.
    pub(super) renew_at: u32,
}

/// What is known beyond the certificate itself.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Knowledge {
    /// Which version the rest is about.
    pub(super) version: u32,
    pub(super) obtained: Option<Timestamp>,
    pub(super) draw: u32,
    #[serde(default)]
    pub(super) window: Option<Window>,
    #[serde(default)]
    pub(super) check_window_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) failures: u32,
    #[serde(default)]
    pub(super) last_error: Option<String>,
    #[serde(default)]
    pub(super) retry_at: Option<Timestamp>,
    /// The reload hook is owed.
    #[serde(default)]
    pub(super) reload_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) reload_failures: u32,
    #[serde(default)]
    pub(super) reload_error: Option<String>,
}

/// The ACME account, in the shape in which instant-acme keeps its credentials.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountFile {
    /// The account's URL. None: the CA has not said yet whether this key has an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(rename = "key_pkcs8")]
    pub(super) key: AccountKey,
    /// The directory of the CA that it is for.
    pub(super) directory: String,
}

/// An account's private key: P-256 in PKCS #8; base64url in files.
pub(super) struct AccountKey(Zeroizing<Vec<u8>>);

impl AccountKey {
    pub(super) fn generate() -> Result<Self, AgentError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let made = made.map_err(|_| AgentError::Local("cannot make a key for the account".to_owned()))?;
        Ok(Self(Zeroizing::new(made.as_ref().to_vec())))
    }

    /// In DER.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for AccountKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for AccountKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The decoder's own message quotes a byte of the key.
        let key = URL_SAFE_NO_PAD.decode(&*text).map_err(|_| D::Error::custom("the key is not base64url"))?;
        Ok(Self(Zeroizing::new(key)))
    }
}

/// The certificate in use.
pub(super) struct Live {
    pub(super) version: u32,
    pub(super) certificate: Certificate,
}

impl Live {
    pub(super) fn life(&self) -> Duration {
        self.life_from(None)
    }

    /// What was left of its life at a time, or all of it.
    pub(super) fn life_from(&self, obtained: Option<Timestamp>) -> Duration {
        self.certificate.not_after().since(obtained.unwrap_or(self.certificate.not_before()))
    }
}

/// The directory, and the exclusive right to change it where it was locked.
pub(super) struct Directory {
    path: PathBuf,
    lock: Option<File>,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child process that was forked meanwhile, until it runs its program.
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
    }
}

impl Directory {
    /// Opens the directory to change it, creating it (0700) where it is missing. One process at a time.
    pub(super) fn lock(path: &Path) -> Result<Self, AgentError> {
        for directory in [path.to_owned(), path.join("versions")] {
            match DirBuilder::new().mode(0o700).recursive(true).create(&directory) {
                Ok(()) => {}
                Err(e) => return Err(AgentError::io("create the directory", &directory)(e)),
            }
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(AgentError::io("open", &lock_path))?;
        lock.try_lock().map_err(|_| {
            AgentError::Local(format!("another agent uses `{}` (hint: stop it, or give each agent its own --dir)", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), lock: Some(lock) })
    }

    /// Opens the directory to look at it.
    pub(super) fn view(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: None }
    }

    /// Where services find key and certificate.
    pub(super) fn live_path(&self) -> PathBuf {
        self.path.join("live")
    }

    pub(super) fn settings(&self) -> Result<Option<Settings>, AgentError> {
        self.read_json("config.json")
    }

    pub(super) fn put_settings(&self, settings: &Settings) -> Result<(), AgentError> {
        self.write_json("config.json", settings)
    }

    pub(super) fn knowledge(&self) -> Result<Knowledge, AgentError> {
        Ok(self.read_json("state.json")?.unwrap_or_default())
    }

    pub(super) fn put_knowledge(&self, knowledge: &Knowledge) -> Result<(), AgentError> {
        self.write_json("state.json", knowledge)
    }

    /// The account, or the key that is to have one.
    pub(super) fn account(&self) -> Result<Option<AccountFile>, AgentError> {
        self.read_json(ACCOUNT)
    }

    /// Durable when it returns.
    pub(super) fn put_account(&self, account: &AccountFile) -> Result<(), AgentError> {
        self.write_json(ACCOUNT, account)
    }

    /// Puts an account that is of no more use here aside. A key without an account is not worth the place of one that had one.
    pub(super) fn retire_account(&self) -> Result<(), AgentError> {
        let path = self.path.join(ACCOUNT);
        match self.account()? {
            None => Ok(()),
            Some(AccountFile { id: None, .. }) => fs::remove_file(&path).map_err(AgentError::io("remove", &path)),
            Some(_) => fs::rename(&path, self.path.join("account.json.old")).map_err(AgentError::io("rename", &path)),
        }
    }

    /// The certificate in use, if there is one.
    pub(super) fn live(&self) -> Result<Option<Live>, AgentError> {
        let link = self.live_path();
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(AgentError::io("read the link", &link)(e)),
        };
        let damaged = |why: String| AgentError::Local(format!("`{}`: {why} (hint: remove the link to enrol anew)", link.display()));
        let version = version_of(&target).ok_or_else(|| damaged("it does not lead to a version".to_owned()))?;
        let path = link.join("cert.pem");
        let text = read_bounded(&path)?.ok_or_else(|| damaged("there is no cert.pem behind it".to_owned()))?;
        let text = std::str::from_utf8(&text).map_err(|e| damaged(e.to_string()))?;
        let der = pem_decode_all(text, "CERTIFICATE").map_err(|e| damaged(e.to_string()))?;
        let der = der.first().ok_or_else(|| damaged("cert.pem holds no certificate".to_owned()))?;
        let certificate = Certificate::from_der(der).map_err(|e| damaged(e.to_string()))?;
        Ok(Some(Live { version, certificate }))
    }

    /// The private key in use, as PEM.
    pub(super) fn live_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, AgentError> {
        read_bounded(&self.live_path().join("key.pem"))
    }

    /// Writes key and chain as a new version, and removes old ones; `live` does not lead there yet. Durable when it returns.
    pub(super) fn stage(&self, key_pem: &str, chain: &[Certificate]) -> Result<u32, AgentError> {
        let versions = self.path.join("versions");
        let version = self.versions()?.last().copied().unwrap_or(0).saturating_add(1);
        let (staging, target) = (versions.join(".new"), versions.join(format!("{version:06}")));
        match fs::remove_dir_all(&staging) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(AgentError::io("remove", &staging)(e)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&staging).map_err(AgentError::io("create the directory", &staging))?;
        let pem = |part: &[Certificate]| part.iter().map(|c| pem_encode("CERTIFICATE", c.der())).collect::<String>();
        let (leaf, above) = chain.split_at(chain.len().min(1));
        for (name, mode, text) in [
            ("key.pem", 0o600, key_pem),
            ("cert.pem", 0o644, pem(leaf).as_str()),
            ("chain.pem", 0o644, pem(above).as_str()),
            ("fullchain.pem", 0o644, pem(chain).as_str()),
        ] {
            write_new(&staging.join(name), mode, text.as_bytes())?;
        }
        sync(&staging)?;
        fs::rename(&staging, &target).map_err(AgentError::io("rename", &staging))?;
        sync(&versions)?;
        let in_use = fs::read_link(self.live_path()).ok().and_then(|target| version_of(&target));
        for old in self.versions()?.iter().filter(|v| Some(**v) != in_use).rev().skip(KEPT_VERSIONS - 1) {
            // What cannot be removed now is removed next time.
            let _ = fs::remove_dir_all(self.path.join(format!("versions/{old:06}")));
        }
        Ok(version)
    }

    /// Makes a staged version the one in use. Durable when it returns.
    pub(super) fn activate(&self, version: u32) -> Result<(), AgentError> {
        let (link, temporary) = (self.live_path(), self.path.join(".live.new"));
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(AgentError::io("remove", &temporary)(e)),
            _ => {}
        }
        symlink(format!("versions/{version:06}"), &temporary).map_err(AgentError::io("create the link", &temporary))?;
        fs::rename(&temporary, &link).map_err(AgentError::io("swap the link", &link))?;
        sync(&self.path)
    }

    fn versions(&self) -> Result<Vec<u32>, AgentError> {
        let path = self.path.join("versions");
        let entries = fs::read_dir(&path).map_err(AgentError::io("list", &path))?;
        let mut numbers: Vec<u32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AgentError> {
        let path = self.path.join(name);
        let Some(bytes) = read_bounded(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| AgentError::Local(format!("`{}` is damaged: {e} (hint: restore it, or remove it to begin anew)", path.display())))
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), AgentError> {
        let path = self.path.join(name);
        let failed = |e: serde_json::Error| AgentError::Local(format!("cannot write `{}`: {e}", path.display()));
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(value).map_err(failed)?);
        bytes.push(b'\n');
        let temporary = self.path.join(format!(".{name}.new"));
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(AgentError::io("remove", &temporary)(e)),
            _ => {}
        }
        write_new(&temporary, 0o600, &bytes)?;
        fs::rename(&temporary, &path).map_err(AgentError::io("replace", &path))?;
        sync(&self.path)
    }
}

/// Host and port of an https URL, in one form only: its origin (RFC 6454 §4). None: it is none.
pub(super) fn origin(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"))?;
    Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(443)))
}

/// Reads what the CA sent as a chain: leaf first, each signed by the next, a bounded number of them.
pub(super) fn parse_chain(text: &str) -> Result<Vec<Certificate>, AgentError> {
    let wrong = |why: String| AgentError::Temporary(format!("the certificate that it sent is unusable: {why}"));
    let ders = pem_decode_all(text, "CERTIFICATE").map_err(|e| wrong(e.to_string()))?;
    if ders.is_empty() || ders.len() > MAX_CHAIN {
        return Err(wrong(format!("{} in the chain", many(ders.len(), "certificate"))));
    }
    let chain: Vec<_> = ders.iter().map(|d| Certificate::from_der(d)).collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
    for pair in chain.windows(2) {
        pair[0].is_signed_by(&pair[1]).map_err(|e| wrong(format!("the chain does not hold together: {e}")))?;
    }
    Ok(chain)
}

/// Which version a link leads to.
fn version_of(target: &Path) -> Option<u32> {
    target.file_name()?.to_str()?.parse().ok()
}

fn read_bounded(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, AgentError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(AgentError::io("open", path)(e)),
    };
    let length = file.metadata().map_err(AgentError::io("inspect", path))?.len();
    if length > MAX_FILE {
        return Err(AgentError::Local(format!("`{}` is longer than {MAX_FILE} bytes", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(AgentError::io("read", path))?;
    Ok(Some(bytes))
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), AgentError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all())).map_err(AgentError::io("write", path))
}

fn sync(directory: &Path) -> Result<(), AgentError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(AgentError::io("make durable", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn certificate() -> (String, Certificate) {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        (key.serialize_pem(), Certificate::from_der(made.der()).unwrap())
    }

    #[test]
    fn key_and_certificate_change_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let directory = Directory::lock(&path).unwrap();
        assert!(directory.live().unwrap().is_none());
        let mut last = None;
        for expected in 1..=5 {
            let (key, certificate) = certificate();
            // A crash while staging leaves this behind.
            fs::create_dir_all(path.join("versions/.new/junk")).unwrap();
            let version = directory.stage(&key, std::slice::from_ref(&certificate)).unwrap();
            assert_eq!(version, expected);
            assert_eq!(directory.live().unwrap().map(|l| l.certificate.der().to_vec()), last, "staging changes nothing");
            directory.activate(version).unwrap();
            let live = directory.live().unwrap().unwrap();
            assert_eq!((live.version, live.certificate.der()), (expected, certificate.der()));
            assert_eq!(directory.live_key().unwrap().unwrap().as_slice(), key.as_bytes());
            last = Some(certificate.der().to_vec());
        }
        assert_eq!(directory.versions().unwrap(), [3, 4, 5]);
        // What never comes into use does not pile up, and does not drive out what is in use.
        for _ in 0..5 {
            let (key, certificate) = certificate();
            directory.stage(&key, std::slice::from_ref(&certificate)).unwrap();
        }
        assert_eq!(directory.versions().unwrap(), [5, 9, 10]);
        let mode = |p: &str| fs::metadata(path.join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("live/key.pem"), mode("live/cert.pem"), mode("")), (0o600, 0o644, 0o700));
        directory.put_knowledge(&Knowledge { version: 5, ..Knowledge::default() }).unwrap();
        assert_eq!((directory.knowledge().unwrap().version, mode("state.json")), (5, 0o600));
    }

    #[test]
    fn the_file_of_an_account_is_what_the_acme_library_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let key = AccountKey::generate().unwrap();
        let account = AccountFile { id: Some("https://ca/account/1".into()), key, directory: "https://ca/directory".into() };
        directory.put_account(&account).unwrap();
        let library: instant_acme::AccountCredentials = directory.read_json(ACCOUNT).unwrap().unwrap();
        assert_eq!(library.private_key().secret_pkcs8_der(), account.key.pkcs8());
        directory.write_json(ACCOUNT, &library).unwrap();
        let again = directory.account().unwrap().unwrap();
        assert_eq!((again.id, again.key.pkcs8(), again.directory), (account.id, account.key.pkcs8(), account.directory));
    }

    #[test]
    fn one_agent_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::lock(folder.path()).unwrap();
        let error = Directory::lock(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another agent uses"), "{error}");
        drop(first);
        Directory::lock(folder.path()).unwrap();
    }

    #[test]
    fn damage_is_told_apart_from_absence() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        assert!(directory.settings().unwrap().is_none());
        fs::write(folder.path().join("config.json"), "{\"directory\":1}").unwrap();
        let error = directory.settings().unwrap_err().to_string();
        assert!(error.contains("config.json` is damaged"), "{error}");
        symlink("versions/000009", folder.path().join("live")).unwrap();
        let error = directory.live().err().unwrap().to_string();
        assert!(error.contains("no cert.pem behind it"), "{error}");
    }

    #[test]
    fn origins() {
        let check = |url: &str, expected: Option<(&str, u16)>| {
            assert_eq!(origin(url), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        };
        check("https://CA.test/acme/directory", Some(("ca.test", 443)));
        check("https://ca.test:443/a/b", Some(("ca.test", 443)));
        check("https://[::1]:14000/directory", Some(("[::1]", 14000)));
        for none in ["http://ca.test/", "https://", "https:///directory", "https://a b/", "ca.test", ""] {
            check(none, None);
        }
    }

    #[test]
    fn chains() {
        let (_, one) = certificate();
        let (_, other) = certificate();
        let pem = |c: &Certificate| pem_encode("CERTIFICATE", c.der());
        assert_eq!(parse_chain(&pem(&one)).unwrap().len(), 1);
        assert!(parse_chain(&format!("{}{}", pem(&one), pem(&other))).is_err(), "the other did not sign the one");
        assert!(parse_chain("").is_err());
        assert!(parse_chain(&pem(&one).repeat(11)).is_err());
    }
}
