//! SPIFFE ids (SPIFFE-ID §2).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AltNameError;
use super::uri::MAX_URI;

/// Most octets of a trust domain's name (SPIFFE-ID §2.1).
const MAX_TRUST_DOMAIN: usize = 255;

/// `spiffe://TRUST-DOMAIN/PATH`. Without a path it stands for the trust domain itself, which no workload is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// Reads an id.
    ///
    /// # Errors
    /// With what is wrong and where. Nothing is folded: an id has one spelling.
    pub fn parse(text: &str) -> Result<Self, AltNameError> {
        check(text).map_err(|why| AltNameError::Spiffe { text: text.chars().take(300).collect(), why })?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The path with its leading `/`; empty for a trust domain's own id.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// Whether it names a workload, as the id in an end entity's X509-SVID must (X509-SVID §4.1).
    pub fn is_workload(&self) -> bool {
        !self.path().is_empty()
    }

    fn parts(&self) -> (&str, &str) {
        let rest = &self.0["spiffe://".len()..];
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_URI {
        return Err(format!("it has {} octets; the most is {MAX_URI}", text.len()));
    }
    let rest = text.strip_prefix("spiffe://").ok_or("it does not begin with `spiffe://`, in lower case")?;
    if let Some(found) = rest.chars().find(|c| "?#@:%".contains(*c)) {
        return Err(format!("it has a `{found}` (hint: an id has no user, port, query, fragment and no escapes)"));
    }
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !(1..=MAX_TRUST_DOMAIN).contains(&domain.len()) {
        return Err(format!("its trust domain does not have 1 to {MAX_TRUST_DOMAIN} octets"));
    }
    if !domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b)) {
        return Err(format!("its trust domain `{domain}` is not of lowercase letters, digits, `-`, `.` and `_`"));
    }
    for segment in path.split('/').skip(1) {
        let characters_are_fine = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if matches!(segment, "" | "." | "..") || !characters_are_fine {
            return Err(format!("its path segment `{segment}` is empty, a dot segment, or not of letters, digits, `-`, `.` and `_`"));
        }
    }
    Ok(())
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = AltNameError;
    fn try_from(text: String) -> Result<Self, AltNameError> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), &str>) {
        match (SpiffeId::parse(text).map_err(|e| e.to_string()), expected) {
            (Ok(id), Ok(parts)) => assert_eq!((id.trust_domain(), id.path()), parts),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn ids() {
        check("spiffe://bank.test/ns/pay/sa/api", Ok(("bank.test", "/ns/pay/sa/api")));
        check("spiffe://bank.test/Pay-1._x", Ok(("bank.test", "/Pay-1._x")));
        check("spiffe://my_domain", Ok(("my_domain", "")));
        assert!(SpiffeId::parse("spiffe://a/b").unwrap().is_workload() && !SpiffeId::parse("spiffe://a").unwrap().is_workload());
        check("https://bank.test/a", Err("does not begin with `spiffe://`"));
        check("SPIFFE://bank.test/a", Err("in lower case"));
        check("spiffe:///a", Err("1 to 255"));
        check(&format!("spiffe://{}/a", "d".repeat(256)), Err("1 to 255"));
        check("spiffe://Bank.test/a", Err("lowercase"));
        check("spiffe://bänk.test/a", Err("lowercase"));
        check("spiffe://bank.test:8443/a", Err("`:`"));
        check("spiffe://me@bank.test/a", Err("`@`"));
        check("spiffe://bank.test/a?b", Err("`?`"));
        check("spiffe://bank.test/a#b", Err("`#`"));
        check("spiffe://bank.test/%61", Err("`%`"));
        for bad in ["/", "//a", "/a/", "/a//b", "/.", "/a/../b", "/a b", "/ü", "/a*"] {
            check(&format!("spiffe://bank.test{bad}"), Err("path segment"));
        }
        check(&format!("spiffe://bank.test/{}", "x".repeat(2048)), Err("the most is 2048"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_that_stays_itself_or_an_error(rest in "(\\PC|[a-z./_-]){0,60}") {
            if let Ok(id) = SpiffeId::parse(&format!("spiffe://{rest}")) {
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), id.to_string());
            }
        }
    }
}
