//! Public key infrastructure in bytes: newtypes, to-be-signed structures, DER in and out.
//!
//! What leaves this module is either a value with an invariant or DER; nothing here decides whether something
//! may be issued (that is [`crate::profile`] and [`crate::policy`]).

mod algorithm;
mod alt_name;
mod assemble;
mod attestation;
mod certificate;
pub mod crl;
mod csr;
mod device_name;
mod digest;
mod dns_name;
pub(crate) mod encode;
mod frequent;
mod http_date;
mod identifier;
mod key;
mod name_text;
pub mod ocsp;
pub(crate) mod oid;
mod pem;
mod possession;
mod serial;
mod spiffe;
pub(crate) mod spki;
mod time;
mod uri;
pub(crate) mod verify;
pub(crate) mod walk;

pub use algorithm::{DigestAlgorithm, KeyAlgorithm, SignatureAlgorithm};
pub use alt_name::{AltName, AltNameError, EmailName, NameRef};
pub use assemble::{algorithm_identifier_der, assemble_signed};
pub use attestation::{AttestationError, YubiHsmClaims, check_yubihsm_attestation};
pub use certificate::Certificate;
pub(crate) use certificate::{TbsFields, read_alt_name};
pub(crate) use csr::request_info;
pub use csr::{Csr, CsrError};
pub(crate) use device_name::is_serial;
pub use device_name::{DeviceNameError, HardwareModule, PermanentIdentifier};
pub(crate) use digest::Sha256OfParts;
pub use digest::{Sha256Digest, hex, sha256, x5t_s256};
pub(crate) use dns_name::to_unicode;
pub use dns_name::{DnsName, DnsNameFault};
pub use identifier::{Identifier, IdentifierError};
pub use key::PublicKey;
pub use pem::{PemError, pem_blocks, pem_decode_all, pem_decode_within, pem_encode};
pub use serial::{SerialError, SerialNumber};
pub use spiffe::SpiffeId;
pub use spki::{KeyError, key_algorithm};
pub use time::{Timestamp, TimestampError};
pub use uri::UriName;
pub use verify::{VerifyError, verify_signature};
pub use walk::ParseError;
