//! The format `apple`: Apple certifies the key of a managed device, and the certificate says which device, and for which
//! challenge (Apple, "Managed Device Attestation"; the object identifiers as step-ca publishes them).

use const_oid::ObjectIdentifier;

use super::chain::Link;
use super::{AttestationError, Attested, Claim, by_serial};
use crate::pki::sha256;

/// The serial number, as text, without DER around it.
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.9.1");
/// The unique device identifier, as text.
const UDID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.9.2");
/// The nonce, as octets.
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.11.1");

pub(super) fn judge(certificate: &Link<'_>, claim: &Claim<'_>) -> Result<Attested, AttestationError> {
    let nonce = certificate.extension(NONCE).ok_or(AttestationError::Statement("the certificate has no nonce"))?;
    // Apple's servers certify before they know the account's key: then the nonce is of the token alone (the draft's §5). That
    // the account sent it is shown by its signature on the answer.
    if nonce != claim.digest() && nonce != sha256(claim.token.as_bytes()).0 {
        return Err(AttestationError::OtherChallenge);
    }
    let named = [SERIAL_NUMBER, UDID].into_iter().filter_map(|id| std::str::from_utf8(certificate.extension(id)?).ok());
    Ok(Attested { key: certificate.key.clone(), devices: named.filter_map(by_serial).collect() })
}
