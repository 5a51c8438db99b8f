//! Other implementations judge everything that this CA issues.
//!
//! The specimens come from `ca_testkit::specimens`. Each oracle says what it judged and what it found; `expected.toml`
//! lists the findings that stand, with the reason, and which flawed specimens each oracle catches. Anything else fails:
//! a finding that is not listed, one listed that no longer occurs, a specimen left out, a flaw no longer caught.
//!
//! Without the feature `all-oracles`: under a P-256 authority alone, by the oracles that a test machine has. With it, `run.sh` beside this
//! file prepares the others, every profile is made with every key under every authority, and docs/oracles.md is written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod expected;
mod finding;
mod folder;
#[cfg(feature = "all-oracles")]
mod gnutls;
#[cfg(feature = "all-oracles")]
mod go;
#[cfg(feature = "all-oracles")]
mod java;
mod openssl;
mod own;
mod pkilint;
#[cfg(feature = "all-oracles")]
mod table;
mod webpki_crate;
#[cfg(feature = "all-oracles")]
mod zlint;

#[cfg(feature = "all-oracles")]
use std::path::Path;

use ca_core::pki::{KeyAlgorithm, Timestamp};
use ca_testkit::specimens::{self, Selection, Specimen};

use expected::Expected;
use finding::Judgement;
use folder::Folder;

/// The real clock: programs judge validity on it.
#[expect(clippy::disallowed_methods, reason = "OpenSSL and others judge validity on the real clock")]
fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix(i64::try_from(now.as_secs()).unwrap())
}

/// Specimens with their files, and what every oracle says of them.
struct Session {
    good: Vec<Specimen>,
    flawed: Vec<Specimen>,
    judgements: Vec<(Judgement, Judgement)>,
}

impl Session {
    fn new(selection: Selection<'_>, folder: &Folder, oracles: &[&dyn Fn(&[Specimen], &Folder) -> Judgement]) -> Self {
        let now = now();
        let (good, flawed) = (specimens::make(selection, now), specimens::broken::make(now));
        folder.write(&good);
        folder.write(&flawed);
        let judgements = oracles.iter().map(|judge| (judge(&good, folder), judge(&flawed, folder))).collect();
        Self { good, flawed, judgements }
    }

    /// Fails over everything that speaks against what is issued, or against an oracle.
    fn check(&self, expected: &Expected, is_complete: bool) {
        let mut complaints = Vec::new();
        for (good, flawed) in &self.judgements {
            let found = [expected.complaints(good, &self.good, is_complete), expected.uncaught(flawed, &self.flawed)].concat();
            complaints.extend(found.into_iter().map(|what| format!("{} {}: {what}", good.oracle, good.version)));
        }
        assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    }
}

#[test]
fn pkilint_openssl_webpki_and_our_own_linter_find_no_error_in_any_profile() {
    let folder = Folder::new(None);
    // RSA for the profile that wants it.
    let (authorities, subjects) = ([KeyAlgorithm::P256], [KeyAlgorithm::P256, KeyAlgorithm::Rsa2048]);
    let host = openssl::OpenSsl::host();
    let session = Session::new(
        Selection { authorities: &authorities, subjects: &subjects },
        &folder,
        &[&pkilint::judge, &|all, folder| host.judge(all, folder), &webpki_crate::judge, &own::judge],
    );
    session.check(&Expected::read(), false);
}

#[cfg(feature = "all-oracles")]
#[test]
fn every_oracle_accepts_every_profile_with_every_key() {
    let userland = std::env::var_os("LINT_ORACLES_USERLAND").expect("run tests/lint_oracles/run.sh, which prepares the userland");
    let userland = Path::new(&userland);
    let folder = Folder::new(Some(userland));
    let (host, newer) = (openssl::OpenSsl::host(), openssl::OpenSsl::newer());
    let session = Session::new(
        Selection { authorities: &KeyAlgorithm::ALL, subjects: &KeyAlgorithm::ALL },
        &folder,
        &[
            &pkilint::judge,
            &zlint::judge,
            &|all, folder| host.judge(all, folder),
            &|all, folder| newer.judge(all, folder),
            &gnutls::judge,
            &go::judge,
            &java::judge,
            &webpki_crate::judge,
            &own::judge,
        ],
    );
    let expected = Expected::read();
    session.check(&expected, true);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/oracles.md");
    std::fs::write(document, table::render(&session.good, &session.flawed, &session.judgements, &expected)).unwrap();
}
