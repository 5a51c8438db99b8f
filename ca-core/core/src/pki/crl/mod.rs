//! Certificate revocation lists (RFC 5280 §5): a streamed encoder and a reader.
//!
//! The encoder's memory does not grow with the number of entries, so that a digest can be signed in place of the
//! message. The reader is built on another DER library than the encoder. Deliberately absent: delta CRLs, indirect
//! CRLs (certificateIssuer), and any notion of who may be revoked.

mod encode;
mod parse;

pub use encode::{CrlError, CrlHeader, build_crl_tbs, write_crl_tbs};
pub use parse::{Crl, CrlParseError};
pub(crate) use parse::{RawEntry, RawTbs, distribution_point, key_identifier};

/// The largest to-be-signed CRL that is built or read: about ten million entries.
pub const MAX_CRL_LEN: usize = 1 << 29;
