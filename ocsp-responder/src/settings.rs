//! What the site's file says, for the responder as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_core::model::AuthorityName;
use ca_core::validation::Network;
use ca_keystore::UnsealSpec;
use ca_service::config::{Settings, StoreSection, check_bounds, check_listen};
use ca_service::logging::LogConfig;
use ca_service::metrics::MetricsSection;
use ca_service::proxies::{Proxies, ProxySays, check_proxies};
use serde::Deserialize;

use crate::config::{NeverIssued, ResponderConfig};
use crate::serve::Limits;

/// The whole file. Relative paths start at the folder that the file is in.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponderSettings {
    /// The store, which the worker owns.
    pub store: StoreSection,
    /// The service.
    pub status: StatusSection,
    /// The delegated keys.
    pub keys: KeysSection,
    /// Bounds.
    #[serde(default)]
    pub limits: ResponderLimits,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Where operators read numbers.
    #[serde(default)]
    pub metrics: MetricsSection,
}

/// `[status]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusSection {
    /// The addresses to listen on, in plain HTTP, as the standards have it.
    pub listen: Vec<SocketAddr>,
    /// What is said of a serial number that was never issued: `unknown` or `revoked`.
    #[serde(default = "default_never_issued")]
    pub never_issued: String,
    /// The networks of proxies whose word on the client's address counts.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// How they give it.
    #[serde(default)]
    pub proxies_say: ProxySays,
}

impl StatusSection {
    /// The proxies in front of the listeners.
    pub fn proxies(&self) -> Arc<Proxies> {
        Arc::new(Proxies::new(self.trusted_proxies.clone(), self.proxies_say))
    }
}

fn default_never_issued() -> String {
    "unknown".to_owned()
}

/// `[keys]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysSection {
    /// What opens the keys.
    pub unseal: UnsealSpec,
    /// The delegated OCSP key of each authority that answers are signed for.
    #[serde(default)]
    pub ocsp: BTreeMap<AuthorityName, PathBuf>,
}

/// `[limits]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponderLimits {
    /// Open connections of each listener; more wait in the kernel's queue.
    pub connections: u32,
    /// How many of them one IPv4 /24 or IPv6 /64 may have, trusted proxies aside.
    pub connections_per_network: u32,
    /// How many seconds a request's header may take.
    pub request_seconds: u64,
    /// How many seconds an OCSP answer is valid.
    pub ocsp_validity_seconds: u64,
    /// How many MiB of signed OCSP answers are kept.
    pub ocsp_cache_mib: u64,
    /// How many seconds open requests may take once the program is told to stop.
    pub drain_seconds: u64,
}

impl Default for ResponderLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_network: 512,
            request_seconds: 15,
            ocsp_validity_seconds: 3600,
            ocsp_cache_mib: 64,
            drain_seconds: 10,
        }
    }
}

impl ResponderLimits {
    /// Whether each is within its bounds.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        check_bounds(&[
            ("limits.connections", u64::from(self.connections), 1, 100_000),
            ("limits.connections_per_network", u64::from(self.connections_per_network), 1, 100_000),
            ("limits.request_seconds", self.request_seconds, 1, 300),
            ("limits.ocsp_validity_seconds", self.ocsp_validity_seconds, 60, 7 * 86_400),
            ("limits.ocsp_cache_mib", self.ocsp_cache_mib, 1, 16 * 1024),
            ("limits.drain_seconds", self.drain_seconds, 1, 300),
        ])
    }

    /// The times and bounds of a responder that says this of serial numbers that were never issued.
    pub fn responder(&self, never_issued: NeverIssued) -> ResponderConfig {
        ResponderConfig {
            validity: Duration::from_secs(self.ocsp_validity_seconds),
            cache_bytes: self.ocsp_cache_mib * 1024 * 1024,
            never_issued,
            ..ResponderConfig::default()
        }
    }

    /// The limits of a listener.
    pub fn of_listeners(&self) -> Limits {
        Limits {
            connections: self.connections as usize,
            per_network: self.connections_per_network,
            header_timeout: Duration::from_secs(self.request_seconds),
            drain: Duration::from_secs(self.drain_seconds),
            ..Limits::default()
        }
    }
}

impl ResponderSettings {
    /// The times and bounds of the responder.
    pub fn responder(&self) -> ResponderConfig {
        // Checked when it was read.
        self.limits.responder(self.status.never_issued.parse().unwrap_or_default())
    }
}

impl Settings for ResponderSettings {
    fn check(&self) -> Result<(), String> {
        check_listen("status.listen", &self.status.listen)?;
        check_proxies("status.trusted_proxies", &self.status.trusted_proxies)?;
        self.metrics.check()?;
        self.status.never_issued.parse::<NeverIssued>().map_err(|e| format!("status.never_issued: {e}"))?;
        self.limits.check()
    }

    fn resolve(&mut self, folder: &Path) {
        self.store.resolve(folder);
        self.keys.unseal.resolve(folder);
        self.keys.ocsp.values_mut().for_each(|path| *path = folder.join(&*path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../deploy/ocsp.toml");

    #[test]
    fn the_sample_parses_and_shows_the_defaults() {
        let settings = ResponderSettings::parse(SAMPLE, Path::new("/etc/countersign")).unwrap();
        assert_eq!(settings.limits, ResponderLimits::default());
        assert_eq!((settings.status.trusted_proxies.len(), settings.status.proxies_say), (0, ProxySays::default()));
        assert_eq!(settings.log, LogConfig::default());
        assert_eq!(settings.store.socket, Path::new("/run/countersign/store.sock"));
        assert_eq!(settings.keys.ocsp.len(), 1);
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SAMPLE.contains(from), "{from}");
        let error = ResponderSettings::parse(&SAMPLE.replacen(from, to, 1), Path::new("/")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("[store]", "[store]\npath = \"ca.db\"", "path");
        check("[keys]", "[keystore]\ndir = \"keys\"\n[keys]", "keystore");
        check("never_issued = \"unknown\"", "never_issued = \"good\"", "never_issued");
        check("trusted_proxies = []", "trusted_proxies = [\"10.0.0.1/8\"]", "is not a network");
        check("proxies_say = \"proxy-protocol\"", "proxies_say = \"any\"", "proxies_say");
        check("connections_per_network = 512", "connections_per_network = 0", "limits.connections_per_network is 0");
        check("ocsp_cache_mib = 64", "ocsp_cache_mib = 0", "limits.ocsp_cache_mib is 0");
        check("listen = [\"[::]:14002\"]", "listen = []", "status.listen");
        check("listen = [\"127.0.0.1:14092\"]", "listen = [\"[::]:14092\"]", "metrics.listen has [::]:14092");
    }
}
