//! What a suite that knows Pebble gives: arguments, a JSON file, the environment.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// The longest configuration.
const MAX: u64 = 1 << 20;
/// Pebble's own default, in percent.
const NONCE_REJECT: u32 = 5;

/// What the suite asks for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where ACME is served.
    pub(crate) listen: SocketAddr,
    /// Where `/roots/0` and the like are.
    pub(crate) management: SocketAddr,
    /// Both listeners' certificate chain and key, PEM.
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    /// The ports that challenges are looked for on.
    pub(crate) http_port: u16,
    pub(crate) tls_port: u16,
    /// The resolver; none: the system's.
    pub(crate) resolver: Option<SocketAddr>,
    /// Whether each account needs a binding.
    pub(crate) bound: bool,
    /// The bindings' keys, base64url, by key identifier.
    pub(crate) mac_keys: BTreeMap<String, String>,
    /// Names that are refused.
    pub(crate) blocked: Vec<String>,
    /// Profiles with their lifetimes in seconds; the first is the default one.
    pub(crate) profiles: Vec<(String, u64)>,
    /// How many of a hundred nonces are refused though they are good.
    pub(crate) nonce_reject: u32,
}

impl Options {
    /// Reads arguments, file and environment.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut config, mut resolver) = (None, None);
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            // As Go's flags are: one dash or two, the value behind `=` or next.
            let name = argument.trim_start_matches('-');
            let (name, given) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || given.clone().or_else(|| arguments.next()).with_context(|| format!("-{name} needs a value"));
            match name {
                "config" => config = Some(PathBuf::from(value()?)),
                "dnsserver" => resolver = Some(address(&value()?)?),
                // Nothing is lenient here.
                "strict" => {}
                other => bail!("unknown argument -{other} (hint: -config FILE -dnsserver ADDRESS -strict)"),
            }
        }
        let config = config.context("-config FILE is missing")?;
        let mut options = Self::parse(&read(&config)?).with_context(|| config.display().to_string())?;
        options.resolver = resolver;
        options.environment()?;
        Ok(options)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let whole = lowered(serde_json::from_str(text)?);
        let Some(Value::Object(map)) = whole.get("pebble") else { bail!("it has no object `pebble`") };
        let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        let port = |name: &str, default: u16| map.get(name).and_then(Value::as_u64).map_or(Ok(default), u16::try_from);
        let mut profiles: Vec<(String, u64)> = match map.get("profiles") {
            Some(Value::Object(profiles)) if !profiles.is_empty() => {
                let seconds = |p: &Value| p.get("validityperiod").and_then(Value::as_u64).unwrap_or(90 * 86_400);
                profiles.iter().map(|(name, profile)| (name.clone(), seconds(profile))).collect()
            }
            _ => vec![("default".to_owned(), map.get("certificatevalidityperiod").and_then(Value::as_u64).unwrap_or(90 * 86_400))],
        };
        // False sorts before true.
        profiles.sort_by_key(|(name, _)| name != "default");
        let strings = |value: &Value| value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        let keys = map.get("externalaccountmackeys").and_then(Value::as_object).into_iter().flatten();
        Ok(Self {
            listen: address(text("listenaddress").unwrap_or("0.0.0.0:14000"))?,
            management: address(text("managementlistenaddress").unwrap_or("0.0.0.0:15000"))?,
            certificate: text("certificate").context("`certificate` is missing")?.into(),
            private_key: text("privatekey").context("`privateKey` is missing")?.into(),
            http_port: port("httpport", 5002)?,
            tls_port: port("tlsport", 5001)?,
            resolver: None,
            bound: map.get("externalaccountbindingrequired").and_then(Value::as_bool).unwrap_or(false),
            mac_keys: keys.filter_map(|(kid, key)| Some((kid.clone(), key.as_str()?.to_owned()))).collect(),
            blocked: map.get("domainblocklist").map(strings).unwrap_or_default(),
            profiles,
            nonce_reject: NONCE_REJECT,
        })
    }

    /// What suites set, and what becomes of it here.
    fn environment(&mut self) -> anyhow::Result<()> {
        let number = |name: &str| match std::env::var(name) {
            Ok(text) if !text.is_empty() => text.parse::<u32>().map(Some).with_context(|| format!("{name} is `{text}`, not a number")),
            _ => Ok(None),
        };
        if number("PEBBLE_VA_ALWAYS_VALID")?.is_some_and(|n| n != 0) {
            bail!("PEBBLE_VA_ALWAYS_VALID is set, but the product has no way past validation (hint: answer the challenges)");
        }
        self.nonce_reject = number("PEBBLE_WFE_NONCEREJECT")?.unwrap_or(NONCE_REJECT).min(90);
        for (name, offered) in [("PEBBLE_ALTERNATE_ROOTS", 0), ("PEBBLE_CHAIN_LENGTH", 1)] {
            if let Some(asked) = number(name)?.filter(|asked| *asked != offered) {
                eprintln!("pebble_front: {name}={asked}: this hierarchy has one root and one intermediate ({name}={offered})");
            }
        }
        if let Some(percent) = number("PEBBLE_AUTHZREUSE")?.filter(|percent| *percent != 100) {
            eprintln!("pebble_front: PEBBLE_AUTHZREUSE={percent}: valid authorizations are always used again");
        }
        // PEBBLE_VA_NOSLEEP and PEBBLE_VA_SLEEPTIME: validation never sleeps before it begins.
        Ok(())
    }

    /// The URL of the ACME service; the certificate of suites is for localhost and loopback addresses.
    pub(crate) fn url(&self) -> String {
        if self.listen.ip().is_unspecified() {
            format!("https://localhost:{}", self.listen.port())
        } else {
            format!("https://{}", self.listen)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let length = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    anyhow::ensure!(length <= MAX, "{}: longer than {MAX} octets", path.display());
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// `HOST:PORT`, or `:PORT` for every address.
fn address(text: &str) -> anyhow::Result<SocketAddr> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    whole.to_socket_addrs().ok().and_then(|mut found| found.next()).with_context(|| format!("`{text}` is not ADDRESS:PORT"))
}

/// Names in lower case, as Go compares them; those of profiles and keys are values.
fn lowered(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let lower = |(name, value): (String, Value)| {
        let name = name.to_ascii_lowercase();
        let value = match name.as_str() {
            "externalaccountmackeys" => value,
            "profiles" => match value {
                Value::Object(profiles) => Value::Object(profiles.into_iter().map(|(name, profile)| (name, lowered(profile))).collect()),
                other => other,
            },
            _ => lowered(value),
        };
        (name, value)
    };
    Value::Object(map.into_iter().map(lower).collect::<Map<_, _>>())
}
