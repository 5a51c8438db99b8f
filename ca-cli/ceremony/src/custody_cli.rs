//! The arguments of `run` that say whose shares are dealt, and what they open.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ca_core::ceremony::KeyPlace;
use ca_custody::Passphrases;
use ca_keystore::Lock;
use clap::Args;

use crate::custody::no_shares;
use crate::key_store::read_spec;
use crate::{Custody, Error};

/// Shares of credentials, for a ceremony of the kind `credentials`.
#[derive(Args, Debug)]
pub(crate) struct CustodyArgs {
    /// The folder that new shares go to, one sealed file for each holder; nothing in it is overwritten.
    #[arg(long, value_name = "DIR")]
    shares: Option<PathBuf>,
    /// The passphrases of new shares, a file for each holder in this folder [default: each holder types one].
    #[arg(long, value_name = "DIR")]
    share_passphrases: Option<PathBuf>,
    /// The folder of shares that were dealt before, with their set's description, to deal again or to rotate.
    #[arg(long, value_name = "DIR")]
    old_shares: Option<PathBuf>,
    /// The passphrases of those, a file for each holder in this folder [default: each holder types it].
    #[arg(long, value_name = "DIR")]
    old_share_passphrases: Option<PathBuf>,
    /// The root's YubiHSM 2 from the factory: its device plan, whose dealt values come from the ceremony.
    #[cfg(feature = "yubihsm")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root_keystore", "root_keys"])]
    root_device: Option<PathBuf>,
    /// The issuing authorities' YubiHSM 2 from the factory.
    #[cfg(feature = "yubihsm")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["online_keystore", "online_keys"])]
    online_device: Option<PathBuf>,
    /// The backup's YubiHSM 2 from the factory.
    #[cfg(feature = "yubihsm")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup_keystore", "backup_keys"])]
    backup_device: Option<PathBuf>,
}

impl CustodyArgs {
    /// What the ceremony deals with; `stores` are the key store files by place.
    ///
    /// # Errors
    /// When no folder is named, or a file is not of its form.
    pub(crate) fn custody(self, stores: [(KeyPlace, Option<PathBuf>); 3]) -> Result<Custody, Error> {
        let mut locks = BTreeMap::new();
        for (place, file) in stores {
            if let Some(file) = file {
                locks.insert(place, Lock::Store(read_spec(&file)?));
            }
        }
        #[cfg(feature = "yubihsm")]
        for (place, file) in
            [(KeyPlace::Root, self.root_device), (KeyPlace::Online, self.online_device), (KeyPlace::Backup, self.backup_device)]
        {
            if let Some(file) = file {
                locks.insert(place, Lock::Device(Box::new(crate::yubihsm::device_plan(&file)?)));
            }
        }
        Ok(Custody {
            shares: self.shares.ok_or_else(no_shares)?,
            passphrases: Passphrases::from(self.share_passphrases),
            previous: self.old_shares,
            previous_passphrases: Passphrases::from(self.old_share_passphrases),
            locks,
        })
    }
}
