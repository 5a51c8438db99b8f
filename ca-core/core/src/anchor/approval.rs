//! What officers sign about an anchor: that one begins, or that a log begins again.

use serde::{Deserialize, Serialize};

use super::{AnchorState, Beginning, LogHead};
use crate::ceremony::{CeremonyError, Roster, canonical, quorum};
use crate::model::AuthorityName;
use crate::pki::{Sha256Digest, Timestamp};
use crate::ports::AnchorError;

/// The act that a statement allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnchorOperation {
    /// A new worker's anchor is made.
    Init,
    /// The newest database is lost: the log goes on from an older row.
    AcceptRestore,
}

/// A statement. Its file is this value's canonical form ([`Self::to_bytes`]), and officers sign the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorStatement {
    /// [`Self::FORMAT`].
    pub format: String,
    /// The act.
    pub operation: AnchorOperation,
    /// The CA: its root.
    pub authority: AuthorityName,
    /// The digest of the roster that the CA began with.
    pub genesis_roster: Sha256Digest,
    /// How many roster changes there were.
    pub roster_number: u64,
    /// The digest of the standing roster, whose officers sign this.
    pub roster: Sha256Digest,
    /// The policy in force.
    pub policy_version: u64,
    /// SHA-256 of its document.
    pub policy_sha256: Sha256Digest,
    /// Where the database's audit chain stands.
    pub log: LogHead,
    /// With a restore: where the anchor's log stands. What lies between is given up.
    pub replaces: Option<LogHead>,
    /// 128 random bits in hexadecimal: no two statements are the same, so one approval allows one act.
    pub nonce: String,
    /// When it was prepared. With a restore the officers confirm with it what time it is.
    pub issued_at: Timestamp,
    /// Until when the act may begin.
    pub expires_at: Timestamp,
}

impl AnchorStatement {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/anchor-statement/1";
    /// The most bytes of a statement.
    pub const MAX_BYTES: usize = 1 << 16;

    /// The canonical form: JSON with its fields in declaration order, indented for the reader, and a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Reads the canonical form; anything else is refused.
    ///
    /// # Errors
    /// When it is too large, does not parse, has another format or is not canonical.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let statement: Self = canonical::parse("anchor statement", Self::MAX_BYTES, bytes)?;
        if statement.format != Self::FORMAT {
            return Err(CeremonyError::Syntax { what: "anchor statement", reason: format!("its format is not {}", Self::FORMAT) });
        }
        Ok(statement)
    }
}

/// A statement that enough officers signed: the proof that an anchor may begin, or begin again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApprovedAnchor {
    statement: AnchorStatement,
    officers: Vec<String>,
}

impl ApprovedAnchor {
    /// Verifies a statement's file and the signatures over it, from bytes to meaning: for the act `operation`, in its
    /// time, about the standing `roster`, by at least its threshold of distinct people.
    ///
    /// # Errors
    /// When any of that does not hold.
    pub fn verify(
        operation: AnchorOperation,
        bytes: &[u8],
        signatures: &[String],
        roster: &Roster,
        now: Timestamp,
    ) -> Result<Self, CeremonyError> {
        roster.check()?;
        let statement = AnchorStatement::parse(bytes)?;
        if statement.operation != operation || statement.replaces.is_some() != (operation == AnchorOperation::AcceptRestore) {
            return Err(CeremonyError::refused("anchor statement", "it allows another act"));
        }
        canonical::check_time(statement.issued_at, statement.expires_at, now)?;
        if statement.roster != roster.digest() {
            return Err(CeremonyError::refused("anchor statement", "it names another roster than the standing one"));
        }
        let officers = quorum(roster, "anchor statement", bytes, signatures)?;
        Ok(Self { statement, officers })
    }

    /// What was signed.
    pub const fn statement(&self) -> &AnchorStatement {
        &self.statement
    }

    /// Who signed it.
    pub fn officers(&self) -> &[String] {
        &self.officers
    }

    /// The anchor that the statement lets begin; its nonce is spent.
    ///
    /// # Errors
    /// When the statement is about a restore.
    pub fn begin(&self, now: Timestamp) -> Result<AnchorState, AnchorError> {
        let s = &self.statement;
        if s.operation != AnchorOperation::Init {
            return Err(AnchorError::Refused("the officers' statement is about a restore, not about a new anchor".to_owned()));
        }
        let state = AnchorState::new(Beginning {
            genesis_roster: s.genesis_roster,
            roster_number: s.roster_number,
            roster: s.roster,
            policy_version: s.policy_version,
            policy: s.policy_sha256,
            log: s.log,
            now,
        });
        state.after(&[super::AnchorStep::Spend { nonce: s.nonce.clone(), expires_at: s.expires_at }], now)
    }
}
