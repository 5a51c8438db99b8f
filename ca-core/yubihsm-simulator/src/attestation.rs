//! The maker's side: the device's own key, certified by a root, and the certificates that it signs for keys inside.

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::keys;
use crate::state::Object;
use crate::wire::DeviceError;

/// What the factory puts into a device. The root's private half is forgotten once the device is certified.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Maker {
    #[serde(with = "hex")]
    pub(crate) root: Vec<u8>,
    #[serde(with = "hex")]
    pub(crate) certificate: Vec<u8>,
    #[serde(with = "hex")]
    key: Vec<u8>,
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Maker {
    pub(crate) fn new(serial: u32) -> Self {
        let root_key = KeyPair::generate().expect("the cryptographic library makes keys");
        let root_params = ca("YubiHSM simulator root: not a hardware device");
        let root = root_params.self_signed(&root_key).expect("a root certificate");
        let device_key = KeyPair::generate().expect("the cryptographic library makes keys");
        let certificate = ca(&format!("YubiHSM Attestation ({serial})"))
            .signed_by(&device_key, &Issuer::from_params(&root_params, &root_key))
            .expect("a device certificate");
        Self { root: root.der().to_vec(), certificate: certificate.der().to_vec(), key: device_key.serialize_der() }
    }
}

struct Attested<'a>(&'a [u8], &'static rcgen::SignatureAlgorithm);

impl PublicKeyData for Attested<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.1
    }
}

/// One of Yubico's extensions, 1.3.6.1.4.1.41482.4.x, with a short DER value.
fn extension(number: u64, tag: u8, content: &[u8]) -> CustomExtension {
    let length = u8::try_from(content.len()).expect("the values are short");
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 41482, 4, number], [&[tag, length], content].concat())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;

fn integer(value: u32) -> Vec<u8> {
    // One octet in front keeps it positive; DER wants no more than that.
    let bytes = [&[0][..], &value.to_be_bytes()].concat();
    let start = (0..bytes.len() - 1).find(|i| bytes[*i] != 0 || bytes[i + 1] & 0x80 != 0).unwrap_or(bytes.len() - 1);
    bytes[start..].to_vec()
}

fn bits(value: &[u8]) -> Vec<u8> {
    [&[0], value].concat()
}

/// The certificate that the device signs over a key inside it.
pub(crate) fn certify(maker: &Maker, serial: u32, firmware: [u8; 3], object: &Object) -> Result<Vec<u8>, DeviceError> {
    let public = keys::public(object.algorithm, &object.value)?;
    let (octets, algorithm) = keys::for_certificate(object.algorithm, &public)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("YubiHSM Attestation id:0x{:04x}", object.id));
    let label: Vec<u8> = object.label.iter().copied().take_while(|b| *b != 0).collect();
    params.custom_extensions = vec![
        extension(1, OCTET_STRING, &firmware),
        extension(2, INTEGER, &integer(serial)),
        extension(3, BIT_STRING, &bits(&[object.origin])),
        extension(4, BIT_STRING, &bits(&object.domains.to_be_bytes())),
        extension(5, BIT_STRING, &bits(&object.capabilities.to_be_bytes())),
        extension(6, INTEGER, &integer(object.id.into())),
        extension(9, UTF8_STRING, &label),
    ];
    let device_key = KeyPair::try_from(maker.key.as_slice()).map_err(|_| DeviceError::InvalidData)?;
    let device = ca(&format!("YubiHSM Attestation ({serial})"));
    let certificate = params.signed_by(&Attested(&octets, algorithm), &Issuer::from_params(&device, &device_key));
    Ok(certificate.map_err(|_| DeviceError::InvalidData)?.der().to_vec())
}
