//! Credentials in files: dealt, verified, dealt again.
//!
//! `CREDENTIAL.set.json` is the set's public description, `CREDENTIAL.HOLDER.share` one holder's sealed share. The
//! description is written last, so a folder without it holds nothing that was used. Every share is read back from its
//! file and verified, and thresholds of them are recombined, before the credential is handed to what it is for (ceremony
//! requirement 23): a device never gets a secret that the shares do not give.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ca_core::model::{CredentialName, HolderName};
use ca_core::ports::{Clock, Rng};
use ca_keystore::Unsealer;
use ca_keystore::shares::{Credential, Dealing, Purpose, Secret, Share, ShareError, ShareFile, ShareSet, recombine};

use crate::Error;

/// Who gets the shares, and where the files go.
pub struct Recipients<'a> {
    /// How many of them open it.
    pub threshold: u8,
    /// Each holder, with what seals that holder's share.
    pub holders: Vec<(HolderName, Unsealer)>,
    /// The folder, made (0700) where it is missing. Nothing in it is overwritten.
    pub folder: &'a Path,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub rng: &'a dyn Rng,
}

/// What was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// The set's public description.
    pub set: ShareSet,
    /// Its file.
    pub set_file: PathBuf,
    /// Each holder's file.
    pub share_files: Vec<(HolderName, PathBuf)>,
}

/// Makes a random credential, deals it, and hands it once to what it is for. When this returns, every file is durable
/// and verified, and `hand` has succeeded. The credential is nowhere else.
///
/// # Errors
/// When the numbers make no sense, a file exists or cannot be written, or `hand` fails ([`Error::Handing`]).
pub fn create(
    name: CredentialName,
    purpose: Purpose,
    to: &Recipients<'_>,
    hand: &mut dyn FnMut(&Credential) -> Result<(), String>,
) -> Result<Made, Error> {
    let dealing = Dealing::of_random(name, purpose, to.threshold, names(to), to.clock.now(), to.rng)?;
    let made = write(&dealing, to)?;
    hand(&dealing.secret.credential(made.set.credential(), purpose)).map_err(Error::Handing)?;
    Ok(made)
}

/// Deals a credential that exists to other holders, or to the same with another threshold. The old shares still open
/// it: where one may be in wrong hands, [`rotate`].
///
/// # Errors
/// As [`create`], and when the old shares do not give the secret.
pub fn reshare(set: &ShareSet, shares: &[Share], to: &Recipients<'_>) -> Result<Made, Error> {
    let secret = recombine(set, shares)?;
    let (name, now) = (set.credential().clone(), to.clock.now());
    let dealing = Dealing::of(secret, name, set.purpose(), to.threshold, names(to), now, to.rng)?;
    write(&dealing, to)
}

/// Puts a fresh random credential in the place of one that exists. `hand` gets the old and the new one, and changes what
/// they open; only then do the old shares open nothing.
///
/// # Errors
/// As [`reshare`], and when `hand` fails.
pub fn rotate(
    set: &ShareSet,
    shares: &[Share],
    to: &Recipients<'_>,
    hand: &mut dyn FnMut(&Credential, &Credential) -> Result<(), String>,
) -> Result<Made, Error> {
    let old = recombine(set, shares)?.credential(set.credential(), set.purpose());
    create(set.credential().clone(), set.purpose(), to, &mut |new| hand(&old, new))
}

fn names(to: &Recipients<'_>) -> Vec<HolderName> {
    to.holders.iter().map(|(name, _)| name.clone()).collect()
}

fn write(dealing: &Dealing, to: &Recipients<'_>) -> Result<Made, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(to.folder).map_err(Error::io("make the folder", to.folder))?;
    let name = dealing.set.credential();
    let set_file = set_file(to.folder, name);
    if fs::symlink_metadata(&set_file).is_ok() {
        return Err(Error::file(&set_file, "it exists already; nothing was overwritten (hint: name another folder with --out)"));
    }
    let mut share_files = Vec::new();
    let written = (|| {
        for (share, (holder, unsealer)) in dealing.shares.iter().zip(&to.holders) {
            let path = share_file(to.folder, name, holder);
            share.seal(&path, unsealer, to.rng)?;
            share_files.push((holder.clone(), path));
        }
        prove(dealing, to, &share_files)?;
        write_public(&set_file, dealing.set.to_json().as_bytes())
    })();
    match written {
        Ok(()) => Ok(Made { set: dealing.set.clone(), set_file, share_files }),
        Err(error) => {
            // Shares of a set that was never used; the first error matters more than one of these.
            share_files.iter().for_each(|(_, path)| drop(fs::remove_file(path)));
            Err(error)
        }
    }
}

/// Reads every share back from its file, and recombines each run of as many as the threshold asks for.
fn prove(dealing: &Dealing, to: &Recipients<'_>, files: &[(HolderName, PathBuf)]) -> Result<(), Error> {
    let read = files.iter().zip(&to.holders).map(|((_, path), (_, unsealer))| Ok(ShareFile::read(path)?.open(unsealer)?));
    let shares = read.collect::<Result<Vec<Share>, Error>>()?;
    let threshold = usize::from(dealing.set.threshold());
    for start in 0..shares.len() {
        let run: Vec<Share> = shares.iter().cycle().skip(start).take(threshold).cloned().collect();
        if !recombine(&dealing.set, &run)?.same_as(&dealing.secret) {
            return Err(ShareError::Unfit.into());
        }
    }
    Ok(())
}

fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|d| d.sync_all()).map_err(Error::io("make durable", folder))
}

/// Reads a set's public description.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_set(path: &Path) -> Result<ShareSet, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(ShareSet::MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(Error::io("read", path))?;
    ShareSet::from_json(&text).map_err(|e| Error::file(path, e.to_string()))
}

/// Opens as many of a set's shares in `folder` as its threshold asks for, in the order of its holders; who is away is
/// left out. `unsealer` gives what opens a holder's share.
///
/// # Errors
/// When a share is damaged, of another set, or does not open. That they are too few is for [`recombine`] to say.
pub fn open_some(
    set: &ShareSet,
    folder: &Path,
    unsealer: &mut dyn FnMut(&HolderName) -> Result<Unsealer, Error>,
) -> Result<Vec<Share>, Error> {
    let mut shares = Vec::new();
    for holder in set.holders() {
        let path = share_file(folder, set.credential(), holder);
        if shares.len() == usize::from(set.threshold()) || fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let share = ShareFile::read(&path)?.open(&unsealer(holder)?)?;
        set.verify(&share)?;
        shares.push(share);
    }
    Ok(shares)
}

/// Where a holder's share lies.
pub fn share_file(folder: &Path, credential: &CredentialName, holder: &HolderName) -> PathBuf {
    folder.join(format!("{credential}.{holder}.share"))
}

/// Where a set's description lies.
pub fn set_file(folder: &Path, credential: &CredentialName) -> PathBuf {
    folder.join(format!("{credential}.set.json"))
}

/// Removes shares that were cut off before their set's description was written: they were never used.
///
/// # Errors
/// When the description is there, or a file cannot be removed.
pub fn forget_unfinished(folder: &Path, credential: &CredentialName, holders: &[HolderName]) -> Result<(), Error> {
    let set = set_file(folder, credential);
    if fs::symlink_metadata(&set).is_ok() {
        return Err(Error::file(&set, "the set is whole; its shares stay"));
    }
    for path in holders.iter().map(|h| share_file(folder, credential, h)).filter(|p| fs::symlink_metadata(p).is_ok()) {
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// What was found of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Whose shares are good.
    pub good: Vec<HolderName>,
    /// Whether enough of them were at hand, and gave the secret that was dealt.
    pub recombined: bool,
}

/// Verifies shares, each alone; recombines them where they are enough, and forgets what comes out.
///
/// # Errors
/// With the first one that is not good, by its holder's name.
pub fn verify(set: &ShareSet, shares: &[Share]) -> Result<Verified, Error> {
    shares.iter().try_for_each(|share| set.verify(share))?;
    let recombined = shares.len() >= usize::from(set.threshold());
    if recombined {
        let _: Secret = recombine(set, shares)?;
    }
    Ok(Verified { good: shares.iter().map(|s| s.holder().clone()).collect(), recombined })
}
