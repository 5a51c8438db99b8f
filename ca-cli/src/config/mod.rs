//! The site's configuration: one TOML file, unknown keys refused.
//!
//! It says where things are and how much of them there may be. What may be signed is not in it: that is the policy
//! that the officers signed. `ca.sample.toml` shows every key; a test parses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use acme_server::{AcmeLimits, AcmeSection, ValidationSection};
use ca_core::model::AuthorityName;
use ca_core::validation::Network;
use ca_keystore::{KeyStoreSpec, UnsealSpec};
use ca_service::attestation::AttestationSection;
use ca_service::blocked_keys::BlockedKeysSection;
use ca_service::metrics::MetricsSection;
use ca_service::proxies::ProxySays;
use ocsp_responder::ResponderLimits;
use serde::Deserialize;

mod load;
mod user;

pub(crate) use ca_service::logging::{LogConfig, LogFormat};
pub(crate) use load::find;
pub(crate) use user::{Identity, User};

/// The whole file. Relative paths start at the folder that the file is in.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database.
    pub(crate) store: StoreConfig,
    /// Who may approve policies.
    pub(crate) trust: TrustConfig,
    /// What the worker remembers outside the database.
    #[serde(default)]
    pub(crate) anchor: Option<AnchorConfig>,
    /// Authority keys.
    pub(crate) keystore: KeyStoreSpec,
    /// Keys of this CA's own services.
    pub(crate) service_keys: ServiceKeysConfig,
    /// Lists of keys whose private half is known.
    #[serde(default)]
    pub(crate) blocked_keys: BlockedKeysSection,
    /// What is known of whoever certifies devices.
    #[serde(default)]
    pub(crate) attestation: AttestationSection,
    /// The ACME service; a worker by itself does not listen, and tells its URL with each grant.
    pub(crate) acme: AcmeSection,
    /// The OCSP responder, CRLs and issuer certificates.
    pub(crate) status: StatusSection,
    /// The socket that the commands talk to.
    pub(crate) control: ControlConfig,
    /// How `ca serve` divides the work.
    #[serde(default)]
    pub(crate) serve: ServeConfig,
    /// Whose key signs what the commands ask for.
    #[serde(default)]
    pub(crate) operator: OperatorConfig,
    /// How the ACME service validates challenges.
    #[serde(default)]
    pub(crate) validation: ValidationSection,
    /// Bounds.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// What is logged, and how.
    #[serde(default)]
    pub(crate) log: LogConfig,
    /// Where operators read numbers.
    #[serde(default)]
    pub(crate) metrics: MetricsSection,
}

/// `[store]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// The SQLite database. It is made where it is missing; `-wal`, `-shm` and `.lock` files stand beside it. One
    /// process owns it. Keep it on a local disk.
    pub(crate) path: PathBuf,
    /// Where other processes send the commands of their role.
    #[serde(default)]
    pub(crate) socket: Option<StoreSocketConfig>,
}

/// `[store.socket]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreSocketConfig {
    /// The Unix socket. Any user may connect; who has no role here is turned away.
    pub(crate) path: PathBuf,
    /// The users that the ACME server runs as.
    #[serde(default)]
    pub(crate) acme: Vec<User>,
    /// The users that the OCSP responder runs as. Nobody has both roles.
    #[serde(default)]
    pub(crate) responder: Vec<User>,
}

/// `[trust]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustConfig {
    /// The roster of officers whose quorum approves policies (TOML; a ceremony's bundle has it). The worker refuses
    /// to start under a policy that they did not sign.
    pub(crate) roster: PathBuf,
}

/// `[anchor]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnchorConfig {
    /// The file that the worker keeps, so that an older copy of the database is found out; made by `ca anchor init`.
    /// Its folder (0700, the worker's user) belongs on another disk than the database, out of the reach of whoever
    /// restores that. Required under a production roster.
    pub(crate) file: PathBuf,
}

/// `[service_keys]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceKeysConfig {
    /// What opens the service keys and the master key.
    pub(crate) unseal: UnsealSpec,
    /// The worker's master key, from which grants' secrets are derived. Losing it ends every grant that has not
    /// bound its accounts yet.
    pub(crate) master: PathBuf,
    /// The TLS key of the ACME server. Its certificate comes from this CA, if the policy has it among the own ones.
    /// `ca serve` needs it.
    #[serde(default)]
    pub(crate) server: Option<PathBuf>,
    /// The delegated OCSP key of each authority that answers are signed for.
    #[serde(default)]
    pub(crate) ocsp: BTreeMap<AuthorityName, PathBuf>,
    /// The public halves of keys that other processes hold: the worker issues their certificates too, where the
    /// policy pins them.
    #[serde(default)]
    pub(crate) public: Vec<PathBuf>,
}

/// `[status]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusSection {
    /// The addresses to listen on, in plain HTTP, as the standards have it; a worker by itself has none.
    #[serde(default)]
    pub(crate) listen: Vec<SocketAddr>,
    /// The URL under which relying parties reach them, without a path. It is baked into every certificate: choose a
    /// name that will stay.
    pub(crate) url: String,
    /// What is said of a serial number that was never issued: `unknown` or `revoked`.
    #[serde(default = "default_never_issued")]
    pub(crate) never_issued: String,
    /// The networks of proxies whose word on the client's address counts.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<Network>,
    /// How they give it.
    #[serde(default)]
    pub(crate) proxies_say: ProxySays,
}

/// `[control]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlConfig {
    /// The Unix socket (0600) that the commands talk to. Its user and root may use it; changes need an operator's
    /// signature besides.
    pub(crate) socket: PathBuf,
}

/// `[serve]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeConfig {
    /// The user that `ca serve`, started as root, runs the worker as; the other parts are then processes too.
    #[serde(default)]
    pub(crate) worker: Option<User>,
    /// The ACME server then.
    #[serde(default)]
    pub(crate) acme: Option<FrontConfig>,
    /// The OCSP responder then.
    #[serde(default)]
    pub(crate) responder: Option<FrontConfig>,
    /// Without other users: authority keys in a hardware module may be used in the process that faces the network.
    #[serde(default)]
    pub(crate) hardware_keys_in_one_process: bool,
}

/// A part that `ca serve` runs as a process of its own.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrontConfig {
    /// Its user.
    pub(crate) user: User,
    /// Its own configuration, which that user can read.
    pub(crate) config: PathBuf,
}

/// `[operator]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorConfig {
    /// The OpenSSH private key that signs statements where `--operator-key` is not given. On a production host leave
    /// it out: the key belongs on the operator's own machine or token.
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
}

/// `[limits]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Open connections of each listener; more wait in the kernel's queue.
    pub(crate) connections: u32,
    /// How many of them one IPv4 /24 or IPv6 /64 may have, trusted proxies aside.
    pub(crate) connections_per_network: u32,
    /// How many seconds a request's header, or its body, may take.
    pub(crate) request_seconds: u64,
    /// How many seconds newAccount and finalize wait for the worker before the client is told to come back.
    pub(crate) worker_wait_seconds: u64,
    /// From which wait of the oldest request on, in seconds, new orders are turned away.
    pub(crate) backlog_seconds: u64,
    /// How many seconds an order may wait to be finalized.
    pub(crate) order_seconds: u64,
    /// How many seconds an OCSP answer is valid.
    pub(crate) ocsp_validity_seconds: u64,
    /// How many MiB of signed OCSP answers are kept.
    pub(crate) ocsp_cache_mib: u64,
    /// How many seconds open requests may take once the program is told to stop.
    pub(crate) drain_seconds: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let (acme, status) = (AcmeLimits::default(), ResponderLimits::default());
        Self {
            connections: acme.connections,
            connections_per_network: acme.connections_per_network,
            request_seconds: acme.request_seconds,
            worker_wait_seconds: acme.worker_wait_seconds,
            backlog_seconds: acme.backlog_seconds,
            order_seconds: acme.order_seconds,
            ocsp_validity_seconds: status.ocsp_validity_seconds,
            ocsp_cache_mib: status.ocsp_cache_mib,
            drain_seconds: acme.drain_seconds,
        }
    }
}

impl LimitsConfig {
    /// Those of the ACME server.
    pub(crate) const fn acme(&self) -> AcmeLimits {
        AcmeLimits {
            connections: self.connections,
            connections_per_network: self.connections_per_network,
            request_seconds: self.request_seconds,
            worker_wait_seconds: self.worker_wait_seconds,
            backlog_seconds: self.backlog_seconds,
            order_seconds: self.order_seconds,
            drain_seconds: self.drain_seconds,
        }
    }

    /// Those of the responder.
    pub(crate) const fn responder(&self) -> ResponderLimits {
        ResponderLimits {
            connections: self.connections,
            connections_per_network: self.connections_per_network,
            request_seconds: self.request_seconds,
            ocsp_validity_seconds: self.ocsp_validity_seconds,
            ocsp_cache_mib: self.ocsp_cache_mib,
            drain_seconds: self.drain_seconds,
        }
    }
}

fn default_never_issued() -> String {
    "unknown".to_owned()
}

impl Config {
    /// Makes every path absolute, starting at `base`.
    fn resolve(&mut self, base: &Path) {
        let at = |path: &mut PathBuf| *path = base.join(&path);
        at(&mut self.store.path);
        at(&mut self.trust.roster);
        self.anchor.iter_mut().for_each(|anchor| at(&mut anchor.file));
        at(&mut self.service_keys.master);
        self.store.socket.iter_mut().for_each(|socket| at(&mut socket.path));
        let keys = &mut self.service_keys;
        keys.server.iter_mut().chain(keys.ocsp.values_mut()).chain(&mut keys.public).for_each(at);
        self.blocked_keys.resolve(base);
        self.attestation.resolve(base);
        at(&mut self.control.socket);
        self.serve.acme.iter_mut().chain(&mut self.serve.responder).for_each(|front| at(&mut front.config));
        self.operator.key.iter_mut().for_each(at);
        self.keystore.resolve(base);
        self.service_keys.unseal.resolve(base);
    }
}
