//! A small ACME client on instant-acme, the library that the agent is built on, for what the agent does not do: challenges,
//! a change of the account's key, revocation. It works in the current folder, like the other clients of tests/interop: it reads
//! `eab.key` and `ca-bundle.pem`, and the environment variables DIRECTORY and KID; it keeps `account.json`, `cert.pem` and
//! `key.pem`. `NAME_SERVER` is a command that sets a TXT record: `NAME_SERVER set NAME VALUE`.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey, Identifier,
    KeyAuthorization, NewAccount, NewOrder, RetryPolicy, RevocationReason, RevocationRequest,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const USAGE: &str = "usage: instant_acme_client order NAME [--profile PROFILE] [--challenge TYPE] [--replace]
       instant_acme_client window | revoke | change-key | deactivate";

/// A request of http-01 is smaller.
const MAX_REQUEST: usize = 4096;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["order", name, options @ ..] => order(name, options).await,
        ["window"] => {
            let (info, _) = account().await?.renewal_info(&cert_id(&certificate()?)?).await?;
            println!("{}", info.suggested_window.start.unix_timestamp());
            Ok(())
        }
        ["revoke"] => {
            let certificate = certificate()?;
            let request = RevocationRequest { certificate: &certificate, reason: Some(RevocationReason::Superseded) };
            Ok(account().await?.revoke(&request).await?)
        }
        ["change-key"] => keep(&account().await?.update_key().await?),
        ["deactivate"] => Ok(account().await?.deactivate().await?),
        _ => bail!(USAGE),
    }
}

/// The account that is kept, or a new one.
async fn account() -> anyhow::Result<Account> {
    let builder = Account::builder_with_root("ca-bundle.pem")?;
    if let Ok(kept) = std::fs::read("account.json") {
        return Ok(builder.from_credentials(serde_json::from_slice::<AccountCredentials>(&kept)?).await?);
    }
    let fact = |name: &str| std::env::var(name).with_context(|| format!("{name} is not in the environment"));
    let secret = URL_SAFE_NO_PAD.decode(std::fs::read_to_string("eab.key").context("eab.key")?.trim())?;
    let binding = ExternalAccountKey::new(fact("KID")?, &secret);
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, fact("DIRECTORY")?, Some(&binding)).await?;
    keep(&credentials)?;
    Ok(account)
}

fn keep(credentials: &AccountCredentials) -> anyhow::Result<()> {
    Ok(std::fs::write("account.json", serde_json::to_vec(credentials)?)?)
}

fn certificate() -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(Path::new("cert.pem")).context("cert.pem")
}

fn cert_id(certificate: &CertificateDer<'_>) -> anyhow::Result<CertificateIdentifier<'static>> {
    Ok(CertificateIdentifier::try_from(certificate).map_err(anyhow::Error::msg)?.into_owned())
}

async fn order(name: &str, options: &[&str]) -> anyhow::Result<()> {
    let option = |wanted: &str| options.iter().position(|o| *o == wanted).and_then(|at| options.get(at + 1)).copied();
    let identifier = name.parse::<IpAddr>().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip);
    let identifiers = [identifier];
    let mut wanted = NewOrder::new(&identifiers);
    if let Some(profile) = option("--profile") {
        wanted = wanted.profile(profile);
    }
    if options.contains(&"--replace") {
        wanted = wanted.replaces(cert_id(&certificate()?)?);
    }
    let account = account().await?;
    let mut order = account.new_order(&wanted).await?;
    let mut servers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => bail!("the authorization is {status:?}"),
        }
        let kind = match option("--challenge") {
            Some("http-01") => ChallengeType::Http01,
            Some("dns-01") => ChallengeType::Dns01,
            Some("tls-alpn-01") => ChallengeType::TlsAlpn01,
            _ => bail!("the identifier must be proven (hint: --challenge http-01, dns-01 or tls-alpn-01)"),
        };
        let mut challenge = authorization.challenge(kind.clone()).context("the CA does not offer this challenge")?;
        let proof = challenge.key_authorization();
        match kind {
            ChallengeType::Dns01 => set_txt(name, &proof.dns_value())?,
            ChallengeType::Http01 => servers.push(serve_http(proof.as_str().to_owned()).await?),
            _ => servers.push(serve_tls(name, &proof).await?),
        }
        challenge.set_ready().await?;
    }
    // Five seconds between two questions would be the longest of them.
    let patience = RetryPolicy::default();
    order.poll_ready(&patience).await?;
    std::fs::write("key.pem", order.finalize().await?)?;
    std::fs::write("cert.pem", order.poll_certificate(&patience).await?)?;
    servers.iter().for_each(JoinHandle::abort);
    Ok(())
}

fn set_txt(name: &str, value: &str) -> anyhow::Result<()> {
    let program = std::env::var("NAME_SERVER").context("NAME_SERVER is not in the environment")?;
    let host = format!("_acme-challenge.{}", name.trim_start_matches("*."));
    let status = std::process::Command::new(program).args(["set", &host, value]).status()?;
    if status.success() { Ok(()) } else { bail!("the name server took no record: {status}") }
}

/// Shows the proof to whoever asks on port 80.
async fn serve_http(proof: String) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind("127.0.0.1:80").await?;
    Ok(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; MAX_REQUEST];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{proof}", proof.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }))
}

/// Shows a certificate with the proof to whoever asks on port 443 (RFC 8737).
async fn serve_tls(name: &str, proof: &KeyAuthorization) -> anyhow::Result<JoinHandle<()>> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        name.parse::<IpAddr>()
            .map_or_else(|_| Ok(SanType::DnsName(name.try_into()?)), |ip| Ok::<_, rcgen::Error>(SanType::IpAddress(ip)))?,
    ];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(proof.digest().as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?)?;
    // A resolver by itself: rustls would not take a certificate with a critical extension that it does not know.
    let certified = rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], key);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:443").await?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    }))
}
