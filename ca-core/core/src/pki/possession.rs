//! Others' signatures in their requests, verified with the library that also verifies their JWS. The second library,
//! which takes five times as long, is for what this CA signs itself.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::VerifyError;
use super::spki::{KeyError, KeyMaterial};
use super::verify::{Scheme, Sha2, rsa_key, verify_scheme};

/// Verifies a signature that proves possession of its own key.
///
/// # Errors
/// When the key is malformed, the scheme is not that key's, or the signature does not verify.
pub(super) fn verify_possession(key: &KeyMaterial<'_>, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let off_curve = |_| VerifyError::Key(KeyError::Weak("the point is not on its curve"));
    let by_point = |algorithm: &'static dyn VerificationAlgorithm, point: &[u8]| {
        UnparsedPublicKey::new(algorithm, point).verify(message, signature).map_err(|_| VerifyError::Signature)
    };
    match (key, scheme) {
        (KeyMaterial::P256(point), Scheme::Ecdsa(digest @ (Sha2::Sha256 | Sha2::Sha384))) => {
            p256::PublicKey::from_sec1_bytes(point).map_err(off_curve)?;
            by_point(if digest == Sha2::Sha256 { &ECDSA_P256_SHA256_ASN1 } else { &ECDSA_P256_SHA384_ASN1 }, point)
        }
        (KeyMaterial::P384(point), Scheme::Ecdsa(digest @ (Sha2::Sha256 | Sha2::Sha384))) => {
            p384::PublicKey::from_sec1_bytes(point).map_err(off_curve)?;
            by_point(if digest == Sha2::Sha256 { &ECDSA_P384_SHA256_ASN1 } else { &ECDSA_P384_SHA384_ASN1 }, point)
        }
        (KeyMaterial::Rsa(modulus, exponent, _), Scheme::RsaPkcs1(digest)) => {
            rsa_key(modulus, exponent)?;
            let algorithm = match digest {
                Sha2::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                Sha2::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                Sha2::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
            };
            let components = RsaPublicKeyComponents { n: modulus, e: exponent };
            components.verify(algorithm, message, signature).map_err(|_| VerifyError::Signature)
        }
        // Which that library does not have, or not in this form.
        _ => verify_scheme(key, scheme, message, signature),
    }
}

#[cfg(test)]
mod tests {
    use super::super::spki::KeyMaterial;
    use super::super::verify::{Scheme, Sha2};
    use super::verify_possession;
    use crate::pki::VerifyError;

    /// Both libraries judge alike: what one of them makes verifies, and with one bit changed it does not.
    #[test]
    fn a_signature_proves_possession_of_the_key_that_made_it_and_of_no_other() {
        use aws_lc_rs::rand::SystemRandom;
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
        let rng = SystemRandom::new();
        for (signing, digest) in [(&ECDSA_P256_SHA256_ASN1_SIGNING, Sha2::Sha256), (&ECDSA_P384_SHA384_ASN1_SIGNING, Sha2::Sha384)] {
            let make = || EcdsaKeyPair::from_pkcs8(signing, EcdsaKeyPair::generate_pkcs8(signing, &rng).unwrap().as_ref()).unwrap();
            let (own, other) = (make(), make());
            fn material<'a>(pair: &'a EcdsaKeyPair, digest: Sha2) -> KeyMaterial<'a> {
                let point = pair.public_key().as_ref();
                if digest == Sha2::Sha256 { KeyMaterial::P256(point) } else { KeyMaterial::P384(point) }
            }
            let scheme = Scheme::Ecdsa(digest);
            let signature = own.sign(&rng, b"request").unwrap();
            assert_eq!(verify_possession(&material(&own, digest), scheme, b"request", signature.as_ref()), Ok(()));
            let wrong = Err(VerifyError::Signature);
            assert_eq!(verify_possession(&material(&own, digest), scheme, b"another", signature.as_ref()), wrong);
            assert_eq!(verify_possession(&material(&other, digest), scheme, b"request", signature.as_ref()), wrong);
            let mut off = own.public_key().as_ref().to_vec();
            off[10] ^= 1;
            let off = if digest == Sha2::Sha256 { KeyMaterial::P256(&off) } else { KeyMaterial::P384(&off) };
            assert!(matches!(verify_possession(&off, scheme, b"request", signature.as_ref()), Err(VerifyError::Key(_))));
        }
    }
}
