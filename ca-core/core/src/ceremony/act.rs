//! What officers approve on the running CA: one statement allows one act, over the exact thing that it acts on.
//!
//! A statement names the CA, the standing roster and the policy in force: when one of them changes, every approval
//! that is pending is void (requirement 10). None of these acts has a device sign by itself, so none names a device's
//! serial number; what does is a ceremony's, see [`super::Statement`]. Deliberately absent: an act that issues.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quorum::at_least;
use super::{CeremonyError, Roster, canonical};
use crate::model::{AuthorityName, RevocationReason};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};

/// The act that a statement allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OfficerAct {
    /// Puts a policy in force.
    PutPolicy {
        /// Its version; greater than that of the one in force.
        version: u64,
        /// SHA-256 of the policy document.
        policy_sha256: Sha256Digest,
    },
    /// Puts another roster in the standing one's place.
    ChangeRoster {
        /// The change's number: that of the standing roster plus one.
        number: u64,
        /// The roster chain's head before: the genesis roster's digest, or that of the last change's statement.
        before: Sha256Digest,
        /// The new roster's digest.
        roster_sha256: Sha256Digest,
    },
    /// Revokes an authority's certificate: it issues no more, and is on the list for the issuer's next CRL ceremony.
    RevokeAuthority {
        /// Whose certificate.
        authority: AuthorityName,
        /// SHA-256 of that certificate.
        certificate_sha256: Sha256Digest,
        /// Its serial number.
        serial: SerialNumber,
        /// Why.
        reason: RevocationReason,
        /// Since when its key is suspected.
        invalidity_date: Option<Timestamp>,
    },
    /// Takes a certificate off hold.
    Unhold {
        /// Its authority.
        authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// Revokes many certificates: exactly those of a list.
    RevokeBulk {
        /// Their authority.
        authority: AuthorityName,
        /// Why.
        reason: RevocationReason,
        /// How the list was made, for the reader; the list decides.
        selection: String,
        /// How many there are.
        count: u64,
        /// SHA-256 of the list: each serial number on its own line, in order, see [`super::serial_list`].
        serials_sha256: Sha256Digest,
    },
    /// Stops issuance. One officer is enough.
    Stop {
        /// Why, for the audit trail.
        reason: String,
    },
    /// Lets issuance go on.
    Resume,
}

impl OfficerAct {
    /// The most characters of a reason or a selection.
    pub const MAX_TEXT: usize = 500;

    /// How many people must sign: the roster's threshold, but for a stop, which one person does at once.
    pub const fn needed(&self, roster: &Roster) -> u32 {
        match self {
            Self::Stop { .. } => 1,
            Self::PutPolicy { .. }
            | Self::ChangeRoster { .. }
            | Self::RevokeAuthority { .. }
            | Self::Unhold { .. }
            | Self::RevokeBulk { .. }
            | Self::Resume => roster.threshold,
        }
    }

    /// Its name in audit entries, `noun.verb`.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::PutPolicy { .. } => "policy.put",
            Self::ChangeRoster { .. } => "roster.change",
            Self::RevokeAuthority { .. } => "authority.revoke",
            Self::Unhold { .. } => "certificate.unhold",
            Self::RevokeBulk { .. } => "certificate.revoke-bulk",
            Self::Stop { .. } => "issuance.stop",
            Self::Resume => "issuance.resume",
        }
    }

    /// The authority that it is about, where it names one.
    pub const fn authority(&self) -> Option<&AuthorityName> {
        match self {
            Self::RevokeAuthority { authority, .. } | Self::Unhold { authority, .. } | Self::RevokeBulk { authority, .. } => {
                Some(authority)
            }
            Self::PutPolicy { .. } | Self::ChangeRoster { .. } | Self::Stop { .. } | Self::Resume => None,
        }
    }

    /// What it acts on, as audit entries name it.
    pub fn object(&self) -> String {
        match self {
            Self::PutPolicy { version, .. } => format!("version {version}"),
            Self::ChangeRoster { number, .. } => format!("roster {number}"),
            Self::RevokeAuthority { serial, .. } | Self::Unhold { serial, .. } => serial.to_string(),
            Self::RevokeBulk { count, serials_sha256, .. } => format!("{count} certificates of list {serials_sha256}"),
            Self::Stop { .. } | Self::Resume => "issuance".to_owned(),
        }
    }
}

/// What a statement must name: the CA, its roster and its policy as they stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// SHA-256 of the root's certificate: which CA this is.
    pub ca_sha256: Sha256Digest,
    /// How many roster changes there were.
    pub roster_number: u64,
    /// The standing roster's digest.
    pub roster_sha256: Sha256Digest,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// Its digest.
    pub policy_sha256: Sha256Digest,
}

/// A statement. Officers sign its canonical form ([`Self::to_bytes`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActStatement {
    /// [`Self::FORMAT`].
    pub format: String,
    /// The act.
    pub act: OfficerAct,
    /// On what it stands.
    pub standing: Standing,
    /// 128 random bits in hexadecimal: one approval allows one act.
    pub nonce: String,
    /// When it was proposed.
    pub issued_at: Timestamp,
    /// Until when the act may begin; at most [`Self::MAX_LIFE`] later.
    pub expires_at: Timestamp,
}

impl ActStatement {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/act/1";
    /// The most bytes of a statement.
    pub const MAX_BYTES: usize = 1 << 16;
    /// The longest time between a proposal and its end: 14 days.
    pub const MAX_LIFE: Duration = Duration::from_secs(14 * 86_400);

    /// The canonical form: JSON with its fields in declaration order, indented for the reader, and a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Reads the canonical form; anything else is refused, so that one meaning has one form.
    ///
    /// # Errors
    /// When it is too large, does not parse, has another format, is not canonical, lives too long, or has a nonce or
    /// a text of the wrong form.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let statement: Self = canonical::parse("statement", Self::MAX_BYTES, bytes)?;
        if statement.format != Self::FORMAT {
            return Err(CeremonyError::Syntax { what: "statement", reason: format!("its format is not {}", Self::FORMAT) });
        }
        let refused = |reason: &str| Err(CeremonyError::refused("statement", reason));
        if statement.nonce.len() != 32 || !statement.nonce.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refused("its nonce is not 32 hexadecimal digits");
        }
        if statement.expires_at <= statement.issued_at || statement.expires_at > statement.issued_at.plus(Self::MAX_LIFE) {
            return refused("it must end after it begins, within 14 days");
        }
        let text = match &statement.act {
            OfficerAct::Stop { reason } => reason,
            OfficerAct::RevokeBulk { selection, .. } => selection,
            OfficerAct::PutPolicy { .. }
            | OfficerAct::ChangeRoster { .. }
            | OfficerAct::RevokeAuthority { .. }
            | OfficerAct::Unhold { .. }
            | OfficerAct::Resume => return Ok(statement),
        };
        if text.chars().count() > OfficerAct::MAX_TEXT || text.chars().any(char::is_control) {
            return refused("its text is too long or has control characters");
        }
        Ok(statement)
    }

    /// Whether it may be used now, on what stands.
    ///
    /// # Errors
    /// When its time has not come or is over, or the CA, the roster or the policy is another than it names.
    pub fn check(&self, standing: &Standing, now: Timestamp) -> Result<(), CeremonyError> {
        canonical::check_time(self.issued_at, self.expires_at, now)?;
        let said = &self.standing;
        let void = |what: &str| {
            Err(CeremonyError::refused(
                "statement",
                format!("{what}, so its approvals are void (hint: propose it again, and have it signed on what stands now)"),
            ))
        };
        if said.ca_sha256 != standing.ca_sha256 {
            return void("it is for another CA");
        }
        if (said.roster_number, said.roster_sha256) != (standing.roster_number, standing.roster_sha256) {
            return void(&format!(
                "it stands on roster {}, and the officers are those of roster {}",
                said.roster_number, standing.roster_number
            ));
        }
        if (said.policy_version, said.policy_sha256) != (standing.policy_version, standing.policy_sha256) {
            return void(&format!(
                "it stands on policy version {}, and version {} is in force",
                said.policy_version, standing.policy_version
            ));
        }
        Ok(())
    }

    /// Verifies every signature over `bytes`, this statement's canonical form, and gives the names of the distinct
    /// people behind them; at least as many as the act needs.
    ///
    /// # Errors
    /// When one signature is wrong, by nobody on the roster, or too few people signed.
    pub fn approved_by(&self, roster: &Roster, bytes: &[u8], signatures: &[String]) -> Result<Vec<String>, CeremonyError> {
        at_least(self.act.needed(roster), roster, "statement", bytes, signatures)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::quorum::tests::{roster, signed};
    use super::*;
    use crate::pki::sha256;

    pub(crate) const NAMESPACE: &str = "ceremony@countersign";

    pub(crate) fn standing(roster: &Roster, number: u64, policy_version: u64) -> Standing {
        Standing {
            ca_sha256: sha256(b"root"),
            roster_number: number,
            roster_sha256: roster.digest(),
            policy_version,
            policy_sha256: sha256(b"policy"),
        }
    }

    pub(crate) fn statement(act: OfficerAct, standing: Standing) -> ActStatement {
        ActStatement {
            format: ActStatement::FORMAT.to_owned(),
            act,
            standing,
            nonce: "0f".repeat(16),
            issued_at: Timestamp::from_unix(1000),
            expires_at: Timestamp::from_unix(2000),
        }
    }

    #[test]
    fn ceremony_09_the_threshold_counts_people_not_keys_nor_signatures() {
        // CVE-2020-6174 and CVE-2020-15093: implementations counted one key's many signatures. Ana has keys 1 and 2.
        let resume = statement(OfficerAct::Resume, standing(&roster(), 0, 1));
        let bytes = resume.to_bytes();
        let check = |seeds: &[u8]| resume.approved_by(&roster(), &bytes, &signed(seeds, NAMESPACE, &bytes));
        assert_eq!(check(&[1, 3]).unwrap(), ["ana", "bela"]);
        for too_few in [&[1, 1, 1][..], &[1, 2], &[2, 1, 2, 1], &[3], &[]] {
            let text = check(too_few).unwrap_err().to_string();
            assert!(text.contains("of 2 officers signed"), "{too_few:?}: {text}");
        }
        assert!(check(&[1, 3, 9]).unwrap_err().to_string().contains("none of the officers"));
        // Those of a rehearsal, and those over a ceremony's plan, do not count.
        assert!(resume.approved_by(&roster(), &bytes, &signed(&[1, 3], "rehearsal@countersign", &bytes)).is_err());
    }

    #[test]
    fn one_officer_stops_and_nobody_does_not() {
        let stop = statement(OfficerAct::Stop { reason: "a key is out".to_owned() }, standing(&roster(), 0, 1));
        let bytes = stop.to_bytes();
        assert_eq!(stop.approved_by(&roster(), &bytes, &signed(&[4], NAMESPACE, &bytes)).unwrap(), ["cora"]);
        assert!(stop.approved_by(&roster(), &bytes, &[]).is_err());
        assert!(stop.approved_by(&roster(), &bytes, &signed(&[9], NAMESPACE, &bytes)).is_err());
    }

    #[test]
    fn a_statement_counts_for_what_stands_and_within_its_time() {
        let good = statement(OfficerAct::Resume, standing(&roster(), 3, 7));
        #[track_caller]
        fn check(statement: &ActStatement, change: impl Fn(&mut Standing), at: i64, part: &str) {
            let mut stands = statement.standing.clone();
            change(&mut stands);
            let text = statement.check(&stands, Timestamp::from_unix(at)).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        good.check(&good.standing, Timestamp::from_unix(1999)).unwrap();
        check(&good, |_| {}, 2000, "ended");
        check(&good, |_| {}, 600, "the clock says");
        check(&good, |s| s.ca_sha256 = sha256(b"another"), 1500, "another CA");
        check(&good, |s| s.roster_number = 4, 1500, "roster 4");
        check(&good, |s| s.roster_sha256 = sha256(b"another"), 1500, "void");
        check(&good, |s| s.policy_version = 8, 1500, "version 8 is in force");
        check(&good, |s| s.policy_sha256 = sha256(b"another"), 1500, "void");
    }

    #[test]
    fn one_meaning_has_one_form() {
        let good = statement(OfficerAct::Stop { reason: "x".to_owned() }, standing(&roster(), 0, 1));
        assert_eq!(ActStatement::parse(&good.to_bytes()).unwrap(), good);
        let text = String::from_utf8(good.to_bytes()).unwrap();
        #[track_caller]
        fn check(text: &str, part: &str) {
            let error = ActStatement::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        check(&text.replace("act/1", "act/2"), "format");
        check(&format!("{text} "), "canonical");
        check(&text.replacen("\"nonce\"", "\"extra\": 1,\n  \"nonce\"", 1), "unknown field");
        check(&String::from_utf8(ActStatement { nonce: "xy".repeat(16), ..good.clone() }.to_bytes()).unwrap(), "nonce");
        let long = ActStatement { expires_at: good.issued_at.plus(Duration::from_secs(14 * 86_400 + 1)), ..good.clone() };
        check(&String::from_utf8(long.to_bytes()).unwrap(), "14 days");
        let loud = ActStatement { act: OfficerAct::Stop { reason: "a\u{1b}[2J".to_owned() }, ..good };
        check(&String::from_utf8(loud.to_bytes()).unwrap(), "control characters");
    }
}
