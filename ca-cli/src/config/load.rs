//! Finding, reading and checking the file.

use std::path::{Path, PathBuf};

use super::Config;
use crate::exit::configuration;

/// Where the file is looked for when nothing names it.
const DEFAULT_PATH: &str = "/etc/countersign/ca.toml";

/// The environment variable that names the file.
const VARIABLE: &str = "CA_CONFIG";

const MAX_BYTES: u64 = 1 << 20;

/// The path of the configuration: the one given, else `$CA_CONFIG`, else the usual place.
pub(crate) fn find(given: Option<&Path>) -> PathBuf {
    match given {
        Some(path) => path.to_owned(),
        None => std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map_or_else(|| PathBuf::from(DEFAULT_PATH), PathBuf::from),
    }
}

impl Config {
    /// Reads the file at `path`.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let hint = "(hint: name it with --config FILE or $CA_CONFIG)";
        let unreadable = |e: std::io::Error| configuration(format!("cannot read the configuration {shown}: {e} {hint}"));
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(configuration(format!("the configuration {shown} has more than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let folder = std::path::absolute(path).map_err(unreadable)?;
        let folder = folder.parent().unwrap_or_else(|| Path::new("/"));
        Self::parse(&text, folder).map_err(|reason| configuration(format!("the configuration {shown}: {reason}")))
    }

    /// Reads its text; relative paths start at `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        config.resolve(folder);
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (key, url, schemes) in [("acme.url", &self.acme.url, &["https://"][..]), ("status.url", &self.status.url, &["http://"][..])] {
            let host = schemes.iter().find_map(|s| url.strip_prefix(s)).map(|h| h.trim_end_matches('/'));
            let plain = |h: &str| !h.is_empty() && h.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\"".contains(&b));
            if !host.is_some_and(plain) {
                return Err(format!("{key} is `{url}`, not {}HOST[:PORT] without a path", schemes.join(" or ")));
            }
        }
        for (key, addresses) in [("acme.listen", &self.acme.listen), ("status.listen", &self.status.listen)] {
            if addresses.is_empty() || addresses.len() > 16 {
                return Err(format!("{key} needs 1 to 16 addresses, for example [\"127.0.0.1:14000\"]"));
            }
        }
        self.status.never_issued.parse::<ocsp_responder::NeverIssued>().map_err(|e| format!("status.never_issued: {e}"))?;
        let l = &self.limits;
        let bounded = [
            ("connections", u64::from(l.connections), 1, 100_000),
            ("request_seconds", l.request_seconds, 1, 300),
            ("worker_wait_seconds", l.worker_wait_seconds, 1, 60),
            ("backlog_seconds", l.backlog_seconds, 1, 3600),
            ("order_seconds", l.order_seconds, 60, 30 * 86_400),
            ("ocsp_validity_seconds", l.ocsp_validity_seconds, 60, 7 * 86_400),
            ("ocsp_cache_mib", l.ocsp_cache_mib, 1, 16 * 1024),
            ("drain_seconds", l.drain_seconds, 1, 300),
        ];
        match bounded.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((key, value, low, high)) => Err(format!("limits.{key} is {value}, not {low} to {high}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ca_keystore::{KeyStoreSpec, SoftwareSpec, UnsealSpec};

    use super::super::{LimitsConfig, LogConfig, LogFormat};
    use super::*;

    const SAMPLE: &str = include_str!("../../ca.sample.toml");

    #[test]
    fn the_sample_parses_and_shows_the_defaults() {
        let config = Config::parse(SAMPLE, Path::new("/etc/countersign")).unwrap();
        assert_eq!(config.store.path, Path::new("/var/lib/countersign/ca.db"));
        assert_eq!(config.trust.roster, Path::new("/etc/countersign/roster.toml"), "relative paths start at the file's folder");
        let unseal = UnsealSpec::PassphraseFile("/run/credentials/ca/authority".into());
        assert_eq!(config.keystore, KeyStoreSpec::Software(SoftwareSpec { dir: "/var/lib/countersign/authority-keys".into(), unseal }));
        assert_eq!(config.limits, LimitsConfig::default(), "the sample shows the defaults");
        assert_eq!(config.log, LogConfig::default(), "the sample shows the defaults");
    }

    #[test]
    fn the_sample_documents_every_key() {
        // Each key stands in the sample with a comment above it.
        let lines: Vec<&str> = SAMPLE.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let bare = line.trim_start_matches("# ");
            let is_key = bare.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(!is_key || lines[i - 1].starts_with('#'), "no comment above `{line}`");
        }
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SAMPLE.contains(from), "{from}");
        let error = Config::parse(&SAMPLE.replacen(from, to, 1), Path::new("/")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("[store]", "[store]\nno_such_key = 1", "no_such_key");
        check("[log]", "[logs]", "logs");
        check("https://ca.bank.test:14000", "http://ca.bank.test", "acme.url");
        check("https://ca.bank.test:14000", "https://ca.bank.test/acme", "acme.url");
        check("connections = 1024", "connections = 0", "limits.connections is 0");
        check("never_issued = \"unknown\"", "never_issued = \"good\"", "never_issued");
        check("format = \"text\"", "format = \"xml\"", "xml");
        let mut config = Config::parse(SAMPLE, Path::new("/")).unwrap();
        config.log.format = LogFormat::Json;
        config.acme.listen.clear();
        assert!(config.check().unwrap_err().contains("acme.listen"));
    }

    #[test]
    fn the_path_given_wins() {
        assert_eq!(find(Some(Path::new("x.toml"))), Path::new("x.toml"));
    }
}
