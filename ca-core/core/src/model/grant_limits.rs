//! What bounds a grant beside its names and profiles (ACME requirement A14): where its clients are, how much it issues,
//! for which keys and for how long.
//!
//! The front end and the worker judge by the same words here. The worker decides, but for the source networks: only the
//! front end sees a connection, and nothing that a client signs names its address, so these rest on the front end's word.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::{KeyAlgorithm, Timestamp};
use crate::validation::Network;

/// The bounds. Each that is left out bounds nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantLimits {
    /// The networks that its clients come from; none: any. At most [`Self::MAX_NETWORKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Network>,
    /// How many certificates it issues in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_certificates: Option<VolumeCap>,
    /// The kinds of keys that it has certified; none: those of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyAlgorithm>,
    /// The longest that its certificates live, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<u64>,
}

impl GrantLimits {
    /// The most networks of a grant.
    pub const MAX_NETWORKS: usize = 100;

    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Judges where a request comes from. One whose origin is not known comes from nowhere.
    ///
    /// # Errors
    /// Says so, for the client. Which networks count is not told to who is outside of them.
    pub fn judge_address(&self, address: Option<IpAddr>) -> Result<(), String> {
        if self.from.is_empty() || address.is_some_and(|a| self.from.iter().any(|network| network.contains(a))) {
            return Ok(());
        }
        Err(match address {
            Some(address) => format!(
                "the enrolment grant takes no requests from {address} (hint: the CA's operators can add its network: ca grant update --from)"
            ),
            None => "the enrolment grant takes requests from certain networks only, and where this one comes from is not known (hint: the \
                     proxy in front of the CA must tell its clients' addresses: docs/platform-engineer.md)"
                .to_owned(),
        })
    }

    /// Judges the kind of a key.
    ///
    /// # Errors
    /// Names the kinds that are certified.
    pub fn judge_key(&self, algorithm: KeyAlgorithm) -> Result<(), String> {
        if self.keys.is_empty() || self.keys.contains(&algorithm) {
            return Ok(());
        }
        let kinds: Vec<_> = self.keys.iter().map(|k| k.name()).collect();
        Err(format!(
            "the enrolment grant certifies keys of the kinds {}, not {algorithm} (hint: make such a key, or have the CA's operators change it: ca grant update --key-types)",
            kinds.join(", ")
        ))
    }

    /// Judges the end that an order asks for.
    ///
    /// # Errors
    /// Names the longest life.
    pub fn judge_end(&self, not_before: Option<Timestamp>, not_after: Option<Timestamp>, now: Timestamp) -> Result<(), String> {
        let (Some(longest), Some(end)) = (self.max_lifetime, not_after) else { return Ok(()) };
        if end <= not_before.unwrap_or(now).max(now).plus(Duration::from_secs(longest)) {
            return Ok(());
        }
        Err(format!(
            "`notAfter` lies beyond the {longest} seconds that the enrolment grant lets certificates live (hint: ask for less, or leave it out)"
        ))
    }

    /// The shortest, the usual and the longest life of a profile's certificates under this grant.
    pub fn lifetimes(&self, (shortest, usual, longest): (Duration, Duration, Duration)) -> (Duration, Duration, Duration) {
        let most = self.max_lifetime.map_or(Duration::MAX, Duration::from_secs);
        (shortest, usual.min(most), longest.min(most))
    }
}

/// A text that is not a cap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of certificates in a time: 1 to {max} before /hour, /day or /week, for example 100/day", max = VolumeCap::MAX)]
pub struct VolumeCapError(String);

/// How many certificates in any time of this length, written `100/day`. Renewals count: it bounds what a stolen
/// credential is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeCap {
    certificates: u32,
    window: Window,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Window {
    Hour,
    Day,
    Week,
}

impl Window {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    const fn hours(self) -> u64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 168,
        }
    }
}

impl VolumeCap {
    /// The most that a cap may be: as many rows are counted for each certificate.
    pub const MAX: u32 = 100_000;

    /// How many.
    pub const fn certificates(self) -> u32 {
        self.certificates
    }

    /// In how long.
    pub const fn window(self) -> Duration {
        Duration::from_secs(self.window.hours() * 3600)
    }

    /// The most that an authority with this cap an hour could issue in that time.
    pub fn at_most(self, an_hour: u32) -> u64 {
        u64::from(an_hour).saturating_mul(self.window.hours())
    }

    /// Judges what was used of it.
    ///
    /// # Errors
    /// When nothing is left: says so for the client, and how long to wait.
    pub fn judge(self, used: GrantUse, now: Timestamp) -> Result<(), (String, Duration)> {
        if used.certificates < self.certificates {
            return Ok(());
        }
        let next = used.oldest.unwrap_or(now).plus(self.window());
        Err((
            format!(
                "the enrolment grant has issued the {self} that it may; the next is free at {next} (hint: wait, or have the CA's operators raise it: ca grant update --max-certs)"
            ),
            next.since(now).max(Duration::from_secs(1)),
        ))
    }
}

impl fmt::Display for VolumeCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.certificates, self.window.name())
    }
}

impl FromStr for VolumeCap {
    type Err = VolumeCapError;

    fn from_str(text: &str) -> Result<Self, VolumeCapError> {
        let wrong = || VolumeCapError(text.chars().take(80).collect());
        let (number, window) = text.split_once('/').ok_or_else(wrong)?;
        let window = Window::ALL.into_iter().find(|w| w.name() == window).ok_or_else(wrong)?;
        // Digits alone: `+1` would be another text for the same statement.
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let certificates = number.parse().ok().filter(|n| digits && (1..=Self::MAX).contains(n)).ok_or_else(wrong)?;
        Ok(Self { certificates, window })
    }
}

impl TryFrom<String> for VolumeCap {
    type Error = VolumeCapError;
    fn try_from(text: String) -> Result<Self, VolumeCapError> {
        text.parse()
    }
}

impl From<VolumeCap> for String {
    fn from(cap: VolumeCap) -> Self {
        cap.to_string()
    }
}

/// What a grant has issued since a time: attempts that were given up don't count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GrantUse {
    /// How many certificates, as far as they were counted.
    pub certificates: u32,
    /// When the oldest of those that were counted came on record.
    pub oldest: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_000_000 + seconds)
    }

    #[test]
    fn a14_caps_are_written_as_people_say_them() {
        let check = |text: &str, expected: Option<(u32, u64)>| {
            let cap = text.parse::<VolumeCap>().ok();
            assert_eq!(cap.map(|c| (c.certificates(), c.window().as_secs())), expected, "{text}");
            assert!(cap.is_none_or(|c| c.to_string().parse() == Ok(c)), "{text}");
        };
        check("100/day", Some((100, 86_400)));
        check("1/hour", Some((1, 3600)));
        check("100000/week", Some((100_000, 604_800)));
        for bad in ["", "/day", "0/day", "100", "100/month", "100/days", "-1/day", "+1/day", " 1/day", "100001/day", "99999999999/day"] {
            check(bad, None);
        }
        let json = r#"{"from":["10.0.0.0/8"],"max_certificates":"100/day","keys":["p256"],"max_lifetime":60}"#;
        let limits: GrantLimits = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        assert_eq!(serde_json::to_string(&GrantLimits::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<GrantLimits>(r#"{"max_certs":1}"#).is_err());
    }

    #[test]
    fn a14_each_limit_is_judged_by_itself() {
        let limits = GrantLimits {
            from: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            max_certificates: Some("2/hour".parse().unwrap()),
            keys: vec![KeyAlgorithm::P256, KeyAlgorithm::Rsa3072],
            max_lifetime: Some(100),
        };
        let from = |text: &str| limits.judge_address(Some(text.parse().unwrap()));
        assert!(from("10.1.2.3").is_ok() && from("2001:db8::1").is_ok());
        assert!(from("11.0.0.1").unwrap_err().contains("hint:") && from("::ffff:10.0.0.1").is_err());
        assert!(limits.judge_address(None).is_err(), "who comes from nowhere is not inside");
        assert!(GrantLimits::default().judge_address(None).is_ok());

        assert!(limits.judge_key(KeyAlgorithm::P256).is_ok());
        assert!(limits.judge_key(KeyAlgorithm::Rsa2048).unwrap_err().contains("p256, rsa3072, not rsa2048"));

        let end = |begin: Option<i64>, end: i64| limits.judge_end(begin.map(at), Some(at(end)), at(0));
        assert!(end(None, 100).is_ok() && end(Some(-50), 100).is_ok() && end(Some(50), 150).is_ok());
        assert!(end(None, 101).unwrap_err().contains("100 seconds"));
        assert!(limits.judge_end(None, None, at(0)).is_ok());
        let seconds = Duration::from_secs;
        assert_eq!(limits.lifetimes((seconds(1), seconds(200), seconds(300))), (seconds(1), seconds(100), seconds(100)));
        assert_eq!(limits.lifetimes((seconds(1), seconds(20), seconds(30))), (seconds(1), seconds(20), seconds(30)));

        let cap = limits.max_certificates.unwrap();
        let used = |certificates, oldest| GrantUse { certificates, oldest: Some(at(oldest)) };
        assert!(cap.judge(used(1, -10), at(0)).is_ok());
        let (told, wait) = cap.judge(used(2, -600), at(0)).unwrap_err();
        assert!(told.contains("2/hour") && told.contains("hint:") && wait == seconds(3000), "{told} {wait:?}");
        assert_eq!(cap.at_most(3), 3);
    }
}
