//! The product behind the front: a rehearsed CA in a folder, its worker as a process, the ACME server on the worker's
//! store socket. Only the policy is made for suites: names of many domains, proven by challenges; enrolment open, unless
//! the suite wants bindings.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use acme_server::{AcmeLimits, AcmeSection, AcmeServer, Assembly, ValidationSection};
use anyhow::Context as _;
use ca_ceremony::{Rehearsal, RehearsalOptions, SystemMachine, rehearse};
use ca_cli::system::{SystemClock, SystemRng};
use ca_core::ceremony::PolicyBundle;
use ca_core::evidence::sshsig;
use ca_core::evidence::statement::{NAMESPACE, Operation, OperatorStatement};
use ca_core::model::{Authority, AuthorityKind, AuthorityName, ChallengeMethod, Grant, GrantId, GrantLimits, SignedStatement};
use ca_core::pki::KeyAlgorithm;
use ca_core::policy::{AttestationRoots, ChallengeZone, NamePattern, Policy, ProfilePolicy, SubjectParts};
use ca_core::ports::{CertificateStore as _, Clock as _, KeyDevice, Rng as _};
use ca_core::profile::LeafShape;
use ca_keystore::{MasterKey, SoftwareKeyStore, Unsealer};
use ca_store_socket::{Role, SocketStore};
use serde_json::json;

use crate::options::Options;

/// Domains that suites use; names of two to five labels below each can be had.
const TOPS: [&str; 9] = ["com", "org", "net", "test", "example", "local", "wtf", "dev", "io"];
/// Bases of wildcards, which a policy lists one by one.
const WILDCARDS: [&str; 8] = [
    "example.com",
    "wildcard.example.com",
    "example.org",
    "example.net",
    "example.test",
    "wildcard.example.test",
    "letsencrypt.org",
    "le.wtf",
];
/// How long the worker may take to serve its store.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);

/// What runs.
pub(crate) struct Product {
    pub(crate) server: Arc<AcmeServer>,
    pub(crate) store: SocketStore,
    pub(crate) authorities: Vec<Authority>,
    worker: Child,
}

impl Drop for Product {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

pub(crate) fn authority() -> AuthorityName {
    "pebble".parse().expect("a slug")
}

fn open_grant() -> GrantId {
    "open".parse().expect("a slug")
}

impl Product {
    /// Makes a CA in `folder` and starts it.
    pub(crate) async fn start(options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let rehearsal = make(options, folder).await?;
        let config = folder.join("ca.toml");
        std::fs::write(&config, configuration(options, folder)?)?;
        let secrets = folder.join("eab.json");
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&secrets)?;
        file.write_all(json!(options.mac_keys).to_string().as_bytes())?;
        let imported = ca()?.arg("--config").arg(&config).arg("import").arg(&rehearsal.bundle).output()?;
        anyhow::ensure!(imported.status.success(), "ca import: {}", String::from_utf8_lossy(&imported.stderr));
        let log = std::fs::File::create(folder.join("worker.log"))?;
        let worker = ca()?
            .arg("--config")
            .arg(&config)
            // It ends with its standard input, which ends with this process, however that does.
            .args(["worker", "--supervised"])
            .env("COUNTERSIGN_TEST_EAB_FILE", &secrets)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("ca worker does not start")?;
        let store = SocketStore::connect(folder.join("store.sock"), Role::Acme);
        let (policy, authorities) = offered(&store).await.with_context(|| {
            format!("the worker does not serve its store: {}", std::fs::read_to_string(folder.join("worker.log")).unwrap_or_default())
        })?;
        let profiles: Vec<String> = options.profiles.iter().map(|(name, _)| name.clone()).collect();
        let server = assemble(options, &policy, &authorities, &store)?;
        let product = Self { server, store, authorities, worker };
        let mut grants: Vec<(GrantId, Vec<NamePattern>)> = Vec::new();
        if !options.bound {
            grants.push((open_grant(), Vec::new()));
        }
        for kid in options.mac_keys.keys() {
            let id = kid.parse().with_context(|| format!("the key identifier `{kid}`"))?;
            // A grant names something; what it names, no suite asks for.
            grants.push((id, vec!["dns:granted.countersign.test".parse()?]));
        }
        for (id, names) in grants {
            create_grant(&rehearsal.operator_key, &folder.join("ca.sock"), grant(id, names, &profiles))?;
        }
        Ok(product)
    }

    /// The root's certificate or the issuing authority's, DER.
    pub(crate) fn certificate(&self, kind: AuthorityKind) -> Option<&[u8]> {
        self.authorities.iter().find(|a| a.kind == kind).map(|a| a.certificate.as_slice())
    }
}

/// `ca`, built beside this program.
fn ca() -> anyhow::Result<Command> {
    let here = std::env::current_exe()?;
    let path = here.parent().and_then(Path::parent).map(|target| target.join("ca")).filter(|path| path.exists());
    Ok(Command::new(
        path.with_context(|| format!("`ca` is not beside {} (hint: cargo build -p ca-cli --features test-halt)", here.display()))?,
    ))
}

fn names(options: &Options) -> anyhow::Result<Vec<NamePattern>> {
    let below = TOPS.iter().flat_map(|top| (1..=4).map(move |stars| format!("dns:{}{top}", "*.".repeat(stars))));
    let others = ["dns:localhost", "dns:granted.countersign.test", "ip:127.0.0.0/8", "ip:::1", "ip:10.0.0.0/8"].map(str::to_owned);
    let wildcards = WILDCARDS.iter().map(|base| format!("dns-wildcard:{base}"));
    let patterns = below.chain(others).chain(wildcards).map(|text| text.parse()).collect::<Result<Vec<NamePattern>, _>>()?;
    // A policy has no exceptions: what covers a blocked name is left out.
    let blocked = options.blocked.iter().filter_map(|name| ca_core::pki::Identifier::from_text(name).ok()).collect::<Vec<_>>();
    Ok(patterns.into_iter().filter(|pattern| !blocked.iter().any(|name| pattern.covers(name))).collect())
}

async fn make(options: &Options, folder: &Path) -> anyhow::Result<Rehearsal> {
    let keys = folder.join("keys");
    std::fs::create_dir(&keys)?;
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o700))?;
    let secret = |name: &str| Unsealer::create_file_key(keys.join(name), &SystemRng);
    let (root, online, service) = (secret("root.key")?, secret("authority.key")?, secret("service.key")?);
    MasterKey::create(keys.join("master.sealed"), &service, &SystemRng)?;
    let store_in =
        |name: &str, unsealer| -> anyhow::Result<Arc<dyn KeyDevice>> { Ok(Arc::new(SoftwareKeyStore::open(keys.join(name), unsealer)?)) };
    let profile = |seconds| ProfilePolicy { keys: KeyAlgorithm::ALL.to_vec(), ..ProfilePolicy::new(LeafShape::Server, seconds) };
    let permitted = TOPS.iter().map(|top| format!("dns:{top}")).chain(["dns:localhost", "ip:0.0.0.0/0", "ip:::/0"].map(str::to_owned));
    let names = names(options)?;
    let zone = ChallengeZone {
        names: names.clone(),
        methods: vec![ChallengeMethod::Http01, ChallengeMethod::Dns01, ChallengeMethod::TlsAlpn01],
        caa: Vec::new(),
        attestation: AttestationRoots::default(),
    };
    let rehearsal = rehearse(RehearsalOptions {
        dir: folder.join("rehearsal"),
        root_keys: store_in("root", root)?,
        online_keys: store_in("authority", online)?,
        machine: Arc::new(SystemMachine::default()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        organization: "Countersign in Pebble's shape".to_owned(),
        authority: authority(),
        algorithm: KeyAlgorithm::P256,
        status_base_url: "http://127.0.0.1:4002".to_owned(),
        permitted: permitted.map(|text| text.parse()).collect::<Result<_, _>>()?,
        names,
        attestation_roots: Vec::new(),
        profiles: options.profiles.iter().map(|(name, seconds)| (name.clone(), profile(*seconds))).collect(),
        challenge_zones: vec![zone],
        open_enrolment: (!options.bound).then(open_grant),
        own: Vec::new(),
        max_per_hour: 1_000_000,
        crl_validity: 7 * 86_400,
        crl_interval: 86_400,
    });
    Ok(rehearsal.await?)
}

fn configuration(options: &Options, folder: &Path) -> anyhow::Result<String> {
    Ok(format!(
        r#"[store]
path = "ca.db"
[store.socket]
path = "store.sock"
acme = [{uid}]
[trust]
roster = "rehearsal/bundle/roster.toml"
[keystore]
dir = "keys/authority"
unseal = {{ key_file = "keys/authority.key" }}
[service_keys]
unseal = {{ key_file = "keys/service.key" }}
master = "keys/master.sealed"
[acme]
url = "{url}"
[status]
url = "http://127.0.0.1:4002"
[control]
socket = "ca.sock"
"#,
        uid = std::fs::metadata(folder)?.uid(),
        url = options.url(),
    ))
}

/// What the worker has on offer, once it serves.
async fn offered(store: &SocketStore) -> anyhow::Result<(Policy, Vec<Authority>)> {
    let look = async {
        loop {
            if let (Ok(Some((_, text))), Ok(authorities)) = (store.policy().await, store.authorities().await) {
                return Ok((Policy::parse(&PolicyBundle::from_json(&text)?.policy)?, authorities));
            }
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("waited {PATIENCE:?}"))?
}

fn assemble(options: &Options, policy: &Policy, authorities: &[Authority], store: &SocketStore) -> anyhow::Result<Arc<AcmeServer>> {
    let section: AcmeSection = toml::from_str(&format!("url = \"{}\"\nterms_of_service = \"https://localhost/terms\"", options.url()))?;
    let validation = ValidationSection {
        resolvers: options.resolver.into_iter().collect(),
        http_port: options.http_port,
        tls_port: options.tls_port,
        networks: vec!["127.0.0.0/8".parse()?, "::1/128".parse()?],
        ..ValidationSection::default()
    };
    let assembly =
        Assembly { section: &section, limits: &AcmeLimits::default(), validation: &validation, policy, authorities, default: authority() };
    Ok(Arc::new(assembly.server(Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng))?))
}

fn grant(id: GrantId, names: Vec<NamePattern>, profiles: &[String]) -> Grant {
    Grant {
        id,
        version: 1,
        service: "a foreign suite".to_owned(),
        authority: authority(),
        profiles: profiles.to_vec(),
        names,
        enrol_by: None,
        valid_until: None,
        max_accounts: None,
        uri: None,
        emails: Vec::new(),
        subject: SubjectParts::default(),
        limits: GrantLimits::default(),
    }
}

/// What `ca grant create` does, with an id of the suite's choice.
fn create_grant(operator: &PathBuf, socket: &Path, grant: Grant) -> anyhow::Result<()> {
    let mut nonce = [0u8; 16];
    SystemRng.fill(&mut nonce);
    let nonce: String = nonce.iter().map(|octet| format!("{octet:02x}")).collect();
    let now = SystemClock.now();
    let statement = OperatorStatement::new(Operation::GrantCreate { grant }, nonce, now, now.plus(Duration::from_secs(300))).to_json();
    let key = ssh_key::PrivateKey::from_openssh(std::fs::read(operator)?)?;
    let signed = SignedStatement { signature: sshsig::sign(&key, NAMESPACE, statement.as_bytes())?, statement };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{}", json!({ "ask": "submit", "signed": signed }))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let parsed: serde_json::Value = serde_json::from_str(&answer)?;
    // An answer holds the grant's secret: only a refusal is shown.
    anyhow::ensure!(parsed["answer"] != "failed", "the grant is refused: {answer}");
    Ok(())
}
