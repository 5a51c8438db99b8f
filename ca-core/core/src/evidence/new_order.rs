//! What a newOrder request asks for (RFC 8555 §7.4): one reading for the front end and the worker.

use serde_json::Value;

use super::auto_renewal;
use super::jws::ParsedJws;
use crate::model::{AuthorityName, AutoRenewal, Grant, Problem, ProblemType};
use crate::pki::{DeviceNameError, Identifier, IdentifierError, Timestamp};

/// The most identifiers of an order.
pub const MAX_IDENTIFIERS: usize = 100;

/// The most of them that name devices: each has an attestation as evidence.
pub const MAX_DEVICES: usize = 4;

/// The payload of a newOrder request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrderRequest {
    /// The identifiers, sorted, duplicates folded.
    pub identifiers: Vec<Identifier>,
    /// The notBefore asked for.
    pub not_before: Option<Timestamp>,
    /// The notAfter asked for.
    pub not_after: Option<Timestamp>,
    /// The profile asked for.
    pub profile: Option<String>,
    /// The certID of the certificate that is replaced (RFC 9773 §5).
    pub replaces: Option<String>,
    /// The terms on which the order is to renew itself (RFC 8739).
    pub auto_renewal: Option<AutoRenewal>,
}

/// The directory that a newOrder URL belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderScope {
    /// The authority in the URL; none: the default one.
    pub authority: Option<AuthorityName>,
    /// The profile in the URL.
    pub profile: Option<String>,
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

/// Reads an identifier object (RFC 8555 §7.1.3).
///
/// # Errors
/// When a member is missing, or its type or form is not handled.
pub fn parse_identifier(entry: &Value) -> Result<Identifier, Problem> {
    let member =
        |name: &str| entry.get(name).and_then(Value::as_str).ok_or_else(|| malformed(format!("an identifier has no `{name}` string")));
    Identifier::parse(member("type")?, member("value")?).map_err(|e| {
        let kind = match e {
            IdentifierError::UnsupportedType(_) => ProblemType::UnsupportedIdentifier,
            // draft-ietf-acme-device-attest §3.1, §4.1: "MUST reject … with a \"malformed\" error"
            IdentifierError::Device(DeviceNameError::Form(_)) => ProblemType::Malformed,
            IdentifierError::DnsName { .. } | IdentifierError::IpAddress(_) | IdentifierError::Device(DeviceNameError::Characters(_)) => {
                ProblemType::RejectedIdentifier
            }
        };
        Problem::new(kind, e.to_string())
    })
}

/// Of the identifiers that a newOrder payload asks for, as they stand there, those that cannot be read, with each one's
/// problem. None where the payload has no list of identifiers that an order may have.
pub fn refused_identifiers(jws: &ParsedJws) -> Vec<(Value, Problem)> {
    let Ok(payload) = jws.payload_object() else { return Vec::new() };
    let list = payload.get("identifiers").and_then(Value::as_array).filter(|list| list.len() <= MAX_IDENTIFIERS);
    let refused = |entry: &Value| {
        let problem = parse_identifier(entry).err()?;
        let shown = |name: &str| entry.get(name).filter(|value| value.is_string()).cloned();
        Some((serde_json::json!({ "type": shown("type")?, "value": shown("value")? }), problem))
    };
    list.into_iter().flatten().filter_map(refused).collect()
}

impl NewOrderRequest {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it has no identifiers or more than [`MAX_IDENTIFIERS`] or of [`MAX_DEVICES`], one of a type or a form that is not handled, or
    /// a member of the wrong type.
    pub fn parse(jws: &ParsedJws) -> Result<Self, Problem> {
        let payload = jws.payload_object()?;
        let list = payload.get("identifiers").and_then(Value::as_array).ok_or_else(|| malformed("the order has no identifiers"))?;
        if list.is_empty() || list.len() > MAX_IDENTIFIERS {
            return Err(malformed(format!("an order has 1 to {MAX_IDENTIFIERS} identifiers")));
        }
        let mut identifiers = Vec::with_capacity(list.len());
        for entry in list {
            identifiers.push(parse_identifier(entry)?);
        }
        identifiers.sort_unstable();
        identifiers.dedup();
        if identifiers.iter().filter(|identifier| identifier.is_device()).count() > MAX_DEVICES {
            return Err(malformed(format!("an order names at most {MAX_DEVICES} devices")));
        }
        let text = |name: &str| match payload.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(malformed(format!("`{name}` is not a string"))),
        };
        let time = |name: &str| {
            let parsed = text(name)?.map(Timestamp::parse_rfc3339).transpose();
            parsed.map_err(|e| malformed(format!("`{name}`: {e}")))
        };
        Ok(Self {
            identifiers,
            not_before: time("notBefore")?,
            not_after: time("notAfter")?,
            profile: text("profile")?.map(str::to_owned),
            replaces: text("replaces")?.map(str::to_owned),
            auto_renewal: auto_renewal::parse(&payload)?,
        })
    }

    /// The profile that the order is for: the payload's, else the URL's, else the first that the grant has.
    ///
    /// # Errors
    /// `invalidProfile` when payload and URL disagree or the grant does not have it.
    pub fn profile<'a>(&'a self, scope: &'a OrderScope, grant: &'a Grant) -> Result<&'a str, Problem> {
        let wrong = |detail: String| Problem::new(ProblemType::InvalidProfile, detail);
        if let (Some(asked), Some(scoped)) = (&self.profile, &scope.profile)
            && asked != scoped
        {
            return Err(wrong("the order's profile is not that of the directory it was sent to".to_owned()));
        }
        let wanted = self.profile.as_ref().or(scope.profile.as_ref());
        match wanted {
            None => grant.profiles.first(),
            Some(wanted) => grant.profiles.iter().find(|p| *p == wanted),
        }
        .map(String::as_str)
        .ok_or_else(|| wrong(format!("this account may order the profiles {}", grant.profiles.join(", "))))
    }
}

impl OrderScope {
    /// Reads the path of a newOrder URL: `/acme/new-order` or `/a/{authority}/acme/p/{profile}/new-order`.
    pub fn of_path(path: &str) -> Option<Self> {
        if path == "/acme/new-order" {
            return Some(Self::default());
        }
        let (authority, rest) = path.strip_prefix("/a/")?.split_once("/acme/p/")?;
        let profile = rest.strip_suffix("/new-order")?;
        if profile.is_empty() || profile.contains('/') {
            return None;
        }
        Some(Self { authority: Some(authority.parse().ok()?), profile: Some(profile.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn parse(payload: &str) -> Result<NewOrderRequest, ProblemType> {
        let text = format!(
            r#"{{"protected":"{}","payload":"{}","signature":""}}"#,
            URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","url":"u","nonce":"n","kid":"k"}"#),
            URL_SAFE_NO_PAD.encode(payload)
        );
        NewOrderRequest::parse(&ParsedJws::parse(&text).unwrap()).map_err(|p| p.kind)
    }

    #[test]
    fn identifiers_are_sorted_and_folded() {
        let order = parse(r#"{"identifiers":[{"type":"dns","value":"B.test"},{"type":"dns","value":"a.test"},{"type":"dns","value":"b.test"}],"notAfter":"2026-11-24T03:06:42Z"}"#).unwrap();
        assert_eq!(order.identifiers.iter().map(Identifier::value).collect::<Vec<_>>(), ["a.test", "b.test"]);
        assert_eq!(order.not_after, Some(Timestamp::from_unix(1_795_489_602)));
        let refused = |payload: &str, kind| assert_eq!(parse(payload), Err(kind), "{payload}");
        refused(r#"{"identifiers":[]}"#, ProblemType::Malformed);
        refused(r#"{}"#, ProblemType::Malformed);
        refused(r#"{"identifiers":[{"type":"email","value":"a@b"}]}"#, ProblemType::UnsupportedIdentifier);
        refused(r#"{"identifiers":[{"type":"dns","value":"a..b"}]}"#, ProblemType::RejectedIdentifier);
        refused(r#"{"identifiers":[{"type":"dns","value":"a.b"}],"notBefore":"tomorrow"}"#, ProblemType::Malformed);
        refused(r#"{"identifiers":[{"type":"dns","value":"a.b"}],"profile":1}"#, ProblemType::Malformed);
    }

    #[test]
    fn scopes() {
        assert_eq!(OrderScope::of_path("/acme/new-order"), Some(OrderScope::default()));
        let scoped = OrderScope::of_path("/a/demo/acme/p/client/new-order").unwrap();
        assert_eq!((scoped.authority.unwrap().as_str(), scoped.profile.as_deref()), ("demo", Some("client")));
        for bad in ["/acme/new-account", "/a/demo/acme/p//new-order", "/a/demo/acme/p/x/y/new-order", "/a/-/acme/p/x/new-order"] {
            assert_eq!(OrderScope::of_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a07_devices_in_an_order() {
        let identifiers = |list: &[(&str, &str)]| {
            let list: Vec<_> = list.iter().map(|(kind, value)| serde_json::json!({ "type": kind, "value": value })).collect();
            parse(&serde_json::json!({ "identifiers": list }).to_string()).map(|order| order.identifiers)
        };
        let (permanent, module) = ("permanent-identifier", "hardware-module");
        let found = identifiers(&[(module, "SN-1/1.2.3"), (permanent, "SN-1"), ("dns", "a.test"), (permanent, "SN-1")]).unwrap();
        let shown: Vec<_> = found.iter().map(|i| (i.kind(), i.value())).collect();
        assert_eq!(shown, [("dns", "a.test".into()), (permanent, "SN-1".into()), (module, "SN-1/1.2.3".into())]);
        // "MUST reject requests containing non-conforming values with a "malformed" error"
        for (kind, value) in [(permanent, ""), (permanent, "a/b"), (permanent, "a/1.2.3/4"), (module, "SN-1"), (module, "/1.2.3")] {
            assert_eq!(identifiers(&[(kind, value)]), Err(ProblemType::Malformed), "{kind} {value}");
        }
        assert_eq!(identifiers(&[(permanent, "S\u{fc}")]), Err(ProblemType::RejectedIdentifier));
        let many: Vec<_> = ["1", "2", "3", "4", "5"].iter().map(|n| (permanent, *n)).collect();
        assert!(identifiers(&many[..4]).is_ok());
        assert_eq!(identifiers(&many), Err(ProblemType::Malformed));
    }
}
