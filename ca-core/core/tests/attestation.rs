//! What devices attest: good statements in each format, and each rule broken by one of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ca_core::model::Fault;
use ca_core::pki::{Identifier, KeyAlgorithm, PemError, PublicKey, Timestamp, pem_encode, sha256};

use ca_core::policy::AttestationRoots;
use ca_core::validation::attestation::{AttestationCrlError, AttestationCrls, AttestationError, Claim};
use ca_testkit::attestation::{
    Maker, TPM_KEY, Template, Tpm, aik_extensions, apple, apple_by, apple_extensions, cbor, issuing_distribution_point, key_usage,
    managed_device, padding, step, yubikey_serial,
};
use ca_testkit::specimens::Key;

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
const PROOF: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

fn device(name: &str) -> Identifier {
    Identifier::parse("permanent-identifier", name).unwrap()
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()
}

/// The maker's root, for every format.
fn roots(maker: &Maker) -> AttestationRoots {
    let pem = || maker.root_pem().try_into().unwrap();
    AttestationRoots { apple: pem(), step: pem(), tpm: pem() }
}

fn judge(roots: &AttestationRoots, identifier: &Identifier, object: &[u8]) -> Result<PublicKey, AttestationError> {
    judge_with(roots, &AttestationCrls::default(), identifier, object)
}

fn judge_with(
    roots: &AttestationRoots,
    crls: &AttestationCrls,
    identifier: &Identifier,
    object: &[u8],
) -> Result<PublicKey, AttestationError> {
    Claim { identifier, key_authorization: PROOF, token: TOKEN, roots, crls, now: now() }.judge(object)
}

fn p256() -> Key {
    Key::generate(KeyAlgorithm::P256)
}

/// A statement that is refused, in these words.
#[track_caller]
fn refused(roots: &AttestationRoots, identifier: &Identifier, object: &[u8], says: &str) {
    let error = judge(roots, identifier, object).unwrap_err().to_string();
    assert!(error.contains(says), "{says}: {error}");
}

#[test]
fn a12_apple_attests_a_device_and_its_key() {
    let (maker, key) = (Maker::new("Apple"), p256());
    let roots = roots(&maker);
    let object = apple(&maker, &key, "C02ABC", "00008110-001A", PROOF);
    assert_eq!(judge(&roots, &device("C02ABC"), &object).as_ref(), Ok(key.public()));
    assert_eq!(judge(&roots, &device("00008110-001A"), &object).as_ref(), Ok(key.public()), "by its UDID");
    // As Apple's servers do it: they know the token, not the account.
    assert_eq!(judge(&roots, &device("C02ABC"), &apple(&maker, &key, "C02ABC", "U", TOKEN)).as_ref(), Ok(key.public()));

    refused(&roots, &device("C02ABD"), &object, "not about `C02ABD`");
    refused(&roots, &device("C02ABC/1.2.3"), &object, "not about");
    refused(&roots, &device("C02ABC"), &apple(&maker, &key, "C02ABC", "U", "another.challenge"), "this challenge");
    let without = Template::end("device", apple_extensions("C02ABC", "U", &[])[..2].to_vec());
    refused(&roots, &device("C02ABC"), &apple_by(&maker.certify(&without, key.public())), "no nonce");
    let slash = apple(&maker, &key, "C02ABC/1.2.3", "U/1.2.3", PROOF);
    refused(&roots, &device("C02ABC/1.2.3"), &slash, "not about");
    refused(&roots, &device("U/1.2.3"), &slash, "not about");
    let text = Identifier::parse("hardware-module", "C02ABC/1.2.3").unwrap();
    refused(&roots, &text, &object, "not about");
}

#[test]
fn a12_step_attests_a_tokens_key_which_signs() {
    let maker = Maker::new("Yubico");
    let roots = roots(&maker);
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Rsa2048, KeyAlgorithm::Ed25519] {
        let key = Key::generate(algorithm);
        let object = step(&maker, &key, yubikey_serial(13_371_337), PROOF);
        assert_eq!(judge(&roots, &device("13371337"), &object).as_ref(), Ok(key.public()), "{algorithm}");
        refused(&roots, &device("13371338"), &object, "not about");
        refused(&roots, &device("13371337"), &step(&maker, &key, yubikey_serial(13_371_337), TOKEN), "signature");
    }
    let key = p256();
    let managed = step(&maker, &key, managed_device("laptop-17"), PROOF);
    assert_eq!(judge(&roots, &device("laptop-17"), &managed).as_ref(), Ok(key.public()));
    // A text is a serial number, and names no assigner.
    let slash = step(&maker, &key, managed_device("SN-1/1.2.3"), PROOF);
    refused(&roots, &device("SN-1/1.2.3"), &slash, "not about");
    refused(&roots, &device("SN-1"), &slash, "not about");
    refused(&roots, &device("1"), &step(&maker, &key, apple_extensions("1", "1", &[]).remove(0), PROOF), "names no device");
    // P-384 signs with SHA-384, of which the format says nothing.
    let strong = Key::generate(KeyAlgorithm::P384);
    refused(&roots, &device("1"), &step(&maker, &strong, yubikey_serial(1), PROOF), "does not belong to the key");
}

#[test]
fn a12_a_tpm_certifies_a_key_that_it_made() {
    let maker = Maker::new("TPM");
    let roots = roots(&maker);
    let module = Identifier::parse("hardware-module", "M-7/2.23.133.1.2").unwrap();
    let devices = [device("SN-1/1.3.6.1.4.1.55555"), device("SN-2"), module];
    for (attestation, certified) in
        [(KeyAlgorithm::P256, KeyAlgorithm::P256), (KeyAlgorithm::Rsa2048, KeyAlgorithm::P256), (KeyAlgorithm::P256, KeyAlgorithm::Rsa2048)]
    {
        let key = Key::generate(certified);
        let object = Tpm::by(Key::generate(attestation), &devices, PROOF).object(&maker, &key);
        for name in &devices {
            assert_eq!(judge(&roots, name, &object).as_ref(), Ok(key.public()), "{attestation}, {certified}, {name}");
        }
        refused(&roots, &device("SN-1"), &object, "not about `SN-1`");
        refused(&roots, &device("SN-2/1.2.3"), &object, "not about");
    }
    let sha384 = Tpm { name_algorithm: 0x000c, ..Tpm::new(&devices, PROOF) };
    let key = p256();
    assert_eq!(judge(&roots, &devices[1], &sha384.object(&maker, &key)).as_ref(), Ok(key.public()));
}

#[test]
fn a12_each_part_of_a_tpms_statement_counts() {
    let maker = Maker::new("TPM");
    let roots = roots(&maker);
    let (name, key) = (device("SN-1"), p256());
    let check = |says: &str, change: &dyn Fn(&mut Tpm)| {
        let mut tpm = Tpm::new(std::slice::from_ref(&name), PROOF);
        change(&mut tpm);
        refused(&roots, &name, &tpm.object(&maker, &key), says);
    };
    check("`ver`", &|t| t.ver = "1.2");
    check("`alg`", &|t| t.alg = Some(-65535));
    check("sig is not", &|t| t.alg = Some(-257));
    check("sig is not", &|t| t.alg = Some(-35));
    check("certInfo is not", &|t| t.magic = 0xff54_4346);
    check("certInfo is not", &|t| t.kind = 0x8018);
    check("this challenge", &|t| t.extra_data = sha256(TOKEN.as_bytes()).0.to_vec());
    check("this challenge", &|t| t.extra_data.clear());
    for needed in [1, 4, 5, 18] {
        check("fixedTPM", &|t| t.attributes = TPM_KEY & !(1 << needed));
    }
    check("not restricted", &|t| t.attributes = TPM_KEY | 1 << 16);
    check("another key than pubArea", &|t| t.other_key = Some(p256()));
    check("pubArea is not", &|t| t.name_algorithm = 0x0004);
    check("signature does not hold", &|t| t.signed = Some(b"other".to_vec()));
    // The attestation key's certificate (Web Authentication §8.3.1).
    check("has a subject", &|t| t.certificate.subject = Template::authority("x").subject);
    check("not for attestation keys", &|t| t.certificate.extensions = aik_extensions("1.3.6.1.5.5.7.3.2", true, &[device("SN-1")]));
    check("manufacturer", &|t| t.certificate.extensions = aik_extensions("2.23.133.8.3", false, &[device("SN-1")]));
    check("no extended key usage", &|t| drop(t.certificate.extensions.remove(0)));
    check("no subject alternative name", &|t| drop(t.certificate.extensions.remove(1)));
    check("no basicConstraints", &|t| t.certificate.is_ca = None);
    check("is a CA's", &|t| t.certificate.is_ca = Some(true));
    // digitalSignature alone: it signs no certificates, and says that it is a CA's all the same.
    check("is a CA's", &|t| {
        t.certificate.is_ca = Some(true);
        t.certificate.extensions.push(key_usage(0x80));
    });
}

#[test]
fn a12_certificates_of_an_attestation_lead_to_a_root_of_the_policy() {
    let (maker, other, key, name) = (Maker::new("Maker"), Maker::new("Maker"), p256(), device("1"));
    let own = roots(&maker);
    let proof = |maker: &Maker, template: &Template| {
        let mut template = template.clone();
        let nonce = sha256(PROOF.as_bytes()).0;
        template.extensions.extend(apple_extensions("1", "1", &nonce));
        maker.certify(&template, key.public())
    };
    let good = proof(&maker, &Template::end("device", vec![]));
    assert_eq!(judge(&own, &name, &apple_by(&good)).as_ref(), Ok(key.public()));
    let with_root = [&good[..], &[maker.root_der().to_vec()]].concat();
    assert_eq!(judge(&own, &name, &apple_by(&with_root)).as_ref(), Ok(key.public()));

    refused(&roots(&other), &name, &apple_by(&good), "do not lead to a root");
    refused(&own, &name, &apple_by(&good[..1]), "do not lead to a root");
    refused(&own, &name, &apple_by(&[]), "`x5c`");
    refused(&own, &name, &apple_by(&vec![good[0].clone(); 6]), "`x5c`");
    // The other maker has the same names, and other keys.
    refused(&own, &name, &apple_by(&[good[0].clone(), other.authority_der().to_vec()]), "does not verify");
    refused(&own, &name, &apple_by(&[good[0].clone(), maker.root_der().to_vec()]), "not that of the given issuer");
    refused(&own, &name, &apple_by(&[good[0].clone(), good[0].clone()]), "is not a CA's");
    let mut broken = good.clone();
    *broken[0].last_mut().unwrap() ^= 1;
    refused(&own, &name, &apple_by(&broken), "not by the next");
    broken[0].truncate(100);
    refused(&own, &name, &apple_by(&broken), "cannot be read");

    let expired = Template { validity: ("20000101000000Z", "20261123235959Z"), ..Template::end("device", vec![]) };
    refused(&own, &name, &apple_by(&proof(&maker, &expired)), "not valid at this time");
    let early = Template { validity: ("20261124000001Z", "20991231235959Z"), ..Template::end("device", vec![]) };
    refused(&own, &name, &apple_by(&proof(&maker, &early)), "not valid at this time");
    refused(&own, &name, &apple_by(&proof(&maker, &Template::authority("device"))), "attests no key");
    let signs_nothing = Template { extensions: vec![key_usage(0x80)], ..Template::authority("device") };
    refused(&own, &name, &apple_by(&proof(&maker, &signs_nothing)), "attests no key");

    for (authority, says) in [
        (Template { is_ca: Some(false), ..Template::authority("a") }, "is not a CA's"),
        (Template { is_ca: None, ..Template::authority("a") }, "is not a CA's"),
        (Template { extensions: vec![key_usage(0x80)], ..Template::authority("a") }, "is not a CA's"),
        (Template { validity: ("20000101000000Z", "20200101000000Z"), ..Template::authority("a") }, "not valid at this time"),
    ] {
        let maker = Maker::with("Maker", authority);
        refused(&roots(&maker), &name, &apple_by(&proof(&maker, &Template::end("device", vec![]))), says);
    }
    // No authority below it: so it may certify keys.
    let last = Maker::with("Maker", Template { path_length: Some(0), ..Template::authority("a") });
    assert!(judge(&roots(&last), &name, &apple_by(&proof(&last, &Template::end("device", vec![])))).is_ok());
}

#[test]
fn a12_only_formats_with_roots_are_taken() {
    let (maker, key, name) = (Maker::new("Maker"), p256(), device("1"));
    let mut some = roots(&maker);
    some.apple = Default::default();
    refused(&some, &name, &apple(&maker, &key, "1", "1", PROOF), "`apple` are not taken");
    assert!(judge(&some, &name, &step(&maker, &key, yubikey_serial(1), PROOF)).is_ok());

    let object = |format: &str| cbor::map(&[("fmt", cbor::text(format)), ("attStmt", cbor::map(&[]))]);
    refused(&some, &name, &object("packed"), "`packed` are not handled");
    refused(&some, &name, &object("step"), "`x5c`");
    refused(&some, &name, &cbor::map(&[("fmt", cbor::text("step"))]), "`attStmt`");
    refused(&some, &name, &cbor::map(&[("fmt", cbor::bytes(b"step"))]), "`fmt`");
    refused(&some, &name, b"{}", "not canonical CBOR");
    refused(&some, &name, &[], "not canonical CBOR");
}

#[test]
fn a12_roots_are_judged_when_the_policy_is_read() {
    let maker = Maker::new("Maker");
    let leaf = maker.certify(&Template::end("x", vec![]), p256().public()).remove(0);
    let read = |pem: String| ca_core::policy::RootCertificates::try_from(pem);
    assert!(read(maker.root_pem()).is_ok());
    assert_eq!(String::from(read(maker.root_pem()).unwrap()), maker.root_pem());
    let says = |pem: String, part: &str| {
        let error = read(pem).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    says(String::new(), "not PEM");
    says(maker.root_pem().repeat(21), "1 to 20");
    says("-----BEGIN CERTIFICATE-----\n".to_owned(), "not PEM");
    says(ca_core::pki::pem_encode("CERTIFICATE", &leaf), "not a CA's");
    says(ca_core::pki::pem_encode("CERTIFICATE", b"x"), "attestation root 1");
}

const CURRENT: (&str, Option<&str>) = ("20261101000000Z", Some("20261201000000Z"));

/// Every certificate of the makers here has the serial number 1.
#[test]
fn a12_a_certificate_that_its_issuer_revoked_attests_nothing() {
    let (maker, same_name, stranger) = (Maker::new("Maker"), Maker::new("Maker"), Maker::new("Stranger"));
    let (key, name, own) = (p256(), device("1"), roots(&maker));
    let object = apple(&maker, &key, "1", "1", PROOF);
    let check = |files: &[Vec<u8>], expected: Result<(), &str>| {
        let mut crls = AttestationCrls::default();
        files.iter().for_each(|file| crls.add(file).unwrap());
        match (judge_with(&own, &crls, &name, &object), expected) {
            (Ok(attested), Ok(())) => assert_eq!(attested, *key.public()),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{part}: {error}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    };
    let (clean, by_root) = (maker.crl(false, &[], CURRENT, &[]), maker.crl(true, &[7, 9], CURRENT, &[]));
    check(&[], Ok(()));
    check(&[stranger.crl(false, &[1], CURRENT, &[]), stranger.crl(true, &[1], CURRENT, &[])], Ok(()));
    check(&[clean.clone(), by_root.clone()], Ok(()));
    check(std::slice::from_ref(&by_root), Ok(()));
    check(&[maker.crl(false, &[9, 1, 4], CURRENT, &[])], Err("certificate 1 of the attestation is revoked by its issuer"));
    check(&[clean.clone(), maker.crl(true, &[1], CURRENT, &[])], Err("certificate 2 of the attestation is revoked by its issuer"));

    // Whoever does not know fails closed.
    let (old, early) = (("20260101000000Z", Some("20261123235959Z")), ("20261124000001Z", Some("20261201000000Z")));
    check(
        &[maker.crl(false, &[], old, &[])],
        Err("certificate 1 of the attestation cannot be asked for: the CRL of its issuer is out of date"),
    );
    check(&[maker.crl(true, &[], old, &[])], Err("certificate 2 of the attestation cannot be asked for"));
    check(&[maker.crl(false, &[], early, &[])], Err("out of date"));
    check(&[same_name.crl(false, &[], CURRENT, &[])], Err("the CRL of its issuer is not by the issuer"));
    check(&[same_name.crl(false, &[1], CURRENT, &[]), clean.clone()], Ok(()));
    // What was revoked stays so, though a newer one is there.
    check(&[maker.crl(false, &[1], old, &[]), clean.clone()], Err("is revoked"));
    check(&[maker.crl(false, &[], old, &[]), clean.clone()], Ok(()));
    let mut broken = clean.clone();
    *broken.last_mut().unwrap() ^= 1;
    check(&[broken], Err("is not by the issuer"));
    // One that is not there may be anyone's.
    let mut lacking = AttestationCrls::default();
    lacking.add(&clean).unwrap();
    lacking.lack();
    let error = judge_with(&own, &lacking, &name, &object).unwrap_err();
    assert_eq!(error, AttestationError::CrlUnreadable(1));
}

/// What the site does not keep as it should is no failure of a client's.
#[test]
fn a23_a_crl_that_cannot_be_asked_is_this_cas_own_trouble() {
    let (maker, same_name) = (Maker::new("Maker"), Maker::new("Maker"));
    let (key, name, own) = (p256(), device("1"), roots(&maker));
    let fault = |object: &[u8], crl: Vec<u8>| {
        let mut crls = AttestationCrls::default();
        crls.add(&crl).unwrap();
        judge_with(&own, &crls, &name, object).unwrap_err().fault(Fault::Client)
    };
    let object = apple(&maker, &key, "1", "1", PROOF);
    let old = || maker.crl(false, &[], ("20260101000000Z", Some("20261123235959Z")), &[]);
    assert_eq!(fault(&object, old()), Fault::Change, "out of date");
    assert_eq!(fault(&object, same_name.crl(false, &[], CURRENT, &[])), Fault::Change, "another key's");
    assert_eq!(fault(&object, maker.crl(false, &[1], CURRENT, &[])), Fault::Client, "revoked");
    assert_eq!(fault(&apple(&maker, &key, "1", "1", "another"), old()), Fault::Change);
    assert_eq!(fault(&apple(&same_name, &key, "1", "1", PROOF), old()), Fault::Client, "only what leads to a root asks for a CRL");
}

#[test]
fn a12_only_complete_crls_with_an_end_are_read() {
    let maker = Maker::new("Maker");
    let good = maker.crl(false, &[1, 2], CURRENT, &[]);
    let read = |file: &[u8]| {
        let mut crls = AttestationCrls::default();
        crls.add(file).map(|()| (crls.len(), crls.first_end()))
    };
    let expected = Ok((1, Some((0, Timestamp::parse_rfc3339("2026-12-01T00:00:00Z").unwrap()))));
    assert_eq!(read(&good), expected);
    let pem = pem_encode("X509 CRL", &good);
    assert_eq!(read(pem.as_bytes()), expected);
    assert_eq!(read(pem.repeat(2).as_bytes()), Err(AttestationCrlError::Several(2)));
    let missing = || Err(AttestationCrlError::Pem(PemError::Missing("X509 CRL".to_owned())));
    assert_eq!(read(maker.root_pem().as_bytes()), missing());
    assert_eq!(read(b"\xff"), Err(AttestationCrlError::Binary));
    assert_eq!(read(b""), missing());
    // As large as DER may be, with the padding of an extension that nobody needs.
    let large = maker.crl(false, &[1, 2], CURRENT, &[padding(2 << 20)]);
    assert_eq!(read(&large), expected);
    assert_eq!(read(pem_encode("X509 CRL", &large).as_bytes()), expected);
    assert_eq!(read(&maker.crl(false, &[], (CURRENT.0, None), &[])), Err(AttestationCrlError::NoEnd));
    assert_eq!(read(&maker.crl(false, &[], CURRENT, &[issuing_distribution_point()])), Err(AttestationCrlError::Critical));
    assert_eq!(read(&vec![0x30; AttestationCrls::MAX_BYTES + 1]), Err(AttestationCrlError::TooLarge));
    for end in 1..good.len() {
        assert!(matches!(read(&good[..end]), Err(AttestationCrlError::Parse(_))), "cut off at {end}");
    }
    assert!(matches!(read(maker.root_der()), Err(AttestationCrlError::Parse(_))), "a certificate");
}
