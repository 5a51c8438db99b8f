//! How a site validates: `[validation]`.

use std::net::SocketAddr;
use std::time::Duration;

use ca_core::validation::Network;
use ca_service::config::check_bounds;
use serde::Deserialize;

/// The most resolvers, and the most networks.
const MAX_RESOLVERS: usize = 8;
const MAX_NETWORKS: usize = 256;

/// `[validation]`. What may be challenged is not in it: that is the policy's.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationSection {
    /// The resolvers that are asked for names, as ADDRESS:PORT; none: those of /etc/resolv.conf.
    pub resolvers: Vec<SocketAddr>,
    /// The port of http-01 (RFC 8555 §8.3: 80).
    pub http_port: u16,
    /// The port of tls-alpn-01 (RFC 8737 §3: 443).
    pub tls_port: u16,
    /// Networks that validation may connect to though they are private, loopback or otherwise special: each lies inside
    /// one special block. Without any, only public addresses.
    pub networks: Vec<Network>,
    /// Whether validation may connect to public addresses.
    pub public: bool,
    /// How many times a validation is tried.
    pub attempts: u32,
    /// How many seconds one attempt may take.
    pub attempt_seconds: u64,
    /// For how many seconds after the client asked attempts may begin.
    pub total_seconds: u64,
    /// How many validations go on at once; of one account at most a fourth.
    pub concurrency: u32,
    /// How many seconds an authorization may wait for its proof.
    pub pending_seconds: u64,
    /// How many seconds a proof counts; where CAA is checked, at most 8 hours.
    pub valid_seconds: u64,
}

impl Default for ValidationSection {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            http_port: 80,
            tls_port: 443,
            networks: Vec::new(),
            public: true,
            attempts: 3,
            attempt_seconds: 10,
            total_seconds: 60,
            concurrency: 32,
            pending_seconds: 3600,
            valid_seconds: 86_400,
        }
    }
}

impl ValidationSection {
    /// What is wrong with it, with the key's name.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.resolvers.len() > MAX_RESOLVERS || self.networks.len() > MAX_NETWORKS {
            return Err(format!("validation.resolvers has at most {MAX_RESOLVERS} entries, validation.networks {MAX_NETWORKS}"));
        }
        check_bounds(&[
            ("validation.http_port", u64::from(self.http_port), 1, 65_535),
            ("validation.tls_port", u64::from(self.tls_port), 1, 65_535),
            ("validation.attempts", u64::from(self.attempts), 1, 10),
            ("validation.attempt_seconds", self.attempt_seconds, 1, 60),
            ("validation.total_seconds", self.total_seconds, 1, 3600),
            ("validation.concurrency", u64::from(self.concurrency), 1, 1024),
            ("validation.pending_seconds", self.pending_seconds, 60, 7 * 86_400),
            ("validation.valid_seconds", self.valid_seconds, 60, 30 * 86_400),
        ])?;
        if self.pending_seconds > self.valid_seconds {
            return Err("validation.pending_seconds is more than validation.valid_seconds: an order would outlive its proof".to_owned());
        }
        Ok(())
    }
}

/// The same, as the server uses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidationConfig {
    /// The resolvers; none: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The port of http-01.
    pub http_port: u16,
    /// The port of tls-alpn-01.
    pub tls_port: u16,
    /// Special networks that may be connected to.
    pub networks: Vec<Network>,
    /// Whether public addresses may be.
    pub public: bool,
    /// How many times a validation is tried.
    pub attempts: u32,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// For how long after the client asked attempts may begin.
    pub total: Duration,
    /// The pause after the first attempt; the later ones are three times as long as the one before.
    pub pause: Duration,
    /// How many validations go on at once.
    pub concurrency: u32,
    /// How long an authorization may wait for its proof.
    pub pending: Duration,
    /// How long a proof counts.
    pub valid: Duration,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self::from(&ValidationSection::default())
    }
}

impl ValidationConfig {
    /// How many of them one account has at most: a fourth, so that what one leaves unanswered keeps nobody else waiting.
    pub(crate) fn share(&self) -> u32 {
        (self.concurrency / 4).max(1)
    }
}

impl From<&ValidationSection> for ValidationConfig {
    fn from(section: &ValidationSection) -> Self {
        Self {
            resolvers: section.resolvers.clone(),
            http_port: section.http_port,
            tls_port: section.tls_port,
            networks: section.networks.clone(),
            public: section.public,
            attempts: section.attempts,
            attempt: Duration::from_secs(section.attempt_seconds),
            total: Duration::from_secs(section.total_seconds),
            pause: Duration::from_secs(1),
            concurrency: section.concurrency,
            pending: Duration::from_secs(section.pending_seconds),
            valid: Duration::from_secs(section.valid_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        ValidationSection::default().check().unwrap();
        let check = |text: &str, expected: &str| {
            let error = toml::from_str::<ValidationSection>(text).map_err(|e| e.to_string()).and_then(|s| s.check()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("http_port = 0", "validation.http_port is 0");
        check("networks = [\"10.0.0.1/8\"]", "is not a network");
        check("resolvers = [\"dns.bank.test:53\"]", "resolvers");
        check("pending_seconds = 90000", "would outlive its proof");
        check("zones = []", "unknown field");
        check("concurrency = 0", "validation.concurrency is 0");
    }
}
