//! Shares come one by one, until they are enough.

use std::fmt;

use ca_core::model::HolderName;

use super::ShareError;
use super::credential::Secret;
use super::set::ShareSet;
use super::share::Share;

/// What came of a share.
#[derive(Debug)]
pub enum Given {
    /// It is good; so many more are needed.
    Waiting {
        /// How many.
        missing: usize,
    },
    /// It was the last one that was needed. The collector holds no share any more.
    Complete(Secret),
}

/// The shares of one set that were given so far. A share that is refused changes nothing.
pub struct Collector {
    set: ShareSet,
    shares: Vec<Share>,
}

impl Collector {
    /// An empty one.
    pub const fn new(set: ShareSet) -> Self {
        Self { set, shares: Vec::new() }
    }

    /// The set's description.
    pub const fn set(&self) -> &ShareSet {
        &self.set
    }

    /// Who has given a share.
    pub fn given(&self) -> Vec<HolderName> {
        self.shares.iter().map(|s| s.holder.clone()).collect()
    }

    /// Forgets every share.
    pub fn forget(&mut self) {
        self.shares.clear();
    }

    /// Whether a share would be taken, and how many would be missing then. Changes nothing.
    ///
    /// # Errors
    /// When it is of another set, of nobody in this one, changed, or that of a holder who gave one already.
    pub fn check(&self, share: &Share) -> Result<usize, ShareError> {
        self.set.verify(share)?;
        if self.shares.iter().any(|s| s.holder == share.holder) {
            return Err(ShareError::Twice(share.holder.clone()));
        }
        // It is emptied when the threshold is reached, so there is always one missing.
        Ok(usize::from(self.set.threshold()).saturating_sub(self.shares.len() + 1))
    }

    /// Takes a share, and recombines when it is the last one needed.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn give(&mut self, share: Share) -> Result<Given, ShareError> {
        let missing = self.check(&share)?;
        self.shares.push(share);
        match missing {
            0 => {
                let secret = self.set.combine(&self.shares);
                self.forget();
                secret.map(Given::Complete)
            }
            missing => Ok(Given::Waiting { missing }),
        }
    }

    /// The error that says how many are missing, and whose may help.
    pub fn too_few(&self) -> ShareError {
        let given = self.given();
        ShareError::TooFew {
            credential: self.set.credential().clone(),
            threshold: self.set.threshold(),
            have: given.len(),
            missing: usize::from(self.set.threshold()) - given.len(),
            others: self.set.holders().iter().filter(|h| !given.contains(h)).cloned().collect(),
            given,
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({}, {:?})", self.set.credential(), self.given())
    }
}

/// Recombines shares that are all at hand. More than the threshold must all be of the one secret.
///
/// # Errors
/// As [`Collector::give`], and when they are too few.
pub fn recombine(set: &ShareSet, shares: &[Share]) -> Result<Secret, ShareError> {
    for (i, share) in shares.iter().enumerate() {
        set.verify(share)?;
        if shares[..i].iter().any(|s| s.holder == share.holder) {
            return Err(ShareError::Twice(share.holder.clone()));
        }
    }
    if shares.len() < usize::from(set.threshold()) {
        return Err(Collector { set: set.clone(), shares: shares.to_vec() }.too_few());
    }
    set.combine(shares)
}
