//! tls-alpn-01 against real TLS servers on loopback, right and wrong in each way.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ca_core::model::ChallengeMethod::TlsAlpn01;
use ca_core::pki::sha256;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SignatureAlgorithm};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpListener;
use tokio_rustls::LazyConfigAcceptor;

use crate::challenges::{Open, Site, zone};
use crate::net::Task;

static BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// How a server answers the challenge.
struct Answer {
    names: Vec<String>,
    extension: Option<CustomExtension>,
    protocols: Vec<Vec<u8>>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    algorithm: &'static SignatureAlgorithm,
}

impl Answer {
    /// As it should be.
    fn right(name: &str, proof: &str) -> Self {
        let mut extension = CustomExtension::new_acme_identifier(&sha256(proof.as_bytes()).0);
        extension.set_criticality(true);
        Self {
            names: vec![name.to_owned()],
            extension: Some(extension),
            protocols: vec![b"acme-tls/1".to_vec()],
            versions: &BOTH,
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = self
            .names
            .iter()
            .map(|name| name.parse::<IpAddr>().map_or_else(|_| SanType::DnsName(name.as_str().try_into().unwrap()), SanType::IpAddress))
            .collect();
        params.custom_extensions = self.extension.iter().cloned().collect();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        // A resolver by itself: rustls reads the certificate nowhere, so that its critical extension does not matter.
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], key);
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(self.versions).unwrap();
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = self.protocols.clone();
        Arc::new(config)
    }
}

/// A server whose answer the test sets; it keeps the names that it was asked for.
struct Server {
    port: u16,
    config: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
    _task: Task,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::<Mutex<Option<Arc<ServerConfig>>>>::default();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (shared, log) = (Arc::clone(&config), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(start) = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await else { continue };
                let hello = start.client_hello();
                assert_eq!(hello.alpn().unwrap().collect::<Vec<_>>(), [b"acme-tls/1"], "lesson 7: exactly this protocol");
                log.lock().unwrap().push(hello.server_name().map(str::to_owned));
                let config = shared.lock().unwrap().clone();
                if let Some(config) = config {
                    // The validator ends the connection, one way or the other.
                    let _ = start.into_stream(config).await;
                }
            }
        });
        Self { port, config, asked, _task: Task::of(task) }
    }
}

struct Scene {
    site: Site,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start().await;
        let port = server.port;
        let site = Site::new(zone(&[TlsAlpn01], &[]), |v| v.tls_port = port).await;
        site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
        Self { site, server }
    }

    async fn open(&self, answer: impl FnOnce(&Open) -> Answer) -> (crate::client::Account<'_>, Open) {
        let account = self.site.world.account().await;
        let open = account.open("x.dmz.test", TlsAlpn01).await;
        *self.server.config.lock().unwrap() = Some(answer(&open).config());
        (account, open)
    }
}

#[tokio::test]
async fn a12_tls_alpn_01_proves_a_name() {
    let scene = Scene::new().await;
    for (versions, algorithm) in [
        (&BOTH[..], &rcgen::PKCS_ECDSA_P256_SHA256),
        (&BOTH[1..], &rcgen::PKCS_ECDSA_P256_SHA256),
        (&BOTH[1..], &PKCS_ECDSA_P384_SHA384),
        (&BOTH[..1], &PKCS_ED25519),
    ] {
        let (account, open) = scene.open(|open| Answer { versions, algorithm, ..Answer::right("x.dmz.test", &open.proof) }).await;
        let record = account.succeeds(&open).await;
        assert_eq!(record.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(record.answer_sha256.is_some());
    }
    assert!(scene.server.asked.lock().unwrap().iter().all(|name| name.as_deref() == Some("x.dmz.test")));
}

#[tokio::test]
async fn a12_tls_alpn_01_proves_an_address_by_its_reverse_name() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let open = account.open("127.0.0.1", TlsAlpn01).await;
    *scene.server.config.lock().unwrap() = Some(Answer::right("127.0.0.1", &open.proof).config());
    account.succeeds(&open).await;
    // RFC 8738 §6.
    assert_eq!(scene.server.asked.lock().unwrap().as_slice(), [Some("1.0.0.127.in-addr.arpa".to_owned())]);
    // Lesson 35: the guard is the same.
    let open = account.open("127.0.0.66", TlsAlpn01).await;
    account.fails(&open, "unauthorized", "127.0.0.66 is a loopback").await;
}

#[tokio::test]
async fn lesson_07_the_exact_protocol_and_the_exact_extension() {
    let scene = Scene::new().await;
    let check = async |kind: &str, says: &str, change: &dyn Fn(&mut Answer, &Open)| {
        let (account, open) = scene
            .open(|open| {
                let mut answer = Answer::right("x.dmz.test", &open.proof);
                change(&mut answer, open);
                answer
            })
            .await;
        account.fails(&open, kind, says).await;
    };
    let digest = |open: &Open| sha256(open.proof.as_bytes()).0;
    let der = |content: &[u8]| [&[4, content.len() as u8], content].concat();
    let extension = |oid: &[u64], content: Vec<u8>, critical: bool| {
        let mut extension = CustomExtension::from_oid_content(oid, content);
        extension.set_criticality(critical);
        Some(extension)
    };
    const RIGHT: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 31];

    check("tls", "does not offer the protocol", &|a, _| a.protocols = vec![b"h2".to_vec()]).await;
    check("tls", "did not negotiate the protocol", &|a, _| a.protocols = Vec::new()).await;
    check("tls", "no acmeIdentifier", &|a, _| a.extension = None).await;
    // The OID of a draft, and its neighbour.
    check("tls", "no acmeIdentifier", &|a, o| a.extension = extension(&[1, 3, 6, 1, 5, 5, 7, 1, 30, 1], der(&digest(o)), true)).await;
    check("tls", "no acmeIdentifier", &|a, o| a.extension = extension(&[1, 3, 6, 1, 5, 5, 7, 1, 30], der(&digest(o)), true)).await;
    check("tls", "is not critical", &|a, o| a.extension = extension(&RIGHT, der(&digest(o)), false)).await;
    check("tls", "not the digest", &|a, _| a.extension = extension(&RIGHT, der(&[7; 32]), true)).await;
    check("tls", "not the digest", &|a, o| a.extension = extension(&RIGHT, der(&digest(o)[..31]), true)).await;
    check("tls", "does not parse", &|a, o| a.extension = extension(&RIGHT, digest(o).to_vec(), true)).await;
    check("tls", "not the identifier alone", &|a, _| a.names.push("y.dmz.test".to_owned())).await;
    check("tls", "not the identifier alone", &|a, _| a.names = vec!["y.dmz.test".to_owned()]).await;
    check("tls", "not the identifier alone", &|a, _| a.names = vec!["127.0.0.1".to_owned()]).await;
    check("tls", "not the identifier alone", &|a, _| a.names = Vec::new()).await;
}

#[tokio::test]
async fn lesson_08_another_accounts_certificate_is_no_proof() {
    let scene = Scene::new().await;
    let other = scene.site.world.account().await;
    let (account, open) = scene.open(|open| Answer::right("x.dmz.test", &format!("{}.{}", open.token, other.thumbprint()))).await;
    account.fails(&open, "tls", "not the digest").await;
}

#[tokio::test]
async fn a12_who_speaks_no_tls_proves_nothing() {
    let web = crate::net::Web::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::new(zone(&[TlsAlpn01], &[]), |v| v.tls_port = port).await;
    site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", TlsAlpn01).await;
    let _server = Task::of(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 secret ESMTP\r\n").await;
        }
    }));
    account.fails(&open, "tls", "the TLS handshake failed").await;
    // TLS as every web server has it, without the protocol.
    let port = web.port;
    let site = Site::new(zone(&[TlsAlpn01], &[]), |v| v.tls_port = port).await;
    site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", TlsAlpn01).await;
    account.fails(&open, "tls", "").await;
}
