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

impl User {
    /// Its number.
    pub(crate) fn uid(&self) -> Result<u32, String> {
        match self {
            Self::Uid(uid) => Ok(*uid),
            Self::Name(name) => {
                use std::io::Read as _;
                let mut passwd = String::new();
                let read = std::fs::File::open("/etc/passwd").and_then(|file| file.take(MAX_PASSWD).read_to_string(&mut passwd));
                read.map_err(|e| format!("cannot look up the user `{name}` in /etc/passwd: {e}"))?;
                find(&passwd, name).ok_or_else(|| {
                    format!(
                        "there is no user `{name}` in /etc/passwd (hint: make it, or give the number of one that a directory service has)"
                    )
                })
            }
        }
    }
}

/// passwd(5): name, password, uid, …
fn find(passwd: &str, name: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nacme-2:x:7:7::/:/x\nacme:x:42:42::/:/x\nbroken:x\n";
        for (name, expected) in [("root", Some(0)), ("acme", Some(42)), ("acm", None), ("broken", None), ("", None)] {
            assert_eq!(find(passwd, name), expected, "{name}");
        }
        assert_eq!(User::Name("root".to_owned()).uid(), Ok(0));
        assert!(User::Name("no-such-user".to_owned()).uid().unwrap_err().contains("hint:"));
    }
}
