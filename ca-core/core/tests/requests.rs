//! Certification requests and signatures from other implementations, and bytes from nowhere.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use ca_core::pki::{
    Certificate, Csr, CsrError, Identifier, KeyAlgorithm, PublicKey, SignatureAlgorithm, VerifyError, key_algorithm, pem_decode_all,
    verify_signature,
};
use ca_core::profile::check_key;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _, SanType, SignatureAlgorithm as RcgenAlgorithm, SigningKey as _};

const ALGORITHMS: [(&RcgenAlgorithm, KeyAlgorithm); 6] = [
    (&rcgen::PKCS_ECDSA_P256_SHA256, KeyAlgorithm::P256),
    (&rcgen::PKCS_ECDSA_P384_SHA384, KeyAlgorithm::P384),
    (&rcgen::PKCS_ED25519, KeyAlgorithm::Ed25519),
    (&rcgen::PKCS_RSA_SHA256, KeyAlgorithm::Rsa2048),
    (&rcgen::PKCS_ML_DSA_65, KeyAlgorithm::MlDsa65),
    (&rcgen::PKCS_ML_DSA_87, KeyAlgorithm::MlDsa87),
];

fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["b.demo.test".to_owned(), "a.demo.test".to_owned(), "::1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).unwrap().der().to_vec()
}

fn names(texts: &[&str]) -> Vec<Identifier> {
    texts.iter().map(|t| Identifier::from_text(t).unwrap()).collect()
}

#[test]
fn requests_of_every_kind_of_key_are_read() {
    for (algorithm, expected) in ALGORITHMS {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = Csr::from_der(&request(&key, |p| p.distinguished_name.push(DnType::CommonName, "a.demo.test"))).unwrap();
        assert_eq!(csr.identifiers(), names(&["a.demo.test", "b.demo.test", "::1"]));
        assert_eq!(csr.common_name(), Some("a.demo.test"));
        assert_eq!(csr.public_key().spki_der(), key.subject_public_key_info());
        assert_eq!(check_key(csr.public_key()), Ok(expected));
    }
}

#[test]
fn lesson_29_names_are_taken_once_or_refused() {
    let key = KeyPair::generate().unwrap();
    let read = |change: fn(&mut CertificateParams)| Csr::from_der(&request(&key, change));
    let none = read(|p| p.subject_alt_names.clear()).unwrap();
    assert_eq!((none.identifiers(), none.common_name()), (&[][..], None));
    let twice = read(|p| {
        p.subject_alt_names = vec![SanType::DnsName("A.test".try_into().unwrap()), SanType::DnsName("a.TEST".try_into().unwrap())]
    });
    assert_eq!(twice.unwrap().identifiers(), names(&["a.test"]));

    let more = read(|p| {
        p.subject_alt_names.push(SanType::URI("spiffe://demo.test/a".try_into().unwrap()));
        p.subject_alt_names.push(SanType::Rfc822Name("a@demo.test".try_into().unwrap()));
    });
    let more = more.unwrap();
    assert_eq!(more.identifiers(), names(&["a.demo.test", "b.demo.test", "::1"]));
    let rest: Vec<_> = more.alt_names().iter().filter(|n| n.identifier().is_none()).map(ToString::to_string).collect();
    assert_eq!(rest, ["spiffe://demo.test/a", "a@demo.test"]);
    for bad in [SanType::URI("no uri".try_into().unwrap()), SanType::Rfc822Name("no mailbox".try_into().unwrap())] {
        let der = request(&key, |p| p.subject_alt_names.push(bad));
        assert!(matches!(Csr::from_der(&der), Err(CsrError::Malformed(_))));
    }
    let device = Identifier::parse("permanent-identifier", "SN-1/1.2.3").unwrap();
    let module = Identifier::parse("hardware-module", "SN-1/1.2.3").unwrap();
    let named = ca_testkit::attestation::csr(&ca_testkit::specimens::Key::generate(KeyAlgorithm::P256), &[device.clone(), module.clone()]);
    assert_eq!(Csr::from_der(&named).unwrap().identifiers(), [device, module]);

    // Lesson 29: every form passes the policy, and the unknown ones are refused.
    let other = read(|p| p.subject_alt_names.push(SanType::OtherName((vec![1, 3, 6, 1], "x".into()))));
    assert_eq!(other, Err(CsrError::NameType("otherName")));
    let many = read(|p| p.subject_alt_names = (0..101).map(|i| SanType::DnsName(format!("h{i}.test").try_into().unwrap())).collect());
    assert_eq!(many, Err(CsrError::TooManyNames));
    for bad in ["a_b.test", "a b.test", "1.2.3.4", "*", ""] {
        let der = request(&key, |p| p.subject_alt_names = vec![SanType::DnsName(bad.try_into().unwrap())]);
        assert!(matches!(Csr::from_der(&der), Err(CsrError::Malformed(_))), "{bad}");
    }
}

#[test]
fn what_a_request_asks_for_beyond_names_is_not_even_read() {
    let key = KeyPair::generate().unwrap();
    let meaning = |csr: &Csr| (csr.public_key().clone(), csr.identifiers().to_vec(), csr.common_name().map(str::to_owned));
    let plain = Csr::from_der(&request(&key, |_| ())).unwrap();
    let greedy = request(&key, |p| {
        p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        p.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning];
    });
    let greedy = Csr::from_der(&greedy).unwrap();
    assert_eq!((meaning(&greedy), greedy.challenge()), (meaning(&plain), None));
}

#[test]
fn possession_is_proven() {
    for (algorithm, _) in ALGORITHMS {
        let (key, other) = (KeyPair::generate_for(algorithm).unwrap(), KeyPair::generate_for(algorithm).unwrap());
        let der = request(&key, |_| ());
        // Another's key of the same length in its place.
        let (mine, theirs) = (key.subject_public_key_info(), other.subject_public_key_info());
        let at = der.windows(mine.len()).position(|w| w == mine).unwrap();
        let mut stolen = der.clone();
        stolen[at..at + theirs.len()].copy_from_slice(&theirs);
        assert_eq!(Csr::from_der(&stolen), Err(CsrError::Signature), "{algorithm:?}");
    }
}

/// OpenSSL's own requests: every digest, and RSA beside ECDSA. Skipped where there is no OpenSSL.
#[test]
fn requests_of_openssl_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| std::process::Command::new("openssl").current_dir(dir.path()).args(args).output();
    if run(&["version"]).is_err() {
        return;
    }
    let cases: [(&[&str], &[&str]); 4] = [
        (&["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha256", "-sha384", "-sha512"]),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-sha256", "-sha384", "-sha512"]),
        (&["rsa", "-pkeyopt", "rsa_keygen_bits:2048"], &["-sha256", "-sha384", "-sha512"]),
        (&["ed25519"], &["-sha256"]),
    ];
    for (kind, digests) in cases {
        assert!(run(&[&["genpkey", "-out", "key.pem", "-algorithm"], kind].concat()).unwrap().status.success());
        for digest in digests {
            let subject = ["-subj", "/O=Demo/CN=a.demo.test", "-addext", "subjectAltName=DNS:a.demo.test,IP:10.0.0.1"];
            let output = run(&[&["req", "-new", "-key", "key.pem", digest], &subject[..]].concat()).unwrap();
            let der = pem_decode_all(&String::from_utf8(output.stdout).unwrap(), "CERTIFICATE REQUEST").unwrap().remove(0);
            let csr = Csr::from_der(&der).unwrap_or_else(|e| panic!("{kind:?} {digest}: {e}"));
            assert_eq!((csr.identifiers(), csr.common_name()), (&names(&["a.demo.test", "10.0.0.1"])[..], Some("a.demo.test")));
        }
        let output = run(&["req", "-new", "-key", "key.pem", "-subj", "/CN=a/CN=b", "-sha256"]).unwrap();
        let der = pem_decode_all(&String::from_utf8(output.stdout).unwrap(), "CERTIFICATE REQUEST").unwrap().remove(0);
        assert_eq!(Csr::from_der(&der), Err(CsrError::CommonName));
    }
    // SHA-1 is out.
    assert!(run(&["genpkey", "-out", "key.pem", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"]).unwrap().status.success());
    let output = run(&["req", "-new", "-key", "key.pem", "-subj", "/CN=a", "-sha1"]).unwrap();
    if let Ok(blocks) = pem_decode_all(&String::from_utf8_lossy(&output.stdout), "CERTIFICATE REQUEST") {
        assert_eq!(Csr::from_der(&blocks[0]), Err(CsrError::Algorithm));
    }
}

#[test]
fn signatures_are_judged_by_key_algorithm_and_message() {
    for (algorithm, kind) in ALGORITHMS {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let public = PublicKey::from_spki_der(key.subject_public_key_info());
        let signature = key.sign(b"message").unwrap();
        let alg = kind.signature_algorithm();
        assert_eq!(verify_signature(&public, alg, b"message", &signature), Ok(()));
        assert_eq!(verify_signature(&public, alg, b"massage", &signature), Err(VerifyError::Signature));
        assert_eq!(verify_signature(&public, alg, b"message", &[]), Err(VerifyError::Signature));
        assert_eq!(verify_signature(&public, alg, b"message", &[&signature[..], &[0]].concat()), Err(VerifyError::Signature));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(verify_signature(&public, alg, b"message", &changed), Err(VerifyError::Signature), "{kind} {at}");
        }
        let other = if alg == SignatureAlgorithm::Ed25519 { SignatureAlgorithm::EcdsaP256Sha256 } else { SignatureAlgorithm::Ed25519 };
        assert_eq!(verify_signature(&public, other, b"message", &signature), Err(VerifyError::AlgorithmMismatch));
    }
}

/// Every parser, for its panics only.
fn read_all(bytes: &[u8]) {
    let _ = Certificate::from_der(bytes);
    let _ = Csr::from_der(bytes);
    let key = PublicKey::from_spki_der(bytes.to_vec());
    let _ = key_algorithm(&key);
    let _ = check_key(&key);
    let _ = pem_decode_all(&String::from_utf8_lossy(bytes), "X");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
        prop_assert!(Certificate::from_der(&bytes).is_err());
        prop_assert!(Csr::from_der(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn changed_objects_are_read_or_refused(
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static OBJECTS: std::sync::LazyLock<Vec<[Vec<u8>; 3]>> = std::sync::LazyLock::new(|| {
            ALGORITHMS.iter().map(|(algorithm, _)| {
                let key = KeyPair::generate_for(algorithm).unwrap();
                let mut params = CertificateParams::new(vec!["a.demo.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                params.use_authority_key_identifier_extension = true;
                let certificate = params.self_signed(&key).unwrap().der().to_vec();
                [certificate, request(&key, |_| ()), key.subject_public_key_info()]
            }).collect()
        });
        for object in &OBJECTS[which] {
            let mut bytes = object.clone();
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            read_all(&bytes);
            // One bit of what a signature covers, or of the signature, is enough.
            if let (Ok(changed), true) = (Csr::from_der(&bytes), bytes != *object) {
                prop_assert_eq!(Ok(changed), Csr::from_der(object));
            }
        }
    }
}
