//! Specimens: a certificate of every profile in every kind of key, with their CRLs and OCSP responses, as files for
//! programs that judge them.
//!
//! Each kind of key has a root; below it each profile has an authority of its own, as a policy binds them. All bytes
//! come from the builders that issuance uses, and passed its lints.

mod content;
mod key;

use std::path::Path;
use std::time::Duration;

use ca_core::model::{AuthorityName, RevocationReason, RevokedEntry, StatusUrls};
use ca_core::pki::crl::{CrlHeader, build_crl_tbs};
use ca_core::pki::ocsp::{Answer, CertId, CertStatus, HashAlgorithm, IssuerId, ResponseData, assemble_response, build_response_data};
use ca_core::pki::{KeyAlgorithm, SerialNumber, Timestamp, pem_encode};
use ca_core::ports::Rng;
use ca_core::profile::{
    CaSubject, IntermediateRequest, Issuer, LeafRequest, LeafShape, Revocation, RootRequest, build_intermediate, build_leaf, build_root,
    lint_crl, lint_intermediate, lint_leaf, lint_root,
};
use serde_json::{Value, json};

pub use content::content;
pub use key::SpecimenKey;

use crate::SeededRng;

/// The base of the status URLs.
const BASE: &str = "http://status.bank.test";

/// A file that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Specimen {
    /// The profile: `root`, `intermediate` or a leaf's; of CRLs and OCSP responses `crl` and `ocsp-response`.
    pub profile: String,
    /// What is special about it: `full` has everything that the profile may say, `no-rev-avail` says so.
    pub variant: &'static str,
    /// The kind of the subject's key and of the issuer's.
    pub key: KeyAlgorithm,
    /// Its path below the folder: PEM for certificates, DER for the rest.
    pub file: String,
    /// The path of its issuer's certificate; a root's is its own.
    pub issuer: String,
    /// The path of its root's certificate.
    pub root: String,
}

impl Specimen {
    fn to_json(&self) -> Value {
        json!({
            "profile": self.profile, "variant": self.variant, "key": self.key.name(),
            "file": self.file, "issuer": self.issuer, "root": self.root,
        })
    }
}

/// The keys of one kind, for each part of the hierarchy.
struct Keys {
    root: SpecimenKey,
    issuing: SpecimenKey,
    leaf: SpecimenKey,
    responder: SpecimenKey,
}

struct Writer<'a> {
    dir: &'a Path,
    now: Timestamp,
    rng: SeededRng,
    written: Vec<Specimen>,
}

/// Writes specimens of these kinds of keys into a folder, and `specimens.json` with the list of them. Their times begin
/// an hour before `now`.
pub fn write(dir: &Path, algorithms: &[KeyAlgorithm], now: Timestamp) -> Vec<Specimen> {
    let mut writer = Writer { dir, now, rng: SeededRng::new(1), written: Vec::new() };
    for algorithm in algorithms {
        writer.hierarchy(*algorithm);
    }
    let list: Vec<_> = writer.written.iter().map(Specimen::to_json).collect();
    std::fs::write(dir.join("specimens.json"), serde_json::to_string_pretty(&list).unwrap()).unwrap();
    writer.written
}

impl Writer<'_> {
    fn serial(&self) -> SerialNumber {
        SerialNumber::random(&self.rng as &dyn Rng)
    }

    fn from(&self) -> Timestamp {
        self.now.minus(Duration::from_secs(3600))
    }

    fn until(&self, days: u64) -> Timestamp {
        self.now.plus(Duration::from_secs(days * 86_400))
    }

    fn put(&mut self, bytes: &[u8], specimen: Specimen) {
        let path = self.dir.join(&specimen.file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self.written.push(specimen);
    }

    fn hierarchy(&mut self, algorithm: KeyAlgorithm) {
        let make = || SpecimenKey::generate(algorithm);
        let keys = Keys { root: make(), issuing: make(), leaf: make(), responder: make() };
        let subject =
            |common_name: String| CaSubject { country: Some("GB".to_owned()), organization: "Example Bank plc".to_owned(), common_name };
        let request = RootRequest {
            subject: subject(format!("Example Root {algorithm}")),
            serial: self.serial(),
            not_before: self.from(),
            not_after: self.until(20 * 365),
            public_key: keys.root.public_key().clone(),
            algorithm: keys.root.signature_algorithm(),
        };
        let tbs = build_root(&request).unwrap();
        lint_root(&tbs, &request).unwrap();
        let root = Issuer::new(keys.root.certify(&tbs)).unwrap();
        let root_file = format!("{algorithm}/root.pem");
        let specimen = |profile: &str, file: String, issuer: &str| Specimen {
            profile: profile.to_owned(),
            variant: "",
            key: algorithm,
            file,
            issuer: issuer.to_owned(),
            root: root_file.clone(),
        };
        self.put(pem_encode("CERTIFICATE", root.certificate().der()).as_bytes(), specimen("root", root_file.clone(), &root_file));
        let crl = self.crl(&root, &keys.root, &[]);
        self.put(&crl, specimen("crl", format!("{algorithm}/root.crl"), &root_file));

        for shape in LeafShape::ALL.into_iter().filter(|shape| *shape != LeafShape::Ocsp && shape.takes_key(algorithm)) {
            let folder = format!("{algorithm}/{}", shape.as_str());
            let request = IntermediateRequest {
                subject: subject(format!("Example {} Issuing {algorithm}", shape.as_str())),
                serial: self.serial(),
                not_before: self.from(),
                not_after: self.until(5 * 365),
                public_key: keys.issuing.public_key().clone(),
                urls: StatusUrls::below(BASE, &"root".parse::<AuthorityName>().unwrap(), 0),
                permitted: content::permitted(shape).iter().map(|pattern| pattern.parse().unwrap()).collect(),
            };
            let tbs = build_intermediate(&request, &root).unwrap();
            lint_intermediate(&tbs, &request, &root).unwrap();
            let issuing = Issuer::new(keys.root.certify(&tbs)).unwrap();
            let file = format!("{folder}/issuing.pem");
            let pem = pem_encode("CERTIFICATE", issuing.certificate().der());
            self.put(pem.as_bytes(), specimen("intermediate", file.clone(), &root_file));
            self.below(shape, &folder, &issuing, &keys, &|profile, name| specimen(profile, format!("{folder}/{name}"), &file));
        }
    }

    /// What an authority issues: leaves, its responder's certificate, a CRL and an OCSP response.
    fn below(&mut self, shape: LeafShape, authority: &str, issuer: &Issuer, keys: &Keys, specimen: &dyn Fn(&str, &str) -> Specimen) {
        let urls = StatusUrls::below(BASE, &authority.replace('/', "-").parse::<AuthorityName>().unwrap(), 0);
        let policies = vec!["1.3.6.1.4.1.55555.1.1".parse().unwrap()];
        let published = || Revocation::Published(urls.clone());
        let unavailable = Revocation::NotAvailable { issuer: urls.issuer.clone() };
        let mut serials = Vec::new();
        for (variant, file, full, policies, revocation) in [
            ("", "leaf.pem", false, vec![], published()),
            ("full", "leaf-full.pem", true, policies, published()),
            ("no-rev-avail", "leaf-no-rev-avail.pem", false, vec![], unavailable),
        ] {
            let content = content(shape, full);
            serials.push(
                self.leaf(&keys.leaf, LeafParts { content, policies, revocation }, issuer, &keys.issuing, |_| Specimen {
                    variant,
                    ..specimen(shape.as_str(), file)
                })
                .0,
            );
        }
        let parts = LeafParts { content: content(LeafShape::Ocsp, false), policies: vec![], revocation: published() };
        let (_, responder) =
            self.leaf(&keys.responder, parts, issuer, &keys.issuing, |_| specimen(LeafShape::Ocsp.as_str(), "responder.pem"));

        let revoked = [serials[0], serials[1]];
        let crl = self.crl(issuer, &keys.issuing, &revoked);
        self.put(&crl, specimen("crl", "issuing.crl"));
        for (name, serial, status) in [
            ("good.ocsp", serials[2], CertStatus::Good),
            ("revoked.ocsp", serials[0], CertStatus::Revoked { at: self.from(), reason: RevocationReason::KeyCompromise }),
        ] {
            let certificate = issuer.certificate();
            let issuer_id = IssuerId::new(certificate.subject_der(), certificate.public_key()).unwrap();
            let answer = Answer {
                cert_id: CertId::new(HashAlgorithm::Sha1, &issuer_id, serial).unwrap(),
                status,
                this_update: self.from(),
                next_update: self.until(1),
            };
            let data = ResponseData { produced_at: self.from(), answers: vec![answer], nonce: None, extended_revoke: false };
            let key = &keys.responder;
            let tbs = build_response_data(&data, key.public_key()).unwrap();
            let response = assemble_response(&tbs, key.signature_algorithm(), &key.sign(&tbs), &responder).unwrap();
            self.put(&response, specimen("ocsp-response", name));
        }
    }

    fn leaf(
        &mut self,
        key: &SpecimenKey,
        parts: LeafParts,
        issuer: &Issuer,
        issuing: &SpecimenKey,
        specimen: impl Fn(&LeafRequest) -> Specimen,
    ) -> (SerialNumber, Vec<u8>) {
        let LeafParts { content, policies, revocation } = parts;
        let request = LeafRequest {
            serial: self.serial(),
            not_before: self.from(),
            not_after: self.until(7),
            public_key: key.public_key().clone(),
            content,
            policies,
            revocation,
        };
        let tbs = build_leaf(&request, issuer).unwrap();
        lint_leaf(&tbs, &request, issuer).unwrap();
        let certificate = issuing.certify(&tbs);
        let specimen = specimen(&request);
        self.put(pem_encode("CERTIFICATE", certificate.der()).as_bytes(), specimen);
        (request.serial, certificate.der().to_vec())
    }

    fn crl(&self, issuer: &Issuer, key: &SpecimenKey, revoked: &[SerialNumber]) -> Vec<u8> {
        let certificate = issuer.certificate();
        let header = CrlHeader {
            issuer_der: certificate.subject_der().to_vec(),
            issuer_key_id: certificate.key_identifier().unwrap().to_vec(),
            algorithm: key.signature_algorithm(),
            number: 1,
            this_update: self.from(),
            next_update: self.until(7),
            partition_url: None,
        };
        let mut serials = revoked.to_vec();
        serials.sort_unstable();
        let entries = serials.into_iter().map(|serial| RevokedEntry {
            serial,
            revoked_at: self.from(),
            reason: RevocationReason::KeyCompromise,
            invalidity_date: None,
        });
        let tbs = build_crl_tbs(&header, entries).unwrap();
        lint_crl(&tbs, &header).unwrap();
        key.assemble(&tbs)
    }
}

/// What differs from leaf to leaf.
struct LeafParts {
    content: ca_core::profile::LeafContent,
    policies: Vec<const_oid::ObjectIdentifier>,
    revocation: Revocation,
}
