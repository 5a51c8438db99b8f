//! What a ceremony relies on of CA certificates, requests and what stands below a root.

use super::fixtures::*;
use crate::ceremony::{Hierarchy, IssuedCa, KeyRequest, RequestStatement, Roster, WantedKey};
use crate::model::{RevocationReason, RevokedEntry};
use crate::pki::crl::{CrlHeader, build_crl_tbs};
use crate::pki::{Certificate, Csr, KeyAlgorithm, SerialNumber, Sha256Digest, Timestamp, assemble_signed, encode, request_info, sha256};
use crate::ports::{DeviceIdentity, DeviceKind, KeyAttributes, Rng};
use crate::profile::*;
use std::time::Duration;

fn roster() -> Roster {
    let key = |seed: u8| {
        let private = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]));
        private.public_key().to_openssh().unwrap()
    };
    Roster::parse(&format!(
        "kind = \"production\"\nthreshold = 2\n[[officer]]\nname = \"ana\"\nkeys = [\"{}\"]\n[[officer]]\nname = \"bela\"\nkeys = [\"{}\"]\n",
        key(1),
        key(2)
    ))
    .unwrap()
}

fn crl(number: u64, entries: Vec<RevokedEntry>) -> Vec<u8> {
    let root = HIERARCHY.root.certificate();
    let header = CrlHeader {
        issuer_der: root.subject_der().to_vec(),
        issuer_key_id: root.key_identifier().unwrap().to_vec(),
        algorithm: HIERARCHY.root.signature_algorithm(),
        number,
        this_update: at("2026-11-25T00:00:00Z"),
        next_update: at("2027-11-25T00:00:00Z"),
        partition_url: None,
    };
    let tbs = build_crl_tbs(&header, entries.into_iter()).unwrap();
    assemble_signed(&tbs, header.algorithm, &HIERARCHY.root_key.sign(&tbs))
}

fn issued(authority: &str, certificate: &Certificate) -> IssuedCa {
    let (authority, profile) = (authority.parse().unwrap(), "intermediate".to_owned());
    IssuedCa { key: "key".parse().unwrap(), authority, profile, certificate: certificate.der().to_vec() }
}

fn hierarchy(issued: Vec<IssuedCa>) -> Result<Hierarchy, crate::ceremony::CeremonyError> {
    let root = HIERARCHY.root.certificate().der().to_vec();
    Hierarchy::begin("root".parse().unwrap(), "root-key".parse().unwrap(), &roster(), root, crl(10, vec![]), issued)
}

fn certified(request: &IntermediateRequest) -> Certificate {
    let tbs = build_intermediate(request, &HIERARCHY.root).unwrap();
    assert_eq!(lint_intermediate(&tbs, request, &HIERARCHY.root), Ok(()));
    HIERARCHY.root_key.certify(&tbs)
}

fn request_for(key: &Key, name: &str, last: u8) -> IntermediateRequest {
    let request = intermediate_request(key, &["dns:demo.test"]);
    IntermediateRequest { subject: CaSubject { common_name: name.to_owned(), ..request.subject }, serial: serial(last), ..request }
}

#[track_caller]
fn refused<T>(result: Result<T, crate::ceremony::CeremonyError>, part: &str) {
    match result {
        Ok(_) => panic!("it is refused for: {part}"),
        Err(e) => assert!(e.to_string().contains(part), "{part}: {e}"),
    }
}

#[test]
fn ceremony_27_subject_and_key_identifier_are_one_to_one() {
    let (a, b) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::P256));
    let first = certified(&request_for(&a, "A", 11));
    let whole = hierarchy(vec![issued("a", &first), issued("b", &certified(&request_for(&b, "B", 12)))]).unwrap();
    assert_eq!(Hierarchy::parse(&whole.to_bytes()).unwrap(), whole);
    let both = |other: IntermediateRequest| hierarchy(vec![issued("a", &first), issued("b", &certified(&other))]);
    refused(both(request_for(&b, "A", 12)), "not one to one");
    refused(both(request_for(&a, "B", 12)), "not one to one");
    refused(both(request_for(&b, "B", 11)), "stands twice");
    // The same CA certified again is one to one.
    both(request_for(&a, "A", 12)).unwrap();
    // And before anything is prepared:
    let name = |text: &str| request_for(&a, text, 1).subject.to_der().unwrap();
    let fresh = Key::generate(KeyAlgorithm::P256);
    whole.check_new(&name("C"), &fresh.public).unwrap();
    refused(whole.check_new(&name("C"), &a.public), "already");
    refused(whole.check_new(&name("C"), &HIERARCHY.root_key.public), "already");
    refused(whole.check_new(&name("B"), &fresh.public), "has another key already");
    // What another root signed is none of this one's.
    let stranger = Key::generate(KeyAlgorithm::P256);
    let forged = stranger.certify(&build_intermediate(&request_for(&b, "B", 12), &HIERARCHY.root).unwrap());
    refused(hierarchy(vec![issued("b", &forged)]), "signature");
    let text = String::from_utf8(whole.to_bytes()).unwrap();
    refused(Hierarchy::parse(text.replacen("\"intermediate\"", "\"leaf\"", 1).as_bytes()), "no profile of a CA certificate");
    refused(Hierarchy::parse(format!("{text} ").as_bytes()), "canonical");
    refused(Hierarchy::parse(text.replacen("hierarchy/1", "hierarchy/2", 1).as_bytes()), "format");
}

#[test]
fn ceremony_32_numbers_only_grow_and_no_entry_vanishes() {
    let key = Key::generate(KeyAlgorithm::P256);
    let before = hierarchy(vec![issued("a", &certified(&request_for(&key, "A", 11)))]).unwrap();
    let entry = |last| RevokedEntry {
        serial: serial(last),
        revoked_at: at("2026-11-24T00:00:00Z"),
        reason: RevocationReason::Superseded,
        invalidity_date: None,
    };
    let follow = |from: &Hierarchy, crl| from.followed_by(sha256(b"transcript"), &roster(), vec![], Some(crl));
    refused(follow(&before, crl(9, vec![])), "does not grow");
    refused(follow(&before, crl(10, vec![entry(11)])), "does not grow");
    let entries = before.entries_with(vec![entry(11)]).unwrap();
    let after = follow(&before, crl(11, entries.clone())).unwrap();
    assert_eq!(after.ceremonies(), [sha256(b"transcript")]);
    refused(follow(&after, crl(12, vec![])), "has lost the entry");
    let changed = RevokedEntry { reason: RevocationReason::Unspecified, ..entry(11) };
    refused(follow(&after, crl(12, vec![changed])), "has lost the entry");
    follow(&after, crl(12, entries)).unwrap();
    refused(after.entries_with(vec![entry(11)]), "is revoked already");
    refused(before.entries_with(vec![entry(99)]), "is none that this root issued");
}

fn statement(key: &Key, made_at: Timestamp) -> RequestStatement {
    RequestStatement {
        format: RequestStatement::FORMAT.to_owned(),
        plan_sha256: sha256(b"plan"),
        nonce: "0f".repeat(16),
        root: "root".parse().unwrap(),
        authority: "b".parse().unwrap(),
        key: "b-key".parse().unwrap(),
        public_key: key.public.clone(),
        device: DeviceIdentity { kind: DeviceKind::Software, model: "files".to_owned(), serial: "1".to_owned(), firmware: None },
        attributes: KeyAttributes {
            made_inside: true,
            sensitive: false,
            extractable: false,
            wrap_with_trusted_only: false,
            capabilities: vec![],
            domains: vec![],
        },
        attestation: None,
        certificate: None,
        made_at,
        expires_at: made_at.plus(Duration::from_secs(3600)),
    }
}

fn pkcs10(key: &Key, challenge: &str) -> Vec<u8> {
    let info = request_info(&[0x30, 0], &key.public, challenge);
    assemble_signed(&info, key.algorithm.signature_algorithm(), &key.sign(&info))
}

#[test]
fn ceremony_28_a_request_proves_possession_for_one_plan_and_only_its_key_is_taken() {
    let now = at("2026-11-25T00:00:00Z");
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048] {
        let key = Key::generate(algorithm);
        let said = statement(&key, now);
        let request = KeyRequest::new(said.clone(), pkcs10(&key, &said.challenge())).unwrap();
        assert_eq!(KeyRequest::parse(&request.to_bytes()).unwrap(), request);
        assert_eq!(request.public_key(), &key.public);
    }
    let (key, other) = (Key::generate(KeyAlgorithm::P256), Key::generate(KeyAlgorithm::P256));
    let said = statement(&key, now);
    let good = pkcs10(&key, &said.challenge());
    // Another key in the request; another key's signature; another statement's request; no challenge at all.
    refused(KeyRequest::new(said.clone(), pkcs10(&other, &said.challenge())), "another key than its statement");
    let info = request_info(&[0x30, 0], &key.public, &said.challenge());
    let forged = assemble_signed(&info, other.algorithm.signature_algorithm(), &other.sign(&info));
    refused(KeyRequest::new(said.clone(), forged), "does not verify with its own key");
    let later = RequestStatement { nonce: "1f".repeat(16), ..said.clone() };
    refused(KeyRequest::new(later, good.clone()), "signed for another statement");
    refused(KeyRequest::new(said.clone(), pkcs10(&key, "")), "signed for another statement");
    let long = RequestStatement { expires_at: now.plus(Duration::from_secs(31 * 86_400)), ..said.clone() };
    refused(KeyRequest::new(long, good.clone()), "within 30 days");
    let request = KeyRequest::new(said, good).unwrap();
    for at in [0, 40, request.to_bytes().len() / 2] {
        let mut bytes = request.to_bytes();
        bytes[at] ^= 1;
        assert!(KeyRequest::parse(&bytes).is_err(), "byte {at}");
    }

    let (root, authority, label) = ("root".parse().unwrap(), "b".parse().unwrap(), "b-key".parse().unwrap());
    let nonce = "0f".repeat(16);
    let wanted = WantedKey {
        plan_sha256: sha256(b"plan"),
        nonce: &nonce,
        root: &root,
        authority: &authority,
        key: &label,
        algorithm: Some(KeyAlgorithm::P256),
        certificate_sha256: None,
    };
    request.answers(&wanted, now).unwrap();
    request.answers(&wanted, now.plus(Duration::from_secs(3599))).unwrap();
    refused(request.answers(&wanted, now.plus(Duration::from_secs(3600))), "it ended at");
    refused(request.answers(&wanted, now.minus(Duration::from_secs(301))), "the clock says");
    refused(request.answers(&WantedKey { plan_sha256: sha256(b"other"), ..wanted.clone() }, now), "it was made for the plan");
    let nonce = "1f".repeat(16);
    refused(request.answers(&WantedKey { nonce: &nonce, ..wanted.clone() }, now), "another nonce");
    let other = "c".parse().unwrap();
    refused(request.answers(&WantedKey { authority: &other, ..wanted.clone() }, now), "not what the plan says");
    refused(request.answers(&WantedKey { algorithm: Some(KeyAlgorithm::P384), ..wanted.clone() }, now), "p256 key");
    refused(request.answers(&WantedKey { certificate_sha256: Some(Sha256Digest([0; 32])), ..wanted }, now), "another certificate");

    // A challenge that stands twice says two things.
    let challenge = |text: &str| {
        let value = encode::tlv(0x31, &encode::tlv(0x13, text.as_bytes()));
        encode::sequence(&[&encode::oid(crate::pki::oid::CHALLENGE_PASSWORD), &value])
    };
    let attributes = encode::tlv(0xa0, &[challenge("a"), challenge("b")].concat());
    let info = encode::sequence(&[&encode::integer(0), &[0x30, 0], key.public.spki_der(), &attributes]);
    let twice = assemble_signed(&info, key.algorithm.signature_algorithm(), &key.sign(&info));
    assert!(Csr::from_der(&twice).unwrap_err().to_string().contains("challengePassword"));
}

#[test]
fn ceremony_29_serial_numbers_are_159_random_positive_unique_bits() {
    struct Fixed(u8);
    impl Rng for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }
    // 160 bits are drawn, and the sign bit is not theirs.
    for byte in [0xff, 0x80, 0x01] {
        let serial = SerialNumber::random(&Fixed(byte));
        let der = serial.to_der_integer();
        assert!(der.len() <= 20 && der[0] & 0x80 == 0, "positive, 20 octets at most: {der:02x?}");
    }
    struct Drawn;
    impl Rng for Drawn {
        fn fill(&self, out: &mut [u8]) {
            aws_lc_rs::rand::fill(out).unwrap();
        }
    }
    let drawn: Vec<SerialNumber> = (0..4000).map(|_| SerialNumber::random(&Drawn)).collect();
    let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
    assert_eq!(distinct.len(), drawn.len());
    // Each of the 159 bits is set in about half of them: within ten standard deviations (32 each).
    for bit in 1..160 {
        let set = drawn.iter().filter(|s| s.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0).count();
        assert!((1680..=2320).contains(&set), "bit {bit}: {set} of 4000");
    }
    assert!(drawn.iter().all(|s| s.as_bytes()[0] & 0x80 == 0));
}

#[test]
fn ceremony_30_a_subordinate_lies_inside_its_issuer_and_is_constrained() {
    let key = Key::generate(KeyAlgorithm::P256);
    let good = request_for(&key, "A", 11);
    let root_end = HIERARCHY.root.certificate().not_after();
    certified(&IntermediateRequest { not_after: root_end, ..good.clone() });
    let late = IntermediateRequest { not_after: root_end.plus(Duration::from_secs(1)), ..good.clone() };
    assert!(matches!(build_intermediate(&late, &HIERARCHY.root), Err(ProfileError::OutlivesIssuer(..))));
    let free = IntermediateRequest { permitted: vec![], ..good.clone() };
    assert!(matches!(build_intermediate(&free, &HIERARCHY.root), Err(ProfileError::Names(_))));
    // Bytes without pathLenConstraint or name constraints do not pass the lint, whoever built them.
    let tbs = build_intermediate(&good, &HIERARCHY.root).unwrap();
    let without_path_len: Vec<u8> = {
        let at = tbs.windows(8).position(|w| w == [0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00]).unwrap();
        let mut tbs = tbs.clone();
        tbs[at + 7] = 1;
        tbs
    };
    let findings = lint_intermediate(&without_path_len, &good, &HIERARCHY.root).unwrap_err();
    assert_eq!(findings.iter().map(|f| f.rule).collect::<Vec<_>>(), ["basic-constraints"]);
    let wider = IntermediateRequest { permitted: vec!["dns:demo.test".parse().unwrap(), "dns:more.test".parse().unwrap()], ..good.clone() };
    let findings = lint_intermediate(&build_intermediate(&wider, &HIERARCHY.root).unwrap(), &good, &HIERARCHY.root).unwrap_err();
    assert_eq!(findings.iter().map(|f| f.rule).collect::<Vec<_>>(), ["name-constraints"]);

    // A cross-certificate too; its subject, key and key identifier are the other CA's own.
    let other = Key::generate(KeyAlgorithm::P384);
    let own =
        RootRequest { subject: CaSubject { common_name: "Other Root".to_owned(), ..root_request(&other).subject }, ..root_request(&other) };
    let own = other.certify(&build_root(&own).unwrap());
    let cross = CrossRequest {
        subject: own.clone(),
        serial: serial(12),
        not_before: good.not_before,
        not_after: good.not_after,
        urls: good.urls.clone(),
        permitted: vec!["dns:other.test".parse().unwrap()],
        path_len: 1,
    };
    let tbs = build_cross(&cross, &HIERARCHY.root).unwrap();
    assert_eq!(lint_cross(&tbs, &cross, &HIERARCHY.root), Ok(()));
    let certificate = HIERARCHY.root_key.certify(&tbs);
    certificate.is_signed_by(HIERARCHY.root.certificate()).unwrap();
    assert_eq!((certificate.subject_der(), certificate.public_key()), (own.subject_der(), own.public_key()));
    assert_eq!(certificate.key_identifier(), own.key_identifier());
    for wrong in [
        CrossRequest { path_len: 0, ..cross.clone() },
        CrossRequest { permitted: vec!["dns:wider.test".parse().unwrap()], ..cross.clone() },
        CrossRequest { serial: serial(13), ..cross.clone() },
        CrossRequest { subject: certified(&good), ..cross.clone() },
    ] {
        assert!(lint_cross(&tbs, &wrong, &HIERARCHY.root).is_err());
    }
    assert!(build_cross(&CrossRequest { permitted: vec![], ..cross.clone() }, &HIERARCHY.root).is_err());
    assert!(build_cross(&CrossRequest { not_after: root_end.plus(Duration::from_secs(1)), ..cross.clone() }, &HIERARCHY.root).is_err());
    let leaf = HIERARCHY.issue(&HIERARCHY.leaf_request(LeafShape::Client));
    assert!(build_cross(&CrossRequest { subject: leaf, ..cross.clone() }, &HIERARCHY.root).is_err(), "a leaf is no CA");
    assert!(build_cross(&CrossRequest { subject: HIERARCHY.root.certificate().clone(), ..cross }, &HIERARCHY.root).is_err());
}
