//! Devices that attest their keys: makers with certificates, and attestation objects in the formats `apple`, `step` and `tpm`.
//! Real CBOR, real DER, real signatures; each part can be made wrong.

#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking, at its own line")]

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use ca_core::pki::{HardwareModule, Identifier, KeyAlgorithm, PermanentIdentifier, PublicKey, pem_encode};
use const_oid::ObjectIdentifier;

use crate::specimens::Key;
use crate::weak_keys::tlv;

/// CBOR values, written in the canonical form.
pub mod cbor {
    fn head(major: u8, argument: u64) -> Vec<u8> {
        let octets = argument.to_be_bytes();
        match argument {
            0..24 => vec![major << 5 | octets[7]],
            24..0x100 => [&[major << 5 | 24], &octets[7..]].concat(),
            0x100..0x1_0000 => [&[major << 5 | 25], &octets[6..]].concat(),
            0x1_0000..0x1_0000_0000 => [&[major << 5 | 26], &octets[4..]].concat(),
            _ => [&[major << 5 | 27], &octets[..]].concat(),
        }
    }

    /// An integer.
    pub fn integer(number: i64) -> Vec<u8> {
        if number < 0 { head(1, number.unsigned_abs() - 1) } else { head(0, number.unsigned_abs()) }
    }

    /// A byte string.
    pub fn bytes(content: &[u8]) -> Vec<u8> {
        [&head(2, content.len() as u64), content].concat()
    }

    /// A text.
    pub fn text(content: &str) -> Vec<u8> {
        [&head(3, content.len() as u64), content.as_bytes()].concat()
    }

    /// A list of encoded values.
    pub fn array(values: &[Vec<u8>]) -> Vec<u8> {
        [head(4, values.len() as u64), values.concat()].concat()
    }

    /// Encoded values by their names.
    pub fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let written = entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
        head(5, entries.len() as u64).into_iter().chain(written).collect()
    }
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn oid(text: &str) -> Vec<u8> {
    tlv(0x06, text.parse::<ObjectIdentifier>().unwrap().as_bytes())
}

fn extension(id: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&oid(id), critical, &tlv(0x04, value)])
}

fn common_name(text: &str) -> Vec<u8> {
    sequence(&[&tlv(0x31, &sequence(&[&oid("2.5.4.3"), &tlv(0x0c, text.as_bytes())]))])
}

/// AlgorithmIdentifier of a key's own signatures.
fn algorithm(key: &Key) -> Vec<u8> {
    match key.algorithm() {
        KeyAlgorithm::P256 => sequence(&[&oid("1.2.840.10045.4.3.2")]),
        KeyAlgorithm::P384 => sequence(&[&oid("1.2.840.10045.4.3.3")]),
        KeyAlgorithm::Ed25519 => sequence(&[&oid("1.3.101.112")]),
        _ => sequence(&[&oid("1.2.840.113549.1.1.11"), &[5, 0]]),
    }
}

/// A certificate to be made.
#[derive(Clone)]
pub struct Template {
    /// The subject's DER.
    pub subject: Vec<u8>,
    /// cA; none: no basicConstraints.
    pub is_ca: Option<bool>,
    /// How many authorities may stand below.
    pub path_length: Option<u8>,
    /// Validity, as GeneralizedTime texts.
    pub validity: (&'static str, &'static str),
    /// Further extensions, DER.
    pub extensions: Vec<Vec<u8>>,
}

impl Template {
    /// An authority of this name.
    pub fn authority(name: &str) -> Self {
        Self {
            subject: common_name(name),
            is_ca: Some(true),
            path_length: None,
            validity: ("20000101000000Z", "20991231235959Z"),
            extensions: Vec::new(),
        }
    }

    /// A certificate of a key, with these extensions.
    pub fn end(name: &str, extensions: Vec<Vec<u8>>) -> Self {
        Self { is_ca: Some(false), extensions, ..Self::authority(name) }
    }

    fn sign(&self, key: &PublicKey, issuer: &[u8], by: &Key) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if let Some(is_ca) = self.is_ca {
            let flag: &[u8] = if is_ca { &[1, 1, 0xff] } else { &[] };
            let most = self.path_length.map(|most| tlv(0x02, &[most])).unwrap_or_default();
            extensions.push(extension("2.5.29.19", true, &sequence(&[flag, &most])));
        }
        let extensions = if extensions.is_empty() { Vec::new() } else { tlv(0xa3, &tlv(0x30, &extensions.concat())) };
        let time = |text: &str| {
            // RFC 5280 §4.1.2.5: UTCTime through 2049.
            if text < "2050" { tlv(0x17, &text.as_bytes()[2..]) } else { tlv(0x18, text.as_bytes()) }
        };
        let tbs = sequence(&[
            &tlv(0xa0, &[2, 1, 2]),
            &tlv(0x02, &[1]),
            &algorithm(by),
            issuer,
            &sequence(&[&time(self.validity.0), &time(self.validity.1)]),
            &self.subject,
            key.spki_der(),
            &extensions,
        ]);
        by.seal(&tbs)
    }
}

fn root_name(der: &[u8]) -> Vec<u8> {
    ca_core::pki::Certificate::from_der(der).unwrap().subject_der().to_vec()
}

/// An extension of a CRL that is critical: a part's distribution point.
pub fn issuing_distribution_point() -> Vec<u8> {
    extension("2.5.29.28", true, &sequence(&[]))
}

/// An extension that nobody reads, of so many octets.
pub fn padding(octets: usize) -> Vec<u8> {
    extension("1.3.6.1.4.1.55555.7", false, &vec![0; octets])
}

/// A key usage of one octet: digitalSignature is 0x80, keyCertSign 0x04.
pub fn key_usage(bits: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(0x03, &[u8::try_from(bits.trailing_zeros()).unwrap(), bits]))
}

/// A maker of devices: a root and an authority below it.
pub struct Maker {
    root: (Key, Vec<u8>),
    authority: (Key, Vec<u8>),
    name: Vec<u8>,
}

impl Maker {
    /// A maker.
    pub fn new(name: &str) -> Self {
        Self::with(name, Template::authority(&format!("{name} authority")))
    }

    /// A maker whose authority has a certificate of its own kind.
    pub fn with(name: &str, authority: Template) -> Self {
        let (root_key, authority_key) = (Key::generate(KeyAlgorithm::P384), Key::generate(KeyAlgorithm::P256));
        let root = Template::authority(&format!("{name} root"));
        let root_der = root.sign(root_key.public(), &root.subject, &root_key);
        let authority_der = authority.sign(authority_key.public(), &root.subject, &root_key);
        Self { root: (root_key, root_der), authority: (authority_key, authority_der), name: authority.subject }
    }

    /// The root, PEM.
    pub fn root_pem(&self) -> String {
        pem_encode("CERTIFICATE", &self.root.1)
    }

    /// The root, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root.1
    }

    /// The authority, DER.
    pub fn authority_der(&self) -> &[u8] {
        &self.authority.1
    }

    /// The root's key.
    pub const fn root_key(&self) -> &Key {
        &self.root.0
    }

    /// A CRL by the authority, or by the root: which of the serial numbers below 128 are revoked, and its times, as
    /// GeneralizedTime texts before 2050. `extensions` are its own, DER.
    pub fn crl(&self, by_root: bool, revoked: &[u8], times: (&str, Option<&str>), extensions: &[Vec<u8>]) -> Vec<u8> {
        let (key, name) = if by_root { (&self.root.0, root_name(&self.root.1)) } else { (&self.authority.0, self.name.clone()) };
        let time = |text: &str| tlv(0x17, &text.as_bytes()[2..]);
        let entries: Vec<_> = revoked.iter().map(|serial| sequence(&[&tlv(0x02, &[*serial]), &time(times.0)])).collect();
        let entries = if entries.is_empty() { Vec::new() } else { tlv(0x30, &entries.concat()) };
        let extensions = if extensions.is_empty() { Vec::new() } else { tlv(0xa0, &tlv(0x30, &extensions.concat())) };
        let end = times.1.map(time).unwrap_or_default();
        key.seal(&sequence(&[&tlv(0x02, &[1]), &algorithm(key), &name, &time(times.0), &end, &entries, &extensions]))
    }

    /// Certifies a key: the certificate, then the authority's.
    pub fn certify(&self, template: &Template, key: &PublicKey) -> Vec<Vec<u8>> {
        vec![template.sign(key, &self.name, &self.authority.0), self.authority.1.clone()]
    }
}

/// A request for a certificate by a device's key that names nothing, or these identifiers.
pub fn csr(key: &Key, names: &[Identifier]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(general_name).collect();
    let attributes = if names.is_empty() {
        Vec::new()
    } else {
        let extensions = sequence(&[&extension("2.5.29.17", false, &tlv(0x30, &names))]);
        sequence(&[&oid("1.2.840.113549.1.9.14"), &tlv(0x31, &extensions)])
    };
    key.seal(&sequence(&[&[2, 1, 0], &[0x30, 0], key.public().spki_der(), &tlv(0xa0, &attributes)]))
}

/// A GeneralName of an identifier.
pub fn general_name(identifier: &Identifier) -> Vec<u8> {
    match identifier {
        Identifier::Dns(name) => tlv(0x82, name.as_str().as_bytes()),
        Identifier::Ip(std::net::IpAddr::V4(address)) => tlv(0x87, &address.octets()),
        Identifier::Ip(std::net::IpAddr::V6(address)) => tlv(0x87, &address.octets()),
        Identifier::PermanentIdentifier(name) => other_name("1.3.6.1.5.5.7.8.3", &permanent_identifier(name)),
        Identifier::HardwareModule(name) => other_name("1.3.6.1.5.5.7.8.4", &hardware_module(name)),
    }
}

fn other_name(kind: &str, value: &[u8]) -> Vec<u8> {
    tlv(0xa0, &[oid(kind), tlv(0xa0, value)].concat())
}

fn permanent_identifier(name: &PermanentIdentifier) -> Vec<u8> {
    let assigner = name.assigner().map(|id| oid(&id.to_string())).unwrap_or_default();
    sequence(&[&tlv(0x0c, name.serial().as_bytes()), &assigner])
}

fn hardware_module(name: &HardwareModule) -> Vec<u8> {
    sequence(&[&oid(&name.hardware_type().to_string()), &tlv(0x04, name.serial().as_bytes())])
}

fn object(format: &str, statement: &[(&str, Vec<u8>)]) -> Vec<u8> {
    cbor::map(&[("fmt", cbor::text(format)), ("attStmt", cbor::map(statement))])
}

fn x5c(chain: &[Vec<u8>]) -> Vec<u8> {
    cbor::array(&chain.iter().map(|der| cbor::bytes(der)).collect::<Vec<_>>())
}

/// Extensions of a certificate by Apple: serial number, UDID, nonce.
pub fn apple_extensions(serial: &str, udid: &str, nonce: &[u8]) -> Vec<Vec<u8>> {
    vec![
        extension("1.2.840.113635.100.8.9.1", false, serial.as_bytes()),
        extension("1.2.840.113635.100.8.9.2", false, udid.as_bytes()),
        extension("1.2.840.113635.100.8.11.1", false, nonce),
    ]
}

/// An attestation in the format `apple`, whose nonce is of `signed`: a key authorization, or a token.
pub fn apple(maker: &Maker, key: &Key, serial: &str, udid: &str, signed: &str) -> Vec<u8> {
    let nonce = digest(&SHA256, signed.as_bytes());
    let template = Template::end("device", apple_extensions(serial, udid, nonce.as_ref()));
    apple_by(&maker.certify(&template, key.public()))
}

/// An attestation in the format `apple` with these certificates.
pub fn apple_by(chain: &[Vec<u8>]) -> Vec<u8> {
    object("apple", &[("x5c", x5c(chain)), ("attestationObjectCborVersion", cbor::integer(1))])
}

/// The extension in which a YubiKey's certificate has its serial number.
pub fn yubikey_serial(serial: u32) -> Vec<u8> {
    let octets = serial.to_be_bytes();
    let significant = &octets[octets.iter().take_while(|b| **b == 0).count().min(3)..];
    let padded = if significant[0] & 0x80 == 0 { significant.to_vec() } else { [&[0], significant].concat() };
    extension("1.3.6.1.4.1.41482.3.7", false, &tlv(0x02, &padded))
}

/// The extension in which a managed device's certificate has its id.
pub fn managed_device(id: &str) -> Vec<u8> {
    extension("1.3.6.1.4.1.37476.9000.64.4", false, &sequence(&[&tlv(0x0c, id.as_bytes())]))
}

/// An attestation in the format `step`, by a certificate with this extension.
pub fn step(maker: &Maker, key: &Key, device: Vec<u8>, key_authorization: &str) -> Vec<u8> {
    let chain = maker.certify(&Template::end("key 9a", vec![device]), key.public());
    let signature = cbor::bytes(&key.sign(key_authorization.as_bytes()));
    let alg = if key.algorithm() == KeyAlgorithm::P256 { -7 } else { -257 };
    object("step", &[("alg", cbor::integer(alg)), ("sig", cbor::bytes(&signature)), ("x5c", x5c(&chain))])
}

/// A statement by a Trusted Platform Module, part by part.
pub struct Tpm {
    /// The version.
    pub ver: &'static str,
    /// The COSE algorithm; none: the attestation key's.
    pub alg: Option<i64>,
    /// The first four octets of certInfo.
    pub magic: u32,
    /// The type of certInfo.
    pub kind: u16,
    /// What certInfo repeats.
    pub extra_data: Vec<u8>,
    /// The attributes of the attested key.
    pub attributes: u32,
    /// The algorithm of the key's name.
    pub name_algorithm: u16,
    /// The key that pubArea has; none: the attested one.
    pub other_key: Option<Key>,
    /// The attestation key's certificate.
    pub certificate: Template,
    /// The attestation key.
    pub attestation_key: Key,
    /// What the attestation key really signs instead of certInfo.
    pub signed: Option<Vec<u8>>,
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign.
pub const TPM_KEY: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 18;

/// The extensions of an attestation key's certificate: the purpose, and the names with the module's maker, model and
/// version where `hardware`.
pub fn aik_extensions(purpose: &str, hardware: bool, devices: &[Identifier]) -> Vec<Vec<u8>> {
    let attribute = |id: &str, text: &str| sequence(&[&oid(id), &tlv(0x0c, text.as_bytes())]);
    let rdn = [attribute("2.23.133.2.1", "id:00000000"), attribute("2.23.133.2.2", "model"), attribute("2.23.133.2.3", "id:0001")];
    let mut names = if hardware { tlv(0xa4, &sequence(&[&tlv(0x31, &rdn.concat())])) } else { Vec::new() };
    names.extend(devices.iter().flat_map(general_name));
    vec![extension("2.5.29.37", false, &sequence(&[&oid(purpose)])), extension("2.5.29.17", true, &tlv(0x30, &names))]
}

impl Tpm {
    /// A good statement for a module of these names.
    pub fn new(devices: &[Identifier], key_authorization: &str) -> Self {
        Self::by(Key::generate(KeyAlgorithm::P256), devices, key_authorization)
    }

    /// A good statement by this attestation key.
    pub fn by(attestation_key: Key, devices: &[Identifier], key_authorization: &str) -> Self {
        let certificate = Template { subject: vec![0x30, 0], ..Template::end("", aik_extensions("2.23.133.8.3", true, devices)) };
        Self {
            ver: "2.0",
            alg: None,
            magic: 0xff54_4347,
            kind: 0x8017,
            extra_data: digest(&SHA256, key_authorization.as_bytes()).as_ref().to_vec(),
            attributes: TPM_KEY,
            name_algorithm: 0x000b,
            other_key: None,
            certificate,
            attestation_key,
            signed: None,
        }
    }

    /// The attestation object for `key`.
    pub fn object(&self, maker: &Maker, key: &Key) -> Vec<u8> {
        let area = |key: &Key| self.public_area(key);
        let info = self.cert_info(&area(key));
        let signature = self.signature(self.signed.as_ref().unwrap_or(&info));
        let alg = self.alg.unwrap_or(if self.attestation_key.algorithm() == KeyAlgorithm::P256 { -7 } else { -257 });
        let chain = maker.certify(&self.certificate, self.attestation_key.public());
        object(
            "tpm",
            &[
                ("alg", cbor::integer(alg)),
                ("sig", cbor::bytes(&signature)),
                ("ver", cbor::text(self.ver)),
                ("x5c", x5c(&chain)),
                ("pubArea", cbor::bytes(&area(self.other_key.as_ref().unwrap_or(key)))),
                ("certInfo", cbor::bytes(&info)),
            ],
        )
    }

    fn public_area(&self, key: &Key) -> Vec<u8> {
        let bits = key_bits(key.public());
        let (kind, parameters) = match key.algorithm() {
            KeyAlgorithm::P256 => {
                let (x, y) = bits[1..].split_at(32);
                let fixed: &[&[u8]] = &[&[0, 0x10], &[0, 0x18, 0, 0x0b], &[0, 3], &[0, 0x10]];
                (0x0023u16, [fixed.concat(), sized(x), sized(y)].concat())
            }
            KeyAlgorithm::Rsa2048 => {
                // SEQUENCE (4 octets), INTEGER (4), a leading zero: then 256 octets of the modulus.
                let modulus = &bits[9..9 + 256];
                let fixed: &[&[u8]] = &[&[0, 0x10], &[0, 0x10], &[8, 0], &[0; 4]];
                (0x0001, [fixed.concat(), sized(modulus)].concat())
            }
            other => panic!("no TPM here makes {other} keys"),
        };
        let fields: &[&[u8]] = &[&kind.to_be_bytes(), &self.name_algorithm.to_be_bytes(), &self.attributes.to_be_bytes(), &[0, 0]];
        [fields.concat(), parameters].concat()
    }

    fn cert_info(&self, public_area: &[u8]) -> Vec<u8> {
        let hash = if self.name_algorithm == 0x000c { &SHA384 } else { &SHA256 };
        let name = [&self.name_algorithm.to_be_bytes(), digest(hash, public_area).as_ref()].concat();
        let clock_and_firmware = [7u8; 25];
        let fields: &[&[u8]] = &[&self.magic.to_be_bytes(), &self.kind.to_be_bytes(), &sized(&name), &sized(&self.extra_data)];
        [fields.concat(), clock_and_firmware.to_vec(), sized(&name), sized(&name)].concat()
    }

    /// A TPMT_SIGNATURE.
    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.attestation_key.sign(message);
        if self.attestation_key.algorithm() != KeyAlgorithm::P256 {
            return [&[0, 0x14, 0, 0x0b][..], &sized(&signature)].concat();
        }
        // SEQUENCE { INTEGER r, INTEGER s }, each to be 32 octets.
        let number = |der: &[u8]| {
            let length = usize::from(der[1]);
            let octets = &der[2..2 + length];
            let octets = octets.strip_prefix(&[0]).unwrap_or(octets);
            (sized(&[&vec![0; 32 - octets.len()], octets].concat()), 2 + length)
        };
        let (r, used) = number(&signature[2..]);
        let (s, _) = number(&signature[2 + used..]);
        [vec![0, 0x18, 0, 0x0b], r, s].concat()
    }
}

fn sized(octets: &[u8]) -> Vec<u8> {
    [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat()
}

/// The octets of a key's BIT STRING.
fn key_bits(key: &PublicKey) -> Vec<u8> {
    use der::{Decode as _, Reader as _};
    let spki: der::asn1::AnyRef<'_> = der::asn1::AnyRef::from_der(key.spki_der()).unwrap();
    let mut fields = der::SliceReader::new(spki.value()).unwrap();
    fields.tlv_bytes().unwrap();
    let bits: der::asn1::BitStringRef<'_> = fields.decode().unwrap();
    bits.as_bytes().unwrap().to_vec()
}
