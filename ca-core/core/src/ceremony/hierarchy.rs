//! What stands below a root after a ceremony: all that the next one needs of the ones before.
//!
//! A bundle carries it as `hierarchy.json`, and the next plan pins its digest. So a later ceremony knows every CA
//! certificate and key, the last CRL, and the chain of transcripts, with nothing but the previous bundle at hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CeremonyError, Roster, canonical};
use crate::model::{AuthorityName, KeyLabel, RevokedEntry};
use crate::pki::crl::Crl;
use crate::pki::{Certificate, PublicKey, Sha256Digest, sha256};
use crate::profile::check_fresh;

/// A CA certificate that the root signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCa {
    /// Whose.
    pub authority: AuthorityName,
    /// `intermediate` or `cross`.
    pub profile: String,
    /// The label of its key, where its key is.
    pub key: KeyLabel,
    /// The certificate, DER.
    #[serde(with = "crate::model::bytes")]
    pub certificate: Vec<u8>,
}

/// The document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    root: AuthorityName,
    root_key: KeyLabel,
    roster: String,
    #[serde(with = "crate::model::bytes")]
    root_certificate: Vec<u8>,
    #[serde(with = "crate::model::bytes")]
    crl: Vec<u8>,
    issued: Vec<IssuedCa>,
    ceremonies: Vec<Sha256Digest>,
}

/// A hierarchy that was read and checked.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    document: Document,
    roster: Roster,
    root: Certificate,
    crl: Crl,
    issued: Vec<Certificate>,
}

impl PartialEq for Hierarchy {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Hierarchy {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/hierarchy/1";
    /// The most bytes of its file.
    pub const MAX_BYTES: usize = 1 << 22;
    /// The most CA certificates below one root.
    pub const MAX_ISSUED: usize = 256;
    const MAX_CEREMONIES: usize = 4096;

    /// A hierarchy at its beginning.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn begin(
        root: AuthorityName,
        root_key: KeyLabel,
        roster: &Roster,
        root_certificate: Vec<u8>,
        crl: Vec<u8>,
        issued: Vec<IssuedCa>,
    ) -> Result<Self, CeremonyError> {
        let format = Self::FORMAT.to_owned();
        Self::check(Document { format, root, root_key, roster: roster.to_toml(), root_certificate, crl, issued, ceremonies: Vec::new() })
    }

    /// The hierarchy after a ceremony that continued from it: its own CA certificates are added, its CRL replaces the
    /// last one, and `transcript`, the previous ceremony's, joins the chain.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the CRL does not follow the last one.
    pub fn followed_by(
        &self,
        transcript: Sha256Digest,
        roster: &Roster,
        issued: Vec<IssuedCa>,
        crl: Option<Vec<u8>>,
    ) -> Result<Self, CeremonyError> {
        let mut document = self.document.clone();
        document.ceremonies.push(transcript);
        document.roster = roster.to_toml();
        document.issued.extend(issued);
        if let Some(crl) = crl {
            document.crl = crl;
        }
        let next = Self::check(document)?;
        let refused = |reason: String| Err(CeremonyError::refused("hierarchy", reason));
        if next.crl != self.crl {
            // RFC 5280 §5.2.3: the number only grows.
            if next.crl.number() <= self.crl.number() {
                return refused(format!("the CRL's number {} does not grow; the last is {}", next.crl.number(), self.crl.number()));
            }
            let entries = next.crl.entries();
            if let Some(gone) = self.crl.entries().into_iter().find(|e| !entries.contains(e)) {
                return refused(format!("the CRL has lost the entry of {}", gone.serial));
            }
        }
        Ok(next)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it is too large, does not parse or is not in canonical form; a signature in it does not verify; a key or a
    /// serial number stands twice; or subject and key are not one to one.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let document: Document = canonical::parse("hierarchy", Self::MAX_BYTES, bytes)?;
        if document.format != Self::FORMAT {
            return Err(CeremonyError::Syntax { what: "hierarchy", reason: format!("its format is not {}", Self::FORMAT) });
        }
        Self::check(document)
    }

    fn check(document: Document) -> Result<Self, CeremonyError> {
        let refused = |reason: String| CeremonyError::refused("hierarchy", reason);
        if document.issued.len() > Self::MAX_ISSUED || document.ceremonies.len() > Self::MAX_CEREMONIES {
            return Err(refused(format!(
                "a root has at most {} CA certificates and {} ceremonies (hint: begin a new root)",
                Self::MAX_ISSUED,
                Self::MAX_CEREMONIES
            )));
        }
        let read = |der: &[u8], whose: &dyn std::fmt::Display| {
            Certificate::from_der(der).map_err(|e| refused(format!("the certificate of {whose}: {e}")))
        };
        let roster = Roster::parse(&document.roster)?;
        let root = read(&document.root_certificate, &document.root)?;
        root.is_signed_by(&root).map_err(|e| refused(format!("the root's certificate: {e}")))?;
        let crl = Crl::from_der(&document.crl).map_err(|e| refused(format!("the root's CRL: {e}")))?;
        crl.is_signed_by(&root).map_err(|e| refused(format!("the root's CRL: {e}")))?;
        let mut issued = Vec::new();
        for entry in &document.issued {
            if !matches!(entry.profile.as_str(), "intermediate" | "cross") {
                return Err(refused(format!("`{}` is no profile of a CA certificate here", entry.profile)));
            }
            let certificate = read(&entry.certificate, &entry.authority)?;
            certificate.is_signed_by(&root).map_err(|e| refused(format!("the certificate of {}: {e}", entry.authority)))?;
            issued.push(certificate);
        }
        let hierarchy = Self { document, roster, root, crl, issued };
        hierarchy.one_to_one()?;
        Ok(hierarchy)
    }

    /// Serial numbers are unique; a subject stands for one key, and a key and its identifier for one subject.
    fn one_to_one(&self) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("hierarchy", reason));
        let mut serials = BTreeMap::new();
        let mut subjects: BTreeMap<&[u8], &PublicKey> = BTreeMap::new();
        let mut identifiers: BTreeMap<&[u8], &PublicKey> = BTreeMap::new();
        for certificate in self.certificates() {
            let (serial, key) = (certificate.serial(), certificate.public_key());
            if serials.insert(serial, ()).is_some() {
                return refused(format!("the serial number {serial} stands twice"));
            }
            let identifier = certificate.key_identifier().unwrap_or_default();
            let one = |known: Option<&&PublicKey>| known.is_none_or(|k| **k == *key);
            let other_subject = subjects.iter().any(|(name, known)| **known == *key && *name != certificate.subject_der());
            if !one(subjects.get(certificate.subject_der())) || !one(identifiers.get(identifier)) || other_subject {
                return refused(format!(
                    "`{}` and its key are not one to one: another certificate has the subject with another key, or the key with another subject",
                    certificate.subject_text()
                ));
            }
            subjects.insert(certificate.subject_der(), key);
            identifiers.insert(identifier, key);
        }
        Ok(())
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(&self.document)
    }

    /// Its digest: what the next plan pins.
    pub fn digest(&self) -> Sha256Digest {
        sha256(&self.to_bytes())
    }

    /// The root's name.
    pub const fn root_name(&self) -> &AuthorityName {
        &self.document.root
    }

    /// The label of the root's key.
    pub const fn root_key(&self) -> &KeyLabel {
        &self.document.root_key
    }

    /// The officers of the last ceremony.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The root's certificate.
    pub const fn root(&self) -> &Certificate {
        &self.root
    }

    /// The root's last CRL.
    pub const fn crl(&self) -> &Crl {
        &self.crl
    }

    /// The CA certificates below the root, with what is known of each.
    pub fn issued(&self) -> impl Iterator<Item = (&IssuedCa, &Certificate)> {
        self.document.issued.iter().zip(&self.issued)
    }

    /// The transcripts' last hashes of the ceremonies before, oldest first.
    pub fn ceremonies(&self) -> &[Sha256Digest] {
        &self.document.ceremonies
    }

    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        [&self.root].into_iter().chain(&self.issued)
    }

    /// Judges a new authority's key and subject against every one that is known here.
    ///
    /// # Errors
    /// When the key is in use, or the subject is another key's.
    pub fn check_new(&self, subject_der: &[u8], key: &PublicKey) -> Result<(), CeremonyError> {
        let known = self.certificates().map(|c| (c.subject_text(), c.public_key()));
        check_fresh(key, known).map_err(|e| CeremonyError::refused("key", e.to_string()))?;
        match self.certificates().find(|c| c.subject_der() == subject_der) {
            Some(taken) => Err(CeremonyError::refused(
                "subject",
                format!("`{}` has another key already (hint: a new key has a new common name)", taken.subject_text()),
            )),
            None => Ok(()),
        }
    }

    /// The entries of the next CRL: those of the last one, and `revoked`, sorted.
    ///
    /// # Errors
    /// When one of `revoked` is no certificate of this root, or is revoked already.
    pub fn entries_with(&self, revoked: Vec<RevokedEntry>) -> Result<Vec<RevokedEntry>, CeremonyError> {
        let mut entries = self.crl.entries();
        for new in revoked {
            let refused = |reason: &str| Err(CeremonyError::refused("revocation", format!("the certificate {} {reason}", new.serial)));
            if !self.issued.iter().any(|c| c.serial() == new.serial) {
                return refused("is none that this root issued");
            }
            if entries.iter().any(|e| e.serial == new.serial) {
                return refused("is revoked already");
            }
            entries.push(new);
        }
        entries.sort_by_key(|e| e.serial);
        Ok(entries)
    }
}
