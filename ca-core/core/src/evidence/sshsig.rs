//! OpenSSH signatures over files: SSHSIG, as `ssh-keygen -Y sign` makes them.
//!
//! File keys, agent keys and FIDO2 keys all give the same format. A namespace separates what a signature may be
//! used for; this product's own are `ceremony@countersign`, `rehearsal@countersign` and `operator@countersign`.
//! Deliberately absent: RSA and P-384 keys, certificates, and `allowed_signers` files.

use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

/// The most characters of an armoured signature.
pub const MAX_ARMORED: usize = 8192;

/// The most characters of a public key in OpenSSH form.
pub const MAX_PUBLIC_KEY: usize = 4096;

/// The flags of an authenticator: user presence 0x01 and user verification 0x04 (PROTOCOL.u2f).
const SK_PRESENT_AND_VERIFIED: u8 = 0x01 | 0x04;

/// The flags octet and the four of the counter that end an authenticator's signature.
const SK_TRAILER: usize = 5;

/// A key's SHA-256 fingerprint as OpenSSH shows it, `SHA256:…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(pub String);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshSigError {
    /// The public key is not one that may sign.
    #[error("the public key is refused: {0} (hint: ssh-ed25519, ecdsa-sha2-nistp256 and their FIDO2 forms sk-… are accepted)")]
    Key(String),
    /// The armoured text is no signature.
    #[error("not an OpenSSH signature: {0} (hint: `ssh-keygen -Y sign` writes one that begins `-----BEGIN SSH SIGNATURE-----`)")]
    Syntax(String),
    /// Made for another purpose.
    #[error("the signature was made for the namespace `{found}`, not `{expected}` (hint: sign with `ssh-keygen -Y sign -n {expected}`)")]
    Namespace {
        /// The one that is needed.
        expected: String,
        /// The one in the signature.
        found: String,
    },
    /// By another key.
    #[error("the signature was made by another key, {0}")]
    OtherKey(String),
    /// The mathematics does not hold: other bytes were signed.
    #[error("the signature does not fit these bytes: they were changed after signing, or something else was signed")]
    Mismatch,
    /// An authenticator signed without its holder.
    #[error("the authenticator did not report both a touch and a verified user (hint: make the key with `ssh-keygen -O verify-required`)")]
    NotVerified,
    /// The private key did not sign.
    #[error("the key did not sign: {0}")]
    Sign(String),
}

/// Verifies `armored` over `message`: made in `namespace` by exactly the key `public_key_openssh`.
///
/// # Errors
/// When it is anything else; an authenticator must report user presence and user verification.
pub fn verify(public_key_openssh: &str, namespace: &str, message: &[u8], armored: &str) -> Result<Fingerprint, SshSigError> {
    let key = parse_key(public_key_openssh)?;
    let signature = parse_signature(armored)?;
    if signature.namespace() != namespace {
        return Err(SshSigError::Namespace { expected: namespace.to_owned(), found: signature.namespace().chars().take(80).collect() });
    }
    if signature.public_key() != key.key_data() {
        return Err(SshSigError::OtherKey(signature.public_key().fingerprint(HashAlg::Sha256).to_string()));
    }
    // What SSHSIG reserves must be empty, so that one meaning has one form.
    if !signature.reserved().is_empty() || signature.algorithm() != key.algorithm() {
        return Err(SshSigError::Syntax("an unknown reserved field or another algorithm than the key's".to_owned()));
    }
    key.verify(namespace, message, &signature).map_err(|_| SshSigError::Mismatch)?;
    if matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) {
        // The parser kept the trailer; it does not judge the flags.
        let bytes = signature.signature_bytes();
        let flags = bytes.len().checked_sub(SK_TRAILER).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        if flags & SK_PRESENT_AND_VERIFIED != SK_PRESENT_AND_VERIFIED {
            return Err(SshSigError::NotVerified);
        }
    }
    Ok(fingerprint_of(&key))
}

/// Signs `message` in `namespace`: for rehearsals and for operators whose key is a file.
///
/// # Errors
/// When the key is encrypted, lives in an authenticator, or its algorithm is not on offer.
pub fn sign(private: &PrivateKey, namespace: &str, message: &[u8]) -> Result<String, SshSigError> {
    let wrong = |e: ssh_key::Error| SshSigError::Sign(e.to_string());
    accepted(&private.algorithm())?;
    private.sign(namespace, HashAlg::Sha512, message).map_err(wrong)?.to_pem(LineEnding::LF).map_err(wrong)
}

/// The fingerprint of a public key in OpenSSH form, which must be of a kind that may sign.
///
/// # Errors
/// When it is not such a key.
pub fn fingerprint(public_key_openssh: &str) -> Result<Fingerprint, SshSigError> {
    parse_key(public_key_openssh).map(|key| fingerprint_of(&key))
}

/// The fingerprint of the key that a signature names; nothing is verified.
///
/// # Errors
/// When the text is no signature.
pub fn claimed_signer(armored: &str) -> Result<Fingerprint, SshSigError> {
    Ok(Fingerprint(parse_signature(armored)?.public_key().fingerprint(HashAlg::Sha256).to_string()))
}

fn fingerprint_of(key: &PublicKey) -> Fingerprint {
    Fingerprint(key.fingerprint(HashAlg::Sha256).to_string())
}

fn parse_key(text: &str) -> Result<PublicKey, SshSigError> {
    if text.len() > MAX_PUBLIC_KEY {
        return Err(SshSigError::Key("it is too long".to_owned()));
    }
    let key = PublicKey::from_openssh(text.trim()).map_err(|e| SshSigError::Key(e.to_string()))?;
    accepted(&key.algorithm())?;
    Ok(key)
}

fn parse_signature(armored: &str) -> Result<SshSig, SshSigError> {
    if armored.len() > MAX_ARMORED {
        return Err(SshSigError::Syntax(format!("it is longer than {MAX_ARMORED} characters")));
    }
    SshSig::from_pem(armored.trim()).map_err(|e| SshSigError::Syntax(e.to_string()))
}

fn accepted(algorithm: &Algorithm) -> Result<(), SshSigError> {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => {
            Ok(())
        }
        other => Err(SshSigError::Key(format!("`{other}` keys may not sign here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::private::Ed25519Keypair;

    fn key(seed: u8) -> (PrivateKey, String) {
        let private = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
        let public = private.public_key().to_openssh().unwrap();
        (private, public)
    }

    #[test]
    fn a_signature_counts_for_its_key_namespace_and_bytes_only() {
        let (private, public) = key(1);
        let (_, other) = key(2);
        let armored = sign(&private, "a@countersign", b"plan").unwrap();
        let check = |key: &str, namespace: &str, message: &[u8], armored: &str| verify(key, namespace, message, armored);
        assert_eq!(check(&public, "a@countersign", b"plan", &armored), fingerprint(&public));
        assert_eq!(claimed_signer(&armored), fingerprint(&public));
        assert_eq!(check(&public, "a@countersign", b"plaN", &armored), Err(SshSigError::Mismatch));
        assert!(matches!(check(&public, "b@countersign", b"plan", &armored), Err(SshSigError::Namespace { .. })));
        assert!(matches!(check(&other, "a@countersign", b"plan", &armored), Err(SshSigError::OtherKey(_))));
        assert!(matches!(check(&public, "a@countersign", b"plan", "-----BEGIN SSH SIGNATURE-----"), Err(SshSigError::Syntax(_))));
        assert!(matches!(check(&public, "a@countersign", b"plan", &"x".repeat(MAX_ARMORED + 1)), Err(SshSigError::Syntax(_))));
        assert!(matches!(check("ssh-rsa AAAA", "a@countersign", b"plan", &armored), Err(SshSigError::Key(_))));
    }

    /// A signature as an authenticator makes it, with these flags (PROTOCOL.u2f): over SHA-256 of the application,
    /// the flags, the counter, and SHA-256 of the SSHSIG data.
    fn authenticator_signs(flags: u8) -> (String, String) {
        use crate::pki::sha256;
        let seed = [7u8; 32];
        let pair = Ed25519Keypair::from_seed(&seed);
        let application = "ssh:";
        let key = PublicKey::from(ssh_key::public::KeyData::SkEd25519(ssh_key::public::SkEd25519::new(pair.public, application)));
        let data = SshSig::signed_data("a@countersign", HashAlg::Sha512, b"plan").unwrap();
        let mut message = sha256(application.as_bytes()).0.to_vec();
        message.push(flags);
        message.extend([0, 0, 0, 9]);
        message.extend(sha256(&data).0);
        let signer = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let mut bytes = signer.sign(&message).as_ref().to_vec();
        bytes.push(flags);
        bytes.extend([0, 0, 0, 9]);
        let signature = ssh_key::Signature::new(Algorithm::SkEd25519, bytes).unwrap();
        let armored = SshSig::new(key.key_data().clone(), "a@countersign", HashAlg::Sha512, signature).unwrap();
        (key.to_openssh().unwrap(), armored.to_pem(LineEnding::LF).unwrap())
    }

    #[test]
    fn an_authenticator_must_have_seen_and_verified_its_holder() {
        for (flags, counts) in [(0x05, true), (0x01, false), (0x04, false), (0x00, false), (0x45, true)] {
            let (public, armored) = authenticator_signs(flags);
            let result = verify(&public, "a@countersign", b"plan", &armored);
            assert_eq!(result.is_ok(), counts, "flags {flags:#04x}: {result:?}");
            if !counts {
                assert_eq!(result, Err(SshSigError::NotVerified));
            }
        }
    }
}
