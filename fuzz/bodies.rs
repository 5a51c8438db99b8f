// What is done with bytes that anyone may send. The fuzz targets call it, and so does a test of ca-core, on the seeds and on
// mutations of them: a body panics where a promise is broken.

use ca_core::ceremony::{Statement, Transcript};
use ca_core::evidence::jws::{KeyRef, ParsedJws};
use ca_core::evidence::new_order::NewOrderRequest;
use ca_core::evidence::statement::OperatorStatement;
use ca_core::evidence::{json, sshsig};
use ca_core::lint::{self, Context};
use ca_core::pki::crl::Crl;
use ca_core::pki::ocsp::{BasicResponse, OcspRequest, build_request};
use ca_core::pki::{AltName, Certificate, Csr, EmailName, Identifier, Timestamp, UriName, pem_decode_all, pem_encode};
use ca_core::policy::{AttestationRoots, NamePattern, Policy};
use ca_core::profile::{Issuer, check_key};
use ca_core::validation::attestation::{AttestationCrls, Claim};

/// Every body by the name of its target and of its folder of seeds.
pub(crate) const ALL: [(&str, fn(&[u8])); 12] = [
    ("certificate", certificate),
    ("csr", csr),
    ("crl", crl),
    ("ocsp_request", ocsp_request),
    ("ocsp_response", ocsp_response),
    ("jws", jws),
    ("sshsig", ssh_signature),
    ("statement", statement),
    ("policy", policy),
    ("name", name),
    ("pem", pem),
    ("attestation", attestation),
];

/// A certificate reads back as itself; whatever bytes say, they can be linted, as their own issuer too.
pub(crate) fn certificate(bytes: &[u8]) {
    lint::certificate(bytes, &Context { issuers: &[bytes], previous_crl: None });
    let Ok(certificate) = Certificate::from_der(bytes) else { return };
    assert_eq!(certificate.der(), bytes);
    let _ = check_key(certificate.public_key());
    let _ = certificate.is_signed_by(&certificate);
    if let Ok(issuer) = Issuer::new(certificate.clone()) {
        assert!(issuer.certificate().is_ca() && !issuer.certificate().subject_text().is_empty());
    }
}

/// A request that is read proved possession of a key that is handled.
pub(crate) fn csr(bytes: &[u8]) {
    let Ok(csr) = Csr::from_der(bytes) else { return };
    assert!(csr.identifiers().is_sorted());
    let _ = check_key(csr.public_key());
}

/// A CRL that is read has as many entries as it says.
pub(crate) fn crl(bytes: &[u8]) {
    lint::crl(bytes, &Context { issuers: &[], previous_crl: Some(bytes) });
    let Ok(crl) = Crl::from_der(bytes) else { return };
    assert_eq!(crl.der(), bytes);
    assert_eq!(crl.entries().len(), crl.entry_count());
}

/// A request that is read asks about something, and what is built from it asks the same.
pub(crate) fn ocsp_request(bytes: &[u8]) {
    let Ok(request) = OcspRequest::from_der(bytes) else { return };
    assert!(!request.cert_ids.is_empty());
    let built = build_request(&request.cert_ids, request.nonce.as_deref()).expect("what was read can be written");
    assert_eq!(OcspRequest::from_der(&built).expect("what was written can be read"), request);
}

/// An answer's certificates are bytes like any others.
pub(crate) fn ocsp_response(bytes: &[u8]) {
    lint::ocsp_response(bytes, &Context::default());
    let Ok(response) = BasicResponse::from_der(bytes) else { return };
    for der in &response.certificates {
        if let Ok(responder) = Certificate::from_der(der) {
            let _ = response.is_signed_by(responder.public_key());
        }
    }
}

/// A JWS as an ACME client posts it: the signature by its own key, the payload as an order.
pub(crate) fn jws(bytes: &[u8]) {
    let _ = json::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(jws) = ParsedJws::parse(text) else { return };
    if let KeyRef::Jwk(key) = &jws.protected.key {
        let _ = jws.verify(key);
    }
    if let Ok(order) = NewOrderRequest::parse(&jws) {
        assert!(!order.identifiers.is_empty());
    }
}

/// An armored signature over some message by a key that is none of ours.
pub(crate) fn ssh_signature(bytes: &[u8]) {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAl2oJnXZyAXzp9AXJTUp8B9WEq1wsS47PCKb/QlNLqn";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = sshsig::fingerprint(text);
    let _ = sshsig::claimed_signer(text);
    assert!(sshsig::verify(KEY, "ceremony@countersign", b"none of its messages", text).is_err());
}

/// What officers and operators sign has one form; so does a transcript's line.
pub(crate) fn statement(bytes: &[u8]) {
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(statement.to_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Transcript::parse(text);
    if let Ok(statement) = serde_json::from_str::<OperatorStatement>(text) {
        let again = serde_json::from_str::<OperatorStatement>(&statement.to_json()).expect("what was written can be read");
        assert_eq!(again, statement);
    }
}

/// A policy that is read can be compared with itself.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    assert_eq!(policy, policy.clone());
}

/// A pattern reads back from its text and lies within itself; names of every form have one form.
pub(crate) fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pattern = text.parse::<NamePattern>();
    if let Ok(pattern) = &pattern {
        assert_eq!(pattern.to_string().parse::<NamePattern>().as_ref(), Ok(pattern));
        assert!(pattern.is_within(pattern), "{pattern}");
    }
    if let Ok(identifier) = Identifier::from_text(text) {
        assert_eq!(Identifier::from_text(&identifier.value()).as_ref(), Ok(&identifier));
        let _ = pattern.is_ok_and(|pattern| pattern.covers(&identifier));
    }
    if let Ok(uri) = UriName::parse(text) {
        // Scheme and host are folded to lower case, once.
        assert!(uri.as_str().eq_ignore_ascii_case(text), "{text}");
        assert_eq!(UriName::parse(uri.as_str()).as_ref(), Ok(&uri));
        assert_eq!(AltName::Uri(uri.clone()), AltName::Uri(uri));
    }
    if let Ok(email) = EmailName::parse(text) {
        assert_eq!(EmailName::parse(email.as_str()).as_ref(), Ok(&email));
    }
}

/// Blocks that were read read back from what is written of them.
pub(crate) fn pem(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(blocks) = pem_decode_all(text, "CERTIFICATE") else { return };
    let written: String = blocks.iter().map(|der| pem_encode("CERTIFICATE", der)).collect();
    assert_eq!(pem_decode_all(&written, "CERTIFICATE"), Ok(blocks));
}

/// An attestation by a device of a maker whose root is kept among the seeds: what is accepted is a key.
pub(crate) fn attestation(bytes: &[u8]) {
    const ROOT: &str = include_str!("corpus/attestation/root.pem");
    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    let pem = || ROOT.to_owned().try_into().expect("the root is one");
    let roots = AttestationRoots { apple: pem(), step: pem(), tpm: pem() };
    let identifier = Identifier::parse("permanent-identifier", "1337").expect("a name");
    let key_authorization = &format!("{TOKEN}.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let claim = Claim {
        identifier: &identifier,
        key_authorization,
        token: TOKEN,
        roots: &roots,
        crls: &AttestationCrls::default(),
        now: Timestamp::from_unix(1_795_478_400),
    };
    if let Ok(key) = claim.judge(bytes) {
        let _ = check_key(&key);
    }
}
