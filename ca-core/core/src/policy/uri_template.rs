//! Templates of SPIFFE ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pki::{SpiffeId, UriName};

/// Where the service stands.
const SERVICE: &str = "{service}";

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a template of SPIFFE ids: spiffe://TRUST-DOMAIN/PATH with {SERVICE} as one whole segment of the path")]
pub struct TemplateError(String);

/// `spiffe://bank.test/ns/{service}`: the id of a service, with its name as one segment of the path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UriTemplate(String);

impl UriTemplate {
    /// The id of `service`; none where its name can't be a segment of a path (SPIFFE-ID §2.2).
    pub fn fill(&self, service: &str) -> Option<SpiffeId> {
        let is_segment = !service.is_empty() && service.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        SpiffeId::parse(&self.0.replacen(SERVICE, service, 1)).ok().filter(|id| is_segment && id.is_workload())
    }

    /// The pattern of everything that it can become.
    pub(super) fn pattern(&self) -> super::NamePattern {
        let text = format!("uri:{}", self.0.replacen(SERVICE, "*", 1));
        text.parse().expect("a template was parsed with a segment in the service's place")
    }
}

impl FromStr for UriTemplate {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let wrong = || TemplateError(text.chars().take(300).collect());
        // Of the path: the trust domain stands before it, and is no service's to choose.
        let segments = text.split('/').skip(3).filter(|segment| *segment == SERVICE).count();
        let filled = text.replacen(SERVICE, "x", 1);
        if segments != 1 || filled.contains(['{', '}', '*']) {
            return Err(wrong());
        }
        // Also as the pattern that it stands for.
        let id = SpiffeId::parse(&filled).map_err(|_| wrong())?;
        let uri = UriName::from(id.clone());
        if id.is_workload() && uri.as_str() == filled { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl fmt::Display for UriTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UriTemplate {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<UriTemplate> for String {
    fn from(template: UriTemplate) -> Self {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_one_segment() {
        let template: UriTemplate = "spiffe://bank.test/ns/{service}/sa".parse().unwrap();
        assert_eq!(template.fill("payments").unwrap().as_str(), "spiffe://bank.test/ns/payments/sa");
        assert_eq!(template.pattern().to_string(), "uri:spiffe://bank.test/ns/*/sa");
        for bad in ["", "a/b", "..", ".", "a b", "ü", "{service}", "a?b"] {
            assert_eq!(template.fill(bad), None, "{bad}");
        }
        for bad in [
            "",
            "{service}",
            "spiffe://bank.test/a",
            "spiffe://{service}/a",
            "spiffe://bank.test/a-{service}",
            "spiffe://bank.test/{service}/{service}",
            "spiffe://bank.test/{service}/{other}",
            "spiffe://bank.test/{service}/*",
            "spiffe://Bank.test/{service}",
            "https://bank.test/{service}",
        ] {
            assert!(bad.parse::<UriTemplate>().is_err(), "{bad}");
        }
    }
}
