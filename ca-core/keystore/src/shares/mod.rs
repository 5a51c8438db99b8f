//! A credential as shares: m of n people together have it, fewer have nothing.
//!
//! HSM PINs, authentication keys and the keys of sealed key stores are made here at random (256 bits; ceremony
//! requirement 24), never chosen by a person, and split by Pedersen's verifiable scheme over P-256:
//! - each share is verified alone, against the set's public description, before anything is recombined: a wrong one is
//!   refused by its holder's name, and an HSM never sees a wrong PIN because of it;
//! - the description hides the secret perfectly, whatever can be computed one day, so it may be published, signed and
//!   kept in a ceremony's bundle. Feldman's scheme would publish g^secret, which binds the secret only as long as
//!   discrete logarithms are hard;
//! - the second generator is hashed to the curve, so that not even the dealer can make shares that verify and do not
//!   fit together.
//!
//! [`Dealing`] makes a set, [`ShareSet`] is its public description, [`Share`] is what one holder has, at rest only in a
//! file sealed under that holder's passphrase. [`Collector`] takes shares until they are enough, [`recombine`] takes
//! them all at once. What comes out is a [`Secret`], from which [`Credential`] is derived in the form that the device
//! takes. Deliberately absent: files but for one share's, processes and the clock.
//!
//! What this protects, and what not: fewer than m holders, or all the files without the passphrases, learn nothing. A
//! holder's passphrase is as strong as the person made it; Argon2id slows guessing, and a guessed one gives one share.
//! Whoever can read the memory of the process that recombines has the credential.

mod collect;
mod credential;
mod error;
mod scheme;
mod set;
mod share;

pub use ca_core::model::CredentialPurpose as Purpose;
pub use collect::{Collector, Given, recombine};
pub use credential::{Credential, Secret};
pub use error::ShareError;
pub use set::{Dealing, MAX_HOLDERS, ShareSet};
pub use share::{Share, ShareFile};
