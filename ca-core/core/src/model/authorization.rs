//! Authorizations and their challenges (RFC 8555 §7.1.4, §7.1.5, §7.1.6, §8).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName, AuthorizationId, OrderId, Problem};
use crate::pki::{Identifier, Sha256Digest, Timestamp};
use crate::ports::Rng;

/// How control of an identifier is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ChallengeMethod {
    /// A file served over HTTP (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A TXT record (RFC 8555 §8.4).
    #[serde(rename = "dns-01")]
    Dns01,
    /// A TLS handshake (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A statement by a device's hardware (draft-ietf-acme-device-attest §5).
    #[serde(rename = "device-attest-01")]
    DeviceAttest01,
}

impl ChallengeMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Http01, Self::Dns01, Self::TlsAlpn01, Self::DeviceAttest01];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::DeviceAttest01 => "device-attest-01",
        }
    }

    /// Whether the method can show control of `identifier`: wildcards by dns-01 only (RFC 8555 §8.4), addresses by
    /// http-01 and tls-alpn-01 (RFC 8738 §4, §5, §7), devices by attestation alone.
    pub fn proves(self, identifier: &Identifier) -> bool {
        match (identifier, self) {
            (Identifier::Dns(name), Self::Http01 | Self::TlsAlpn01) => !name.is_wildcard(),
            (Identifier::Dns(_), Self::Dns01) | (Identifier::Ip(_), Self::Http01 | Self::TlsAlpn01) => true,
            (Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_), method) => method == Self::DeviceAttest01,
            (Identifier::Ip(_), Self::Dns01) | (Identifier::Dns(_) | Identifier::Ip(_), Self::DeviceAttest01) => false,
        }
    }
}

impl fmt::Display for ChallengeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no method of this CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the challenge methods are http-01, dns-01, tls-alpn-01 and device-attest-01")]
pub struct UnknownMethod;

impl FromStr for ChallengeMethod {
    type Err = UnknownMethod;
    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.name() == text).ok_or(UnknownMethod)
    }
}

/// A challenge's token: 256 random bits, base64url (RFC 8555 §8.1 asks for at least 128).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChallengeToken(String);

impl ChallengeToken {
    /// The characters of a token.
    const CHARACTERS: usize = 43;

    /// A new token.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0u8; 32];
        rng.fill(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ChallengeToken {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_token = text.len() == Self::CHARACTERS && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if is_token { Ok(Self(text)) } else { Err("not a challenge token: 43 characters of base64url") }
    }
}

impl From<ChallengeToken> for String {
    fn from(token: ChallengeToken) -> Self {
        token.0
    }
}

/// The state of a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeStatus {
    /// The client has not asked for validation.
    Pending,
    /// It is being validated.
    Processing,
    /// Control was shown.
    Valid,
    /// It failed for good.
    Invalid,
}

/// One way to prove an authorization.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Which way.
    pub method: ChallengeMethod,
    /// What the proof must contain.
    pub token: ChallengeToken,
    /// Its state.
    pub status: ChallengeStatus,
    /// When control was shown.
    pub validated: Option<Timestamp>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<Problem>,
    /// SHA-256 of the SubjectPublicKeyInfo that was attested: the only key that the authorization is good for.
    #[serde(default)]
    pub attested_key: Option<Sha256Digest>,
}

impl Challenge {
    /// A challenge that nobody has taken up.
    pub fn new(method: ChallengeMethod, rng: &dyn Rng) -> Self {
        Self {
            method,
            token: ChallengeToken::random(rng),
            status: ChallengeStatus::Pending,
            validated: None,
            error: None,
            attested_key: None,
        }
    }
}

/// The state of an authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationStatus {
    /// A challenge is open.
    Pending,
    /// Proven, or covered by the grant.
    Valid,
    /// Failed.
    Invalid,
    /// Deactivated by the client (RFC 8555 §7.5.2).
    Deactivated,
    /// Too old.
    Expired,
    /// Revoked by the server.
    Revoked,
}

/// An authorization.
///
/// One that a grant covers belongs to its order. One with challenges stands for itself: any order of its account may
/// rest on it while it is valid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authorization {
    /// Its id.
    pub id: AuthorizationId,
    /// Whose it is.
    pub account: AccountId,
    /// At which authority it counts.
    pub authority: AuthorityName,
    /// The order that it belongs to; none: it stands for itself.
    pub order: Option<OrderId>,
    /// For what; a wildcard is kept as such, the protocol shows its base (RFC 8555 §7.1.4).
    pub identifier: Identifier,
    /// Its state.
    pub status: AuthorizationStatus,
    /// When it lapses.
    pub expires: Timestamp,
    /// The ways to prove it, each method once; none where the grant covers it.
    pub challenges: Vec<Challenge>,
}

/// What may happen to an authorization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthorizationCommand {
    /// The client asks for validation by this method (RFC 8555 §7.5.1).
    Start(ChallengeMethod),
    /// Control was shown; the authorization holds until then.
    Prove(ChallengeMethod, Timestamp),
    /// An attempt failed and another follows.
    Stumble(ChallengeMethod, Problem),
    /// The last attempt failed.
    Fail(ChallengeMethod, Problem),
    /// The client gives it up (RFC 8555 §7.5.2).
    Deactivate,
    /// Nothing but time passed.
    Tick,
}

/// Why a command does not apply to an authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthorizationRejected {
    /// It is not in the state that the command needs.
    #[error("the authorization is {0:?}, not pending")]
    NotPending(AuthorizationStatus),
    /// It is neither pending nor valid.
    #[error("the authorization is {0:?}, neither pending nor valid")]
    Ended(AuthorizationStatus),
    /// It has no challenge of this method.
    #[error("the authorization has no {0} challenge")]
    NoSuchChallenge(ChallengeMethod),
    /// Nobody asked for this validation.
    #[error("the {0} challenge is not being validated")]
    NotProcessing(ChallengeMethod),
}

impl Authorization {
    /// The challenge of a method.
    pub fn challenge(&self, method: ChallengeMethod) -> Option<&Challenge> {
        self.challenges.iter().find(|c| c.method == method)
    }

    /// Whether a challenge of it is being validated, whatever became of itself.
    pub fn has_validation_under_way(&self) -> bool {
        self.challenges.iter().any(|c| c.status == ChallengeStatus::Processing)
    }

    /// The method by which it was proven; none where it was not, or where a grant covers it.
    pub fn proven_by(&self) -> Option<ChallengeMethod> {
        self.challenges.iter().find(|c| c.status == ChallengeStatus::Valid).map(|c| c.method)
    }

    /// Applies `command` at `now` (RFC 8555 §7.1.6). Asking again for a validation that is under way changes nothing.
    ///
    /// # Errors
    /// When its state does not allow the command.
    pub fn apply(mut self, command: AuthorizationCommand, now: Timestamp) -> Result<Self, AuthorizationRejected> {
        use AuthorizationStatus::{Deactivated, Expired, Invalid, Pending, Valid};
        if matches!(self.status, Pending | Valid) && now >= self.expires {
            self.status = Expired;
        }
        match command {
            AuthorizationCommand::Start(method) => {
                self.require_pending()?;
                let challenge = self.challenge_mut(method)?;
                // Pending or processing: in any other state the authorization would not be pending.
                challenge.status = ChallengeStatus::Processing;
            }
            AuthorizationCommand::Prove(method, until) => {
                let challenge = self.processing(method)?;
                (challenge.status, challenge.validated, challenge.error) = (ChallengeStatus::Valid, Some(now), None);
                self.status = Valid;
                // Orders that wait for it lapse with it, so it never ends before they do.
                self.expires = self.expires.max(until);
            }
            AuthorizationCommand::Stumble(method, problem) => self.processing(method)?.error = Some(problem),
            AuthorizationCommand::Fail(method, problem) => {
                let challenge = self.processing(method)?;
                (challenge.status, challenge.error) = (ChallengeStatus::Invalid, Some(problem));
                self.status = Invalid;
            }
            AuthorizationCommand::Deactivate => match self.status {
                Pending | Valid => self.status = Deactivated,
                other => return Err(AuthorizationRejected::Ended(other)),
            },
            AuthorizationCommand::Tick => {}
        }
        Ok(self)
    }

    /// What a client is shown: of a pending one all challenges, else the one that decided (RFC 8555 §7.1.4).
    pub fn shown_challenges(&self) -> impl Iterator<Item = &Challenge> {
        let wanted = match self.status {
            AuthorizationStatus::Valid => Some(ChallengeStatus::Valid),
            AuthorizationStatus::Invalid => Some(ChallengeStatus::Invalid),
            AuthorizationStatus::Pending
            | AuthorizationStatus::Deactivated
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Revoked => None,
        };
        self.challenges.iter().filter(move |c| wanted.is_none_or(|status| c.status == status))
    }

    fn require_pending(&self) -> Result<(), AuthorizationRejected> {
        if self.status == AuthorizationStatus::Pending { Ok(()) } else { Err(AuthorizationRejected::NotPending(self.status)) }
    }

    fn challenge_mut(&mut self, method: ChallengeMethod) -> Result<&mut Challenge, AuthorizationRejected> {
        self.challenges.iter_mut().find(|c| c.method == method).ok_or(AuthorizationRejected::NoSuchChallenge(method))
    }

    fn processing(&mut self, method: ChallengeMethod) -> Result<&mut Challenge, AuthorizationRejected> {
        self.require_pending()?;
        let challenge = self.challenge_mut(method)?;
        if challenge.status == ChallengeStatus::Processing { Ok(challenge) } else { Err(AuthorizationRejected::NotProcessing(method)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProblemType;

    struct Zeros;
    impl Rng for Zeros {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn authorization(status: AuthorizationStatus, http: ChallengeStatus) -> Authorization {
        let mut challenges: Vec<_> =
            [ChallengeMethod::Http01, ChallengeMethod::Dns01].into_iter().map(|m| Challenge::new(m, &Zeros)).collect();
        challenges[0].status = http;
        Authorization {
            id: "a".parse().unwrap(),
            account: AccountId::from_evidence("x"),
            authority: "demo".parse().unwrap(),
            order: None,
            identifier: Identifier::from_text("a.demo.test").unwrap(),
            status,
            expires: at(100),
            challenges,
        }
    }

    #[test]
    fn a08_an_authorization_goes_through_the_states_of_rfc_8555_section_7_1_6() {
        use AuthorizationCommand::{Deactivate, Fail, Prove, Start, Stumble, Tick};
        use AuthorizationStatus::{Deactivated, Expired, Invalid, Pending, Revoked, Valid};
        use ChallengeMethod::{Dns01, Http01, TlsAlpn01};
        use ChallengeStatus as C;
        let problem = || Problem::new(ProblemType::Connection, "x");
        let check = |from: (AuthorizationStatus, C), command: AuthorizationCommand, now: i64, expected| {
            let applied = authorization(from.0, from.1).apply(command.clone(), at(now));
            assert_eq!(applied.map(|a| (a.status, a.challenges[0].status)), expected, "{from:?} {command:?} at {now}");
        };
        check((Pending, C::Pending), Start(Http01), 1, Ok((Pending, C::Processing)));
        check((Pending, C::Processing), Start(Http01), 1, Ok((Pending, C::Processing)));
        check((Pending, C::Pending), Start(TlsAlpn01), 1, Err(AuthorizationRejected::NoSuchChallenge(TlsAlpn01)));
        check((Pending, C::Processing), Prove(Http01, at(500)), 1, Ok((Valid, C::Valid)));
        check((Pending, C::Processing), Stumble(Http01, problem()), 1, Ok((Pending, C::Processing)));
        check((Pending, C::Processing), Fail(Http01, problem()), 1, Ok((Invalid, C::Invalid)));
        // Nobody asked for it: no result counts.
        check((Pending, C::Pending), Prove(Http01, at(500)), 1, Err(AuthorizationRejected::NotProcessing(Http01)));
        check((Pending, C::Processing), Prove(Dns01, at(500)), 1, Err(AuthorizationRejected::NotProcessing(Dns01)));
        for (status, challenge) in [(Valid, C::Valid), (Invalid, C::Invalid), (Deactivated, C::Processing), (Revoked, C::Processing)] {
            check((status, challenge), Start(Http01), 1, Err(AuthorizationRejected::NotPending(status)));
            check((status, challenge), Prove(Http01, at(500)), 1, Err(AuthorizationRejected::NotPending(status)));
            check((status, challenge), Fail(Http01, problem()), 1, Err(AuthorizationRejected::NotPending(status)));
        }
        check((Valid, C::Valid), Deactivate, 1, Ok((Deactivated, C::Valid)));
        check((Pending, C::Pending), Deactivate, 1, Ok((Deactivated, C::Pending)));
        check((Invalid, C::Invalid), Deactivate, 1, Err(AuthorizationRejected::Ended(Invalid)));
        // Time.
        check((Pending, C::Pending), Tick, 99, Ok((Pending, C::Pending)));
        check((Pending, C::Pending), Tick, 100, Ok((Expired, C::Pending)));
        check((Valid, C::Valid), Tick, 100, Ok((Expired, C::Valid)));
        check((Invalid, C::Invalid), Tick, 100, Ok((Invalid, C::Invalid)));
        check((Pending, C::Processing), Prove(Http01, at(500)), 100, Err(AuthorizationRejected::NotPending(Expired)));
        check((Valid, C::Valid), Deactivate, 100, Err(AuthorizationRejected::Ended(Expired)));
    }

    #[test]
    fn a_proof_says_when_and_how_and_never_shortens_it() {
        let started = authorization(AuthorizationStatus::Pending, ChallengeStatus::Processing);
        let proven = started.clone().apply(AuthorizationCommand::Prove(ChallengeMethod::Http01, at(500)), at(7)).unwrap();
        assert_eq!((proven.expires, proven.proven_by()), (at(500), Some(ChallengeMethod::Http01)));
        assert_eq!(proven.challenges[0].validated, Some(at(7)));
        assert_eq!(proven.shown_challenges().count(), 1);
        assert_eq!(started.shown_challenges().count(), 2);
        let sooner = started.apply(AuthorizationCommand::Prove(ChallengeMethod::Http01, at(50)), at(7)).unwrap();
        assert_eq!(sooner.expires, at(100));
    }

    #[test]
    fn a07_wildcards_by_dns_only_addresses_never_and_devices_by_attestation() {
        let check = |name: &str, expected: &[ChallengeMethod]| {
            let identifier = Identifier::from_text(name).unwrap();
            let proving: Vec<_> = ChallengeMethod::ALL.into_iter().filter(|m| m.proves(&identifier)).collect();
            assert_eq!(proving, expected, "{name}");
        };
        check("a.demo.test", &[ChallengeMethod::Http01, ChallengeMethod::Dns01, ChallengeMethod::TlsAlpn01]);
        check("*.demo.test", &[ChallengeMethod::Dns01]);
        check("10.0.0.1", &[ChallengeMethod::Http01, ChallengeMethod::TlsAlpn01]);
        check("fd00::1", &[ChallengeMethod::Http01, ChallengeMethod::TlsAlpn01]);
        for (kind, value) in [("permanent-identifier", "SN-1"), ("hardware-module", "SN-1/1.2.3")] {
            let device = Identifier::parse(kind, value).unwrap();
            let proving: Vec<_> = ChallengeMethod::ALL.into_iter().filter(|m| m.proves(&device)).collect();
            assert_eq!(proving, [ChallengeMethod::DeviceAttest01], "{kind}");
        }
    }

    #[test]
    fn texts() {
        for method in ChallengeMethod::ALL {
            assert_eq!(method.name().parse(), Ok(method));
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
        assert!("http-02".parse::<ChallengeMethod>().is_err());
        let token = ChallengeToken::random(&Zeros);
        assert_eq!(token.as_str().len(), ChallengeToken::CHARACTERS);
        for bad in ["", "A", &"A".repeat(44), &"+".repeat(43)] {
            assert!(ChallengeToken::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
