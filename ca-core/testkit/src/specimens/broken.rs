//! What an implementation that looks must refuse: good specimens with one thing wrong, signed all the same.

use std::sync::Arc;
use std::time::Duration;

use ca_core::pki::ocsp::CertStatus;
use ca_core::pki::{KeyAlgorithm, Timestamp};
use ca_core::profile::{LeafContent, build_leaf};
use der::asn1::{Any, OctetString};
use der::{Decode as _, Encode as _, Tag, Tagged as _};

use super::certificates::Hierarchy;
use super::status::{Asked, Responder};
use super::{Chain, Key, Kind, Purpose, Specimen};

const HOUR: Duration = Duration::from_secs(3600);

const KEY_USAGE: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x11];
const CRL_NUMBER: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x14];

/// Every flawed specimen, under a P-256 hierarchy of its own; the name ends with the flaw.
pub fn make(now: Timestamp) -> Vec<Specimen> {
    let hierarchy = Hierarchy::new("broken", KeyAlgorithm::P256, now);
    let (key, stranger) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::P256));
    let maker = Maker { hierarchy: &hierarchy, key: &key, stranger: &stranger };
    let mut all = Vec::new();
    maker.certificates(&mut all);
    maker.names(&mut all);
    maker.crls(&mut all);
    maker.answers(&mut all);
    all
}

struct Maker<'a> {
    hierarchy: &'a Hierarchy,
    key: &'a Key,
    stranger: &'a Key,
}

impl Maker<'_> {
    fn certificate(&self, flaw: &str, der: Vec<u8>, chain: &Arc<Chain>) -> Specimen {
        Specimen {
            name: format!("broken/certificate-{flaw}"),
            profile: "client",
            key: self.key.algorithm(),
            der,
            chain: Arc::clone(chain),
            kind: Kind::Certificate { purpose: Purpose::Client, is_revoked: false },
        }
    }

    fn certificates(&self, all: &mut Vec<Specimen>) {
        let issuing = &self.hierarchy.issuing;
        let request = self.hierarchy.client(self.key);
        let tbs = build_leaf(&request, &issuing.issuer).unwrap();
        let good = issuing.key.seal(&tbs);
        let mut push = |flaw: &str, der: Vec<u8>| all.push(self.certificate(flaw, der, &issuing.chain));
        push("truncated", good[..good.len() - 9].to_vec());
        push("signed-by-another", self.stranger.seal(&tbs));

        let mut expired = request.clone();
        (expired.not_before, expired.not_after) = (self.hierarchy.now.minus(HOUR * 3), self.hierarchy.now.minus(HOUR));
        push("expired", issuing.key.seal(&build_leaf(&expired, &issuing.issuer).unwrap()));

        let edited = |edit: &dyn Fn(&mut Tbs)| {
            let mut pieces = Tbs::of(&tbs);
            edit(&mut pieces);
            issuing.key.seal(&pieces.whole())
        };
        // RFC 5280 §4.2.1.6: the subject is empty.
        push("alt-name-not-critical", edited(&|tbs| tbs.extension(SUBJECT_ALT_NAME).retain(|part| part.tag() != Tag::Boolean)));
        // RFC 5280 §4.2.1.3: keyCertSign where cA is not asserted.
        push("leaf-that-signs", edited(&|tbs| tbs.set_value(KEY_USAGE, &[3, 2, 2, 0x84])));
        // RFC 5280 §4.1.2.2: a serial number is positive.
        push("serial-negative", edited(&|tbs| tbs.fields[1] = Any::new(Tag::Integer, vec![0x91; 8]).unwrap()));
        // RFC 5280 §4.2: one instance of each extension.
        push("extension-twice", edited(&|tbs| tbs.extensions.push(tbs.extensions[1].clone())));

        // RFC 5280 §6.1.4 (k): the certificate above is no CA's.
        let mut parent = self.hierarchy.client(self.stranger);
        parent.content = LeafContent::Client { common_name: Some("a.demo.test".to_owned()), names: parent.content.names() };
        let parent = issuing.key.seal(&build_leaf(&parent, &issuing.issuer).unwrap());
        let mut below = Tbs::of(&tbs);
        below.fields[3] = Any::from_der(ca_core::pki::Certificate::from_der(&parent).unwrap().subject_der()).unwrap();
        let chain = Chain {
            name: "broken/leaf-as-issuer".to_owned(),
            certificates: [vec![parent], issuing.chain.certificates.clone()].concat(),
            crls: issuing.chain.crls.clone(),
        };
        all.push(self.certificate("issued-by-a-leaf", self.stranger.seal(&below.whole()), &Arc::new(chain)));
    }

    /// Names outside of the authority's name constraints, in each form.
    fn names(&self, all: &mut Vec<Specimen>) {
        let issuing = &self.hierarchy.issuing;
        let tbs = build_leaf(&self.hierarchy.client(self.key), &issuing.issuer).unwrap();
        let names: [(&str, u8, &[u8]); 5] = [
            ("dns", 0x82, b"a.demo.example"),
            ("ipv4", 0x87, &[192, 0, 2, 1]),
            ("ipv6", 0x87, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ("email", 0x81, b"a@demo.test"),
            ("uri", 0x86, b"https://a.demo.test/"),
        ];
        for (form, tag, octets) in names {
            let name = [&[tag, u8::try_from(octets.len()).unwrap()][..], octets].concat();
            let mut pieces = Tbs::of(&tbs);
            pieces.set_value(SUBJECT_ALT_NAME, &Any::new(Tag::Sequence, name).unwrap().to_der().unwrap());
            all.push(self.certificate(&format!("forbidden-{form}"), issuing.key.seal(&pieces.whole()), &issuing.chain));
        }
    }

    fn crls(&self, all: &mut Vec<Specimen>) {
        let issuing = &self.hierarchy.issuing;
        let good = Vec::<Any>::from_der(&issuing.chain.crls[0]).unwrap();
        let tbs = good[0].to_der().unwrap();
        let mut push = |flaw: &str, der: Vec<u8>| {
            all.push(Specimen {
                name: format!("broken/crl-{flaw}"),
                profile: "crl",
                key: self.key.algorithm(),
                der,
                chain: Arc::clone(&issuing.chain),
                kind: Kind::Crl,
            });
        };
        push("truncated", issuing.chain.crls[0][..200].to_vec());
        push("signed-by-another", self.stranger.seal(&tbs));
        let mut unnumbered = Tbs::of(&tbs);
        unnumbered.extensions.retain(|extension| !is(extension, CRL_NUMBER));
        push("unnumbered", issuing.key.seal(&unnumbered.whole()));
    }

    fn answers(&self, all: &mut Vec<Specimen>) {
        let good = Asked::one(CertStatus::Good, "good");
        let responder = Responder { hierarchy: self.hierarchy, key: self.key, certificate: self.hierarchy.responder(self.key) };
        // A client of the same authority answers: it has no OCSPSigning (RFC 6960 §4.2.2.2).
        let client = build_leaf(&self.hierarchy.client(self.key), &self.hierarchy.issuing.issuer).unwrap();
        let pretender = Responder { certificate: self.hierarchy.issuing.key.seal(&client), ..responder };
        let responder = Responder { hierarchy: self.hierarchy, key: self.key, certificate: self.hierarchy.responder(self.key) };
        let now = self.hierarchy.now;
        let mut push = |flaw: &str, specimen: Specimen| {
            all.push(Specimen { name: format!("broken/ocsp-response-{flaw}"), ..specimen });
        };
        let mut truncated = responder.specimen("", &good);
        truncated.der.truncate(100);
        push("truncated", truncated);
        push("signed-by-another", responder.signed("", &good, now.plus(HOUR), |data| self.stranger.sign(data)));
        push("ends-before-it-begins", responder.signed("", &good, now.minus(HOUR), |data| self.key.sign(data)));
        push("by-a-client", pretender.specimen("", &good));
        // It tells of another certificate than the one asked about.
        let other = responder.specimen("", &good);
        push("about-another", Specimen { kind: responder.specimen("", &good).kind, ..other });
    }
}

/// The pieces of a to-be-signed certificate or CRL whose last field is the extensions.
struct Tbs {
    fields: Vec<Any>,
    /// The tag of the last field.
    tag: Tag,
    extensions: Vec<Vec<Any>>,
}

impl Tbs {
    fn of(tbs: &[u8]) -> Self {
        let mut fields = Vec::<Any>::from_der(tbs).unwrap();
        let last = fields.pop().unwrap();
        Self { fields, tag: last.tag(), extensions: Vec::from_der(last.value()).unwrap() }
    }

    fn whole(&self) -> Vec<u8> {
        let extensions = Any::new(self.tag, self.extensions.to_der().unwrap()).unwrap();
        [&self.fields[..], &[extensions]].concat().to_der().unwrap()
    }

    fn extension(&mut self, id: &[u8]) -> &mut Vec<Any> {
        self.extensions.iter_mut().find(|extension| is(extension, id)).unwrap()
    }

    fn set_value(&mut self, id: &[u8], value: &[u8]) {
        *self.extension(id).last_mut().unwrap() = Any::encode_from(&OctetString::new(value).unwrap()).unwrap();
    }
}

fn is(extension: &[Any], id: &[u8]) -> bool {
    extension[0].to_der().unwrap() == id
}
