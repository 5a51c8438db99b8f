//! RSA keys of 2048 bits with each known weakness, and requests that they sign: possession is proven, the key is bad.
//!
//! Made from the weaknesses' definitions. The badkeys project's own checks (0.0.21) find the close primes, the ROCA
//! fingerprint and the small factor in these, each in its own and in no other.

#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking, at its own line")]

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::BoxedUint;

/// DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2 note 1).
const DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// A weak key pair.
#[derive(Clone, Debug)]
pub struct WeakKey {
    /// Words of the message that refuses it.
    pub refused: &'static str,
    modulus: &'static str,
    private: &'static str,
    public: Vec<u8>,
}

impl WeakKey {
    /// One of each kind.
    pub fn all() -> Vec<Self> {
        KEYS.iter().map(|(refused, exponent, modulus, private)| Self::new(refused, *exponent, modulus, private)).collect()
    }

    fn new(refused: &'static str, exponent: u32, modulus: &'static str, private: &'static str) -> Self {
        let number = |octets: &[u8]| {
            let octets = [&[0][..], &octets[octets.iter().take_while(|o| **o == 0).count()..]].concat();
            // A leading zero is only there before a set top bit.
            let octets = if octets[1] & 0x80 == 0 { &octets[1..] } else { &octets[..] };
            tlv(0x02, octets)
        };
        let public = tlv(0x30, &[number(&from_hex(modulus)), number(&exponent.to_be_bytes())].concat());
        Self { refused, modulus, private, public }
    }

    /// A CSR for these names, DER.
    pub fn csr(&self, names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(self).unwrap().der().to_vec()
    }
}

impl PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for WeakKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // EMSA-PKCS1-v1_5 (RFC 8017 §9.2), then the private exponent.
        let info = [&DIGEST_INFO[..], digest(&SHA256, message).as_ref()].concat();
        let encoded = [&[0, 1][..], &vec![0xff; 256 - 3 - info.len()], &[0], &info].concat();
        let number = |octets: &[u8]| BoxedUint::from_be_slice(octets, 2048).unwrap();
        let modulus = number(&from_hex(self.modulus)).to_odd().into_option().unwrap();
        let private = number(&from_hex(self.private));
        Ok(number(&encoded).pow_mod(&private, &modulus).to_be_bytes().to_vec())
    }
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        256..=0xffff => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        _ => vec![tag, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8],
    };
    [header, content.to_vec()].concat()
}

fn from_hex(digits: &str) -> Vec<u8> {
    let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    (0..even.len()).step_by(2).map(|i| u8::from_str_radix(&even[i..i + 2], 16).unwrap()).collect()
}

/// What refuses it, the public exponent, the modulus and the private exponent.
const KEYS: [(&str, u32, &str, &str); 5] = [
    // Two primes of 1024 bits, less than 2^512 apart.
    (
        "two close primes",
        65_537,
        "fb308825a46e9e2342dc4014b1c5d2b00cb087cfaa7024d53f0a06af2c7920fcdd5db9cc2fef9d145680d9174bdd6516c06587313521a9cc02370873a7df147e\
     4fd0bb768c378db45b0e13639ed7e27bb2d336c1455e28b4478966a56c4dad931e8657c549b7597c900f99c1ea7525227f37a4cb763edc9e7788eb5574c6f41d\
     ee7b177bb19f85c0d44694ef97f9251cc7ec2e36153394218d2d46727c1a448bdcf97ebf8782ae365d716170b2249eb3f8439cc5a558675c741f6b1dbf4bf6e4\
     a49f1fbfeeb5233a94d178e6f2578c84ef6ade32319f6005ed066d3cb4a36ea1c2b718a721d1b20b2b8e53eaaa35cc006e377419ec5ca255c43f669f18bb3907",
        "50f3ce1cdb866ede8c50b1323a2cb7fed6c819acda8ff3bee9e7104a6a39cb60d2f2becb48739f9b0b59d11d09ed1b041f135963896d04ece395dada733298c7\
     306fe3ca8bdbe78645861ec78f4ca2081d94a663d9384443fd7e119fa46cd050c698a336c8d0173de6abb070e75fc38cff94ee3e4828702f7df4996b5c0c3665\
     bf9f9cafada84e977034267e5cc00c33e541eabaf73ba0995330f38b1faaace6c97dbf9cede39635c3c8bafef0ba8ac8a9af927a400255eefd08faa3aaf3df73\
     4f3b1bdd1562195b23d2bc7e81059e1a6d3357d4815ed82c5655c7139516cf9d00bac34124df6b1af57b738c231c9f383b7572ef68340d30cbd58eab9fc85ac9",
    ),
    // Two primes k·M + (65537^a mod M), M the product of the first 126 primes (Nemec and others 2017, for 2048 bits).
    (
        "fingerprint of ROCA",
        65_537,
        "b53bf57f2495b3bd925cc444e436fb03ba4ea239386d9202d5ab44c12201373d0694cade6cc61b1a381f26f85c09324024532cc4059db67840a4547549eeb6fd\
     b8db627437224fd1f6599ac705e8b87bd8b43d8417b8953f8dc441b9e8df63e16f9eb388e42825df304b0333988715963a007149f291dff2e0c31ced2a1e3316\
     38bf5cc9b245016b16c4dbfce845e31333becef908be88dbcb4237f311d469d1301e88471f67a90162d81cb058e10fb74e8ea8ebad1b3df891ca806faf7b1e7b\
     e033cfe5449b1fc1cb8f28f77f2da3e547ef9b02c48c7398d05fb89a8d765a0d010ebf7570a77108425ce82e6ba1a2e38349cf89ff4701de4b56ddf530638331",
        "7901d5c2d4bc97cc65a346f0f0a7bd261a0952cb7ddfbaf3e5927b4fb0d2bafd261dc6ee88162616758e6748c0baeb3064909c7d2d7ac650b8688073e7af59c3\
     42e048766c319eb6041484018af27deb431fe54b03439d7357c6c853c72710db7ed9a9ea26dc9f9ccbf3e9e953582e93a59a9209dbca868af6839016d25e63a0\
     bc4378bd2c934d660065b6c56f1253647b9f149073119922ba7d3917ec25154ec87daffe0ccf0c11449cfd2f5e9f220250260dc4226d3b2467a4cfd5cc2048ae\
     eba9e15af5a79833f2c34441bd6ed877df14b1a9b6fa4f5577937108b1eb09b472d5080d0f32e110e348c99dc41bd3faeee163664284f9b364ac0f5ec8b40d81",
    ),
    // The prime 9973 and one of 2035 bits.
    (
        "small factor",
        65_537,
        "827e85ae5f420251440e6840981449a374acb7148870cb6f67ae7e8d1dcb82b90cc15d9c6515eaaa373767070aabb1b7d9dfb07a29eae6285474273515202077\
     ea9f48c945dbd97a8cc8d73e12183120d18eec80ff3352ef988a8d6b78c9c4f552a472340c7d59d9050f060124a6c1c2a0b44bbc9b08b3d31da5eefadda50741\
     7ca6821f78602ccc00b1455523276f9b5a4862e708f76d12cff46b9d5fcb69032c87f0d2775d5c56dcfa85bbf5a006d63b0f5afe207e07e2ae4c7e30e21f50f1\
     94b78b9fc9580c4de0bcd1ec5c35c57003cfda505c8c566031438fa92e36e26cce59d51c2f62e43686b2e955d0d3510d35f8deff128262060e34386be3827769",
        "2b83a85667c44efdda4c96c6677dfc3c30fcd508315845e0a77310da866337c65a06a449c1f99d706307559d70d233019a0952a27c59dedb733bf0e44558b129\
     64af2a83c9d9bcc9f2c61d85210a7a3ca61306b6d503c618b24139cda97aea4b64d990fa9ee930ef69528703f46bfea766a9ea6d1b155600f262fcec7a0e3fba\
     3e4a6c82142c977ef1dcf2b8968944f3fde3312e80e590179528b925430c97600b8b56e2e35e97e4f96d0d8834f931375789e7178dc3832d3102d6ae583a1b68\
     adc38d4c067c493f697ffa3ae9c67812ad80759a03472b30fe8407e38759916c3897d15016852be4432a83cc93cc22bf2fc5f2b9441d43c36ff43aadce8a6e01",
    ),
    // The third power of a prime.
    (
        "a power of a number",
        65_537,
        "fffffffffffffffffffea258781ce37b9c5d46f60f38d363f45047f863cd13d0c1001a7f9619013cfe3163813c61bf68ea42298dc9428fbaa35d2649dab594d4\
     8b6ea033196f97985df8493052f5b739291e32e0e30876a071bbdd0190ea7cb2ab698000322e9d67ce757edf9b141ea8ecef527622771543f46fa7e7afd5f302\
     b2aa9ae383a7cb4534b8ddb021ead4d0e82b18cad280c3ae2f01c0d8a07b494602e3bb7efe337ac81f86d96ede95859032ab9839418c9df69bf217d013fcbaa9\
     e2c0996cb25656266513ac0c3d38fa1c85ee987c96d50e4804eb8885dbb678c607393ed2d189de66ec5392395bb2d045c1af76f492c9d02dd2c5b7b75d689c51",
        "68fa970568fa970568fa07a315e66ad6d6e15d672c08d68f07b2204158d3d14b6ac9db13f4fe5e06a00aaace656f8429c6dec8e18ee5cfc0ee9b154775fbbe83\
     86862005b4699195f6fb09305ae4ce750f4a85fcb8acc8449ae6f1a3edafd48018011e5d9216a968895892e87613090ab2761d32d38b039fa77cd3eaa84a6ad7\
     7b92f368abf8a8ce41da13e43680c8373bee7405c5837cf031f432e6a223360f5b1dcc0a3d03f15c19c6aa576d32636e61caad50e15658cca227789e2cef6524\
     eea1af21b2d9f345701b203c03cb008e3eee5bb2cb3510fedd425aefc30aee4a3abccdb6c7fe8cbaff744186569398506dd4674f53c51eeea9891d4352ed2bd1",
    ),
    // Two good primes, and the exponent 3.
    (
        "exponent is below 65537",
        3,
        "a68d05b09f8d5b3bd4b190e102faff2eeb815d08586431669dc242e32c7143c01f982c85eb90e93a5e232ed40ab7c4b88b143ba39a6d7e564375f6aeb7f56353\
     521d982e26f62fad22e6f8e623bbcdb004de7fc91d441e76785c7aec5c3dc622cd38c286720846b6e15cb55e10e4c2e26d2bd75cc53624e79b36ed095a6656e6\
     1546ce6cbf7d3f7535c5a884f122226e435d3e5c0faab329d0ab34f1f20dde96525fe701657b8f5aacb468232a27d2ae7f05a90b59d2068723d53cd161bc75a9\
     b6d0702cdf044b7c0dd848554c9927abd36ea02cc2262840767f797077f9ff761aa1861e2e4826c557ef78ce2c7a0d9a061df146e8b7dd9313912bfa059c24b5",
        "6f08ae75bfb39227e3210b40aca754c9f2563e059042cb99be8181ecc84b828015101dae9d0b4626e96cc9e2b1cfd87b0762d26d119e5439824ea4747aa3978c\
     e169101ec4a41fc8c1ef50996d27de7558945530be2d69a4503da7483d7e8417337b2c59a15ad9cf40e878e9609881ec48c7e4e883796defbccf48b0e6eee498\
     502dbfd9cbd5dfc4a3f222fec41e3eb15c344d2266901c60770317088ba39f6ee38687a09a2b6775f1cc350559b7c01bd421734cad50b5ea7e83e4ced3743a07\
     fc750ee1b343d22d170e37164014b0e8082c7e6223be98e040a1b7bb7a19a47ab1fadf809cf9dd30825f470d291eb7986f6f500ddab8503478ea9fa61d7ef82b",
    ),
];
