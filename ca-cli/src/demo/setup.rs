//! The demonstration's folder: keys, a rehearsed ceremony, its import, the configuration. Each step finds what is there
//! already, and the configuration is written last, so a set-up that was cut off is finished by the next start.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ca_ceremony::{RehearsalOptions, SystemMachine, rehearse};
use ca_core::anchor::{AnchorOperation, ApprovedAnchor};
use ca_core::model::{AuthorityKind, AuthorityName};
use ca_core::pki::{Certificate, Identifier, KeyAlgorithm, key_algorithm, pem_decode_all, pem_encode};
use ca_core::policy::{NamePattern, OwnCertificate, ProfilePolicy, StarPolicy};
use ca_core::ports::{Clock as _, KeyDevice, ServiceKey as _};
use ca_core::profile::LeafShape;
use ca_keystore::{MasterKey, SoftwareKeyStore, Unsealer};
use ca_service::service_key::open_or_new;
use ca_store_sqlite::SqliteStore;

use super::{facts, other_algorithm, other_port};
use crate::anchor;
use crate::config::Config;
use crate::exit::{Exit, configuration, failure, store as store_failure};
use crate::render::print;
use crate::serve::compose::read_roster;
use crate::serve::{Held, TrustedPolicy, hold, trusted_policy};
use crate::system::{SystemClock, SystemRng};

pub(super) const DEFAULT_ACME_PORT: u16 = 14000;
pub(super) const DEFAULT_STATUS_PORT: u16 = 14002;

const DAY: u64 = 86_400;

/// Where everything lies.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) config: PathBuf,
    pub(super) env: PathBuf,
    pub(super) hmac: PathBuf,
    pub(super) root: PathBuf,
    pub(super) issuer: PathBuf,
    pub(super) crls: PathBuf,
    rehearsal: PathBuf,
    keys: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let at = |name: &str| dir.join(name);
        Ok(Self {
            config: at("ca.toml"),
            env: at("demo.env"),
            hmac: at("demo.hmac"),
            root: at("root.pem"),
            issuer: at("issuer.pem"),
            crls: at("crls.pem"),
            rehearsal: at("rehearsal"),
            keys: at("keys"),
            dir,
        })
    }
}

/// The demonstration's issuing authority.
pub(super) fn authority() -> AuthorityName {
    "demo".parse().expect("a slug")
}

/// What its policy offers.
pub(super) fn profiles() -> BTreeMap<String, ProfilePolicy> {
    [("client", LeafShape::Client, 30 * DAY), ("server", LeafShape::Server, 30 * DAY), ("short", LeafShape::Client, 60)]
        .into_iter()
        .map(|(name, shape, lifetime)| {
            // Post-quantum kinds are certified where a policy names them.
            let mut profile = ProfilePolicy { keys: KeyAlgorithm::ALL.to_vec(), ..ProfilePolicy::new(shape, lifetime) };
            // Orders of clients may renew themselves, each certificate from a minute on, for a year.
            profile.star = (name == "client").then_some(StarPolicy { min_lifetime: 60, max_duration: 365 * DAY, certificate_get: true });
            (name.to_owned(), profile)
        })
        .collect()
}

fn patterns(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().map(|t| t.parse().expect("a pattern")).collect()
}

/// What its grant covers.
pub(super) fn granted_names() -> Vec<NamePattern> {
    patterns(&["dns:demo.test", "dns:*.demo.test", "dns:localhost", "ip:127.0.0.1", "ip:::1"])
}

/// Makes what is missing. Tells whether this was the first time.
pub(super) async fn prepare(
    layout: &Layout,
    acme_port: Option<u16>,
    status_port: Option<u16>,
    algorithm: Option<KeyAlgorithm>,
) -> anyhow::Result<(Config, bool)> {
    if layout.config.exists() {
        let config = Config::load(&layout.config)?;
        for (what, made, asked) in [("acme", &config.acme.listen, acme_port), ("status", &config.status.listen, status_port)] {
            if let (Some(made), Some(asked)) = (made.first(), asked)
                && made.port() != asked
            {
                return Err(other_port(what, made.port(), asked, &layout.dir));
            }
        }
        if let Some(asked) = algorithm {
            let made = made_with(layout)?;
            if made != asked {
                return Err(other_algorithm(made, asked, &layout.dir));
            }
        }
        return Ok((config, false));
    }
    let (acme_port, status_port) = (acme_port.unwrap_or(DEFAULT_ACME_PORT), status_port.unwrap_or(DEFAULT_STATUS_PORT));
    let text = config_text(acme_port, status_port);
    // A port in use is found before anything is made.
    let held = held_ports(acme_port, status_port)?;
    print(&format!("First start: rehearsing a key ceremony into {} …\n", shown(&layout.dir).display()))?;
    make(layout, status_port, algorithm.unwrap_or(KeyAlgorithm::P256))
        .await
        .with_context(|| format!("setting up {}", layout.dir.display()))?;
    drop(held);
    facts::write(&layout.config, text.as_bytes(), 0o600)?;
    Ok((Config::load(&layout.config)?, true))
}

/// A path as it is typed from here.
pub(super) fn shown(path: &Path) -> PathBuf {
    std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or_else(|| path.to_owned())
}

/// The loopback addresses that this host has.
fn loopback(port: u16) -> Vec<SocketAddr> {
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    addresses.extend(six.then(|| SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    addresses
}

fn held_ports(acme_port: u16, status_port: u16) -> anyhow::Result<Vec<Held>> {
    if acme_port == status_port {
        return Err(failure(Exit::Usage, format!("both ports are {acme_port} (hint: --acme-port and --status-port must differ)")));
    }
    let mut held = hold(&loopback(acme_port), "--acme-port")?;
    held.extend(hold(&loopback(status_port), "--status-port")?);
    Ok(held)
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| configuration(format!("cannot make {}: {e}", path.display())))
}

fn file_key(path: &Path) -> anyhow::Result<Unsealer> {
    Ok(if path.exists() { Unsealer::file_key_from(path)? } else { Unsealer::create_file_key(path, &SystemRng)? })
}

/// The kind of the issuing authority's key.
fn made_with(layout: &Layout) -> anyhow::Result<KeyAlgorithm> {
    let wrong = |e: &dyn std::fmt::Display| configuration(format!("{}: {e}", layout.issuer.display()));
    let text = std::fs::read_to_string(&layout.issuer).map_err(|e| wrong(&e))?;
    let found = pem_decode_all(&text, "CERTIFICATE").map_err(|e| wrong(&e))?;
    let der = found.first().ok_or_else(|| wrong(&"it holds no certificate"))?;
    let certificate = Certificate::from_der(der).map_err(|e| wrong(&e))?;
    key_algorithm(certificate.public_key()).map_err(|e| wrong(&e))
}

async fn make(layout: &Layout, status_port: u16, algorithm: KeyAlgorithm) -> anyhow::Result<()> {
    let keys = &layout.keys;
    for folder in [&layout.dir, keys, &keys.join("service"), &layout.dir.join("anchor")] {
        private_folder(folder)?;
    }
    // Three secrets, as on a production host: the offline root's, the online authority's, the services'.
    let (root, online, service) =
        (file_key(&keys.join("root.key"))?, file_key(&keys.join("authority.key"))?, file_key(&keys.join("service.key"))?);
    let master = keys.join("service/master.sealed");
    if !master.exists() {
        MasterKey::create(&master, &service, &SystemRng)?;
    }
    let own = |name: &str, lifetime: u64, names: &[&str]| -> anyhow::Result<OwnCertificate> {
        // A post-quantum hierarchy's status is post-quantum as well; the ACME server's key stays one that every client knows.
        let wanted = (name == "ocsp" && algorithm.is_post_quantum()).then_some(algorithm);
        let key = open_or_new(&keys.join("service").join(format!("{name}.sealed")), wanted, &service)?;
        Ok(OwnCertificate {
            name: name.to_owned(),
            shape: name.to_owned(),
            names: names.iter().map(|n| Identifier::from_text(n)).collect::<Result<_, _>>()?,
            key_sha256: key.public_key().spki_sha256(),
            lifetime,
        })
    };
    let store_in = |folder: &str, unsealer| -> anyhow::Result<Arc<dyn KeyDevice>> {
        Ok(Arc::new(SoftwareKeyStore::open(keys.join(folder), unsealer)?))
    };
    let rehearsal = rehearse(RehearsalOptions {
        dir: layout.rehearsal.clone(),
        root_keys: store_in("root", root)?,
        online_keys: store_in("authority", online)?,
        machine: Arc::new(SystemMachine::default()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        organization: "Countersign Demo".to_owned(),
        authority: authority(),
        algorithm,
        status_base_url: status_url(status_port),
        permitted: patterns(&["dns:demo.test", "dns:localhost", "ip:127.0.0.1", "ip:::1"]),
        names: granted_names(),
        attestation_roots: Vec::new(),
        profiles: profiles(),
        challenge_zones: Vec::new(),
        open_enrolment: None,
        own: vec![own("ocsp", 7 * DAY, &[])?, own("server", 30 * DAY, &["localhost", "127.0.0.1", "::1"])?],
        max_per_hour: 1_000_000,
        crl_validity: 7 * DAY,
        crl_interval: DAY / 4,
    })
    .await?;

    for authority in &rehearsal.verified.authorities {
        let path = if authority.kind == AuthorityKind::Root { &layout.root } else { &layout.issuer };
        facts::write(path, pem_encode("CERTIFICATE", &authority.certificate).as_bytes(), 0o644)?;
    }
    let opened = SqliteStore::open(layout.dir.join("ca.db"), Arc::new(SystemRng)).await.map_err(store_failure)?;
    let text = config_text(DEFAULT_ACME_PORT, status_port);
    let config =
        Config::parse(&text, &layout.dir).map_err(|reason| configuration(format!("the demonstration's configuration: {reason}")))?;
    let made = async {
        crate::commands::import_verified(&opened, &rehearsal.verified).await?;
        make_anchor(layout, &config, &opened).await
    };
    let made = made.await;
    opened.close().await;
    made
}

/// The worker's anchor, signed by the rehearsal's officers as a production one is by its.
async fn make_anchor(layout: &Layout, config: &Config, store: &SqliteStore) -> anyhow::Result<()> {
    let Some(section) = &config.anchor else { return Ok(()) };
    if section.file.exists() {
        return Ok(());
    }
    let roster = read_roster(config)?;
    let TrustedPolicy { verified, .. } = trusted_policy(config, &roster, store).await?;
    let now = SystemClock.now();
    let bytes = anchor::statement(store, &roster, &verified, None, &SystemRng, now).await?.to_bytes();
    let signatures = ca_ceremony::sign_rehearsal(&layout.rehearsal, &bytes)?;
    let approved = ApprovedAnchor::verify(AnchorOperation::Init, &bytes, &signatures, &roster, now)?;
    crate::commands::create_anchor(config, &section.file, store, &roster, &approved).await
}

fn status_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn config_text(acme_port: u16, status_port: u16) -> String {
    let list = |port| loopback(port).iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", ");
    format!(
        r#"# Made by `ca demo`: a rehearsed CA on loopback. ca-cli/ca.sample.toml explains every key.

[store]
path = "ca.db"

[trust]
roster = "rehearsal/bundle/roster.toml"

[anchor]
# On a production host: another disk than the database's.
file = "anchor/anchor"

[keystore]
dir = "keys/authority"
unseal = {{ key_file = "keys/authority.key" }}

[service_keys]
unseal = {{ key_file = "keys/service.key" }}
master = "keys/service/master.sealed"
server = "keys/service/server.sealed"

[service_keys.ocsp]
demo = "keys/service/ocsp.sealed"

[acme]
listen = [{}]
url = "https://localhost:{acme_port}"

[status]
listen = [{}]
url = "{}"

[control]
socket = "ca.sock"

[operator]
# The rehearsal's throwaway operator. A production host keeps no operator's key.
key = "rehearsal/operator"
"#,
        list(acme_port),
        list(status_port),
        status_url(status_port),
    )
}
