//! What the site's file says, for the server as a process of its own and for `ca serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_core::validation::Network;
use ca_keystore::{UnsealSpec, Unsealer};
use ca_service::attestation::AttestationSection;
use ca_service::blocked_keys::BlockedKeysSection;
use ca_service::config::{Settings, StoreSection, check_bounds, check_listen, check_url};
use ca_service::exit::configuration;
use ca_service::logging::LogConfig;
use ca_service::metrics::MetricsSection;
use ca_service::proxies::{Proxies, ProxySays, check_proxies};
use serde::Deserialize;

use crate::limits::{PauseSection, RateSection};
use crate::replicas::Replicas;
use crate::server::Limits;
use crate::validation::ValidationSection;

/// The whole file of a server that runs by itself. Relative paths start at the folder that the file is in.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The store, which the worker owns.
    pub store: StoreSection,
    /// The service.
    pub acme: AcmeSection,
    /// The server's TLS key.
    pub key: KeySection,
    /// Other ACME servers over the same store; none: this is the only one.
    #[serde(default)]
    pub replicas: Option<ReplicasSection>,
    /// Lists of keys whose private half is known.
    #[serde(default)]
    pub blocked_keys: BlockedKeysSection,
    /// What is known of whoever certifies devices.
    #[serde(default)]
    pub attestation: AttestationSection,
    /// How challenges are validated.
    #[serde(default)]
    pub validation: ValidationSection,
    /// Bounds.
    #[serde(default)]
    pub limits: AcmeLimits,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Where operators read numbers.
    #[serde(default)]
    pub metrics: MetricsSection,
}

/// `[acme]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeSection {
    /// The addresses to listen on, over TLS.
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// The URL under which clients reach them, without a path. It stands in every ACME URL; certificates don't
    /// have it.
    pub url: String,
    /// The terms of service; with this URL, new accounts must agree.
    #[serde(default)]
    pub terms_of_service: Option<String>,
    /// The CA's web site, for the directory.
    #[serde(default)]
    pub website: Option<String>,
    /// A page that says why certificates should be replaced early; told to the clients of those that are to be (RFC 9773
    /// §4.2).
    #[serde(default)]
    pub explanation_url: Option<String>,
    /// Profiles to keep off the directories, though the policy has them: a site may narrow, never widen.
    #[serde(default)]
    pub hide_profiles: Vec<String>,
    /// The networks of proxies whose word on the client's address counts.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// How they give it.
    #[serde(default)]
    pub proxies_say: ProxySays,
    /// Rate limits.
    #[serde(default)]
    pub limits: RateSection,
    /// When an account that only fails is paused.
    #[serde(default)]
    pub pause: PauseSection,
}

impl AcmeSection {
    /// The proxies in front of the listeners.
    pub fn proxies(&self) -> Arc<Proxies> {
        Arc::new(Proxies::new(self.trusted_proxies.clone(), self.proxies_say))
    }

    /// What is wrong with it, listeners and URLs aside, with the key's name.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        check_proxies("acme.trusted_proxies", &self.trusted_proxies)?;
        self.limits.check()?;
        self.pause.rule().map(|_| ())
    }
}

/// `[key]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySection {
    /// The sealed TLS key; its public half stands beside it (`.pub`) for the worker.
    pub file: PathBuf,
    /// What opens it.
    pub unseal: UnsealSpec,
}

/// The most replicas beside this one.
const MAX_PEERS: usize = 64;

/// `[replicas]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicasSection {
    /// This one's number, from 1 on; no two have the same.
    pub number: u16,
    /// The addresses on which it answers the others: on the operators' network, where clients do not come.
    pub listen: Vec<SocketAddr>,
    /// The key that all replicas share, a file key (0600); `acme-server keys` makes the first one's, which is copied.
    pub key: PathBuf,
    /// The others.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerSection>,
}

/// `[[replicas.peer]]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSection {
    /// Its number.
    pub number: u16,
    /// Where it answers.
    pub address: SocketAddr,
}

impl ReplicasSection {
    fn check(&self) -> Result<(), String> {
        check_listen("replicas.listen", &self.listen)?;
        if self.peers.len() > MAX_PEERS {
            return Err(format!("replicas.peer has {} entries; the most is {MAX_PEERS}", self.peers.len()));
        }
        let mut numbers: Vec<u16> = self.peers.iter().map(|peer| peer.number).chain([self.number]).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        match (numbers.first(), twice) {
            (Some(0), _) => Err("replicas.number is 0, which is a server's that has no replicas (hint: number them from 1 on)".to_owned()),
            (_, Some(number)) => Err(format!("replicas.number: {number} stands twice (hint: a nonce names its issuer by its number)")),
            _ => Ok(()),
        }
    }

    /// This one's number, and the others.
    ///
    /// # Errors
    /// When the key's file is missing, open to others, or not a file key.
    pub fn open(&self) -> anyhow::Result<(u16, Replicas)> {
        let hint = "hint: make it with `acme-server keys` on one host, and copy it to the others";
        let key = Unsealer::file_key_from(&self.key).map_err(|e| configuration(format!("replicas.key: {e} ({hint})")))?;
        let peers = self.peers.iter().map(|peer| (peer.number, peer.address));
        let replicas = Replicas::new(&key, peers).ok_or_else(|| configuration(format!("replicas.key is not a file key ({hint})")))?;
        Ok((self.number, replicas))
    }
}

/// `[limits]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeLimits {
    /// Open connections of each listener; more wait in the kernel's queue.
    pub connections: u32,
    /// How many of them one IPv4 /24 or IPv6 /64 may have, trusted proxies aside.
    pub connections_per_network: u32,
    /// How many seconds a request's header, or its body, may take.
    pub request_seconds: u64,
    /// How many seconds newAccount and finalize wait for the worker before the client is told to come back.
    pub worker_wait_seconds: u64,
    /// From which wait of the oldest request on, in seconds, new orders are turned away.
    pub backlog_seconds: u64,
    /// How many seconds an order may wait to be finalized.
    pub order_seconds: u64,
    /// How many seconds open requests may take once the program is told to stop.
    pub drain_seconds: u64,
}

impl Default for AcmeLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_network: 512,
            request_seconds: 15,
            worker_wait_seconds: 10,
            backlog_seconds: 20,
            order_seconds: 86_400,
            drain_seconds: 10,
        }
    }
}

impl AcmeLimits {
    /// Whether each is within its bounds.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        check_bounds(&[
            ("limits.connections", u64::from(self.connections), 1, 100_000),
            ("limits.connections_per_network", u64::from(self.connections_per_network), 1, 100_000),
            ("limits.request_seconds", self.request_seconds, 1, 300),
            ("limits.worker_wait_seconds", self.worker_wait_seconds, 1, 60),
            ("limits.backlog_seconds", self.backlog_seconds, 1, 3600),
            ("limits.order_seconds", self.order_seconds, 60, 30 * 86_400),
            ("limits.drain_seconds", self.drain_seconds, 1, 300),
        ])
    }

    /// The limits of a listener.
    pub fn of_listeners(&self) -> Limits {
        Limits {
            max_connections: self.connections,
            max_per_network: self.connections_per_network,
            header_timeout: Duration::from_secs(self.request_seconds),
            drain: Duration::from_secs(self.drain_seconds),
            ..Limits::default()
        }
    }
}

impl Settings for ServerSettings {
    fn check(&self) -> Result<(), String> {
        check_url("acme.url", &self.acme.url, "https://")?;
        check_listen("acme.listen", &self.acme.listen)?;
        self.acme.check()?;
        self.metrics.check()?;
        self.validation.check()?;
        self.attestation.check()?;
        if let Some(replicas) = &self.replicas {
            replicas.check()?;
        }
        self.limits.check()
    }

    fn resolve(&mut self, folder: &Path) {
        self.store.resolve(folder);
        self.blocked_keys.resolve(folder);
        self.attestation.resolve(folder);
        self.key.file = folder.join(&self.key.file);
        self.key.unseal.resolve(folder);
        self.replicas.iter_mut().for_each(|r| r.key = folder.join(&r.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rates;

    const SAMPLE: &str = include_str!("../../deploy/acme.toml");

    #[test]
    fn the_sample_parses_and_shows_the_defaults() {
        let settings = ServerSettings::parse(SAMPLE, Path::new("/etc/countersign")).unwrap();
        assert_eq!(settings.limits, AcmeLimits::default());
        assert_eq!(Rates::from(&settings.acme.limits), Rates::default());
        assert_eq!(settings.acme.pause, PauseSection::default());
        assert_eq!((settings.acme.trusted_proxies.len(), settings.acme.proxies_say), (0, ProxySays::default()));
        assert_eq!(settings.validation, ValidationSection::default());
        assert_eq!(settings.blocked_keys, BlockedKeysSection::default());
        assert_eq!(settings.attestation, AttestationSection::default());
        assert_eq!(settings.log, LogConfig::default());
        assert_eq!(settings.metrics.listen, [SocketAddr::from(([127, 0, 0, 1], 14090))]);
        assert_eq!(settings.store.socket, Path::new("/run/countersign/store.sock"));
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SAMPLE.contains(from), "{from}");
        let error = ServerSettings::parse(&SAMPLE.replacen(from, to, 1), Path::new("/")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_samples_replicas_parse() {
        let (_, section) = SAMPLE.split_once("# [replicas]").unwrap();
        let (lines, _) = section.split_once("\n\n").unwrap();
        let lines: Vec<&str> =
            lines.lines().filter_map(|l| l.strip_prefix("# ")).filter(|l| l.starts_with('[') || l.contains(" = ")).collect();
        let parse = |lines: &str| ServerSettings::parse(&format!("{SAMPLE}\n[replicas]\n{lines}\n"), Path::new("/etc/countersign"));
        let text = lines.join("\n");
        let replicas = parse(&text).unwrap().replicas.unwrap();
        assert_eq!((replicas.number, replicas.peers.len(), replicas.peers[0].number), (1, 1, 2));
        assert_eq!(replicas.key, Path::new("/etc/countersign/replicas.key"));
        for (from, to, expected) in [("number = 1", "number = 2", "2 stands twice"), ("number = 1", "number = 0", "number is 0")] {
            let error = parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("[store]", "[store]\npath = \"ca.db\"", "path");
        check("[key]", "[keystore]\ndir = \"keys\"\n[key]", "keystore");
        check("url = \"https://", "url = \"http://", "acme.url");
        check("connections = 1024", "connections = 0", "limits.connections is 0");
        check("listen = [\"[::]:14000\"]", "listen = []", "acme.listen");
        check("trusted_proxies = []", "trusted_proxies = [\"10.0.0.1/8\"]", "is not a network");
        check("\"proxy-protocol\"\n", "\"any\"\n", "proxies_say");
        check("network = \"off\"", "name = \"1/1h\"", "acme.limits.revocations.name");
        check("within = \"1d\"", "within = \"1y\"", "acme.pause.within");
        check("listen = [\"127.0.0.1:14090\"]", "listen = [\"10.0.0.1:14090\"]", "metrics.listen has 10.0.0.1:14090");
    }
}
