//! CRLs and OCSP answers.

use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{RevocationReason, RevokedEntry};
use ca_core::pki::crl::{CrlHeader, build_crl_tbs};
use ca_core::pki::ocsp::{
    Answer, CertId, CertStatus, HashAlgorithm, IssuerId, ResponseData, assemble_response, build_request, build_response_data,
};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::profile::{Issuer, lint_crl};

use super::certificates::{Hierarchy, serial};
use super::{Key, Kind, Specimen};

const HOUR: Duration = Duration::from_secs(3600);
const SKEW: Duration = Duration::from_secs(60);

/// A CRL with these entries.
pub(super) fn crl(issuer: &Issuer, key: &Key, partition_url: Option<&str>, entries: Vec<RevokedEntry>, now: Timestamp) -> Vec<u8> {
    let certificate = issuer.certificate();
    let header = CrlHeader {
        issuer_der: certificate.subject_der().to_vec(),
        issuer_key_id: certificate.key_identifier().unwrap().to_vec(),
        algorithm: issuer.signature_algorithm(),
        number: now.unix().unsigned_abs() << 16,
        this_update: now.minus(SKEW),
        next_update: now.plus(HOUR * 48),
        partition_url: partition_url.map(str::to_owned),
    };
    let tbs = build_crl_tbs(&header, entries.into_iter()).unwrap();
    assert_eq!(lint_crl(&tbs, &header), Ok(()));
    key.seal(&tbs)
}

/// An entry for each, as a ledger would give them.
pub(super) fn entries(revoked: &[(SerialNumber, RevocationReason)], now: Timestamp) -> Vec<RevokedEntry> {
    let entry = |(serial, reason): &(SerialNumber, RevocationReason)| RevokedEntry {
        serial: *serial,
        revoked_at: now.minus(HOUR),
        reason: *reason,
        invalidity_date: (*reason == RevocationReason::KeyCompromise).then(|| now.minus(HOUR * 30)),
    };
    let mut entries: Vec<_> = revoked.iter().map(entry).collect();
    entries.sort_by_key(|e| e.serial);
    entries
}

/// The current CRLs, an empty one, one for each reason, and one of a partition.
pub(super) fn crls(hierarchy: &Hierarchy, all: &mut Vec<Specimen>) {
    let (root, issuing, now) = (&hierarchy.root, &hierarchy.issuing, hierarchy.now);
    let mut push = |variant: &str, authority: &super::certificates::Authority, der: Vec<u8>| {
        all.push(Specimen {
            name: format!("{}/crl-{variant}", hierarchy.name),
            profile: "crl",
            key: hierarchy.algorithm,
            der,
            chain: Arc::clone(&authority.chain),
            kind: Kind::Crl,
        });
    };
    push("root", root, root.chain.crls[0].clone());
    push("current", issuing, issuing.chain.crls[0].clone());
    let one = |entries| crl(&issuing.issuer, &issuing.key, None, entries, now);
    push("empty", issuing, one(Vec::new()));
    for reason in RevocationReason::ALL {
        push(reason.name(), issuing, one(entries(&[(serial(), reason)], now)));
    }
    let url = issuing.urls.crl.replace("0.crl", "3.crl");
    push("partition", issuing, crl(&issuing.issuer, &issuing.key, Some(&url), entries(&issuing.revoked, now), now));
}

/// What a responder may say, by responders with each key.
pub(super) fn answers(hierarchy: &Hierarchy, responders: &[Key], all: &mut Vec<Specimen>) {
    let revoked = |reason| CertStatus::Revoked { at: hierarchy.now.minus(HOUR), reason };
    for (i, key) in responders.iter().enumerate() {
        let responder = Responder { hierarchy, key, certificate: hierarchy.responder(key) };
        let mut push = |variant: &str, asked: &Asked| all.push(responder.specimen(variant, asked));
        let good = Asked::one(CertStatus::Good, "good");
        push("good", &good);
        push("nonce", &Asked { nonce: Some(vec![0x5a; 32]), ..good.clone() });
        push("revoked", &Asked::one(revoked(RevocationReason::KeyCompromise), "revoked"));
        push("unknown", &Asked::one(CertStatus::Unknown, "unknown"));
        if i > 0 {
            continue;
        }
        for reason in RevocationReason::ALL {
            push(&format!("revoked-{}", reason.name()), &Asked::one(revoked(reason), "revoked"));
        }
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            push(&format!("{hash:?}").to_lowercase(), &Asked { hash, ..good.clone() });
        }
        push("long-nonce", &Asked { nonce: Some((0..128).collect()), ..good.clone() });
        push("several", &Asked { others: 3, ..good.clone() });
        // RFC 6960 §2.2: a serial number that was never issued.
        let never = CertStatus::Revoked { at: Timestamp::from_unix(0), reason: RevocationReason::CertificateHold };
        push("never-issued", &Asked { extended_revoke: true, ..Asked::one(never, "revoked") });
    }
}

/// What is asked, and what is to be said.
#[derive(Clone)]
pub(super) struct Asked {
    status: CertStatus,
    says: &'static str,
    hash: HashAlgorithm,
    nonce: Option<Vec<u8>>,
    /// How many other certificates are asked about at once.
    others: usize,
    extended_revoke: bool,
}

impl Asked {
    pub(super) const fn one(status: CertStatus, says: &'static str) -> Self {
        Self { status, says, hash: HashAlgorithm::Sha1, nonce: None, others: 0, extended_revoke: false }
    }
}

/// A delegated responder.
pub(super) struct Responder<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) key: &'a Key,
    pub(super) certificate: Vec<u8>,
}

impl Responder<'_> {
    pub(super) fn specimen(&self, variant: &str, asked: &Asked) -> Specimen {
        let now = self.hierarchy.now;
        self.signed(variant, asked, now.plus(HOUR), |data| self.key.sign(data))
    }

    /// With this nextUpdate, and signed so.
    pub(super) fn signed(&self, variant: &str, asked: &Asked, next_update: Timestamp, sign: impl Fn(&[u8]) -> Vec<u8>) -> Specimen {
        let authority = &self.hierarchy.issuing;
        let issuer = authority.issuer.certificate();
        let issuer = IssuerId::new(issuer.subject_der(), issuer.public_key()).unwrap();
        let this_update = self.hierarchy.now.minus(SKEW);
        let about = serial();
        let mut data = ResponseData {
            produced_at: this_update,
            answers: Vec::new(),
            nonce: asked.nonce.clone(),
            extended_revoke: asked.extended_revoke,
        };
        for i in 0..=asked.others {
            let cert_id = CertId::new(asked.hash, &issuer, if i == 0 { about } else { serial() }).unwrap();
            data.answers.push(Answer { cert_id, status: asked.status, this_update, next_update });
        }
        let ids: Vec<_> = data.answers.iter().map(|a| a.cert_id.clone()).collect();
        let tbs = build_response_data(&data, self.key.public()).unwrap();
        let algorithm = self.key.algorithm().signature_algorithm();
        Specimen {
            name: format!("{}/ocsp-response-{variant}-{}", self.hierarchy.name, self.key.algorithm()),
            profile: "ocsp-response",
            key: self.key.algorithm(),
            der: assemble_response(&tbs, algorithm, &sign(&tbs), &self.certificate).unwrap(),
            chain: Arc::clone(&authority.chain),
            kind: Kind::OcspResponse {
                serial: about,
                hash: asked.hash,
                says: asked.says,
                request: build_request(&ids, asked.nonce.as_deref()).unwrap(),
            },
        }
    }
}
