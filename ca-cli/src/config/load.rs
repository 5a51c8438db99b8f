//! Finding, reading and checking the file.

use std::path::{Path, PathBuf};

use ca_service::config::{check_listen, check_url, read_text};
use ca_service::proxies::check_proxies;

use super::Config;
use crate::exit::configuration;

/// Where the file is looked for when nothing names it.
const DEFAULT_PATH: &str = "/etc/countersign/ca.toml";

/// The environment variable that names the file.
const VARIABLE: &str = "CA_CONFIG";

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
        let (text, folder) = read_text(path, "(hint: name it with --config FILE or $CA_CONFIG)")?;
        Self::parse(&text, &folder).map_err(|reason| configuration(format!("the configuration {}: {reason}", path.display())))
    }

    /// Reads its text; relative paths start at `folder`.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        config.resolve(folder);
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        check_url("acme.url", &self.acme.url, "https://")?;
        check_url("status.url", &self.status.url, "http://")?;
        self.acme.check()?;
        // A worker by itself has none.
        for (key, addresses) in [("acme.listen", &self.acme.listen), ("status.listen", &self.status.listen)] {
            if !addresses.is_empty() {
                check_listen(key, addresses)?;
            }
        }
        check_proxies("status.trusted_proxies", &self.status.trusted_proxies)?;
        self.status.never_issued.parse::<ocsp_responder::NeverIssued>().map_err(|e| format!("status.never_issued: {e}"))?;
        self.validation.check()?;
        self.attestation.check()?;
        self.metrics.check()?;
        self.limits.acme().check()?;
        self.limits.responder().check()
    }
}

#[cfg(test)]
mod tests {
    use ca_core::ports::FirmwareVersion;
    use ca_keystore::{CredentialSpec, KeyStoreSpec, Pkcs11Spec, SoftwareSpec, UnsealSpec, YubiHsmKeySpec, YubiHsmSpec};
    use ca_testkit::sample::unexplained;

    use super::super::{LimitsConfig, LogConfig, LogFormat, User};
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
        assert_eq!(config.validation, acme_server::ValidationSection::default(), "the sample shows the defaults");
        assert_eq!(acme_server::Rates::from(&config.acme.limits), acme_server::Rates::default(), "the sample shows the defaults");
        assert_eq!(config.acme.pause, acme_server::PauseSection::default(), "the sample shows the defaults");
        assert_eq!(config.log, LogConfig::default(), "the sample shows the defaults");
    }

    #[test]
    fn the_samples_other_users_parse() {
        let (before, rest) = SAMPLE.split_once("[serve]").unwrap();
        let (section, after) = rest.split_once("\n[").unwrap();
        let keys = ["worker = ", "acme = ", "responder = "];
        let lines: Vec<&str> =
            section.lines().filter_map(|l| l.strip_prefix("# ")).filter(|l| keys.iter().any(|k| l.starts_with(k))).collect();
        let text = format!("{before}[serve]\n{}\n[{after}", lines.join("\n"));
        let serve = Config::parse(&text, Path::new("/etc/countersign")).unwrap().serve;
        assert_eq!(serve.worker, Some(User::Name("countersign-worker".to_owned())));
        assert_eq!(serve.acme.map(|front| front.config), Some("/etc/countersign/acme.toml".into()));
        assert_eq!(serve.responder.map(|front| front.user), Some(User::Name("countersign-ocsp".to_owned())));
    }

    #[test]
    fn hardware_keys_are_not_in_the_process_that_faces_the_network() {
        use crate::serve::one_process_is_enough;
        let mut config = Config::parse(SAMPLE, Path::new("/")).unwrap();
        one_process_is_enough(&config).expect("software keys are in a file anyway");
        let spec = r#"{"kind":"pkcs11","module":"/lib/module.so","token":"online","pin":"terminal"}"#;
        config.keystore = serde_json::from_str(spec).unwrap();
        let refused = one_process_is_enough(&config).unwrap_err().to_string();
        assert!(refused.contains("--worker-user") && refused.contains("serve.hardware_keys_in_one_process = true"), "{refused}");
        config.serve.hardware_keys_in_one_process = true;
        one_process_is_enough(&config).expect("the site says so");
    }

    #[test]
    fn the_samples_other_key_stores_parse() {
        // The section's commented keys stand for its plain ones.
        let (before, rest) = SAMPLE.split_once("[keystore]").unwrap();
        let (section, after) = rest.split_once("\n[").unwrap();
        let bare = section
            .lines()
            .filter_map(|l| l.strip_prefix("# "))
            .filter(|l| l.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase())));
        let other: Vec<&str> = bare.collect();
        let text = format!("{before}[keystore]\n{}\n[{after}", other.join("\n"));
        let config = Config::parse(&text, Path::new("/etc/countersign")).unwrap();
        let expected = Pkcs11Spec {
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token: Some("online".to_owned()),
            serial: Some("0123456789abcdef".to_owned()),
            pin: CredentialSpec::File("/run/credentials/ca/pin".into()),
            sessions: 4,
        };
        assert_eq!(config.keystore, KeyStoreSpec::Pkcs11(expected));

        let yubihsm: Vec<&str> = section.lines().filter_map(|l| l.strip_prefix("#   ")).collect();
        let text = format!("{before}[keystore]\n{}\n[{after}", yubihsm.join("\n"));
        let config = Config::parse(&text, Path::new("/etc/countersign")).unwrap();
        let expected = YubiHsmSpec {
            connector: "127.0.0.1:12345".parse().unwrap(),
            serial: "12345678".to_owned(),
            minimum_firmware: FirmwareVersion(2, 4, 0),
            domains: vec![1],
            keys: vec![YubiHsmKeySpec { id: 12, credential: CredentialSpec::File("/run/credentials/ca/signer".into()) }],
        };
        assert_eq!(config.keystore, KeyStoreSpec::YubiHsm(expected));
    }

    #[test]
    fn the_sample_documents_every_key() {
        assert_eq!(unexplained(SAMPLE), None);
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
        check("hardware_keys_in_one_process = false", "acme = { user = \"x\" }", "config");
        let mut config = Config::parse(SAMPLE, Path::new("/")).unwrap();
        config.log.format = LogFormat::Json;
        config.acme.listen = vec![config.acme.listen[0]; 17];
        assert!(config.check().unwrap_err().contains("acme.listen"));
    }

    #[test]
    fn the_path_given_wins() {
        assert_eq!(find(Some(Path::new("x.toml"))), Path::new("x.toml"));
    }
}
