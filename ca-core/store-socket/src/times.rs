//! The times in what the front end sends: its owner has a clock of its own, and what is kept is told by that one.
//!
//! A process that was taken over may say any time. One that a CRL cannot carry would end an authority's CRLs, one far
//! ahead would keep a lease or a row for ever, or let a limit or an end go by. Replicas on other machines have clocks
//! that differ a little: what lies ahead keeps its distance. Times of mere readings stay as they are.

use std::time::Duration;

use ca_core::model::{AuditEntry, ValidationEnd};
use ca_core::pki::Timestamp;
use ca_core::ports::LONGEST_LEASE;

use crate::command::Command;

/// The longest that an order, an authorization or a proof may stand: the most that the front end can be configured to.
const LONGEST_PROMISE: Duration = Duration::from_secs(30 * 86_400);

/// Puts a time that was to come at `at`, when it was `said`, as far after `now`, and at most `longest`.
fn put_after(at: &mut Timestamp, said: Timestamp, now: Timestamp, longest: Duration) {
    *at = now.plus(at.since(said).min(longest));
}

impl Command {
    /// Puts `now` in the place of each time that says when the command is given, and bounds those that lie ahead.
    /// Exhaustive: a new command is a decision to take here.
    pub(crate) fn set_times(&mut self, now: Timestamp) {
        let given = |audit: &mut AuditEntry| audit.at = now;
        match self {
            Self::QueueAccount { account, audit } => {
                account.account.created_at = now;
                given(audit);
            }
            Self::CreateOrder { order, audit } => {
                let said = std::mem::replace(&mut order.order.created_at, now);
                put_after(&mut order.order.expires, said, now, LONGEST_PROMISE);
                for authorization in &mut order.authorizations {
                    put_after(&mut authorization.expires, said, now, LONGEST_PROMISE);
                }
                given(audit);
            }
            Self::CreateAuthorization { authorization, now: at, audit } => {
                let said = std::mem::replace(at, now);
                put_after(&mut authorization.expires, said, now, LONGEST_PROMISE);
                given(audit);
            }
            Self::StartChallenge { now: at, deadline, audit, .. } => {
                let said = std::mem::replace(at, now);
                put_after(deadline, said, now, LONGEST_PROMISE);
                given(audit);
            }
            Self::LeaseValidations { now: at, until, .. } => {
                let said = std::mem::replace(at, now);
                put_after(until, said, now, LONGEST_LEASE);
            }
            Self::FinishValidation { record, end, audit, .. } => {
                let at = record.at.clamp(now.minus(LONGEST_LEASE), now);
                let said = std::mem::replace(&mut record.at, at);
                put_after(&mut record.valid_until, said, at, LONGEST_PROMISE);
                if let ValidationEnd::Again { at: again } = end {
                    put_after(again, said, at, LONGEST_PROMISE);
                }
                given(audit);
            }
            // By the clock of the front end, a queue would seem jammed that is not.
            Self::OldestWait { now: at } | Self::TakeShares { now: at, .. } => *at = now,
            Self::QueueFinalize { now: at, audit, .. } => {
                *at = now;
                given(audit);
            }
            Self::RevokeOnRequest { request, .. } => request.at = now,
            Self::UpdateContact { audit, .. }
            | Self::DeactivateAccount { audit, .. }
            | Self::ChangeKey { audit, .. }
            | Self::DeactivateAuthorization { audit, .. }
            | Self::PauseAccount { audit, .. }
            | Self::CancelOrder { audit, .. } => given(audit),
            Self::Account { .. }
            | Self::AccountByKey { .. }
            | Self::Grant { .. }
            | Self::GrantUse { .. }
            | Self::Order { .. }
            | Self::OrdersOf { .. }
            | Self::Authorization { .. }
            | Self::AuthorizationsOf { .. }
            | Self::AwaitValidations { .. }
            | Self::Standing { .. }
            | Self::AwaitRequest { .. }
            | Self::Policy
            | Self::Authorities
            | Self::CrossCertificates
            | Self::Certificate { .. }
            | Self::NewestForKey { .. }
            | Self::KeyUses { .. }
            | Self::Status { .. }
            | Self::LedgerHead { .. }
            | Self::LedgerAfter { .. }
            | Self::AwaitLedger { .. }
            | Self::CurrentCrl { .. } => {}
        }
    }
}
