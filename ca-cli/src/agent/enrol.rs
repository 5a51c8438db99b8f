//! The exchange with the CA: account, order, certificate, renewal window.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ca_core::pki::{Certificate, Identifier, KeyAlgorithm, Timestamp};
use instant_acme::{Account, CertificateIdentifier, NewOrder, Order, OrderStatus, RetryPolicy};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::error::{AgentError, kind_of};
use super::http::Client;
use super::plan::Window;
use super::register::register;
use super::state::{AccountFile, Directory, Settings, parse_chain};

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_SECRET_FILE: usize = 4096;

/// An external account binding: what a grant gives.
pub(super) struct Binding {
    pub(super) kid: String,
    pub(super) secret: Zeroizing<Vec<u8>>,
}

impl Binding {
    /// Reads the secret, base64url as ACME clients take it, from a file or a descriptor.
    pub(super) fn read(kid: &str, path: &Path) -> Result<Self, AgentError> {
        use std::io::Read as _;
        use std::os::unix::fs::PermissionsExt as _;

        let wrong = |why: String| AgentError::Configuration(format!("--eab-hmac-file `{}`: {why}", path.display()));
        let file = std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
        let metadata = file.metadata().map_err(|e| wrong(e.to_string()))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(wrong(format!("others may read it, mode {mode:04o} (hint: chmod 600 {})", path.display())));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_SECRET_FILE + 1));
        file.take(MAX_SECRET_FILE as u64 + 1).read_to_end(&mut text).map_err(|e| wrong(e.to_string()))?;
        if text.len() > MAX_SECRET_FILE {
            return Err(wrong(format!("longer than {MAX_SECRET_FILE} bytes")));
        }
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let secret = GeneralPurpose::new(&URL_SAFE, lenient).decode(text.trim_ascii()).map(Zeroizing::new);
        match secret {
            Ok(secret) if !secret.is_empty() => Ok(Self { kid: kid.to_owned(), secret }),
            // The decoder's own message quotes a byte of the secret.
            _ => Err(wrong("it does not hold a base64url secret (hint: the value that `ca grant create` printed)".to_owned())),
        }
    }
}

/// Restores the account, or makes one with the binding.
pub(super) async fn account(
    directory: &Directory,
    settings: &Settings,
    client: &Client,
    binding: Option<&Binding>,
) -> Result<Account, AgentError> {
    let url = &settings.directory;
    let (id, key) = match directory.account()? {
        Some(AccountFile { id: Some(id), key, .. }) => (id, key),
        kept => register(directory, kept.map(|k| k.key), url, client, binding).await.map_err(|error| match error {
            AgentError::Refused(why) if binding.is_none() => {
                AgentError::Refused(format!("{why} (hint: give --eab-kid and --eab-hmac-file, as `ca grant create` printed them)"))
            }
            other => other,
        })?,
    };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    Ok(builder.from_parts(id, PrivatePkcs8KeyDer::from(key.pkcs8()), url.clone()).await?)
}

/// A new certificate with the key that it is for.
pub(super) struct Issued {
    pub(super) key_pem: Zeroizing<String>,
    pub(super) chain: Vec<Certificate>,
}

/// Orders a certificate. The private key does not leave this machine. `replaced` is the one in use (RFC 9773 §5).
pub(super) async fn obtain(
    account: &Account,
    settings: &Settings,
    identifiers: &[Identifier],
    replaced: Option<&Certificate>,
    old_key_pem: Option<&str>,
    now: Timestamp,
) -> Result<Issued, AgentError> {
    let fresh = || {
        let key = new_key(settings.key_algorithm.unwrap_or(KeyAlgorithm::P256));
        key.map_err(|e| AgentError::Local(format!("cannot make a key: {e}")))
    };
    let mut key = match old_key_pem {
        Some(pem) => rcgen::KeyPair::from_pem(pem).map_err(|e| AgentError::Local(format!("the key in use cannot be read: {e}")))?,
        None => fresh()?,
    };
    let csr = request(&key, identifiers)?;
    let mut order = place(account, settings, identifiers, replaced).await?;
    match order.state().status {
        OrderStatus::Pending => {
            return Err(AgentError::Refused(
                "it wants a proof of control over these names, which this agent cannot give \
                 (hint: enrol with a grant that covers every --name)"
                    .to_owned(),
            ));
        }
        OrderStatus::Ready => match order.finalize_csr(&csr).await {
            // Most likely blocked, because it was compromised: then there is no way back to it. The order is still ready.
            Err(instant_acme::Error::Api(problem)) if old_key_pem.is_some() && kind_of(&problem) == "badCSR" => {
                tracing::warn!(%problem, "the CA takes the key in use no more: another one takes its place, whatever --reuse-key says");
                key = fresh()?;
                order.finalize_csr(&request(&key, identifiers)?).await?;
            }
            finalized => finalized?,
        },
        OrderStatus::Processing | OrderStatus::Valid | OrderStatus::Invalid => {}
    }
    let text = match order.certificate().await? {
        Some(text) => text,
        None => order.poll_certificate(&RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(PATIENCE)).await?,
    };
    let chain = parse_chain(&text)?;
    fits(&chain, key.public_key_raw(), identifiers, now)?;
    Ok(Issued { key_pem: Zeroizing::new(key.serialize_pem()), chain })
}

fn new_key(algorithm: KeyAlgorithm) -> Result<rcgen::KeyPair, rcgen::Error> {
    let rsa = |size| rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    match algorithm {
        KeyAlgorithm::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::P384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::Ed25519 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyAlgorithm::Rsa2048 => rsa(rcgen::RsaKeySize::_2048),
        KeyAlgorithm::Rsa3072 => rsa(rcgen::RsaKeySize::_3072),
        KeyAlgorithm::Rsa4096 => rsa(rcgen::RsaKeySize::_4096),
        KeyAlgorithm::MlDsa65 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ML_DSA_65),
        KeyAlgorithm::MlDsa87 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87),
    }
}

async fn place(
    account: &Account,
    settings: &Settings,
    identifiers: &[Identifier],
    replaced: Option<&Certificate>,
) -> Result<Order, AgentError> {
    let names: Vec<_> = identifiers
        .iter()
        .map(|i| match i {
            Identifier::Dns(name) => instant_acme::Identifier::Dns(name.as_str().to_owned()),
            Identifier::Ip(address) => instant_acme::Identifier::Ip(*address),
            Identifier::PermanentIdentifier(name) => instant_acme::Identifier::PermanentIdentifier(name.as_str().to_owned()),
            Identifier::HardwareModule(name) => instant_acme::Identifier::HardwareModule(name.as_str().to_owned()),
        })
        .collect();
    let order = || {
        let order = NewOrder::new(&names);
        settings.profile.as_deref().map_or(NewOrder::new(&names), |p| order.profile(p))
    };
    let der = replaced.map(|c| CertificateDer::from(c.der()));
    if let Some(id) = der.as_ref().and_then(|der| CertificateIdentifier::try_from(der).ok()) {
        match account.new_order(&order().replaces(id.into_owned())).await {
            Ok(order) => return Ok(order),
            // No such service at this CA; or an earlier attempt, whose certificate never arrived, holds the place
            // (alreadyReplaced, RFC 9773 §5); or it belongs to an account of before. An order without it is as good.
            Err(error) if without_replaces(&error) => tracing::debug!(%error, "ordering without `replaces`"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(account.new_order(&order()).await?)
}

fn without_replaces(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Api(problem) => {
            // A server may say unauthorized of what belongs to an account of before; where that means this account, the order without
            // it says so.
            let kinds = [":alreadyReplaced", ":malformed", ":unauthorized"];
            problem.r#type.as_deref().is_some_and(|t| kinds.iter().any(|kind| t.ends_with(kind)))
        }
        instant_acme::Error::Unsupported(_) => true,
        _ => false,
    }
}

/// A certificate signing request with an empty subject: names come from the order (invariant 6).
fn request(key: &rcgen::KeyPair, identifiers: &[Identifier]) -> Result<Vec<u8>, AgentError> {
    let failed = |e: rcgen::Error| AgentError::Local(format!("cannot make the certificate signing request: {e}"));
    let names: Vec<String> = identifiers.iter().map(Identifier::value).collect();
    let mut parameters = rcgen::CertificateParams::new(names).map_err(failed)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    Ok(parameters.serialize_request(key).map_err(failed)?.der().to_vec())
}

/// What is installed must be for this key and these names, and in force.
fn fits(chain: &[Certificate], public_key: &[u8], identifiers: &[Identifier], now: Timestamp) -> Result<(), AgentError> {
    let wrong = |why: &str| Err(AgentError::Temporary(format!("the certificate that it sent is not installed: {why}")));
    let Some(leaf) = chain.first() else { return wrong("the chain is empty") };
    // The SubjectPublicKeyInfo ends with the raw public key (RFC 5280 §4.1).
    if !leaf.public_key().spki_der().ends_with(public_key) {
        return wrong("it is for another key");
    }
    if !covers(leaf, identifiers) {
        return wrong("it lacks a name that was ordered");
    }
    if leaf.not_after() <= now {
        return wrong("it has expired already (hint: check this machine's clock)");
    }
    Ok(())
}

/// Whether a certificate is for exactly these names; or for none, of a profile where they only authorize: what it says
/// instead comes from the grant.
pub(super) fn covers(leaf: &Certificate, identifiers: &[Identifier]) -> bool {
    let has = leaf.identifiers();
    has.is_empty() || identifiers.iter().all(|i| has.contains(i)) && has.iter().all(|i| identifiers.contains(i))
}

/// Asks the CA when it would like this certificate renewed, and how long the answer holds. `None`: it has no such
/// service.
pub(super) async fn window(account: &Account, leaf: &Certificate) -> Result<Option<(Window, Duration)>, AgentError> {
    let der = CertificateDer::from(leaf.der());
    let Ok(id) = CertificateIdentifier::try_from(&der) else { return Ok(None) };
    match account.renewal_info(&id.into_owned()).await {
        Ok((info, again)) => {
            let at = |time: i64| Timestamp::from_unix(time);
            let window =
                Window { start: at(info.suggested_window.start.unix_timestamp()), end: at(info.suggested_window.end.unix_timestamp()) };
            if let Some(url) = &info.explanation_url {
                tracing::info!(explanation = %url.escape_debug(), "the CA explains its renewal window");
            }
            Ok(Some((window, again)))
        }
        Err(instant_acme::Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ca_core::pki::{Csr, key_algorithm};

    use super::*;

    #[test]
    fn every_kind_of_key_makes_a_request_that_the_ca_reads() {
        let names = [Identifier::from_text("a.demo.test").unwrap()];
        for algorithm in KeyAlgorithm::ALL.into_iter().filter(|a| *a != KeyAlgorithm::Rsa4096) {
            let key = new_key(algorithm).unwrap();
            let csr = Csr::from_der(&request(&key, &names).unwrap()).unwrap();
            assert_eq!((key_algorithm(csr.public_key()), csr.identifiers()), (Ok(algorithm), &names[..]));
            // A key that may be reused is read again; rcgen reads no ML-DSA keys.
            let again = rcgen::KeyPair::from_pem(&key.serialize_pem());
            assert_eq!(again.ok().map(|k| k.public_key_raw() == key.public_key_raw()), (!algorithm.is_post_quantum()).then_some(true));
        }
    }

    #[test]
    fn secrets_are_read_from_private_files_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let check = |content: &str, mode: u32, expected: Result<&[u8], &str>| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match (Binding::read("kid", &path), expected) {
                (Ok(binding), Ok(expected)) => assert_eq!(binding.secret.as_slice(), expected),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && (content.is_empty() || !error.contains(content)), "{error}");
                }
                (got, _) => panic!("{content:?} gave {:?}", got.map(|b| b.kid)),
            }
        };
        check("_-8\n", 0o600, Ok(&[255, 239]));
        check("_-8=", 0o400, Ok(&[255, 239]));
        check("_-8", 0o644, Err("chmod 600"));
        check("", 0o600, Err("base64url secret"));
        check("not base64!", 0o600, Err("base64url secret"));
        check(&"A".repeat(5000), 0o600, Err("longer than 4096"));
    }

    #[test]
    fn only_a_certificate_that_fits_is_installed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["a.demo.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let made = parameters.self_signed(&key).unwrap();
        let chain = [Certificate::from_der(made.der()).unwrap()];
        let names = |texts: &[&str]| texts.iter().map(|t| Identifier::from_text(t).unwrap()).collect::<Vec<_>>();
        let wanted = names(&["127.0.0.1", "a.demo.test"]);
        let now = Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap();
        let check = |key: &rcgen::KeyPair, names: &[Identifier], now, expected: Option<&str>| {
            let got = fits(&chain, key.public_key_raw(), names, now).map_err(|e| e.to_string());
            match (got, expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                (got, _) => panic!("{got:?}, not {expected:?}"),
            }
        };
        check(&key, &wanted, now, None);
        check(&other, &wanted, now, Some("another key"));
        check(&key, &names(&["a.demo.test"]), now, Some("lacks a name"));
        check(&key, &names(&["a.demo.test", "127.0.0.1", "b.demo.test"]), now, Some("lacks a name"));
        check(&key, &wanted, Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").unwrap(), Some("expired already"));

        // A SPIFFE id alone: the names authorized it.
        let mut parameters = rcgen::CertificateParams::default();
        parameters.subject_alt_names = vec![rcgen::SanType::URI("spiffe://demo.test/a".try_into().unwrap())];
        let made = parameters.self_signed(&key).unwrap();
        assert!(covers(&Certificate::from_der(made.der()).unwrap(), &wanted));
    }

    #[test]
    fn the_request_carries_names_and_no_subject() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = [Identifier::from_text("a.demo.test").unwrap(), Identifier::from_text("::1").unwrap()];
        let csr = ca_core::pki::Csr::from_der(&request(&key, &names).unwrap()).expect("our own CA reads it");
        assert_eq!(csr.identifiers(), names);
        assert_eq!(csr.common_name(), None);
    }
}
