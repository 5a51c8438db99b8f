//! Evidence, verified from bytes to meaning: what people and clients signed.

pub(crate) mod attested;
mod auto_renewal;
pub mod chain;
pub mod compromise;
pub mod csr_names;
pub mod eab;
pub mod grant;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod memo;
pub mod new_order;
pub mod proofs;
pub mod revocation;
pub mod sshsig;
pub mod statement;
#[cfg(test)]
mod test_keys;
pub mod verified;
#[cfg(test)]
mod wycheproof;
