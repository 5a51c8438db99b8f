//! Where things are in a bundle, and durable files that are never overwritten.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ca_core::model::AuthorityName;
use ca_core::pki::{Sha256Digest, sha256};

use crate::Error;

pub(crate) const PLAN: &str = "plan.toml";
pub(crate) const ROSTER: &str = "roster.toml";
pub(crate) const POLICY: &str = "policy.toml";
pub(crate) const POLICY_BUNDLE: &str = "policy-bundle.json";
/// What stands below the root after this ceremony.
pub(crate) const HIERARCHY: &str = "hierarchy.json";
/// What stood there before, of a ceremony that continues another.
pub(crate) const BASE: &str = "inputs/hierarchy.json";
/// What officers revoked on the running CA, as it was brought across.
pub(crate) const REVOKED_CAS: &str = "inputs/revoked-cas.json";
pub(crate) const TRANSCRIPT: &str = "transcript.jsonl";
/// What the signatures over the closed transcript begin with, in `sigs/`.
pub(crate) const TRANSCRIPT_SUBJECT: &str = "transcript";
const TOP: [&str; 5] = [PLAN, ROSTER, POLICY, POLICY_BUNDLE, HIERARCHY];
const FOLDERS: [&str; 7] = ["artefacts", "certs", "crls", "inputs", "records", "sigs", "statements"];
const MAX_FILES: usize = 4096;
const MAX_FILE: usize = 1 << 26;

/// A bundle's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn statement(&self, name: &str) -> PathBuf {
        self.0.join("statements").join(format!("{name}.json"))
    }

    /// The request for an authority's certificate.
    pub(crate) fn request(&self, authority: &AuthorityName) -> PathBuf {
        self.0.join("inputs").join(request_name(authority))
    }

    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.0.join("records").join(format!("{name}.json"))
    }

    /// Makes the folders.
    pub(crate) fn create(&self) -> Result<(), Error> {
        for folder in FOLDERS {
            let path = self.0.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        Ok(())
    }

    /// Reads a file of the bundle as text.
    pub(crate) fn text(&self, name: &str) -> Result<String, Error> {
        let path = self.path(name);
        String::from_utf8(read(&path)?).map_err(|_| Error::bundle(&path, "it is not UTF-8 text"))
    }

    /// The signatures over `subject` (`sigs/SUBJECT.WHOEVER.sig`), sorted by file name.
    pub(crate) fn signatures(&self, subject: &str) -> Result<Vec<(PathBuf, String)>, Error> {
        let mut found = Vec::new();
        for name in list(&self.0.join("sigs"))? {
            let of_subject = name.strip_prefix(subject).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.strip_suffix(".sig"));
            if of_subject.is_some_and(|who| !who.is_empty()) {
                let path = self.0.join("sigs").join(&name);
                let text = String::from_utf8(read(&path)?).map_err(|_| Error::bundle(&path, "it is not UTF-8 text"))?;
                found.push((path, text));
            }
        }
        Ok(found)
    }

    /// Every file of the bundle but the transcript and the signatures over it, with its digest.
    pub(crate) fn digests(&self) -> Result<BTreeMap<String, Sha256Digest>, Error> {
        let mut names: Vec<String> = TOP.iter().filter(|n| self.path(n).exists()).map(|n| (*n).to_owned()).collect();
        for folder in FOLDERS {
            for name in list(&self.0.join(folder))? {
                if !(folder == "sigs" && name.starts_with(&format!("{TRANSCRIPT_SUBJECT}."))) {
                    names.push(format!("{folder}/{name}"));
                }
            }
        }
        names.into_iter().map(|name| read(&self.path(&name)).map(|bytes| (name, sha256(&bytes)))).collect()
    }
}

/// What a request's file is called.
pub(crate) fn request_name(authority: &AuthorityName) -> String {
    format!("{authority}.request.json")
}

/// Reads a whole file, up to 64 MiB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() > MAX_FILE { Err(Error::bundle(path, "it is too large")) } else { Ok(bytes) }
}

/// Writes a durable file that did not exist, or finds it there with the same bytes (requirement 20).
///
/// # Errors
/// When another file is there, or it can't be written.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let parent = parent(path);
    let temporary = parent.join(format!(".{name}.tmp"));
    let written = (|| {
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces.
        fs::hard_link(&temporary, path)
    })();
    let _ = fs::remove_file(&temporary);
    match written {
        Ok(()) => sync_folder(&parent),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            if read(path)? == bytes {
                Ok(())
            } else {
                Err(Error::bundle(path, "it exists with other content, and nothing is overwritten (hint: restore it, or use a new folder)"))
            }
        }
        Err(e) => Err(Error::io("write", path)(e)),
    }
}

pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("make durable", path))
}

pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// The names in a folder, sorted; an absent folder is empty. Temporary files, which begin with a dot, are left out.
fn list(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", path)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("list", path))?.file_name();
        let name = name.into_string().map_err(|_| Error::bundle(path, "a file name in it is not UTF-8"))?;
        if !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(Error::bundle(path, "too many files"));
        }
    }
    names.sort();
    Ok(names)
}
