//! Specimens as files, for programs: each in DER and, but for OCSP answers, PEM, with a manifest.

use std::path::{Path, PathBuf};
use std::process::Command;

use ca_core::pki::pem_encode;
use ca_testkit::specimens::{Chain, Kind, Purpose, Specimen};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A run's own folder of specimens, seen from here and, where it lies in a userland, from within that. It goes with the
/// run, but stays where the run fails, to be looked at.
pub(crate) struct Folder {
    root: TempDir,
    userland: Option<PathBuf>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the specimens are in {}", self.root.path().display());
            self.root.disable_cleanup(true);
        }
    }
}

impl Folder {
    /// A new folder, in the userland where there is one.
    pub(crate) fn new(userland: Option<&Path>) -> Self {
        let beside = userland.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")));
        let root = tempfile::Builder::new().prefix("specimens-").tempdir_in(beside).unwrap();
        Self { root, userland: userland.map(Path::to_owned) }
    }

    /// Where a file is, seen from here.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    /// A program of this machine, or of the userland, that works in this folder.
    pub(crate) fn command(&self, program: &str, in_userland: bool) -> Command {
        if !in_userland {
            let mut command = Command::new(program);
            command.current_dir(self.root.path());
            return command;
        }
        let userland = self.userland.as_deref().expect("only what runs with all oracles asks for the userland");
        let inside = Path::new("/").join(self.root.path().strip_prefix(userland).expect("the folder lies in the userland"));
        let mut command = Command::new("chroot");
        // env -C changes into the folder within.
        command.arg(userland).args(["/usr/bin/env", "-i", "-C"]).arg(inside);
        command.args(["PATH=/usr/bin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "GOROOT=/usr/lib/go"]).arg(program);
        command
    }

    /// Writes the specimens, their chains and a manifest named for the first of them.
    pub(crate) fn write(&self, specimens: &[Specimen]) {
        let mut entries = Vec::new();
        for specimen in specimens {
            self.write_one(&format!("{}.der", specimen.name), &specimen.der);
            match &specimen.kind {
                Kind::Certificate { .. } => {
                    let certificates = &specimen.chain.certificates;
                    let between = &certificates[..certificates.len() - 1];
                    self.write_one(&format!("{}.pem", specimen.name), pem("CERTIFICATE", [&specimen.der]));
                    let presented = pem("CERTIFICATE", std::iter::once(&specimen.der).chain(between));
                    self.write_one(&format!("{}.chain.pem", specimen.name), presented);
                }
                Kind::Crl => self.write_one(&format!("{}.pem", specimen.name), pem("X509 CRL", [&specimen.der])),
                Kind::OcspResponse { request, .. } => self.write_one(&format!("{}.request.der", specimen.name), request),
            }
            self.write_chain(&specimen.chain);
            entries.push(entry(specimen));
        }
        self.write_one("manifest.json", serde_json::to_vec_pretty(&entries).unwrap());
    }

    fn write_chain(&self, chain: &Chain) {
        let (issuer, root) = (chain.certificates.first().unwrap(), chain.certificates.last().unwrap());
        let between = &chain.certificates[..chain.certificates.len() - 1];
        self.write_one(&issuer_pem(chain), pem("CERTIFICATE", [issuer]));
        self.write_one(&format!("{}.issuer.der", chain.name), issuer);
        self.write_one(&root_pem(chain), pem("CERTIFICATE", [root]));
        self.write_one(&between_pem(chain), pem("CERTIFICATE", between));
        self.write_one(&crls_pem(chain), pem("X509 CRL", &chain.crls));
        for (i, crl) in chain.crls.iter().enumerate() {
            self.write_one(&format!("{}.{i}.crl", chain.name), crl);
        }
        for (i, certificate) in chain.certificates.iter().enumerate() {
            self.write_one(&format!("{}.{i}.cer", chain.name), certificate);
        }
    }

    fn write_one(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn pem<'a>(label: &str, all: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    all.into_iter().map(|der| pem_encode(label, der)).collect()
}

/// The file of the direct issuer.
pub(crate) fn issuer_pem(chain: &Chain) -> String {
    format!("{}.issuer.pem", chain.name)
}

/// The file of the root.
pub(crate) fn root_pem(chain: &Chain) -> String {
    format!("{}.root.pem", chain.name)
}

/// The file of what stands between a leaf and the root.
pub(crate) fn between_pem(chain: &Chain) -> String {
    format!("{}.between.pem", chain.name)
}

/// The file of every CRL of the chain.
pub(crate) fn crls_pem(chain: &Chain) -> String {
    format!("{}.crls.pem", chain.name)
}

/// A line of the manifest; paths are relative to it.
fn entry(specimen: &Specimen) -> Value {
    let chain = &specimen.chain;
    let files = |count: usize, end: &str| (0..count).map(|i| format!("{}.{i}.{end}", chain.name)).collect::<Vec<_>>();
    let mut entry = json!({
        "name": specimen.name,
        "profile": specimen.profile,
        "key": specimen.key.name(),
        "file": format!("{}.der", specimen.name),
        "issuers": files(chain.certificates.len(), "cer"),
        "crls": files(chain.crls.len(), "crl"),
    });
    let more = match &specimen.kind {
        Kind::Certificate { purpose, is_revoked } => json!({ "kind": "certificate", "purpose": word(*purpose), "revoked": is_revoked }),
        Kind::Crl => json!({ "kind": "crl" }),
        Kind::OcspResponse { serial, says, .. } => json!({ "kind": "ocsp-response", "serial": serial.to_string(), "says": says }),
    };
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

const fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Client => "client",
        Purpose::Server => "server",
        Purpose::ClientAndServer => "client-and-server",
        Purpose::Issuing => "issuing",
        Purpose::Other => "other",
    }
}
