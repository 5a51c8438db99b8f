//! `ca import` and `ca rehearsal approve`: what changes the database directly, with the instance stopped. Both verify
//! the officers' signatures first; the worker verifies them again at each start.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_ceremony::VerifiedBundle;
use ca_core::ceremony::{CeremonyKind, PolicyBundle, Roster, RosterChain, RosterChange};
use ca_core::lifecycle::{TrustError, roster_chain};
use ca_core::log::DEVICE_LOG_IMPORT;
use ca_core::model::{Actor, AuditEntry, Authority, Outcome};
use ca_core::policy::Policy;
use ca_core::ports::{AdminStore as _, ApprovalStore as _, AuditStore as _, Clock as _};
use ca_store_sqlite::SqliteStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::config::Config;
use crate::exit::{Exit, configuration, failure, store};
use crate::render::print;
use crate::serve::compose::read_roster;
use crate::system::{SystemClock, SystemRng};

/// The most bytes of a copy.
const MAX_COPY: u64 = 64 * 1024 * 1024;

/// `ca import BUNDLE`
pub(crate) async fn import(config: &Config, previous: &[PathBuf], requests: &[PathBuf], bundle: &Path) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let refused = |what: &str, e: ca_ceremony::Error| failure(Exit::from_code(e.exit_code()), format!("the {what} is refused: {e}"));
    let mut verified = ca_ceremony::verify_chain(previous, bundle, Some(&roster)).map_err(|e| refused("bundle", e))?;
    for request in requests {
        let logs = ca_ceremony::request_device_logs(request, &verified).map_err(|e| refused("request's record", e))?;
        verified.device_logs.extend(logs);
    }
    let opened = open(config).await?;
    let result = import_verified(&opened, &verified).await;
    opened.close().await;
    result?;
    let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
    let mut with: Vec<String> = verified.policy.iter().map(|p| format!("policy version {}", p.version)).collect();
    with.extend(verified.crls.iter().map(|c| format!("CRL number {} of {}", c.number, c.authority)));
    let serials: BTreeSet<&str> = verified.device_logs.iter().map(|l| l.device.serial.as_str()).collect();
    with.extend(serials.into_iter().map(|serial| format!("the log of the device {serial}")));
    with.extend(verified.cross_certificates.iter().map(|(authority, _)| format!("a cross-certificate of {authority}")));
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    print(&format!(
        "Imported {} from the {} ceremony `{}` ({}){with}. Start it: ca serve\n",
        names.join(", "),
        verified.roster.kind,
        verified.title,
        verified.acts.name(),
    ))
}

/// Inserts what a verified bundle has: all of it, or what of it is missing.
pub(crate) async fn import_verified(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let authorities: Vec<Authority> = verified.authorities.iter().cloned().map(|a| Authority { imported_at: now, ..a }).collect();
    let officers = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
    let audit = entry(
        "ceremony.import",
        &verified.title,
        officers,
        json!({ "kind": verified.acts.name(), "plan_sha256": verified.plan_sha256, "transcript": verified.transcript_head }),
    );
    opened.import_authorities(&authorities, &verified.crls, &audit).await.map_err(store)?;
    import_device_logs(opened, verified).await?;
    let Some(bundle) = &verified.policy_bundle else { return Ok(()) };
    let (policy, names) =
        bundle.verify(&verified.roster).map_err(|e| failure(Exit::Refused, format!("the bundle's policy is refused: {e}")))?;
    // A later policy that the officers approved since stands; the bundle's first one does not replace it.
    match opened.policy().await.map_err(store)? {
        Some((version, _)) if version > policy.version => Ok(()),
        _ => {
            // What the next start will demand: the officers who stand now, if there was a change since.
            standing(opened, &verified.roster, &policy, bundle).await?;
            put(opened, &policy, names, bundle).await
        }
    }
}

/// What the ceremony took out of its devices' logs, for the reconciliation of a CA whose device was one of them. The same
/// line of the same transcript counts once, however often it is imported.
async fn import_device_logs(opened: &SqliteStore, verified: &VerifiedBundle) -> anyhow::Result<()> {
    for log in &verified.device_logs {
        let officers = verified.roster.officers.iter().map(|o| o.name.clone()).collect();
        let audit = entry(DEVICE_LOG_IMPORT, &log.device.serial, officers, serde_json::to_value(log)?);
        opened.append_audit(&audit).await.map_err(store)?;
    }
    Ok(())
}

/// A copy of `ca policy show --json`; what else it says does not count.
#[derive(Deserialize)]
struct PolicyCopy {
    policy: String,
    statement: String,
    signatures: Vec<String>,
}

/// A copy of `ca officer list --json`.
#[derive(Deserialize)]
struct RosterCopy {
    changes: Vec<String>,
}

fn read_copy<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let wrong = |e: &dyn std::fmt::Display| configuration(format!("cannot read the copy {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(|e| wrong(&e))?.take(MAX_COPY).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    serde_json::from_str(&text).map_err(|e| wrong(&e))
}

/// `ca policy import FILE`
pub(super) async fn import_policy(config: &Config, path: &Path) -> anyhow::Result<()> {
    let copy: PolicyCopy = read_copy(path)?;
    let bundle = PolicyBundle { policy: copy.policy, statement: copy.statement, signatures: copy.signatures };
    let refused = |e: &dyn std::fmt::Display| failure(Exit::Refused, format!("the policy is refused: {e}"));
    let version = Policy::parse(&bundle.policy).map_err(|e| refused(&e))?.version;
    let roster = read_roster(config)?;
    let opened = open(config).await?;
    let result: anyhow::Result<()> = async {
        let chain = chain(&opened, &roster).await?;
        let (policy, names) = bundle.verify(chain.for_policy(version)).map_err(|e| refused(&e))?;
        put(&opened, &policy, names, &bundle).await
    }
    .await;
    opened.close().await;
    result?;
    print(&format!("Policy version {version} is back; the worker takes it at its next start.\n"))
}

/// `ca officer import FILE`
pub(super) async fn import_roster(config: &Config, path: &Path) -> anyhow::Result<()> {
    let copy: RosterCopy = read_copy(path)?;
    let refused = |e: &dyn std::fmt::Display| failure(Exit::Refused, format!("the changes of the roster are refused: {e}"));
    let roster = read_roster(config)?;
    let opened = open(config).await?;
    let result: anyhow::Result<u64> = async {
        let here = chain(&opened, &roster).await?;
        let (mut whole, mut taken) = (RosterChain::new(roster.clone()).map_err(|e| refused(&e))?, 0);
        for document in &copy.changes {
            let change = RosterChange::from_json(document).map_err(|e| refused(&e))?;
            let (next, names) = whole.followed_by(&change).map_err(|e| refused(&e))?;
            whole = next;
            let number = whole.number();
            if number > here.number() {
                let audit = entry("roster.import", &format!("roster {number}"), names, serde_json::Value::Null);
                opened.put_roster_change(number, document, &audit).await.map_err(store)?;
                taken += 1;
            } else if here.at(number) != Some(whole.standing()) {
                return Err(refused(&format!("change {number} is another one than the database has")));
            }
        }
        Ok(taken)
    }
    .await;
    opened.close().await;
    let taken = result?;
    print(&format!("{taken} changes of the roster are back; the worker takes them at its next start.\n"))
}

/// `ca rehearsal approve POLICY`
pub(crate) async fn approve(config: &Config, path: &Path, dir: &Path) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    if roster.kind != CeremonyKind::Rehearsal {
        return Err(failure(
            Exit::Refused,
            "the trusted roster is a production one: its officers approve policies in a ceremony (hint: ca ceremony)",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| configuration(format!("cannot read the policy {}: {e}", path.display())))?;
    // Opened first: with the instance running nothing gets signed.
    let opened = open(config).await?;
    let result: anyhow::Result<u64> = async {
        let bundle = ca_ceremony::approve_policy_rehearsal(dir, &text, &SystemClock, &SystemRng)
            .map_err(|e| failure(Exit::from_code(e.exit_code()), format!("the policy is not approved: {e}")))?;
        let version = Policy::parse(&text).map_err(|e| failure(Exit::Refused, e.to_string()))?.version;
        let chain = chain(&opened, &roster).await?;
        let (policy, names) =
            bundle.verify(chain.for_policy(version)).map_err(|e| failure(Exit::Refused, format!("the approval is refused: {e}")))?;
        put(&opened, &policy, names, &bundle).await?;
        Ok(policy.version)
    }
    .await;
    opened.close().await;
    let version = result?;
    print(&format!("The rehearsal's officers approved policy version {version}; the worker takes it at its next start.\n"))
}

/// The officers over time.
async fn chain(opened: &SqliteStore, genesis: &Roster) -> anyhow::Result<RosterChain> {
    roster_chain(opened, genesis.clone()).await.map_err(|e| match e {
        TrustError::Store(e) => store(e),
        other => failure(Exit::Refused, other.to_string()),
    })
}

async fn standing(opened: &SqliteStore, genesis: &Roster, policy: &Policy, bundle: &PolicyBundle) -> anyhow::Result<()> {
    let chain = chain(opened, genesis).await?;
    let verified = bundle.verify(chain.for_policy(policy.version));
    verified
        .map(|_| ())
        .map_err(|e| failure(Exit::Refused, format!("the bundle's policy is refused by the standing officers' roster: {e}")))
}

async fn put(opened: &SqliteStore, policy: &Policy, officers: Vec<String>, bundle: &PolicyBundle) -> anyhow::Result<()> {
    let audit = entry("policy.import", &format!("version {}", policy.version), officers, serde_json::Value::Null);
    opened.put_policy(policy.version, &bundle.to_json(), &audit).await.map_err(store)
}

async fn open(config: &Config) -> anyhow::Result<SqliteStore> {
    SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store)
}

fn entry(action: &str, object: &str, officers: Vec<String>, detail: serde_json::Value) -> AuditEntry {
    AuditEntry {
        at: SystemClock.now(),
        actor: Actor::Officers { names: officers },
        action: action.to_owned(),
        authority: None,
        object: object.to_owned(),
        outcome: Outcome::Done,
        correlation: format!("{action} {object}"),
        detail,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use ca_ceremony::{RehearsalOptions, RequestOptions, RunOptions, SystemMachine, make_request, rehearse, rehearse_with};
    use ca_core::model::CrlScope;
    use ca_core::pki::{KeyAlgorithm, pem_encode, sha256};
    use ca_core::policy::ProfilePolicy;
    use ca_core::ports::{CertificateStore as _, StatusStore as _};
    use ca_core::profile::LeafShape;
    use ca_keystore::{SoftwareKeyStore, Unsealer};
    use zeroize::Zeroizing;

    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        fn keys(&self, name: &str) -> Arc<SoftwareKeyStore> {
            Arc::new(SoftwareKeyStore::open(self.0.path().join(name), Unsealer::FileKey(Zeroizing::new([7; 32]))).unwrap())
        }

        async fn first(&self, name: &str) -> VerifiedBundle {
            let rehearsal = rehearse(RehearsalOptions {
                dir: self.0.path().join("rehearsal"),
                root_keys: self.keys("root"),
                online_keys: self.keys("online"),
                clock: Arc::new(SystemClock),
                machine: Arc::new(SystemMachine::default()),
                rng: Arc::new(SystemRng),
                organization: name.to_owned(),
                authority: "bank".parse().unwrap(),
                algorithm: KeyAlgorithm::P256,
                status_base_url: "http://127.0.0.1:14002".to_owned(),
                permitted: vec!["dns:bank.test".parse().unwrap()],
                names: vec!["dns:*.bank.test".parse().unwrap()],
                attestation_roots: Vec::new(),
                profiles: BTreeMap::from([("client".to_owned(), ProfilePolicy::new(LeafShape::Client, 3600))]),
                own: vec![],
                max_per_hour: 10,
                crl_validity: 3600,
                crl_interval: 600,
            });
            rehearsal.await.unwrap().verified
        }

        /// A plan that continues `before`.
        fn plan(&self, name: &str, before: &VerifiedBundle, acts: &str) -> PathBuf {
            let text = std::fs::read_to_string(self.0.path().join("rehearsal/plan.toml")).unwrap();
            let mut plan: toml::Table = text.parse().unwrap();
            for own in ["issuing", "policy", "device"] {
                plan.remove(own);
            }
            let mut own: toml::Table = acts.parse().unwrap();
            let digest = |digest: ca_core::pki::Sha256Digest| toml::Value::String(digest.to_string());
            let continues = toml::Table::from_iter([
                ("transcript".to_owned(), digest(before.transcript_head)),
                ("root_certificate".to_owned(), digest(sha256(before.hierarchy.root().der()))),
                ("hierarchy".to_owned(), digest(before.hierarchy.digest())),
                ("policy_version".to_owned(), toml::Value::Integer(1)),
                ("policy_sha256".to_owned(), digest(sha256(b"policy"))),
            ]);
            own["acts"].as_table_mut().unwrap().insert("continues".to_owned(), toml::Value::Table(continues));
            plan.extend(own);
            let path = self.0.path().join(format!("{name}.toml"));
            std::fs::write(&path, toml::to_string(&plan).unwrap()).unwrap();
            path
        }

        async fn later(&self, name: &str, previous: &str, requests: Vec<PathBuf>) -> VerifiedBundle {
            let dir = self.0.path();
            let options = || RunOptions {
                plan: dir.join(format!("{name}.toml")),
                bundle: dir.join(name),
                root_keys: Some(self.keys("root")),
                online_keys: None,
                backup_keys: None,
                wrapped: None,
                previous: Some(dir.join(previous)),
                requests: requests.clone(),
                machine: Arc::new(SystemMachine::default()),
                clock: Arc::new(SystemClock),
                rng: Arc::new(SystemRng),
                observer: None,
            };
            rehearse_with(&dir.join("rehearsal"), options).await.unwrap()
        }

        async fn request(&self, plan: PathBuf, authority: &str, keys: Arc<SoftwareKeyStore>, certificate: Option<PathBuf>) -> PathBuf {
            let options = RequestOptions {
                plan,
                authority: authority.parse().unwrap(),
                keys,
                certificate,
                life: Duration::from_secs(3600),
                folder: self.0.path().join(format!("request-{authority}")),
                clock: Arc::new(SystemClock),
                rng: Arc::new(SystemRng),
                observer: None,
            };
            make_request(options).await.unwrap().0
        }
    }

    const NONCE: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

    #[tokio::test]
    async fn later_bundles_add_and_never_go_back() {
        let world = World(tempfile::tempdir().unwrap());
        let first = world.first("Bank").await;
        let opened = SqliteStore::open(world.0.path().join("ca.db"), Arc::new(SystemRng)).await.unwrap();
        let root = first.authorities[0].name.clone();
        let number = async || opened.current_crl(&root, &CrlScope::FULL).await.unwrap().unwrap().number;
        let names = async || opened.authorities().await.unwrap().iter().map(|a| a.name.to_string()).collect::<Vec<_>>();
        import_verified(&opened, &first).await.unwrap();

        // The next root CRL, twice; then the first bundle again: the number never goes back.
        world.plan("crl", &first, "[acts]\nkind = \"root-crl\"\n");
        let crl = world.later("crl", "rehearsal/bundle", vec![]).await;
        assert!(crl.crls[0].number > number().await);
        for bundle in [&crl, &crl, &first] {
            import_verified(&opened, bundle).await.unwrap();
            assert_eq!(number().await, crl.crls[0].number);
        }

        // A new issuing authority; the default one stays.
        let issuing = format!(
            "[acts]\nkind = \"intermediate\"\nnonce = \"{NONCE}\"\n[[issuing]]\nauthority = \"bank-b\"\nkey = \"bank-b\"\nalgorithm = \"p256\"\nsubject = {{ organization = \"Bank\", common_name = \"REHEARSAL Bank B\" }}\nlifetime_days = 100\npermitted = [\"dns:b.bank.test\"]\n"
        );
        let plan = world.plan("b", &crl, &issuing);
        let request = world.request(plan, "bank-b", world.keys("online"), None).await;
        let intermediate = world.later("b", "crl", vec![request]).await;
        // A cross-certificate of another root.
        let other = World(tempfile::tempdir().unwrap());
        let theirs = other.first("Partner").await;
        let own = theirs.authorities[0].certificate.clone();
        let path = world.0.path().join("partner.pem");
        std::fs::write(&path, pem_encode("CERTIFICATE", &own)).unwrap();
        let cross = format!(
            "[acts]\nkind = \"cross-sign\"\nnonce = \"{NONCE}\"\n[[acts.subject]]\nauthority = \"partner\"\nkey = \"bank-root\"\ncertificate_sha256 = \"{}\"\nlifetime_days = 100\npath_len = 1\npermitted = [\"dns:partner.test\"]\n",
            sha256(&own)
        );
        let plan = world.plan("cross", &intermediate, &cross);
        let request = world.request(plan, "partner", other.keys("root"), Some(path)).await;
        let cross = world.later("cross", "b", vec![request]).await;

        for _ in 0..2 {
            import_verified(&opened, &intermediate).await.unwrap();
            import_verified(&opened, &cross).await.unwrap();
            assert_eq!(names().await, ["bank", "bank-root", "bank-b", "partner"]);
        }
        let stored = opened.authorities().await.unwrap();
        assert_eq!(
            stored.iter().map(|a| (a.is_default, a.key.is_some())).collect::<Vec<_>>(),
            [(true, true), (false, false), (false, true), (false, false)]
        );
        assert_eq!(stored[3].certificate, cross.cross_certificates[0].1);
        let imports = opened
            .audit_after(0, 100)
            .await
            .unwrap()
            .into_iter()
            .filter(|row| String::from_utf8_lossy(&row.leaf).contains("\"ceremony.import\""))
            .count();
        assert_eq!(imports, 4, "importing again changes nothing");
        // Another root under the same name is a conflict.
        let error = import_verified(&opened, &theirs).await.unwrap_err().to_string();
        assert!(error.contains("has another certificate here"), "{error}");
        opened.close().await;
    }
}
