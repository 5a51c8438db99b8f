//! What a leaf costs before its key signs: built, linted, compared with its request and read back (`prepare_leaf`), the
//! lint alone, and the lint of an OCSP answer and of a CRL's entries; beside one P-256 signature by aws-lc-rs, and what
//! it takes to verify it with the second library, in the same run. Best of the rounds, in microseconds. The issue wants
//! lint and prepare below 200.
//!
//! `cargo bench -p ca-core --bench lint`
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement asks the clock, and a panic is its report")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ca_core::issuance::{Attempt, prepare_leaf};
use ca_core::lint::{self, Context};
use ca_core::model::{Actor, AttemptId, Origin, StatusUrls};
use ca_core::pki::KeyAlgorithm;
use ca_core::pki::SerialNumber;
