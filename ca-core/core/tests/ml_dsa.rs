//! ML-DSA (FIPS 204) in X.509 (RFC 9881): the RFC's own examples, two libraries that agree on what is a signature, and
//! forms that are refused.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
    PqdsaVerificationAlgorithm, UnparsedPublicKey,
};
use ca_core::model::{RevocationReason, RevokedEntry};
use ca_core::pki::crl::{Crl, CrlHeader, build_crl_tbs};
use ca_core::pki::{
    Certificate, Csr, CsrError, Identifier, KeyAlgorithm, KeyError, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, VerifyError,
    algorithm_identifier_der, assemble_signed, key_algorithm, pem_decode_all, sha256, verify_signature,
};
use ca_core::profile::{check_key, lint_crl};
use der::asn1::BitString;
use der::{Decode as _, Encode as _};
use proptest::prelude::*;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq};

struct Set {
    key: KeyAlgorithm,
    signature: SignatureAlgorithm,
    signing: &'static PqdsaSigningAlgorithm,
    verification: &'static PqdsaVerificationAlgorithm,
    /// Octets of a signature (FIPS 204 §4, table 2).
    length: usize,
    /// SHA-256 of the SubjectPublicKeyInfo in RFC 9881, appendix C.2.
    example_key: &'static str,
    /// RFC 9881, appendix C.3.
    example: &'static str,
}

static SETS: [Set; 2] = [
    Set {
        key: KeyAlgorithm::MlDsa65,
        signature: SignatureAlgorithm::MlDsa65,
        signing: &ML_DSA_65_SIGNING,
        verification: &ML_DSA_65,
        length: 3309,
        example_key: "b8b62131bfbe84433efb2273d7f5b87f7a22854a2cfd366fc2aead86d837c52d",
        example: include_str!("vectors/rfc9881-ml-dsa-65.pem"),
    },
    Set {
        key: KeyAlgorithm::MlDsa87,
        signature: SignatureAlgorithm::MlDsa87,
        signing: &ML_DSA_87_SIGNING,
        verification: &ML_DSA_87,
        length: 4627,
        example_key: "07e57c4f14dbad1267f621ec3777b4e2e6c4fbc4c22fbb87510ff8e0b3c6a642",
        example: include_str!("vectors/rfc9881-ml-dsa-87.pem"),
    },
];

impl Set {
    fn pair(&self) -> PqdsaKeyPair {
        PqdsaKeyPair::generate(self.signing).unwrap()
    }

    /// What each library says of a signature.
    fn verdicts(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> (bool, bool) {
        let first = UnparsedPublicKey::new(self.verification, key.spki_der()).verify(message, signature).is_ok();
        (first, verify_signature(key, self.signature, message, signature).is_ok())
    }
}

fn public(pair: &PqdsaKeyPair) -> PublicKey {
    PublicKey::from_spki_der(pair.public_key().as_der().unwrap().as_ref().to_vec())
}

fn sign(pair: &PqdsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.algorithm().signature_len()];
    pair.sign(message, &mut signature).unwrap();
    signature
}

#[test]
fn the_examples_of_rfc_9881_are_read_and_verified() {
    let seed: Vec<u8> = (0..32).collect();
    for set in &SETS {
        let [der]: [Vec<u8>; 1] = pem_decode_all(set.example, "CERTIFICATE").unwrap().try_into().unwrap();
        let example = Certificate::from_der(&der).unwrap();
        let key = example.public_key();
        assert_eq!((example.signature_algorithm(), check_key(key)), (set.signature, Ok(set.key)));
        assert_eq!(sha256(key.spki_der()).to_string(), set.example_key);
        assert_eq!(example.is_signed_by(&example), Ok(()));
        assert_eq!(set.verdicts(key, example.tbs_der(), example.signature()), (true, true));
        // The seed of appendix C.1 makes the key of appendix C.2.
        assert_eq!(public(&PqdsaKeyPair::from_seed(set.signing, &seed).unwrap()), *key);
    }
}

#[test]
fn both_libraries_refuse_a_mutated_signature() {
    for set in &SETS {
        let pair = set.pair();
        let key = public(&pair);
        let signature = sign(&pair, b"message");
        assert_eq!(signature.len(), set.length);
        assert_eq!(set.verdicts(&key, b"message", &signature), (true, true));
        assert_eq!(set.verdicts(&key, b"another", &signature), (false, false));
        assert_eq!(set.verdicts(&public(&set.pair()), b"message", &signature), (false, false), "another key");
        // In the challenge, in the response, in the hint and in its last count.
        for at in [0, 31, 40, 100, set.length / 2, set.length - 100, set.length - 7, set.length - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(set.verdicts(&key, b"message", &changed), (false, false), "{} octet {at}", set.key);
        }
        for other in [&signature[1..], &signature[..set.length - 1], &[&signature[..], &[0]].concat(), &[], &vec![0; set.length]] {
            assert_eq!(set.verdicts(&key, b"message", other), (false, false), "{} octets", other.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_libraries_agree_on_every_mutation(which in 0..2usize, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let set = &SETS[which];
        let pair = PqdsaKeyPair::from_seed(set.signing, &[7; 32]).unwrap();
        let mut signature = sign(&pair, b"message");
        signature[at.index(set.length)] ^= flip;
        prop_assert_eq!(set.verdicts(&public(&pair), b"message", &signature), (false, false));
    }
}

#[test]
fn a_key_signs_as_itself_only() {
    let [a, b] = &SETS;
    let pair = a.pair();
    let (key, signature) = (public(&pair), sign(&pair, b"message"));
    for other in [b.signature, SignatureAlgorithm::Ed25519] {
        assert_eq!(verify_signature(&key, other, b"message", &signature), Err(VerifyError::AlgorithmMismatch));
    }
    let classical = rcgen::KeyPair::generate().unwrap();
    let classical = PublicKey::from_spki_der(rcgen::PublicKeyData::subject_public_key_info(&classical));
    assert_eq!(verify_signature(&classical, a.signature, b"message", &signature), Err(VerifyError::AlgorithmMismatch));
}

#[test]
fn keys_in_another_form_are_refused() {
    for set in &SETS {
        let key = public(&set.pair());
        assert_eq!(check_key(&key), Ok(set.key));
        let spki = SubjectPublicKeyInfoOwned::from_der(key.spki_der()).unwrap();
        let raw = spki.subject_public_key.raw_bytes().to_vec();
        let with = |algorithm: &AlgorithmIdentifierOwned, octets: &[u8]| {
            let spki =
                SubjectPublicKeyInfoOwned { algorithm: algorithm.clone(), subject_public_key: BitString::from_bytes(octets).unwrap() };
            check_key(&PublicKey::from_spki_der(spki.to_der().unwrap()))
        };
        assert_eq!(with(&spki.algorithm, &raw), Ok(set.key));

        // RFC 9881 §2: the parameters must be absent; not NULL either.
        let null = AlgorithmIdentifierOwned { parameters: Some(der::asn1::Any::null()), ..spki.algorithm.clone() };
        assert_eq!(with(&null, &raw), Err(KeyError::Unsupported));
        for wrong in [&raw[1..], &raw[..raw.len() - 1], &[&raw[..], &[0]].concat(), &[]] {
            assert!(matches!(with(&spki.algorithm, wrong), Err(KeyError::Weak(why)) if why.contains("octets")), "{}", wrong.len());
        }
        // RFC 9881 §4: the raw key, not an OCTET STRING around it.
        let wrapped = der::asn1::OctetString::new(raw.clone()).unwrap().to_der().unwrap();
        assert!(matches!(with(&spki.algorithm, &wrapped), Err(KeyError::Weak(_))));
        let der = key.spki_der();
        for bad in [&der[..der.len() - 1], &[der, &[0]].concat()] {
            assert!(matches!(check_key(&PublicKey::from_spki_der(bad.to_vec())), Err(KeyError::Malformed(_))));
        }
        // With t1 = 0 everyone signs.
        let hollow = [&raw[..32], &vec![0; raw.len() - 32]].concat();
        assert_eq!(with(&spki.algorithm, &hollow), Err(KeyError::Weak("the ML-DSA key's t1 is zero")));
    }
    let small = PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).unwrap();
    assert_eq!(key_algorithm(&public(&small)), Err(KeyError::Unsupported), "ML-DSA-44 is not on offer");
}

/// A request by x509-cert's structures, signed by aws-lc-rs.
fn request(pair: &PqdsaKeyPair, algorithm: &[u8], signature: Option<Vec<u8>>) -> Vec<u8> {
    let names = SubjectAltName(vec![GeneralName::DnsName("a.demo.test".to_owned().try_into().unwrap())]);
    let extension = x509_cert::ext::Extension {
        extn_id: const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME,
        critical: false,
        extn_value: der::asn1::OctetString::new(names.to_der().unwrap()).unwrap(),
    };
    let info = CertReqInfo {
        version: x509_cert::request::Version::V1,
        subject: "CN=a.demo.test".parse().unwrap(),
        public_key: SubjectPublicKeyInfoOwned::from_der(public(pair).spki_der()).unwrap(),
        attributes: vec![ExtensionReq(vec![extension]).try_into().unwrap()].try_into().unwrap(),
    };
    let signature = signature.unwrap_or_else(|| sign(pair, &info.to_der().unwrap()));
    let algorithm = AlgorithmIdentifierOwned::from_der(algorithm).unwrap();
    CertReq { info, algorithm, signature: BitString::from_bytes(&signature).unwrap() }.to_der().unwrap()
}

#[test]
fn requests_with_such_keys_are_read_and_prove_possession() {
    for set in &SETS {
        let pair = set.pair();
        let own = algorithm_identifier_der(set.signature);
        let csr = Csr::from_der(&request(&pair, &own, None)).unwrap();
        assert_eq!((csr.public_key(), csr.common_name()), (&public(&pair), Some("a.demo.test")));
        assert_eq!(csr.identifiers(), [Identifier::from_text("a.demo.test").unwrap()]);
        assert_eq!(check_key(csr.public_key()), Ok(set.key));

        let other = SETS.iter().find(|s| s.key != set.key).unwrap();
        let refused = |algorithm: &[u8], signature| Csr::from_der(&request(&pair, algorithm, signature)).unwrap_err();
        assert_eq!(refused(&own, Some(vec![0; set.length])), CsrError::Signature);
        assert_eq!(refused(&own, Some(vec![0; set.length + 1])), CsrError::Signature);
        assert_eq!(refused(&algorithm_identifier_der(other.signature), None), CsrError::Algorithm);
        assert_eq!(refused(&algorithm_identifier_der(SignatureAlgorithm::EcdsaP256Sha256), None), CsrError::Algorithm);
        let with_null = [&[0x30, 0x0d], &own[2..], &[5, 0]].concat();
        assert_eq!(refused(&with_null, None), CsrError::Algorithm);
    }
}

#[test]
fn a_long_crl_is_signed_whole() {
    // Ed25519's and ML-DSA's signers need the whole list: it is there once, as for every algorithm, and not copied.
    const ENTRIES: u32 = 20_000;
    let entry = |n: u32| {
        let mut bytes = [0x11; 20];
        bytes[16..].copy_from_slice(&n.to_be_bytes());
        RevokedEntry {
            serial: SerialNumber::from_bytes(bytes).unwrap(),
            revoked_at: Timestamp::from_unix(1_795_000_000),
            reason: RevocationReason::Superseded,
            invalidity_date: None,
        }
    };
    for set in &SETS {
        let header = CrlHeader {
            issuer_der: "CN=ML-DSA".parse::<x509_cert::name::Name>().unwrap().to_der().unwrap(),
            issuer_key_id: vec![7; 20],
            algorithm: set.signature,
            number: 1,
            this_update: Timestamp::from_unix(1_795_000_000),
            next_update: Timestamp::from_unix(1_795_086_400),
            partition_url: None,
        };
        let tbs = build_crl_tbs(&header, (0..ENTRIES).map(entry)).unwrap();
        assert_eq!(lint_crl(&tbs, &header), Ok(()));
        let pair = set.pair();
        let der = assemble_signed(&tbs, set.signature, &sign(&pair, &tbs));
        let crl = Crl::from_der(&der).unwrap();
        assert_eq!((crl.tbs_der(), crl.entries().len()), (tbs.as_slice(), 20_000));
        assert_eq!(set.verdicts(&public(&pair), crl.tbs_der(), crl.signature()), (true, true));
        let mut changed = tbs.clone();
        changed[500_000] ^= 1;
        assert_eq!(set.verdicts(&public(&pair), &changed, crl.signature()), (false, false));
    }
}

#[test]
fn names_and_marks() {
    for set in &SETS {
        assert!(set.key.is_post_quantum());
        assert_eq!(set.key.name().parse(), Ok(set.key));
        assert_eq!(serde_json::to_string(&set.key).unwrap(), format!("\"{}\"", set.key));
        assert_eq!(set.key.described(), format!("{} (post-quantum, software only)", set.key));
    }
    assert_eq!(KeyAlgorithm::P384.described(), "p384");
    let error = "ml-dsa-44".parse::<KeyAlgorithm>().unwrap_err();
    assert!(error.contains("p256") && error.ends_with("ml-dsa-65, ml-dsa-87)"), "{error}");
}
