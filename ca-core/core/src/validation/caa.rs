//! CAA records (RFC 8659), with the account and the method bound (RFC 8657).
//!
//! What cannot be understood allows nobody: a malformed value, a parameter that this CA does not know, a critical
//! property that it does not handle.

use crate::model::ChallengeMethod;
use crate::pki::DnsName;

/// Most records of one set that are looked at; a larger set forbids.
const MAX_RECORDS: usize = 100;

/// A record as it stands in DNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaaRecord {
    /// Whether a CA that does not know the tag must not issue (RFC 8659 §4.1).
    pub critical: bool,
    /// The property.
    pub tag: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// For whom the question is.
#[derive(Clone, Copy, Debug)]
pub struct CaaRequest<'a> {
    /// The name to be certified.
    pub name: &'a DnsName,
    /// The names by which this CA is allowed.
    pub identities: &'a [DnsName],
    /// How the name was validated.
    pub method: ChallengeMethod,
    /// The account's URL.
    pub account: &'a str,
}

/// Why CAA forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaaError {
    /// Only others are allowed.
    #[error("the domain's CAA records do not allow this CA to issue")]
    Forbidden,
    /// This CA is allowed, but not for this account or method.
    #[error("the domain's CAA records allow this CA for other accounts or methods only")]
    Restricted,
    /// A property that must be understood is not.
    #[error("the domain's CAA records have a critical property that this CA does not handle")]
    Critical,
    /// More records than are looked at.
    #[error("the domain has too many CAA records")]
    TooMany,
}

/// The names at which records are looked for, the name itself first, up to the top-level domain (RFC 8659 §3). The
/// first set that is not empty counts.
pub fn climb(name: &DnsName) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name.base()), |name| name.split_once('.').map(|(_, parent)| parent))
}

/// Judges the relevant set; an empty one allows everybody. Gives the identity that was allowed, where one is named.
///
/// # Errors
/// When the set does not allow this request.
pub fn evaluate_caa<'a>(records: &[CaaRecord], request: &CaaRequest<'a>) -> Result<Option<&'a DnsName>, CaaError> {
    if records.len() > MAX_RECORDS {
        return Err(CaaError::TooMany);
    }
    let is = |record: &CaaRecord, tag: &str| record.tag.eq_ignore_ascii_case(tag);
    let handled = |record: &CaaRecord| ["issue", "issuewild", "iodef"].iter().any(|tag| is(record, tag));
    if records.iter().any(|record| record.critical && !handled(record)) {
        return Err(CaaError::Critical);
    }
    // RFC 8659 §4.3: for a wildcard issuewild counts, if there is any; else issue does.
    let wild = request.name.is_wildcard() && records.iter().any(|record| is(record, "issuewild"));
    let tag = if wild { "issuewild" } else { "issue" };
    let mut relevant = records.iter().filter(|record| is(record, tag)).peekable();
    if relevant.peek().is_none() {
        return Ok(None);
    }
    let mut error = CaaError::Forbidden;
    for record in relevant {
        let Some((issuer, parameters)) = parse(&record.value) else { continue };
        let Some(identity) = request.identities.iter().find(|i| i.as_str().eq_ignore_ascii_case(issuer)) else { continue };
        if satisfied(&parameters, request) {
            return Ok(Some(identity));
        }
        error = CaaError::Restricted;
    }
    Err(error)
}

/// An issuer's domain name and its parameters (RFC 8659 §4.2); none: malformed.
fn parse(value: &[u8]) -> Option<(&str, Vec<(&str, &str)>)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let issuer = parts.next()?;
    let mut parameters = Vec::new();
    for part in parts {
        if part.is_empty() {
            continue;
        }
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
        // RFC 8659 §4.2: a value has printable characters other than spaces and semicolons.
        if name.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        parameters.push((name, value));
    }
    Some((issuer, parameters))
}

/// RFC 8657 §3, §4. A parameter that stands twice, or that this CA does not know, is not satisfied.
fn satisfied(parameters: &[(&str, &str)], request: &CaaRequest<'_>) -> bool {
    parameters.iter().enumerate().all(|(index, (name, value))| {
        let twice = parameters[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
        let holds = match name.to_ascii_lowercase().as_str() {
            "accounturi" => *value == request.account,
            "validationmethods" => value.split(',').any(|method| method == request.method.name()),
            _ => false,
        };
        holds && !twice
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.test/acme/acct/1";

    fn record(tag: &str, value: &str) -> CaaRecord {
        CaaRecord { critical: false, tag: tag.to_owned(), value: value.as_bytes().to_vec() }
    }

    fn judge(name: &str, records: &[CaaRecord]) -> Result<bool, CaaError> {
        let (name, identities) = (DnsName::parse(name).unwrap(), [DnsName::parse("ca.test").unwrap(), DnsName::parse("b.test").unwrap()]);
        let request = CaaRequest { name: &name, identities: &identities, method: ChallengeMethod::Http01, account: ACCOUNT };
        evaluate_caa(records, &request).map(|identity| identity.is_some())
    }

    #[test]
    fn a13_who_may_issue_stands_in_the_records() {
        let check = |name: &str, records: &[(&str, &str)], expected: Result<bool, CaaError>| {
            let records: Vec<_> = records.iter().map(|(tag, value)| record(tag, value)).collect();
            assert_eq!(judge(name, &records), expected, "{name} {records:?}");
        };
        check("a.test", &[], Ok(false));
        check("a.test", &[("issue", "ca.test")], Ok(true));
        check("a.test", &[("ISSUE", " CA.test ; ")], Ok(true));
        check("a.test", &[("issue", "other.test")], Err(CaaError::Forbidden));
        check("a.test", &[("issue", ";")], Err(CaaError::Forbidden));
        check("a.test", &[("issue", "")], Err(CaaError::Forbidden));
        check("a.test", &[("issue", "other.test"), ("issue", "b.test")], Ok(true));
        check("a.test", &[("iodef", "mailto:x@a.test")], Ok(false));
        check("a.test", &[("unknown", "x")], Ok(false));
        // A name that only looks alike.
        check("a.test", &[("issue", "xca.test")], Err(CaaError::Forbidden));
        // Wildcards.
        check("*.a.test", &[("issue", "ca.test")], Ok(true));
        check("*.a.test", &[("issue", "ca.test"), ("issuewild", ";")], Err(CaaError::Forbidden));
        check("a.test", &[("issuewild", ";")], Ok(false));
        check("*.a.test", &[("issue", ";"), ("issuewild", "ca.test")], Ok(true));
    }

    #[test]
    fn a13_accounts_and_methods_are_bound() {
        let check = |value: &str, expected: Result<bool, CaaError>| {
            assert_eq!(judge("a.test", &[record("issue", value)]), expected, "{value}");
        };
        check(&format!("ca.test; accounturi={ACCOUNT}"), Ok(true));
        check(&format!("ca.test;accounturi={ACCOUNT}; validationmethods=dns-01,http-01"), Ok(true));
        check("ca.test; accounturi=https://ca.test/acme/acct/2", Err(CaaError::Restricted));
        check("ca.test; validationmethods=dns-01", Err(CaaError::Restricted));
        check("ca.test; validationmethods=", Err(CaaError::Restricted));
        check(&format!("ca.test; accounturi={ACCOUNT}; accounturi={ACCOUNT}"), Err(CaaError::Restricted));
        check("ca.test; policy=ev", Err(CaaError::Restricted));
        check("ca.test; broken", Err(CaaError::Forbidden));
        check("ca.test; accounturi=a b", Err(CaaError::Forbidden));
    }

    #[test]
    fn a13_what_is_not_understood_forbids() {
        let critical = |tag: &str, value: &str| CaaRecord { critical: true, ..record(tag, value) };
        assert_eq!(judge("a.test", &[record("issue", "ca.test"), critical("tbs", "x")]), Err(CaaError::Critical));
        assert_eq!(judge("a.test", &[critical("issue", "ca.test")]), Ok(true));
        assert_eq!(judge("a.test", &vec![record("issue", "ca.test"); 101]), Err(CaaError::TooMany));
        let bytes = CaaRecord { value: vec![0xff], ..record("issue", "") };
        assert_eq!(judge("a.test", &[bytes]), Err(CaaError::Forbidden));
    }

    #[test]
    fn the_tree_is_climbed_to_the_top() {
        let names = |name: &str| climb(&DnsName::parse(name).unwrap()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names("a.b.test"), ["a.b.test", "b.test", "test"]);
        assert_eq!(names("*.b.test"), ["b.test", "test"]);
    }
}
