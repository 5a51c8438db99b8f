//! CRLs of whoever certifies devices, in files: read at the start, and again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ca_core::ports::Clock as _;
use ca_core::validation::attestation::AttestationCrls;
use serde::Deserialize;

use crate::exit::configuration;
use crate::read_one_more;
use crate::system::SystemClock;

/// The most files.
const MAX_FILES: usize = 64;
/// How often it is looked whether one has changed.
const POLL: Duration = Duration::from_secs(5);

/// `[attestation]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationSection {
    /// CRLs of whoever certifies devices, DER or PEM, one in each file.
    #[serde(default)]
    pub crls: Vec<PathBuf>,
}

/// What tells that a file is another one.
type Stamp = Option<(SystemTime, u64)>;

impl AttestationSection {
    /// What is wrong with it, with the key's name.
    ///
    /// # Errors
    /// The text for the operator.
    pub fn check(&self) -> Result<(), String> {
        let most = MAX_FILES;
        if self.crls.len() > most { Err(format!("attestation.crls has {} entries; the most is {most}", self.crls.len())) } else { Ok(()) }
    }

    /// Makes every path absolute, starting at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        self.crls.iter_mut().for_each(|path| *path = folder.join(&path));
    }

    /// Reads the files. One that is missing or damaged is an error: without it a revoked certificate would pass.
    ///
    /// # Errors
    /// With the file's name and what is wrong with it.
    pub fn read(&self) -> anyhow::Result<AttestationCrls> {
        let mut crls = AttestationCrls::default();
        for path in &self.crls {
            let wrong = |why: String| configuration(format!("the attestation CRL {}: {why} (hint: see [attestation])", path.display()));
            let bytes = read_one_more(path, AttestationCrls::MAX_BYTES).map_err(|e| wrong(format!("cannot be read: {e}")))?;
            crls.add(&bytes).map_err(|e| wrong(e.to_string()))?;
        }
        Ok(crls)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| path.metadata().and_then(|m| Ok((m.modified()?, m.len()))).ok();
        self.crls.iter().map(stamp).collect()
    }

    /// Gives the CRLs to `take`, now and whenever a file has changed; does not end. Where a changed one cannot be read, those
    /// from before stay, until they are out of date.
    ///
    /// # Errors
    /// Where they cannot be read now.
    pub fn follow(self, take: impl Fn(Arc<AttestationCrls>) + Send + 'static) -> anyhow::Result<impl Future<Output = ()> + Send> {
        let mut seen = self.stamps();
        let mut crls = Arc::new(self.read()?);
        take(Arc::clone(&crls));
        Ok(async move {
            if self.crls.is_empty() {
                return std::future::pending().await;
            }
            let mut told = None;
            loop {
                let late = crls.first_end().filter(|(_, end)| *end < SystemClock.now());
                if let Some((at, end)) = late.filter(|late| told != Some(*late)) {
                    let file = self.crls[at].display();
                    tracing::error!(%file, %end, "an attestation CRL is out of date: devices by its issuer are refused (hint: get a new one)");
                }
                told = late;
                tokio::time::sleep(POLL).await;
                let stamps = self.stamps();
                if stamps == seen {
                    continue;
                }
                seen = stamps;
                match self.read() {
                    Ok(read) => {
                        crls = Arc::new(read);
                        take(Arc::clone(&crls));
                        tracing::info!(crls = crls.len(), "the attestation CRLs changed and were read");
                    }
                    Err(error) => tracing::error!(%error, "an attestation CRL changed and cannot be read; those from before stay"),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crl_that_is_missing_or_damaged_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let section = |name: &str| AttestationSection { crls: vec![folder.path().join(name)] };
        std::fs::write(folder.path().join("bad"), [0x30, 0x03, 0x02, 0x01, 0x01]).unwrap();
        std::fs::write(folder.path().join("text"), "no CRL").unwrap();
        for (name, part) in [("none", "cannot be read: No such file"), ("bad", "cannot be read"), ("text", "neither DER nor one PEM block")]
        {
            let error = section(name).read().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
        assert!(AttestationSection::default().read().unwrap().is_empty());
        let many = AttestationSection { crls: vec![PathBuf::from("x"); 65] };
        assert!(many.check().unwrap_err().contains("the most is 64"));
    }
}
