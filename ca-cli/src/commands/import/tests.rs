use std::collections::BTreeMap;
use std::time::Duration;

use ca_ceremony::{RehearsalOptions, RequestOptions, RunOptions, SystemMachine, make_request, rehearse, rehearse_with};
use ca_core::pki::{KeyAlgorithm, pem_encode};
use ca_core::policy::ProfilePolicy;
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
            challenge_zones: Vec::new(),
            open_enrolment: None,
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
            ("root_certificate".to_owned(), digest(sha256(before.hierarchy.as_ref().unwrap().root().der()))),
            ("hierarchy".to_owned(), digest(before.hierarchy.as_ref().unwrap().digest())),
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
            custody: None,
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

#[tokio::test]
async fn an_imported_revocation_stops_its_authority() {
    let world = World(tempfile::tempdir().unwrap());
    let first = world.first("Bank").await;
    let serial = Certificate::from_der(&first.authorities[1].certificate).unwrap().serial();
    let acts = format!(
        "[acts]\nkind = \"revoke-ca\"\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{serial}\"\nreason = \"superseded\"\n"
    );
    world.plan("revoke", &first, &acts);
    let revoke = world.later("revoke", "rehearsal/bundle", vec![]).await;
    world.plan("crl", &revoke, "[acts]\nkind = \"root-crl\"\n");
    let crl = world.later("crl", "revoke", vec![]).await;
    // However the bundles come in: once the root's CRL lists the certificate, its authority is stopped, and stays so.
    let orders: [&[(&VerifiedBundle, bool)]; 3] = [
        &[(&first, false), (&revoke, true), (&revoke, false), (&first, false)],
        &[(&first, false), (&crl, true), (&revoke, false)],
        &[(&revoke, false), (&first, true)],
    ];
    for (i, order) in orders.into_iter().enumerate() {
        let opened = SqliteStore::open(world.0.path().join(format!("{i}.db")), Arc::new(SystemRng)).await.unwrap();
        let mut is_stopped = false;
        for (bundle, stops) in order {
            let stopped = import_verified(&opened, bundle).await.unwrap();
            assert_eq!(stopped.iter().map(AuthorityName::as_str).collect::<Vec<_>>(), if *stops { vec!["bank"] } else { vec![] });
            is_stopped |= stops;
            // What the worker asks before it issues (`Worker::not_revoked`).
            let revoked = opened.revoked_authorities().await.unwrap();
            assert_eq!(revoked.len(), usize::from(is_stopped));
            assert!(revoked.iter().all(|r| r.authority.as_str() == "bank" && r.serial == serial && r.statement.contains("root_crl")));
        }
        let audited = opened.audit_after(0, 100).await.unwrap();
        let stops = audited.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("\"authority.revoke\"")).count();
        assert_eq!(stops, 1, "it is on record, once");
        opened.close().await;
    }
}

/// A configuration of a CA that trusts the first ceremony's roster.
fn config(world: &World) -> Config {
    let text = r#"
[store]
path = "ca.db"
[trust]
roster = "rehearsal/bundle/roster.toml"
[keystore]
dir = "online"
unseal = { key_file = "key" }
[service_keys]
unseal = { key_file = "key" }
master = "master.sealed"
server = "server.sealed"
[acme]
listen = ["127.0.0.1:14000"]
url = "https://127.0.0.1:14000"
[status]
listen = ["127.0.0.1:14002"]
url = "http://127.0.0.1:14002"
[control]
socket = "ca.sock"
"#;
    Config::parse(text, world.0.path()).unwrap()
}

#[tokio::test]
async fn a_bundle_after_a_change_of_officers_is_imported_with_those_before_it() {
    let world = World(tempfile::tempdir().unwrap());
    let first = world.first("Bank").await;
    let path = |name: &str| world.0.path().join(name);
    // Cora goes.
    let plan = world.plan("officers", &first, "[acts]\nkind = \"officers\"\n");
    let without_cora = |plan: &std::path::Path| {
        let mut table: toml::Table = std::fs::read_to_string(plan).unwrap().parse().unwrap();
        let officers = table["roster"]["officer"].as_array_mut().unwrap();
        officers.retain(|o| o["name"].as_str() != Some("cora"));
        assert_eq!(officers.len(), 2);
        std::fs::write(plan, toml::to_string(&table).unwrap()).unwrap();
    };
    without_cora(&plan);
    let officers = world.later("officers", "rehearsal/bundle", vec![]).await;
    without_cora(&world.plan("crl", &officers, "[acts]\nkind = \"root-crl\"\n"));
    let crl = world.later("crl", "officers", vec![]).await;

    let config = config(&world);
    let refused = async |previous: &[&str], part: &str| {
        let previous: Vec<PathBuf> = previous.iter().map(|p| path(p)).collect();
        let error = import(&config, &previous, &[], &path("crl")).await.unwrap_err().to_string();
        assert!(error.contains("the bundle is refused") && error.contains(part), "{part}: {error}");
        assert!(!path("ca.db").exists(), "a refused bundle opens no database");
    };
    // Its officers are not those that are trusted, and nothing says how they came to be.
    refused(&[], "not those of the trusted roster").await;
    refused(&["officers"], "not those of the trusted roster").await;
    refused(&["rehearsal/bundle"], "does not continue the ceremony").await;
    refused(&["officers", "rehearsal/bundle"], "not those of the trusted roster").await;
    import(&config, &[path("rehearsal/bundle"), path("officers")], &[], &path("crl")).await.unwrap();
    let opened = SqliteStore::open(path("ca.db"), Arc::new(SystemRng)).await.unwrap();
    let root = &first.authorities[0].name;
    assert_eq!(opened.current_crl(root, &CrlScope::FULL).await.unwrap().unwrap().number, crl.crls[0].number);
    opened.close().await;
}

/// A bundle of `by` that cross-certifies the root of the ceremony `first` in `of`, under this name.
async fn cross_signed(
    by: &World,
    base: &VerifiedBundle,
    previous: &str,
    (of, first): (&World, &VerifiedBundle),
    name: &str,
) -> VerifiedBundle {
    let own = &first.authorities[0].certificate;
    let path = by.0.path().join(format!("{name}.pem"));
    std::fs::write(&path, pem_encode("CERTIFICATE", own)).unwrap();
    let acts = format!(
        "[acts]\nkind = \"cross-sign\"\nnonce = \"{NONCE}\"\n[[acts.subject]]\nauthority = \"{name}\"\nkey = \"bank-root\"\ncertificate_sha256 = \"{}\"\nlifetime_days = 100\npath_len = 1\npermitted = [\"dns:bank.test\"]\n",
        sha256(own)
    );
    let bundle = format!("bundle-{name}");
    let plan = by.plan(&bundle, base, &acts);
    let request = by.request(plan, name, of.keys("root"), Some(path)).await;
    by.later(&bundle, previous, vec![request]).await
}

#[tokio::test]
async fn a10_another_root_s_cross_certificates_are_imported_once_and_nothing_else_of_it() {
    let (world, other) = (World(tempfile::tempdir().unwrap()), World(tempfile::tempdir().unwrap()));
    let (first, theirs) = (world.first("Bank").await, other.first("Partner").await);
    let root = &first.authorities[0];
    let bundle = cross_signed(&other, &theirs, "rehearsal/bundle", (&world, &first), "their-name").await;
    std::fs::write(world.0.path().join("key"), [7; 32]).unwrap();
    let config = config(&world);
    let path = |name: &str| other.0.path().join(name);
    let their_roster = path("rehearsal/bundle/roster.toml");
    let opened = async || SqliteStore::open(world.0.path().join("ca.db"), Arc::new(SystemRng)).await.unwrap();
    let store = opened().await;
    import_verified(&store, &first).await.unwrap();
    let authorities = store.authorities().await.unwrap();
    store.close().await;

    // The officers of its roster are those that count: those that this CA trusts certified nothing here.
    let error = import(&config, &[], &[], &path("bundle-their-name")).await.unwrap_err().to_string();
    assert!(error.contains("not those of the trusted roster"), "{error}");
    let error = import_cross(&config, &[], &config.trust.roster, &path("bundle-their-name")).await.unwrap_err().to_string();
    assert!(error.contains("not those of the trusted roster"), "{error}");
    let error = import_cross(&config, &[], &their_roster, &path("rehearsal/bundle")).await.unwrap_err().to_string();
    assert!(error.contains("has no cross-certificate of an authority here") && error.contains("hint:"), "{error}");
    // What was rehearsed counts in no production CA, and the other way round.
    let text = std::fs::read_to_string(&their_roster).unwrap();
    std::fs::write(path("production.toml"), text.replace("kind = \"rehearsal\"", "kind = \"production\"")).unwrap();
    let error = import_cross(&config, &[], &path("production.toml"), &path("bundle-their-name")).await.unwrap_err().to_string();
    assert!(error.contains("the trusted roster is a rehearsal one, that of the other root a production one"), "{error}");
    for _ in 0..2 {
        import_cross(&config, &[], &their_roster, &path("bundle-their-name")).await.unwrap();
    }

    let store = opened().await;
    let crosses = store.cross_certificates().await.unwrap();
    let their_root = theirs.hierarchy.as_ref().unwrap().root();
    assert_eq!(crosses.len(), 1, "the same twice is one");
    assert_eq!((&crosses[0].authority, &*crosses[0].issuer), (&root.name, their_root.subject_text()));
    assert_eq!(crosses[0].certificate, bundle.cross_certificates[0].1);
    Certificate::from_der(&crosses[0].certificate).unwrap().is_signed_by(their_root).unwrap();
    assert_eq!(store.authorities().await.unwrap(), authorities, "nothing else comes in");
    let audited = store.audit_after(0, 100).await.unwrap();
    let imports = audited.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("\"cross.import\"")).count();
    assert_eq!(imports, 1, "it is on record, once");
    store.close().await;
}

#[tokio::test]
async fn a10_a_cross_certificate_of_a_stranger_is_refused() {
    let (world, other) = (World(tempfile::tempdir().unwrap()), World(tempfile::tempdir().unwrap()));
    let (first, theirs) = (world.first("Bank").await, other.first("Partner").await);
    let third = World(tempfile::tempdir().unwrap());
    let strangers = third.first("Bank").await;
    let opened = SqliteStore::open(world.0.path().join("ca.db"), Arc::new(SystemRng)).await.unwrap();
    import_verified(&opened, &first).await.unwrap();
    let rows = async || opened.audit_after(0, 100).await.unwrap().len();
    let before = rows().await;
    // The stranger's root has the very subject of this CA's, and another key.
    let bundle = cross_signed(&other, &theirs, "rehearsal/bundle", (&third, &strangers), "bank-root").await;
    let error = cross::import_cross_verified(&opened, &bundle).await.unwrap_err().to_string();
    assert!(error.contains("has the subject of the authority bank-root, but another key"), "{error}");
    // Neither is known, whatever the officers of this CA's roster say of a root that is not here.
    let fourth = World(tempfile::tempdir().unwrap());
    let unknown = fourth.first("Shop").await;
    let bundle = cross_signed(&third, &strangers, "rehearsal/bundle", (&fourth, &unknown), "shop").await;
    for refused in [cross::import_cross_verified(&opened, &bundle).await.map(|_| ()), import_verified(&opened, &bundle).await.map(|_| ())] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("neither key nor subject of an authority here") && error.contains("hint:"), "{error}");
    }
    assert_eq!((opened.cross_certificates().await.unwrap().len(), rows().await), (0, before), "nothing came in");
    opened.close().await;
}

#[tokio::test]
async fn a10_the_own_root_s_second_certificate_of_a_ca_stands_beside_the_first() {
    let (world, other) = (World(tempfile::tempdir().unwrap()), World(tempfile::tempdir().unwrap()));
    let (first, theirs) = (world.first("Bank").await, other.first("Partner").await);
    let one = cross_signed(&world, &first, "rehearsal/bundle", (&other, &theirs), "partner").await;
    let two = cross_signed(&world, &one, "bundle-partner", (&other, &theirs), "partner-again").await;
    let opened = SqliteStore::open(world.0.path().join("ca.db"), Arc::new(SystemRng)).await.unwrap();
    for bundle in [&first, &one, &two, &one, &two] {
        import_verified(&opened, bundle).await.unwrap();
    }
    let names: Vec<_> = opened.authorities().await.unwrap().iter().map(|a| a.name.to_string()).collect();
    assert_eq!(names, ["bank", "bank-root", "partner"], "it is one CA");
    let crosses = opened.cross_certificates().await.unwrap();
    assert_eq!((crosses.len(), crosses[0].authority.as_str()), (1, "partner"));
    assert_eq!(crosses[0].certificate, two.cross_certificates[0].1);
    opened.close().await;
}
