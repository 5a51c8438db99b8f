//! Users of the operating system, by number or by name.

use serde::Deserialize;

/// The most octets read of /etc/passwd.
const MAX_PASSWD: u64 = 4 << 20;

/// A user: `992`, or `"countersign-acme"`, which is looked up in /etc/passwd at the start.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum User {
    /// Its number.
    Uid(u32),
    /// Its name.
    Name(String),
}

/// A user as the kernel knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    /// Its own group.
    pub(crate) gid: u32,
    /// It is in /etc/passwd, so that it may have more groups.
    pub(crate) is_listed: bool,
}

impl User {
    /// As a command line gives it: digits are a number.
    pub(crate) fn given(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Uid)
    }

    /// Its number.
    pub(crate) fn uid(&self) -> Result<u32, String> {
        match self {
            Self::Uid(uid) => Ok(*uid),
            Self::Name(_) => self.identity().map(|identity| identity.uid),
        }
    }

    /// Its number and its group's; a number that /etc/passwd does not have has the group of the same number.
    pub(crate) fn identity(&self) -> Result<Identity, String> {
        use std::io::Read as _;
        let mut passwd = String::new();
        let read = std::fs::File::open("/etc/passwd").and_then(|file| file.take(MAX_PASSWD).read_to_string(&mut passwd));
        read.map_err(|e| format!("cannot look up users in /etc/passwd: {e}"))?;
        match (self, find(&passwd, self)) {
            (_, Some(found)) => Ok(found),
            (Self::Uid(uid), None) => Ok(Identity { uid: *uid, gid: *uid, is_listed: false }),
            (Self::Name(name), None) => Err(format!(
                "there is no user `{name}` in /etc/passwd (hint: make it, or give the number of one that a directory service has)"
            )),
        }
    }
}

/// passwd(5): name, password, uid, gid, …
fn find(passwd: &str, user: &User) -> Option<Identity> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        let is_it = match user {
            User::Name(wanted) => name == wanted,
            User::Uid(wanted) => uid == *wanted,
        };
        is_it.then_some(Identity { uid, gid, is_listed: true })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nacme-2:x:7:8::/:/x\nacme:x:42:43::/:/x\nbroken:x\n";
        for (user, expected) in [
            ("root", Some((0, 0))),
            ("acme", Some((42, 43))),
            ("42", Some((42, 43))),
            ("acm", None),
            ("broken", None),
            ("", None),
            ("9", None),
        ] {
            assert_eq!(find(passwd, &User::given(user)).map(|found| (found.uid, found.gid)), expected, "{user}");
        }
        assert_eq!(User::Name("root".to_owned()).uid(), Ok(0));
        assert_eq!(User::Uid(61_099).identity(), Ok(Identity { uid: 61_099, gid: 61_099, is_listed: false }));
        assert!(User::Name("no-such-user".to_owned()).uid().unwrap_err().contains("hint:"));
    }
}
