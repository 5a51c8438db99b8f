//! The keyholder's configuration: one TOML file, unknown keys refused.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ca_core::model::CredentialName;
use ca_keystore::keyholder::Unlock;
use serde::Deserialize;

use crate::Error;

const MAX_BYTES: u64 = 256 * 1024;
const MAX_CREDENTIALS: usize = 64;
const MAX_USERS: usize = 64;
const PASSWD: &str = "/etc/passwd";

/// The whole file. Relative paths start at the folder that it is in.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyholderConfig {
    /// The Unix socket. Its folder belongs to the keyholder's user, and only that user may change it.
    pub socket: PathBuf,
    /// The users who may give shares, see how many there are, and seal.
    pub officers: Vec<Uid>,
    /// Where each act is written, one JSON line each, besides standard error.
    #[serde(default)]
    pub audit: Option<PathBuf>,
    /// Starts though memory cannot be kept out of swap. Only for machines that have no swap.
    #[serde(default)]
    pub allow_swap: bool,
    /// The credentials.
    #[serde(rename = "credential", default)]
    pub credentials: Vec<CredentialConfig>,
}

/// `[[credential]]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialConfig {
    /// Its name.
    pub name: CredentialName,
    /// `attended` or `host-sealed`.
    pub unlock: Unlock,
    /// Attended: the set's public description, `NAME.set.json`. A share of another set is refused.
    #[serde(default)]
    pub set: Option<PathBuf>,
    /// Host-sealed: the sealed credential.
    #[serde(default)]
    pub sealed: Option<PathBuf>,
    /// Host-sealed: the file key that opens it.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The users whose processes get it.
    pub give_to: Vec<Uid>,
}

/// A user: a number, or a name of this host's `/etc/passwd`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "UserText")]
pub struct Uid(pub u32);

#[derive(Deserialize)]
#[serde(untagged)]
enum UserText {
    Number(u32),
    Name(String),
}

impl TryFrom<UserText> for Uid {
    type Error = String;
    fn try_from(user: UserText) -> Result<Self, String> {
        match user {
            UserText::Number(uid) => Ok(Self(uid)),
            UserText::Name(name) => {
                let text = std::fs::read_to_string(PASSWD).map_err(|e| format!("cannot read {PASSWD}: {e}"))?;
                uid_of(&name, &text).map(Self).ok_or_else(|| {
                    format!("there is no user `{}` in {PASSWD} (hint: users of a directory service are named by number)", shorten(&name))
                })
            }
        }
    }
}

/// The third field of the line that begins with the name (passwd(5)).
fn uid_of(name: &str, passwd: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

impl KeyholderConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let mut text = String::new();
        let file = File::open(path).map_err(Error::io("open the configuration", path))?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(Error::io("read the configuration", path))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::file(path, format!("it has more than {MAX_BYTES} bytes")));
        }
        let absolute = std::path::absolute(path).map_err(Error::io("find", path))?;
        Self::parse(&text, absolute.parent().unwrap_or(Path::new("/"))).map_err(|reason| Error::file(path, reason))
    }

    /// Reads its text; relative paths start at `folder`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        let at = |path: &mut PathBuf| *path = folder.join(&*path);
        at(&mut config.socket);
        config.audit.iter_mut().for_each(at);
        for credential in &mut config.credentials {
            let CredentialConfig { set, sealed, key_file, .. } = credential;
            [set, sealed, key_file].into_iter().flatten().for_each(at);
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let count = self.credentials.len();
        if count == 0 || count > MAX_CREDENTIALS {
            return Err(format!("{count} credentials, not 1 to {MAX_CREDENTIALS}"));
        }
        if self.officers.is_empty() || self.officers.len() > MAX_USERS {
            return Err(format!("`officers` needs 1 to {MAX_USERS} users: those who may give shares and seal"));
        }
        for (i, credential) in self.credentials.iter().enumerate() {
            let name = &credential.name;
            if self.credentials[..i].iter().any(|c| c.name == *name) {
                return Err(format!("the credential `{name}` stands twice"));
            }
            if credential.give_to.is_empty() || credential.give_to.len() > MAX_USERS {
                return Err(format!("`give_to` of `{name}` needs 1 to {MAX_USERS} users: those whose processes get it"));
            }
            match (credential.unlock, &credential.set, &credential.sealed, &credential.key_file) {
                (Unlock::Attended, Some(_), None, None) | (Unlock::HostSealed, None, Some(_), Some(_)) => {}
                (Unlock::Attended, ..) => return Err(format!("`{name}` is attended: it needs `set`, and neither `sealed` nor `key_file`")),
                (Unlock::HostSealed, ..) => return Err(format!("`{name}` is host-sealed: it needs `sealed` and `key_file`, and no `set`")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ca_testkit::sample::unexplained;

    use super::*;

    const SAMPLE: &str = include_str!("../../keyholder.sample.toml");

    #[test]
    fn the_sample_parses_and_documents_every_key() {
        let config = KeyholderConfig::parse(SAMPLE, Path::new("/etc/countersign")).unwrap();
        assert_eq!(config.socket, Path::new(ca_keystore::keyholder::DEFAULT_SOCKET));
        assert_eq!(config.credentials[0].set.as_deref(), Some(Path::new("/etc/countersign/authority.set.json")));
        assert_eq!(unexplained(SAMPLE), None);
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SAMPLE.contains(from), "{from}");
        let error = KeyholderConfig::parse(&SAMPLE.replacen(from, to, 1), Path::new("/")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("[[credential]]", "[[credentials]]", "credentials");
        check("officers = [", "extra = 1\nofficers = [", "extra");
        check("officers = [0]", "officers = []", "`officers` needs 1 to 64 users");
        check("officers = [0]", "officers = [\"no-such-user\"]", "no user `no-such-user`");
        check("give_to = [0]", "give_to = []", "`give_to` of `authority`");
        check("unlock = \"attended\"", "unlock = \"always\"", "always");
        check("unlock = \"attended\"", "unlock = \"host-sealed\"", "host-sealed: it needs `sealed` and `key_file`");
        check("set = \"authority.set.json\"", "", "attended: it needs `set`");
    }

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nca:x:990:991::/:/usr/sbin/nologin\nbroken\n";
        assert_eq!(
            (uid_of("ca", passwd), uid_of("root", passwd), uid_of("c", passwd), uid_of("broken", passwd)),
            (Some(990), Some(0), None, None)
        );
    }
}
