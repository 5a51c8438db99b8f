//! CRLs of whoever certifies devices, in files: read at the start, and again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ca_core::pki::Timestamp;
use ca_core::ports::Clock as _;
use ca_core::validation::attestation::AttestationCrls;
use serde::Deserialize;

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

    /// Reads the files, and tells of the first that is missing or damaged. The CRLs lack it then: a revoked certificate must not
    /// pass for want of one, and one maker's file must not keep the CA from serving everyone else.
    fn read(&self) -> (AttestationCrls, Option<String>) {
        let (mut crls, mut wrong) = (AttestationCrls::default(), None);
        for path in &self.crls {
            let read = read_one_more(path, AttestationCrls::MAX_BYTES).map_err(|e| format!("cannot be read: {e}"));
            if let Err(why) = read.and_then(|bytes| crls.add(&bytes).map_err(|e| e.to_string())) {
                crls.lack();
                wrong.get_or_insert_with(|| format!("{}: {why} (hint: see [attestation])", path.display()));
            }
        }
        (crls, wrong)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| path.metadata().and_then(|m| Ok((m.modified()?, m.len()))).ok();
        self.crls.iter().map(stamp).collect()
    }

    /// Gives the CRLs to `take`, now and whenever a file has changed; does not end. Where one cannot be read at the start, they
    /// lack it, and devices are refused until it can. Where a changed one cannot be read, those from before stay, until they
    /// are out of date.
    pub fn follow(self, take: impl Fn(Arc<AttestationCrls>) + Send + 'static) -> impl Future<Output = ()> + Send {
        let mut followed = Followed::start(self);
        take(Arc::clone(&followed.crls));
        async move {
            if followed.section.crls.is_empty() {
                return std::future::pending().await;
            }
            loop {
                followed.tell_late();
                tokio::time::sleep(POLL).await;
                if followed.look() {
                    take(Arc::clone(&followed.crls));
                }
            }
        }
    }
}

/// What is in use, and what was told of it.
struct Followed {
    section: AttestationSection,
    stamps: Vec<Stamp>,
    crls: Arc<AttestationCrls>,
    wrong: Option<String>,
    late: Option<(usize, Timestamp)>,
}

impl Followed {
    fn start(section: AttestationSection) -> Self {
        let stamps = section.stamps();
        let (crls, wrong) = section.read();
        if let Some(error) = &wrong {
            tracing::error!(%error, "an attestation CRL cannot be read: devices that attest are refused until it can be");
        }
        Self { section, stamps, crls: Arc::new(crls), wrong, late: None }
    }

    /// Tells once when one is out of date.
    fn tell_late(&mut self) {
        let late = self.crls.first_end().filter(|(_, end)| !self.crls.is_lacking() && *end < SystemClock.now());
        if let Some((at, end)) = late.filter(|late| self.late != Some(*late)) {
            let file = self.section.crls[at].display();
            tracing::error!(%file, %end, "an attestation CRL is out of date: devices by its issuer are refused (hint: get a new one)");
        }
        self.late = late;
    }

    /// Reads them again where a file has changed. Tells whether others are in use now.
    fn look(&mut self) -> bool {
        let stamps = self.section.stamps();
        let lacked = self.crls.is_lacking();
        // What cannot be read may become readable as it is.
        if stamps == self.stamps && !lacked {
            return false;
        }
        self.stamps = stamps;
        let (read, wrong) = self.section.read();
        match &wrong {
            None => tracing::info!(crls = read.len(), "the attestation CRLs changed and were read"),
            Some(error) if self.wrong.as_ref() == Some(error) => {}
            Some(error) if lacked => tracing::error!(%error, "an attestation CRL still cannot be read: devices that attest are refused"),
            Some(error) => tracing::error!(%error, "an attestation CRL changed and cannot be read; those from before stay"),
        }
        let taken = wrong.is_none() || lacked;
        self.wrong = wrong;
        if taken {
            self.crls = Arc::new(read);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use ca_testkit::attestation::Maker;

    use super::*;

    #[test]
    fn a_crl_that_is_missing_or_damaged_is_lacking_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let section = |name: &str| AttestationSection { crls: vec![folder.path().join(name)] };
        std::fs::write(folder.path().join("bad"), [0x30, 0x03, 0x02, 0x01, 0x01]).unwrap();
        std::fs::write(folder.path().join("text"), "no CRL").unwrap();
        for (name, part) in [("none", "cannot be read: No such file"), ("bad", "cannot be read"), ("text", "no `-----BEGIN X509 CRL-----`")]
        {
            let (crls, wrong) = section(name).read();
            let error = wrong.unwrap();
            assert!(error.contains(part) && error.contains(name), "{error}");
            assert!(crls.is_lacking());
        }
        let (none, wrong) = AttestationSection::default().read();
        assert!(none.is_empty() && !none.is_lacking() && wrong.is_none());
        let many = AttestationSection { crls: vec![PathBuf::from("x"); 65] };
        assert!(many.check().unwrap_err().contains("the most is 64"));
    }

    /// Nobody else is kept from being served, and what is lacking is read once it is there.
    #[test]
    fn a_start_without_one_goes_on_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maker.crl");
        let mut followed = Followed::start(AttestationSection { crls: vec![path.clone()] });
        assert!(followed.crls.is_lacking());
        followed.look();
        assert!(followed.crls.is_lacking(), "still not there");
        let put = |content: &[u8]| {
            std::fs::write(folder.path().join("new"), content).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        };
        put(&Maker::new("Maker").crl(false, &[1], ("20000101000000Z", Some("20491231235959Z")), &[]));
        assert!(followed.look());
        assert_eq!((followed.crls.len(), followed.crls.is_lacking()), (1, false));
        // One that was read stays where the next cannot be.
        put(b"damaged");
        assert!(!followed.look());
        assert_eq!((followed.crls.len(), followed.crls.is_lacking()), (1, false));
    }
}
