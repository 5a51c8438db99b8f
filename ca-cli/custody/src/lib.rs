//! Custody of credentials: how they become shares, and the keyholder that has them while a CA runs.
//!
//! - [`credential`]: a random credential is dealt to holders, each share sealed into its holder's file; verified;
//!   dealt again to others. A ceremony calls it as a library.
//! - [`keyholder`]: the process that takes shares until they are enough, has the credential in memory only, and gives it
//!   to the users that its configuration names. It outlives the worker, so a restart of the worker needs no people.
//! - the commands of both, for `ca` and for the binary `ca-keyholder`.
//!
//! The binary is one of its own, though `ca keyholder` runs the same code: it links no network, no database and no
//! vendor's module, so little can go wrong in the one process that has every credential, and an upgrade of the CA does
//! not end it. Deliberately absent: networks, and any way to read a credential out for a person.

pub mod credential;
pub mod keyholder;

mod cli;
mod error;
mod passphrase;
mod system;

pub use cli::{
    CredentialCommand, KeyholderArgs, SealArgs, UnsealArgs, credential_command, keyholder_command, seal_command, unseal_command,
};
pub use error::Error;
pub use passphrase::Passphrases;
pub use system::{SystemClock, SystemRng};
