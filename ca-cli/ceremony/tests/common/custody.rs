//! Ceremonies that deal credentials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ca_ceremony::Custody;
use ca_core::ceremony::{KeyPlace, inventory_lines};
use ca_core::ports::KeyDevice;
use ca_custody::Passphrases;
use ca_custody::credential::{open_some, read_set, set_file};
use ca_keystore::shares::{Credential, recombine};
use ca_keystore::{Given, Lock, file_key_text};

use super::Ceremony;

/// Folders of shares in the ceremony's folder, and what they open.
#[derive(Clone)]
pub struct Deals {
    pub shares: &'static str,
    pub previous: Option<&'static str>,
    pub place: KeyPlace,
    pub lock: Lock,
}

impl Deals {
    pub fn custody(&self, dir: &Path) -> Custody {
        // The test's folder may have moved since the lock was named.
        let mut lock = self.lock.clone();
        lock.resolve(dir);
        Custody {
            shares: dir.join(self.shares),
            passphrases: Passphrases::Folder(dir.join("passphrases")),
            previous: self.previous.map(|p| dir.join(p)),
            previous_passphrases: Passphrases::Folder(dir.join("passphrases")),
            locks: BTreeMap::from([(self.place, lock)]),
        }
    }
}

/// One credential of a plan.
pub fn credential(place: &str, name: &str, purpose: &str, change: &str, holders: &[&str], rest: &str) -> String {
    format!(
        "[acts]\nkind = \"credentials\"\n[[acts.credential]]\nplace = \"{place}\"\nname = \"{name}\"\npurpose = \"{purpose}\"\nchange = \"{change}\"\nthreshold = 2\nholders = {holders:?}\n{rest}"
    )
}

impl Ceremony {
    /// Turns to a ceremony that deals what opens a device, before the first one.
    pub fn before_the_first(&mut self, name: &str, acts: &str, holders: &[&str]) {
        self.current = name.to_owned();
        let mut plan = self.later_frame(&[]);
        plan.extend(acts.parse::<toml::Table>().unwrap());
        std::fs::write(self.plan(), toml::to_string(&plan).unwrap()).unwrap();
        self.keepers(holders);
    }

    /// Turns to a later one.
    pub fn deal(&mut self, name: &str, acts: &str, holders: &[&str]) {
        self.next(name, acts, &[]);
        self.keepers(holders);
    }

    /// Each holder keeps a share, and has a passphrase.
    fn keepers(&self, holders: &[&str]) {
        let mut plan: toml::Table = std::fs::read_to_string(self.plan()).unwrap().parse().unwrap();
        let keeper = |name: &&str| {
            let keeps = [("name", (*name).to_owned()), ("holds", format!("the share of {name}"))];
            toml::Value::Table(keeps.map(|(k, v)| (k.to_owned(), toml::Value::String(v))).into_iter().collect())
        };
        plan.insert("custodian".to_owned(), toml::Value::Array(holders.iter().map(keeper).collect()));
        std::fs::write(self.plan(), toml::to_string(&plan).unwrap()).unwrap();
        std::fs::create_dir_all(self.dir.path().join("passphrases")).unwrap();
        for name in holders {
            // One holder has a passphrase; Argon2id for everyone is not the point.
            let key = ca_core::pki::sha256(name.as_bytes()).0;
            let text = if *name == "cora" { format!("{CANARY} passphrase of {name}\n") } else { file_key_text(&key).to_string() };
            self.secret_file(&format!("passphrases/{name}"), &text);
        }
    }

    /// The plan pins a device as it is now.
    pub async fn pin(&self, place: &str, device: &dyn KeyDevice) {
        let mut plan: toml::Table = std::fs::read_to_string(self.plan()).unwrap().parse().unwrap();
        let identity = device.identity().await.unwrap();
        let lines = inventory_lines(&device.inventory().await.unwrap()).into_iter().map(toml::Value::String).collect();
        let kind = serde_json::to_value(identity.kind).unwrap().as_str().unwrap().to_owned();
        let mut pin = toml::Table::from_iter([
            ("kind".to_owned(), toml::Value::String(kind)),
            ("serial".to_owned(), toml::Value::String(identity.serial)),
            ("before".to_owned(), toml::Value::Array(lines)),
        ]);
        if let Some(firmware) = identity.firmware {
            pin.insert("lowest_firmware".to_owned(), toml::Value::String(firmware.to_string()));
        }
        let devices = plan.entry("device").or_insert_with(|| toml::Value::Table(toml::Table::new()));
        devices.as_table_mut().unwrap().insert(place.to_owned(), toml::Value::Table(pin));
        std::fs::write(self.plan(), toml::to_string(&plan).unwrap()).unwrap();
    }

    /// The folder of a ceremony's shares.
    pub fn shares(&self, folder: &str) -> PathBuf {
        self.dir.path().join(folder)
    }

    /// The credential, from the shares of these people.
    pub fn recombined(&self, folder: &str, name: &str, of: &[&str]) -> Result<Credential, ca_custody::Error> {
        let folder = self.shares(folder);
        let set = read_set(&set_file(&folder, &name.parse().unwrap()))?;
        let mut shares = Vec::new();
        for holder in of {
            let path = ca_custody::credential::share_file(&folder, set.credential(), &holder.parse().unwrap());
            let unsealer = Passphrases::Folder(self.dir.path().join("passphrases")).existing(&holder.parse().unwrap())?;
            shares.push(ca_keystore::shares::ShareFile::read(&path)?.open(&unsealer)?);
        }
        Ok(recombine(&set, &shares)?.credential(set.credential(), set.purpose()))
    }

    /// The id of the set that a folder has.
    pub fn set(&self, folder: &str, name: &str) -> String {
        read_set(&set_file(&self.shares(folder), &name.parse().unwrap())).unwrap().id().to_string()
    }

    /// What opens a lock, from as many of the folder's shares as there are.
    pub fn given(&self, folder: &str, name: &str, key_id: Option<u16>) -> Given {
        let path = self.shares(folder);
        let set = read_set(&set_file(&path, &name.parse().unwrap())).unwrap();
        let passphrases = Passphrases::Folder(self.dir.path().join("passphrases"));
        let shares = open_some(&set, &path, &mut |holder| passphrases.existing(holder)).unwrap();
        Given { key_id, credential: recombine(&set, &shares).unwrap().credential(set.credential(), set.purpose()) }
    }
}

/// Stands in every secret that a test's people have.
pub const CANARY: &str = "ca9a4100";
