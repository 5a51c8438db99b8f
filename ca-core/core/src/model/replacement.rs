//! Certificates that are to be replaced before they are revoked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AuthorityName, CertificateRecord, GrantId, OrderId, RevocationReason};
use crate::pki::{SerialNumber, Timestamp};

/// Says that a certificate should be renewed now, because it will be revoked: its window for renewal has passed (RFC 9773 §4.2).
/// Nothing stops working because of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacementMark {
    /// Since when.
    pub at: Timestamp,
    /// Where its holder reads why.
    pub explanation: Option<ExplanationUrl>,
}

/// Where clients and people read why a certificate is to be replaced: an https URL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExplanationUrl(String);

/// A text that is no [`ExplanationUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an https URL with a host, without a user, of at most {max} printable ASCII characters", max = ExplanationUrl::MAX)]
pub struct ExplanationUrlError;

impl ExplanationUrl {
    /// The most octets.
    pub const MAX: usize = 500;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExplanationUrl {
    type Err = ExplanationUrlError;

    fn from_str(text: &str) -> Result<Self, ExplanationUrlError> {
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= Self::MAX).ok_or(ExplanationUrlError)?;
        // RFC 3986 §2: what a URL may carry unescaped.
        let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let has_host = !authority.is_empty() && !authority.starts_with(':') && !authority.contains('@');
        if has_host && rest.bytes().all(allowed) { Ok(Self(text.to_owned())) } else { Err(ExplanationUrlError) }
    }
}

impl TryFrom<String> for ExplanationUrl {
    type Error = ExplanationUrlError;

    fn try_from(text: String) -> Result<Self, ExplanationUrlError> {
        text.parse()
    }
}

impl From<ExplanationUrl> for String {
    fn from(url: ExplanationUrl) -> Self {
        url.0
    }
}

impl fmt::Display for ExplanationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CertificateRecord {
    /// Until when something had to be valid in its place: now, or its own end where that came first. One on hold may come
    /// back, and has not ended.
    pub fn needed_until(&self, now: Timestamp) -> Timestamp {
        let revoked = self.revoked.filter(|(_, reason)| *reason != RevocationReason::CertificateHold).map(|(at, _)| at);
        revoked.unwrap_or(now).min(self.not_after).min(now)
    }
}

/// How it is known that a certificate was replaced: by another one that is neither revoked nor on hold, and was valid as long as
/// it was [needed](CertificateRecord::needed_until).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Successor {
    /// The order behind the other one says so (RFC 9773 §5).
    Order {
        /// The order.
        order: OrderId,
        /// The other one.
        serial: SerialNumber,
    },
    /// The other one came later, of the same account and profile and for the same names, and is neither marked nor revoked.
    /// Most clients don't say what they replace.
    Later {
        /// The other one.
        serial: SerialNumber,
    },
    /// The other one came after the mark, of the same account and for the same names, under a profile of which the account had
    /// none for them then; it is neither marked nor revoked. So it is where a profile was wrong and clients moved to another.
    OtherProfile {
        /// The other one.
        serial: SerialNumber,
        /// Its profile.
        profile: String,
    },
    /// The order renews itself (RFC 8739), and the other one is its next.
    Renewal {
        /// The other one.
        serial: SerialNumber,
        /// Until when the order's hosts have fetched it: they fetch at half of each life, once in a life.
        fetched_by: Timestamp,
    },
}

/// A certificate that is marked, and what came in its place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replacement {
    /// The certificate, with its mark.
    pub record: CertificateRecord,
    /// None: nothing yet.
    pub successor: Option<Successor>,
    /// Without a successor: another authority that issued a later certificate for the same names, as for a service that moved
    /// there. It is a hint: nobody can tell whether that one is used in this one's place.
    pub elsewhere: Option<AuthorityName>,
}

/// How a marked certificate stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplacementState {
    /// It is valid, and its holder has nothing else: revoking it would stop a service.
    ToGo,
    /// It was revoked or has expired, and nothing came in its place.
    Ended,
    /// Something valid came in its place.
    Replaced,
}

impl Replacement {
    /// How it stands at `now`.
    pub fn state(&self, now: Timestamp) -> ReplacementState {
        if self.successor.is_some() {
            ReplacementState::Replaced
        } else if self.record.revoked.is_some() || self.record.not_after <= now {
            ReplacementState::Ended
        } else {
            ReplacementState::ToGo
        }
    }

    /// Whether something came in its place and has surely arrived at `now`, so that revoking this one stops nobody.
    pub fn is_safe_to_revoke(&self, now: Timestamp) -> bool {
        self.successor.is_some() && self.fetched_by(now).is_none()
    }

    /// Until when hosts may still have this one, though its order has another; none: not after `now`.
    fn fetched_by(&self, now: Timestamp) -> Option<Timestamp> {
        match self.successor {
            Some(Successor::Renewal { fetched_by, .. }) => Some(fetched_by.min(self.record.not_after)).filter(|by| now < *by),
            Some(Successor::Order { .. } | Successor::Later { .. } | Successor::OtherProfile { .. }) | None => None,
        }
    }
}

/// How many marked certificates there are, and how they stand. `replaced + to_go + ended` is `marked`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplacementCount {
    /// All.
    pub marked: u64,
    /// Something came in their place.
    pub replaced: u64,
    /// Of the replaced ones, how many because of an order that says so.
    pub by_order: u64,
    /// Of the replaced ones, how many by a later certificate of another profile.
    pub other_profile: u64,
    /// Of the replaced and unrevoked ones: those whose order renews itself and whose hosts may not have fetched the next one yet.
    pub fetching: u64,
    /// Valid, and nothing came in their place.
    pub to_go: u64,
    /// Of these, for the names of how many another authority issued a later certificate.
    pub elsewhere: u64,
    /// Revoked or expired, and nothing came in their place.
    pub ended: u64,
    /// Revoked ones, replaced or not.
    pub revoked: u64,
}

/// The marked certificates of one grant, or of none: the CA's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceReplacements {
    /// Its authority.
    pub authority: AuthorityName,
    /// The grant.
    pub grant: Option<GrantId>,
    /// How they stand.
    pub count: ReplacementCount,
    /// When the first of those to go ends.
    pub next_end: Option<Timestamp>,
}

/// How far a replacement has come.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplacementReport {
    /// All of them.
    pub count: ReplacementCount,
    /// When the first one was marked.
    pub first_marked: Option<Timestamp>,
    /// When the hosts of orders that renew themselves have fetched what came in the place of a marked one; none: they have.
    pub fetched_by: Option<Timestamp>,
    /// By service: those with the most to go first.
    pub services: Vec<ServiceReplacements>,
    /// Those to go, at most [`Self::MAX_TO_GO`], those that end first first.
    pub to_go: Vec<CertificateRecord>,
}

impl ReplacementReport {
    /// The most certificates that a report lists.
    pub const MAX_TO_GO: usize = 1000;
}

/// Counts replacements as they are read, page by page.
#[derive(Debug)]
pub struct ReplacementTally {
    now: Timestamp,
    report: ReplacementReport,
    services: BTreeMap<(AuthorityName, Option<GrantId>), (ReplacementCount, Option<Timestamp>)>,
}

impl ReplacementTally {
    /// Nothing yet, as of `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now, report: ReplacementReport::default(), services: BTreeMap::new() }
    }

    /// Counts one.
    pub fn add(&mut self, replacement: Replacement) {
        let (state, by_order) = (replacement.state(self.now), matches!(replacement.successor, Some(Successor::Order { .. })));
        let other_profile = matches!(replacement.successor, Some(Successor::OtherProfile { .. }));
        let elsewhere = state == ReplacementState::ToGo && replacement.elsewhere.is_some();
        let fetched_by = replacement.fetched_by(self.now).filter(|_| replacement.record.revoked.is_none());
        self.report.fetched_by = self.report.fetched_by.max(fetched_by);
        let record = replacement.record;
        let (service, next_end) = self.services.entry((record.authority.clone(), record.grant.clone())).or_default();
        for count in [&mut self.report.count, service] {
            count.marked += 1;
            count.replaced += u64::from(state == ReplacementState::Replaced);
            count.by_order += u64::from(by_order);
            count.other_profile += u64::from(other_profile);
            count.fetching += u64::from(fetched_by.is_some());
            count.to_go += u64::from(state == ReplacementState::ToGo);
            count.elsewhere += u64::from(elsewhere);
            count.ended += u64::from(state == ReplacementState::Ended);
            count.revoked += u64::from(record.revoked.is_some());
        }
        let marked = record.marked.as_ref().map(|mark| mark.at);
        self.report.first_marked = earlier(self.report.first_marked, marked);
        if state == ReplacementState::ToGo {
            *next_end = earlier(*next_end, Some(record.not_after));
            self.report.to_go.push(record);
            // Twice the bound, so that it is sorted once in a while only.
            if self.report.to_go.len() >= 2 * ReplacementReport::MAX_TO_GO {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        self.report.to_go.sort_by_key(|record| (record.not_after, record.serial));
        self.report.to_go.truncate(ReplacementReport::MAX_TO_GO);
    }

    /// The report.
    pub fn report(mut self) -> ReplacementReport {
        self.cut();
        let services = std::mem::take(&mut self.services).into_iter();
        self.report.services =
            services.map(|((authority, grant), (count, next_end))| ServiceReplacements { authority, grant, count, next_end }).collect();
        self.report.services.sort_by_key(|s| (std::cmp::Reverse(s.count.to_go), std::cmp::Reverse(s.count.marked)));
        self.report
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CertificateState;
    use crate::pki::sha256;

    #[test]
    fn a20_an_explanation_is_an_https_url() {
        for good in ["https://ca.bank.test/replace", "https://ca.bank.test:8443/a?b=c#d", "https://[::1]/", "https://a"] {
            assert_eq!(good.parse::<ExplanationUrl>().map(String::from).as_deref(), Ok(good));
        }
        let long = format!("https://a/{}", "b".repeat(500));
        for bad in [
            "",
            "http://ca.test/",
            "https://",
            "https:///x",
            "https://:1/",
            "https://u@a/",
            "https://a/ b",
            "https://a/\u{fc}",
            "https://a/\"",
            &long,
        ] {
            assert_eq!(bad.parse::<ExplanationUrl>(), Err(ExplanationUrlError), "{bad}");
        }
        assert!(serde_json::from_str::<ExplanationUrl>("\"ftp://a/\"").is_err(), "nor from a row or a statement");
    }

    fn marked(serial: u8, grant: Option<&str>, not_after: i64, revoked: bool, successor: Option<Successor>) -> Replacement {
        let record = CertificateRecord {
            authority: "demo".parse().unwrap(),
            serial: SerialNumber::from_der_integer(&[serial]).unwrap(),
            state: CertificateState::Released,
            profile: "client".into(),
            subject: String::new(),
            identifiers: Vec::new(),
            spki_sha256: sha256(b""),
            not_before: Timestamp::from_unix(0),
            not_after: Timestamp::from_unix(not_after),
            partition: 0,
            der: Vec::new(),
            account: None,
            grant: grant.map(|g| g.parse().unwrap()),
            order: None,
            revoked: revoked.then(|| (Timestamp::from_unix(50), RevocationReason::Superseded)),
            follows: None,
            replaced_by: None,
            marked: Some(ReplacementMark { at: Timestamp::from_unix(i64::from(serial)), explanation: None }),
            created_at: Timestamp::from_unix(0),
        };
        Replacement { record, successor, elsewhere: grant.filter(|g| *g == "moving").map(|_| "other".parse().unwrap()) }
    }

    #[test]
    fn lesson_24_a_certificate_is_needed_until_its_end() {
        let needed = |not_after, revoked| {
            let record = CertificateRecord { revoked, ..marked(1, None, not_after, false, None).record };
            record.needed_until(Timestamp::from_unix(100)).unix()
        };
        let revoked = |at, reason| Some((Timestamp::from_unix(at), reason));
        assert_eq!((needed(500, None), needed(100, None), needed(90, None)), (100, 100, 90));
        assert_eq!(needed(500, revoked(50, RevocationReason::Superseded)), 50);
        assert_eq!(needed(40, revoked(50, RevocationReason::Superseded)), 40);
        assert_eq!(needed(500, revoked(600, RevocationReason::Superseded)), 100, "by a clock that was ahead");
        assert_eq!(needed(500, revoked(50, RevocationReason::CertificateHold)), 100);
    }

    #[test]
    fn lesson_24_a_report_tells_which_services_lag() {
        let by = |serial: u8| SerialNumber::from_der_integer(&[serial]).unwrap();
        let mut tally = ReplacementTally::new(Timestamp::from_unix(100));
        tally.add(marked(9, Some("quick"), 500, true, Some(Successor::Order { order: "order".parse().unwrap(), serial: by(10) })));
        tally.add(marked(8, Some("quick"), 90, false, Some(Successor::Later { serial: by(10) })));
        tally.add(marked(7, Some("slow"), 500, false, None));
        tally.add(marked(6, Some("slow"), 400, false, None));
        tally.add(marked(5, Some("slow"), 500, true, None));
        tally.add(marked(4, None, 100, false, None));
        tally.add(marked(3, Some("moving"), 300, false, None));
        tally.add(marked(2, Some("moving"), 300, true, None));
        tally.add(marked(14, Some("quick"), 500, false, Some(Successor::OtherProfile { serial: by(10), profile: "server".to_owned() })));
        // Of orders that renew themselves: one that hosts still fetch, until this one ends; one that they have; one revoked.
        let renewed = |fetched_by| Some(Successor::Renewal { serial: by(10), fetched_by: Timestamp::from_unix(fetched_by) });
        tally.add(marked(11, Some("quick"), 130, false, renewed(150)));
        tally.add(marked(12, Some("quick"), 500, false, renewed(100)));
        tally.add(marked(13, Some("quick"), 500, true, renewed(600)));
        let report = tally.report();
        let all = ReplacementCount {
            marked: 12,
            replaced: 6,
            by_order: 1,
            other_profile: 1,
            fetching: 1,
            to_go: 3,
            elsewhere: 1,
            ended: 3,
            revoked: 4,
        };
        assert_eq!(report.fetched_by, Some(Timestamp::from_unix(130)));
        assert_eq!((report.count, report.first_marked), (all, Some(Timestamp::from_unix(2))));
        let services: Vec<_> =
            report.services.iter().map(|s| (s.grant.as_ref().map(GrantId::as_str), s.count.to_go, s.count.ended)).collect();
        assert_eq!(services, [(Some("slow"), 2, 1), (Some("moving"), 1, 1), (Some("quick"), 0, 0), (None, 0, 1)]);
        assert_eq!(report.services[0].next_end, Some(Timestamp::from_unix(400)));
        assert_eq!(report.to_go.iter().map(|r| r.serial).collect::<Vec<_>>(), [by(3), by(6), by(7)], "what ends first is first");
    }

    #[test]
    fn lesson_24_what_a_report_lists_is_bounded() {
        let mut tally = ReplacementTally::new(Timestamp::from_unix(100));
        for i in 0..5 * ReplacementReport::MAX_TO_GO as i64 {
            tally.add(marked(1, Some("slow"), 10_000 - i, false, None));
        }
        let report = tally.report();
        assert_eq!((report.count.to_go, report.to_go.len()), (5000, ReplacementReport::MAX_TO_GO));
        assert_eq!(report.to_go[0].not_after, Timestamp::from_unix(5001));
    }
}
