//! OCSP messages against OpenSSL's, byte for byte, and against input that no client sends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::LazyLock;

use ca_core::model::RevocationReason;
use ca_core::pki::ocsp::{
    Answer, BasicResponse, CertId, CertStatus, HashAlgorithm, IssuerId, MAX_CERT_IDS, OcspError, OcspRequest, ResponseData, ResponseStatus,
    assemble_response, build_request, build_response_data, error_response,
};
use ca_core::pki::{Certificate, SerialNumber, SignatureAlgorithm, Timestamp};
use proptest::prelude::*;

static ISSUER: LazyLock<Certificate> = LazyLock::new(|| {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
    Certificate::from_der(&der).unwrap()
});

fn issuer_id() -> IssuerId {
    IssuerId::new(ISSUER.subject_der(), ISSUER.public_key()).unwrap()
}

fn serial(text: &str) -> SerialNumber {
    text.parse().unwrap()
}

fn openssl_request(arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca_core::pki::pem_encode("CERTIFICATE", ISSUER.der())).unwrap();
    let output = Command::new("openssl").args(["ocsp", "-reqout", "r.der"]).args(arguments).current_dir(folder.path()).output();
    let output = output.expect("openssl runs (package openssl)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.path().join("r.der")).unwrap()
}

#[test]
fn requests_agree_with_openssl() {
    let plain = openssl_request(&["-no_nonce", "-issuer", "ca.pem", "-serial", "0x8765"]);
    let id = CertId::new(HashAlgorithm::Sha1, &issuer_id(), serial("8765")).unwrap();
    assert_eq!(build_request(&[id], None).unwrap(), plain);

    let many = openssl_request(&["-issuer", "ca.pem", "-sha256", "-serial", "0x8765", "-sha1", "-serial", "1", "-sha512", "-serial", "2"]);
    let request = OcspRequest::from_der(&many).unwrap();
    assert!(request.nonce.is_some_and(|n| n.len() >= 16));
    let found: Vec<_> = request.cert_ids.iter().map(|id| (id.hash_algorithm().unwrap(), id.serial().unwrap().to_string())).collect();
    let expected = [(HashAlgorithm::Sha256, "8765"), (HashAlgorithm::Sha1, "01"), (HashAlgorithm::Sha512, "02")];
    assert_eq!(found, expected.map(|(h, s)| (h, s.to_owned())));
    assert!(request.cert_ids.iter().all(|id| issuer_id().is_issuer_of(id)));
}

/// A request with any nonce, which the builder refuses in part.
fn request_by_hand(id: &CertId, nonce: &[u8]) -> Vec<u8> {
    let tlv = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = match content.len() {
            len @ 0..0x80 => vec![len as u8],
            len @ 0x80..0x100 => vec![0x81, len as u8],
            len => vec![0x82, (len >> 8) as u8, len as u8],
        };
        [&[tag][..], &length, &content].concat()
    };
    // 1.3.6.1.5.5.7.48.1.2
    let extension = tlv(0x30, &[&[0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2], &tlv(0x04, &[&tlv(0x04, &[nonce])])]);
    let list = tlv(0x30, &[&tlv(0x30, &[id.der()])]);
    tlv(0x30, &[&tlv(0x30, &[&list, &tlv(0xa2, &[&tlv(0x30, &[&extension])])])])
}

#[test]
fn nonces_of_1_to_128_octets_are_read() {
    let id = CertId::new(HashAlgorithm::Sha256, &issuer_id(), serial("1")).unwrap();
    for (len, accepted) in [(0, false), (1, true), (32, true), (128, true), (129, false)] {
        let nonce = vec![7; len];
        let built = build_request(std::slice::from_ref(&id), Some(&nonce));
        let by_hand = request_by_hand(&id, &nonce);
        assert_eq!(built.ok(), accepted.then(|| by_hand.clone()), "{len}");
        assert_eq!(OcspRequest::from_der(&by_hand).ok().map(|r| r.nonce), accepted.then_some(Some(nonce)), "{len}");
    }
    assert!(build_request(&vec![id; MAX_CERT_IDS + 1], None).is_err());
}

#[test]
fn what_is_no_request_is_an_error() {
    // SEQUENCE { SEQUENCE { [0] {} } }: the six octets that panic another implementation.
    for bad in ["", "30", "3000", "30023000", "30043002a000", "3080", "30047f", "300530033001", "3084ffffffff"] {
        let bytes: Vec<u8> = (0..bad.len()).step_by(2).map(|i| u8::from_str_radix(&bad[i..i + 2], 16).unwrap()).collect();
        assert!(OcspRequest::from_der(&bytes).is_err(), "{bad}");
    }
    assert!(matches!(OcspRequest::from_der(&[0x30; 20_000]), Err(OcspError::Unacceptable(_))));
}

fn response_data(status: CertStatus) -> ResponseData {
    let at = Timestamp::from_unix(1_795_478_400);
    ResponseData {
        produced_at: at,
        answers: vec![Answer {
            cert_id: CertId::new(HashAlgorithm::Sha1, &issuer_id(), serial("abcdef")).unwrap(),
            status,
            this_update: at,
            next_update: Timestamp::from_unix(1_795_482_000),
        }],
        nonce: Some(vec![9; 32]),
        extended_revoke: true,
    }
}

#[test]
fn responses_round_trip() {
    let revoked = |reason| CertStatus::Revoked { at: Timestamp::from_unix(0), reason };
    let statuses = [CertStatus::Good, CertStatus::Unknown].into_iter().chain(RevocationReason::ALL.map(revoked));
    for status in statuses {
        let data = response_data(status);
        let der = build_response_data(&data, ISSUER.public_key()).unwrap();
        let whole = assemble_response(&der, SignatureAlgorithm::RsaPkcs1Sha256, &[1, 2, 3], ISSUER.der()).unwrap();
        let read = BasicResponse::from_der(&whole).unwrap();
        assert_eq!((&read.data, read.data_der.as_slice()), (&data, der.as_slice()));
        assert_eq!((read.signature.as_slice(), read.certificates.as_slice()), (&[1, 2, 3][..], &[ISSUER.der().to_vec()][..]));
    }
    let refused = BasicResponse::from_der(&error_response(ResponseStatus::TryLater));
    assert_eq!(refused, Err(OcspError::Status(ResponseStatus::TryLater)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn mutated_messages_are_read_or_refused(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<proptest::sample::Index>(),
        whether_cut in proptest::bool::weighted(0.1),
    ) {
        static BASES: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
            let id = CertId::new(HashAlgorithm::Sha1, &issuer_id(), serial("abcdef")).unwrap();
            let revoked = CertStatus::Revoked { at: Timestamp::from_unix(0), reason: RevocationReason::CertificateHold };
            let data = build_response_data(&response_data(revoked), ISSUER.public_key()).unwrap();
            [
                build_request(&[id.clone(), id], Some(&[1; 16])).unwrap(),
                vec![0x30, 0x04, 0x30, 0x02, 0xa0, 0x00],
                assemble_response(&data, SignatureAlgorithm::EcdsaP256Sha256, &[0; 70], ISSUER.der()).unwrap(),
            ]
        });
        for base in BASES.iter() {
            let mut bytes = base.clone();
            for (index, value) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *value;
            }
            if whether_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(request) = OcspRequest::from_der(&bytes) {
                prop_assert!(!request.cert_ids.is_empty());
            }
            let _ = BasicResponse::from_der(&bytes);
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(OcspRequest::from_der(&bytes).is_err());
    }
}

#[test]
fn a_revocation_time_that_cannot_be_said_does_not_end_the_answer() {
    let now = Timestamp::from_unix(1_800_000_000);
    for (at, said) in [(-1, Timestamp::EPOCH), (i64::MAX, Timestamp::LAST), (now.unix(), now)] {
        let revoked = |at| CertStatus::Revoked { at, reason: RevocationReason::KeyCompromise };
        let cert_id = CertId::new(HashAlgorithm::Sha256, &issuer_id(), serial("8765")).unwrap();
        let answer = Answer { cert_id, status: revoked(Timestamp::from_unix(at)), this_update: now, next_update: now };
        let data = ResponseData { produced_at: now, answers: vec![answer], nonce: None, extended_revoke: false };
        let der = build_response_data(&data, ISSUER.public_key()).unwrap();
        let response = assemble_response(&der, SignatureAlgorithm::EcdsaP256Sha256, &[0; 64], ISSUER.der()).unwrap();
        assert_eq!(BasicResponse::from_der(&response).unwrap().data.answers[0].status, revoked(said));
    }
}
