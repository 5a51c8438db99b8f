//! Key pairs in memory that sign as an authority's key would.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ML_DSA_65_SIGNING,
    ML_DSA_87_SIGNING, PqdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ca_core::pki::{Certificate, KeyAlgorithm, PublicKey, SignatureAlgorithm, assemble_signed};

/// A key pair of any algorithm on offer.
pub struct SpecimenKey {
    algorithm: KeyAlgorithm,
    public_key: PublicKey,
    signer: Signer,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    MlDsa(PqdsaKeyPair),
}

impl SpecimenKey {
    /// Makes one.
    pub fn generate(algorithm: KeyAlgorithm) -> Self {
        let rsa = |size| RsaKeyPair::generate(size).map(Signer::Rsa).unwrap();
        let signer = match algorithm {
            KeyAlgorithm::P256 => Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            KeyAlgorithm::P384 => Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap()),
            KeyAlgorithm::Ed25519 => Signer::Ed25519(Ed25519KeyPair::generate().unwrap()),
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyAlgorithm::MlDsa65 => Signer::MlDsa(PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap()),
            KeyAlgorithm::MlDsa87 => Signer::MlDsa(PqdsaKeyPair::generate(&ML_DSA_87_SIGNING).unwrap()),
        };
        let spki = match &signer {
            Signer::Ecdsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
            Signer::MlDsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
        };
        Self { algorithm, public_key: PublicKey::from_spki_der(spki), signer }
    }

    /// Its kind.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// How it signs.
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm.signature_algorithm()
    }

    /// The public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(pair) => pair.sign(&rng, message).unwrap().as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).unwrap();
                signature
            }
            Signer::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut signature).unwrap();
                signature.truncate(length);
                signature
            }
        }
    }

    /// A certificate or a CRL from its to-be-signed bytes, DER.
    pub fn assemble(&self, tbs: &[u8]) -> Vec<u8> {
        assemble_signed(tbs, self.signature_algorithm(), &self.sign(tbs))
    }

    /// The certificate from its to-be-signed bytes.
    pub fn certify(&self, tbs: &[u8]) -> Certificate {
        Certificate::from_der(&self.assemble(tbs)).unwrap()
    }
}
