//! A grant's limits: from options to the grant, and as people read them.

use ca_core::model::{Grant, GrantId, GrantLimits, GrantUse, VolumeCap};
use ca_core::pki::Timestamp;
use std::time::Duration;

use super::values::{any_or_all, key_kinds, none_or_all};
use crate::cli::{GrantIdentity, GrantLimitArgs};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::span;

/// In which time a grant's use is told where it has no cap.
const DAY: Duration = Duration::from_secs(86_400);

/// Takes over the limits that were given.
pub(super) fn apply(limits: &mut GrantLimits, args: GrantLimitArgs) -> anyhow::Result<()> {
    let wrong = |e: String| failure(Exit::Usage, e);
    let GrantLimitArgs { from, max_certs, key_types, max_lifetime } = args;
    if !from.is_empty() {
        limits.from = any_or_all(from, "--from").map_err(wrong)?;
    }
    if !key_types.is_empty() {
        limits.keys = key_kinds(key_types).map_err(wrong)?;
    }
    if let Some(cap) = max_certs {
        limits.max_certificates = cap.0;
    }
    if let Some(longest) = max_lifetime {
        limits.max_lifetime = longest.0.map(|lifetime| lifetime.0);
    }
    Ok(())
}

/// Takes over what its certificates say beside their names.
pub(super) fn identify(grant: &mut Grant, args: GrantIdentity) -> anyhow::Result<()> {
    let wrong = |e: String| failure(Exit::Usage, e);
    let GrantIdentity { uri, emails, subject } = args;
    if let Some(uri) = uri {
        grant.uri = uri.0;
    }
    if !emails.is_empty() {
        grant.emails = none_or_all(emails, "--email").map_err(wrong)?;
    }
    if !subject.is_empty() {
        let parts = ca_core::policy::SubjectParts::new(none_or_all(subject, "--subject").map_err(wrong)?);
        grant.subject = parts.map_err(|e| failure(Exit::Usage, format!("--subject: {e}")))?;
    }
    Ok(())
}

/// Each limit with its name.
pub(super) fn told(limits: &GrantLimits) -> Vec<(&'static str, String)> {
    let GrantLimits { from, max_certificates, keys, max_lifetime } = limits;
    let list = |values: Vec<String>| (!values.is_empty()).then(|| values.join(", "));
    [
        ("from", list(from.iter().map(ToString::to_string).collect())),
        ("at most", max_certificates.map(|cap| format!("{cap} certificates"))),
        ("keys", list(keys.iter().map(ToString::to_string).collect())),
        ("lifetime", max_lifetime.map(|seconds| format!("at most {}", span(Duration::from_secs(seconds))))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// What a grant has issued, in its cap's time or in a day.
pub(super) struct Use {
    since: Timestamp,
    pub(super) used: GrantUse,
    cap: Option<VolumeCap>,
}

/// Asks the running instance.
pub(super) async fn used(config: &Config, id: &GrantId, cap: Option<VolumeCap>, now: Timestamp) -> anyhow::Result<Use> {
    let since = now.minus(cap.map_or(DAY, VolumeCap::window));
    match ask(&config.control.socket, &ControlRequest::GrantUse { id: id.clone(), since }).await? {
        ControlAnswer::GrantUse { used } => Ok(Use { since, used, cap }),
        _ => Err(unexpected()),
    }
}

impl Use {
    /// Beside the cap, where there is one.
    pub(super) fn told(&self) -> String {
        match self.cap {
            Some(cap) => format!("{} of {cap}", self.used.certificates),
            None => format!("{} in a day, no cap", self.used.certificates),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "certificates": self.used.certificates, "since": self.since.to_rfc3339(), "cap": self.cap })
    }
}
