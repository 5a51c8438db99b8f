//! demo.env: the facts, for scripts.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::setup::{Layout, authority};
use crate::config::Config;
use crate::exit::configuration;
use crate::render::quoted;

/// What scripts want to know.
pub(super) struct Facts {
    pub(super) acme_directory: String,
    pub(super) ocsp_url: String,
    pub(super) crl_url: String,
    pub(super) eab_kid: String,
    pub(super) eab_hmac: String,
    paths: [(&'static str, String); 4],
}

/// A DNS name that the grant covers.
pub(super) const DEMO_NAME: &str = "demo.test";

impl Facts {
    pub(super) fn new(layout: &Layout, config: &Config, eab_kid: String, eab_hmac: String) -> Self {
        let status = format!("{}/a/{}", config.status.url.trim_end_matches('/'), authority());
        let path = |p: &Path| p.display().to_string();
        Self {
            acme_directory: format!("{}/acme/directory", config.acme.url.trim_end_matches('/')),
            ocsp_url: format!("{status}/ocsp"),
            crl_url: format!("{status}/crl/0.crl"),
            eab_kid,
            eab_hmac,
            paths: [
                ("CA_BUNDLE", path(&layout.root)),
                ("ISSUER_CERT", path(&layout.issuer)),
                ("CRL_BUNDLE", path(&layout.crls)),
                ("CA_CONFIG", path(&layout.config)),
            ],
        }
    }

    /// The file, to be sourced by a shell.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::from("# Facts of the demonstration CA, for scripts: `set -a; . demo.env`. It holds the grant's secret.\n");
        let plain = [
            ("ACME_DIRECTORY", self.acme_directory.as_str()),
            ("EAB_KID", &self.eab_kid),
            ("EAB_HMAC", &self.eab_hmac),
            ("DEMO_NAME", DEMO_NAME),
            ("OCSP_URL", &self.ocsp_url),
            ("CRL_URL", &self.crl_url),
        ];
        let paths = self.paths.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in plain.into_iter().chain(paths) {
            out.push_str(&format!("{name}={}\n", quoted(value)));
        }
        out
    }

    /// The grant in an earlier start's file.
    pub(super) fn grant_in(path: &Path) -> Option<(String, String)> {
        let text = std::fs::read_to_string(path).ok()?;
        let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
        Some((value("EAB_KID")?, value("EAB_HMAC")?))
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    write(path, content, 0o600)
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let wrong = |e: std::io::Error| configuration(format!("cannot write {}: {e}", path.display()));
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let next = Path::new(&name);
    // What a start that was cut off left; its mode might be another.
    let _ = std::fs::remove_file(next);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(next).map_err(wrong)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(wrong)?;
    std::fs::rename(next, path).map_err(wrong)
}
