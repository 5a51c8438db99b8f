//! What an operator may set.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ca_core::model::AuthorityName;
use ca_core::ports::ServiceKey;

/// What is said of a serial number that was never issued (status requirement S13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NeverIssued {
    /// `unknown`.
    #[default]
    Unknown,
    /// `revoked` with certificateHold since 1970, and the extended-revoke extension (RFC 6960 §4.4.8).
    Revoked,
}

impl FromStr for NeverIssued {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unknown" => Ok(Self::Unknown),
            "revoked" => Ok(Self::Revoked),
            other => Err(format!("`{other}` is not an answer to serials never issued (one of unknown, revoked)")),
        }
    }
}

/// Times and bounds of a responder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponderConfig {
    /// How long an answer is valid, from now to its nextUpdate; never past the responder certificate's notAfter.
    pub validity: Duration,
    /// How long HTTP caches may keep an answer or a CRL.
    pub max_age: Duration,
    /// How long after the last reading of the ledger new answers are still signed.
    pub max_stale: Duration,
    /// How far thisUpdate is set back, for clients whose clocks are behind.
    pub skew: Duration,
    /// What is said of serial numbers that were never issued.
    pub never_issued: NeverIssued,
    /// How much memory the cache of signed answers may take, in octets.
    pub cache_bytes: u64,
    /// How often the ledger is read even if nothing wakes the follower.
    pub poll: Duration,
    /// How often authorities and responder certificates are looked up again.
    pub refresh: Duration,
}

impl Default for ResponderConfig {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(3600),
            max_age: Duration::from_secs(10),
            max_stale: Duration::from_secs(60),
            skew: Duration::from_secs(60),
            never_issued: NeverIssued::Unknown,
            cache_bytes: 64 * 1024 * 1024,
            poll: Duration::from_millis(500),
            refresh: Duration::from_secs(5),
        }
    }
}

/// The delegated keys, by the authority that certifies them.
#[derive(Clone, Default)]
pub struct ResponderKeys(BTreeMap<AuthorityName, Arc<dyn ServiceKey>>);

impl ResponderKeys {
    /// No keys: OCSP answers are then all `unauthorized`, files are served.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `authority`'s delegated key.
    #[must_use]
    pub fn with(mut self, authority: AuthorityName, key: Arc<dyn ServiceKey>) -> Self {
        self.0.insert(authority, key);
        self
    }

    pub(crate) fn get(&self, authority: &AuthorityName) -> Option<Arc<dyn ServiceKey>> {
        self.0.get(authority).cloned()
    }
}

impl FromIterator<(AuthorityName, Arc<dyn ServiceKey>)> for ResponderKeys {
    fn from_iter<I: IntoIterator<Item = (AuthorityName, Arc<dyn ServiceKey>)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl fmt::Debug for ResponderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
