//! What every backend of the storage ports must do.
//!
//! A backend's tests call [`crate::store_conformance!`] with its [`StoreFactory`]; each check here becomes a test on a
//! fresh store. A failed assertion names the line of the check.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, at its own line")]

mod accounts;
mod admin;
mod approvals;
mod authorizations;
mod compromise;
mod crls;
mod durability;
mod grant_use;
mod issuance;
mod jobs;
mod orders;
mod replacement;
mod requests;
mod revocation;
mod standing;
mod star;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use ca_core::ports::{StoreError, StoreResult, WorkerStore};

pub use accounts::*;
pub use admin::*;
pub use approvals::*;
pub use authorizations::*;
pub use compromise::*;
pub use crls::*;
pub use durability::*;
pub use grant_use::*;
pub use issuance::*;
pub use jobs::*;
pub use orders::*;
pub use replacement::*;
pub use requests::*;
pub use revocation::*;
pub use standing::*;
pub use star::*;
pub use world::{NOW, World, at, audit};

/// Makes the stores under test.
#[async_trait]
pub trait StoreFactory: Send + Sync {
    /// A new, empty store.
    async fn open(&self) -> Arc<dyn WorkerStore>;
    /// Ends the store as if its process did, and opens the same data again.
    async fn reopen(&self, store: Arc<dyn WorkerStore>) -> Arc<dyn WorkerStore>;
}

/// Makes a test of each check. The crate that calls it needs tokio with its `macros`.
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance!(@each $factory;
            one_account_per_key, an_account_changes_only_while_valid, a06_an_account_has_no_key_that_did_not_sign_for_it, a_refused_account_is_gone, a_grant_bounds_its_accounts,
            a_grant_is_revoked_with_its_accounts, a_grant_changes_and_rests, exactly_one_finalize_wins, orders_are_stored_once_and_listed, a_certificate_is_replaced_once,
            a_lost_authorization_ends_its_order, requests_carry_their_evidence, a06_what_waits_stays_its_key_s, a06_a_challenge_stays_its_key_s, the_evidence_of_a_lease_is_bounded, a_lease_is_held_by_one, waiting_ends_with_the_request,
            a_new_request_is_due_at_once,
            the_backlog_is_told, an_order_gets_its_certificate, a14_a_cap_is_counted_as_the_intent_is_recorded, an_intent_is_refused_where_it_must_be, a15_an_order_in_flight_gets_nothing_after_its_owner_ended,
            an_abandoned_serial_is_revoked_and_its_signer_fenced, open_intents_are_those_without_a_lease, revocation_is_numbered_in_order,
            certificates_are_found, a_blocked_key_stays_blocked, a11_a_compromised_key_is_to_do_until_no_certificate_is_left, a11_a_compromise_is_refused_on_record, crl_numbers_only_grow, an_entry_stays_until_a_crl_past_its_expiry, jobs_are_leased_and_moved_up, a_lease_from_a_clock_that_was_ahead_has_ended,
            imports_and_policies_do_not_go_back, a10_cross_certificates_are_kept_once_and_bounded, a_nonce_is_spent_once, the_audit_trail_is_a_chain, a_page_of_the_audit_trail_is_bounded_in_bytes, pruning_keeps_certificates,
            a_proposal_begins_once, waiting_proposals_are_bounded, roster_changes_are_numbered, a_hold_ends_one_way_or_the_other,
            orders_wait_for_their_authorizations, a_failed_validation_ends_its_orders, validations_are_leased_by_one, a23_of_one_account_a_worker_holds_a_share, a23_giving_up_what_is_being_validated_is_a_failure,
            a08_authorizations_are_used_again_while_valid, a08_what_is_given_up_or_revoked_proves_nothing, authorizations_stand_for_themselves, a_late_result_changes_nothing,
            a23_failures_in_a_row_are_counted_until_a_success, a23_a_pause_stands_until_it_is_ended, a23_shared_quotas_are_counted_in_one_place, a23_a_renewal_is_an_order_of_the_same_names,
            a21_a_renewing_order_goes_on_until_it_ends, a21_a_mark_moves_the_next_certificate_up, a21_what_its_owner_loses_cancels_it, a16_a_renewal_rests_while_its_grant_does,
            a20_a_mark_stands_until_it_is_taken_away, lesson_24_what_came_in_a_certificate_s_place_is_known, lesson_24_what_has_ended_is_no_successor,
            lesson_24_a_later_certificate_of_another_profile_counts_where_the_account_had_none,
            a_new_process_finds_everything, concurrent_commands_all_commit,
        );
    };
    (@each $factory:expr; $($check:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::store::$check(&$factory).await;
            }
        )*
    };
}

/// Polls all futures together and gives their outputs in order.
async fn together<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(done.iter_mut().filter_map(Option::take).collect()) } else { Poll::Pending }
    })
    .await
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: StoreResult<T>) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "expected a conflict, got {result:?}");
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(result: StoreResult<T>) {
    assert!(matches!(result, Err(StoreError::Fenced)), "expected to be fenced, got {result:?}");
}

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(result: StoreResult<T>) {
    assert!(matches!(result, Err(StoreError::NotFound(_))), "expected not found, got {result:?}");
}
