//! Carries commands out on the owner's store.

use std::time::Duration;

use ca_core::model::VolumeCap;
use ca_core::ports::{StoreResult, WorkerStore};
use serde::Serialize;

use crate::command::{Answer, Command, CurrentCrl};
use crate::frame::MAX_ANSWER;

/// The longest that one command waits for a wake-up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Carries `command` out and gives the answer's octets. `may_wait` is false where too many wait already: who comes
/// later gets the state as it is.
pub(crate) async fn execute(store: &dyn WorkerStore, command: Command, may_wait: bool) -> Vec<u8> {
    let bounded = |ms: u64| if may_wait { Duration::from_millis(ms).min(LONGEST_WAIT) } else { Duration::ZERO };
    match command {
        Command::QueueAccount { account, audit } => encode(store.queue_account(&account, &audit).await),
        Command::Account { id } => encode(store.account(&id).await),
        Command::AccountByKey { thumbprint } => encode(store.account_by_key(&thumbprint).await),
        Command::UpdateContact { id, contact, audit } => encode(store.update_contact(&id, &contact, &audit).await),
        Command::DeactivateAccount { id, audit } => encode(store.deactivate_account(&id, &audit).await),
        Command::ChangeKey { id, old_thumbprint, jwk, thumbprint, jws, audit } => {
            encode(store.change_key(&id, &old_thumbprint, &jwk, &thumbprint, &jws, &audit).await)
        }
        Command::Grant { id } => encode(store.grant(&id).await),
        Command::GrantUse { id, since, at_most } => encode(store.grant_use(&id, since, at_most.min(VolumeCap::MAX)).await),
        Command::CreateOrder { order, audit } => encode(store.create_order(&order, &audit).await),
        Command::Order { id } => encode(store.order(&id).await),
        Command::OrdersOf { account, cursor, now, limit } => encode(store.orders_of(&account, cursor.as_ref(), now, limit).await),
        Command::Authorization { id } => encode(store.authorization(&id).await),
        Command::AuthorizationsOf { order } => encode(store.authorizations_of(&order).await),
        Command::DeactivateAuthorization { id, audit } => encode(store.deactivate_authorization(&id, &audit).await),
        Command::CreateAuthorization { authorization, now, audit } => encode(store.create_authorization(&authorization, now, &audit).await),
        Command::StartChallenge { id, method, by, now, deadline, audit } => {
            encode(store.start_challenge(&id, method, &by, now, deadline, &audit).await)
        }
        Command::LeaseValidations { worker, lease, now, until, limit, share } => {
            encode(store.lease_validations(&worker, &lease, now, until, limit, share).await)
        }
        Command::FinishValidation { lease, record, end, audit } => encode(store.finish_validation(&lease, &record, &end, &audit).await),
        Command::AwaitValidations { at_most_ms } => {
            store.await_validations(bounded(at_most_ms)).await;
            encode(Ok(()))
        }
        Command::Standing { account, identifiers, since } => encode(store.standing(&account, &identifiers, since).await),
        Command::TakeShares { wanted, now } => encode(store.take_shares(&wanted, now).await),
        Command::PauseAccount { id, audit } => encode(store.pause_account(&id, &audit).await),
        Command::QueueFinalize { order, thumbprint, jws, now, audit } => {
            encode(store.queue_finalize(&order, &thumbprint, &jws, now, &audit).await)
        }
        Command::CancelOrder { id, problem, audit } => encode(store.cancel_order(&id, problem.as_ref(), &audit).await),
        Command::AwaitRequest { id, at_most_ms } => encode(store.await_request(&id, bounded(at_most_ms)).await),
        Command::RevokeOnRequest { jws, request } => encode(store.revoke_on_request(&jws, &request).await),
        Command::OldestWait { now } => {
            let backlog = store.backlog().await;
            encode(backlog.map(|(_, oldest)| oldest.map_or(0, |oldest| now.since(oldest).as_secs())))
        }
        Command::Policy => encode(store.policy().await),
        Command::Authorities => encode(store.authorities().await),
        Command::CrossCertificates => encode(store.cross_certificates().await),
        Command::Certificate { authority, serial } => encode(store.certificate(&authority, &serial).await),
        Command::NewestForKey { authority, profile, spki_sha256 } => encode(store.newest_for_key(&authority, &profile, &spki_sha256).await),
        Command::KeyUses { asked } => encode(store.key_uses(&asked).await),
        Command::Status { authority, serial } => encode(store.status(&authority, &serial).await),
        Command::LedgerHead { authority } => encode(store.ledger_head(&authority).await),
        Command::LedgerAfter { authority, number, limit } => encode(store.ledger_after(&authority, number, limit).await),
        Command::AwaitLedger { at_most_ms } => {
            store.await_ledger(bounded(at_most_ms)).await;
            encode(Ok(()))
        }
        Command::CurrentCrl { authority, scope, have } => encode(store.current_crl(&authority, &scope).await.map(|crl| match crl {
            None => CurrentCrl::None,
            Some(crl) if Some(crl.number) == have => CurrentCrl::Same,
            Some(crl) => CurrentCrl::Crl(crl),
        })),
    }
}

pub(crate) fn encode<T: Serialize>(result: StoreResult<T>) -> Vec<u8> {
    encode_answer(&Answer::from(result))
}

pub(crate) fn encode_answer<T: Serialize>(answer: &Answer<T>) -> Vec<u8> {
    let encoded = match serde_json::to_vec(answer) {
        Ok(bytes) if bytes.len() <= MAX_ANSWER => return bytes,
        Ok(bytes) => format!("an answer of {} octets is too long for the socket; the most is {MAX_ANSWER}", bytes.len()),
        Err(error) => format!("the answer has no form on the socket: {error}"),
    };
    serde_json::to_vec(&Answer::<()>::Damaged(encoded)).expect("a text has a JSON form")
}
