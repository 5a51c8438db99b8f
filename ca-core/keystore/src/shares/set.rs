//! A set of shares: its public description, and how one is dealt.

use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::{Sha256Digest, Timestamp, sha256};
use ca_core::ports::Rng;
use serde::{Deserialize, Serialize};

use super::Purpose;
use super::ShareError;
use super::credential::Secret;
use super::scheme::{self, CommitmentBytes, Halves};
use super::share::Share;
use crate::sealed::Octets;

const FORMAT: &str = "countersign/share-set/1";
/// The most holders of a set.
pub const MAX_HOLDERS: usize = ca_core::ceremony::CredentialPlan::MAX_HOLDERS;

/// The public description of a set. It hides the secret and binds every share; its digest is the set's id, which each
/// share carries. Keep it where it cannot be exchanged: the ceremony's bundle, the keyholder's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSet {
    format: String,
    credential: CredentialName,
    purpose: Purpose,
    threshold: u8,
    holders: Vec<HolderName>,
    dealt_at: Timestamp,
    commitments: Vec<Octets<33>>,
}

impl ShareSet {
    /// The most bytes of a description's file.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Reads and checks a description.
    ///
    /// # Errors
    /// When it is too large, does not parse, has an unknown or duplicate key, or its numbers make no sense.
    pub fn from_json(text: &str) -> Result<Self, ShareError> {
        if text.len() > Self::MAX_BYTES {
            return Err(ShareError::Set(format!("its description has more than {} bytes", Self::MAX_BYTES)));
        }
        let set: Self = serde_json::from_str(text).map_err(|e| ShareError::Set(format!("its description does not parse: {e}")))?;
        set.check()?;
        Ok(set)
    }

    /// The description as a file; the same set always gives the same bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names, numbers and texts have a JSON form") + "\n"
    }

    /// The set's id: SHA-256 of its file.
    pub fn id(&self) -> Sha256Digest {
        sha256(self.to_json().as_bytes())
    }

    /// Which credential.
    pub const fn credential(&self) -> &CredentialName {
        &self.credential
    }

    /// What the credential opens.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How many holders open it.
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Everyone who has a share, by position.
    pub fn holders(&self) -> &[HolderName] {
        &self.holders
    }

    /// When it was dealt.
    pub const fn dealt_at(&self) -> Timestamp {
        self.dealt_at
    }

    fn check(&self) -> Result<(), ShareError> {
        let refused = |reason: String| Err(ShareError::Set(reason));
        if self.format != FORMAT {
            return refused(format!("its format is not `{FORMAT}`"));
        }
        check_people(self.threshold, &self.holders)?;
        let commitments = self.commitment_bytes();
        if commitments.len() != usize::from(self.threshold) || !scheme::are_points(&commitments) {
            return refused(format!("it needs {} commitments, each a point of P-256", self.threshold));
        }
        Ok(())
    }

    fn commitment_bytes(&self) -> Vec<CommitmentBytes> {
        self.commitments.iter().map(|c| c.0).collect()
    }

    /// Verifies one share, alone.
    ///
    /// # Errors
    /// When it is of another set, of nobody in this one, or changed.
    pub fn verify(&self, share: &Share) -> Result<(), ShareError> {
        let (holder, expected) = (share.holder.clone(), self.id());
        if share.set != expected {
            return Err(ShareError::OtherSet { holder, credential: share.credential.clone(), found: share.set, expected });
        }
        let stranger = |reason| Err(ShareError::Stranger { holder: share.holder.clone(), index: share.index, reason });
        // Position zero is where the secret is; it never gets as far as the scheme.
        let at_position = usize::from(share.index).checked_sub(1).and_then(|i| self.holders.get(i));
        match at_position {
            None => return stranger("there is no such position"),
            Some(h) if *h != share.holder => return stranger("the position is another holder's"),
            Some(_) => {}
        }
        if (&share.credential, share.purpose, share.threshold) != (&self.credential, self.purpose, self.threshold) {
            return stranger("it says that it opens something else");
        }
        if scheme::verify(&self.commitment_bytes(), share.index, &share.halves) { Ok(()) } else { Err(ShareError::Changed(holder)) }
    }

    /// Recombines shares that were verified.
    pub(super) fn combine(&self, shares: &[Share]) -> Result<Secret, ShareError> {
        let parts: Vec<(u8, &Halves)> = shares.iter().map(|s| (s.index, &s.halves)).collect();
        scheme::combine(&self.commitment_bytes(), &parts).map(Secret).ok_or(ShareError::Unfit)
    }
}

fn check_people(threshold: u8, holders: &[HolderName]) -> Result<(), ShareError> {
    let refused = |reason: String| Err(ShareError::Set(reason));
    if holders.len() > MAX_HOLDERS {
        return refused(format!("{} holders; the most is {MAX_HOLDERS}", holders.len()));
    }
    if threshold < 2 {
        return refused("a threshold below 2 is not dual control (hint: at least 2 people must come together)".to_owned());
    }
    if usize::from(threshold) > holders.len() {
        return refused(format!("a threshold of {threshold} among {} holders can't be met", holders.len()));
    }
    match holders.iter().enumerate().find(|(i, h)| holders[..*i].contains(h)) {
        Some((_, twice)) => refused(format!("the holder `{twice}` stands twice (hint: one person, one share)")),
        None => Ok(()),
    }
}

/// A set that was just dealt: the description, every share, and the secret. Only its maker has this, for a moment.
pub struct Dealing {
    /// The public description.
    pub set: ShareSet,
    /// The shares, by position.
    pub shares: Vec<Share>,
    /// The secret.
    pub secret: Secret,
}

impl Dealing {
    /// Makes a random secret and deals it.
    ///
    /// # Errors
    /// When the threshold is below 2 or cannot be met, there are too many holders, or one stands twice.
    pub fn of_random(
        credential: CredentialName,
        purpose: Purpose,
        threshold: u8,
        holders: Vec<HolderName>,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> Result<Self, ShareError> {
        check_people(threshold, &holders)?;
        Self::of(Secret(scheme::random_secret(rng)), credential, purpose, threshold, holders, now, rng)
    }

    /// Deals a secret that exists, to the same or to other holders. The shares of its earlier sets still open it: where
    /// one may be in wrong hands, only another secret helps.
    ///
    /// # Errors
    /// As [`Self::of_random`].
    pub fn of(
        secret: Secret,
        credential: CredentialName,
        purpose: Purpose,
        threshold: u8,
        holders: Vec<HolderName>,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> Result<Self, ShareError> {
        check_people(threshold, &holders)?;
        let dealt = scheme::deal(&secret.0, usize::from(threshold), holders.len(), rng)
            .ok_or_else(|| ShareError::Set("the secret could not be dealt".to_owned()))?;
        let commitments = dealt.commitments.into_iter().map(Octets).collect();
        let set = ShareSet { format: FORMAT.to_owned(), credential, purpose, threshold, holders, dealt_at: now, commitments };
        let id = set.id();
        let shares = (1..).zip(&set.holders).zip(dealt.shares);
        let shares = shares.map(|((index, holder), halves)| Share {
            set: id,
            credential: set.credential.clone(),
            purpose,
            threshold,
            index,
            holder: holder.clone(),
            halves,
        });
        let shares = shares.collect();
        Ok(Self { set, shares, secret })
    }
}
