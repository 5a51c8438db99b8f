//! What the ACME front end reads and writes: hands the commands on.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{
    Account, AccountId, AuditEntry, Authorization, AuthorizationId, GrantId, GrantRecord, GrantUse, NewAccount, NewOrder, Order, OrderId,
    OrderPage, Problem, RequestId, RequestState, RevocationRequest, Revoked,
};
use ca_core::pki::Timestamp;
use ca_core::ports::{AcmeStore, StoreResult};

use crate::{SqliteStore, accounts, admin, authorizations, grant_use, orders, requests, revocation};

#[async_trait]
impl AcmeStore for SqliteStore {
    async fn queue_account(&self, account: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        accounts::verify_new(account)?;
        let (account, audit) = (account.clone(), audit.clone());
        self.write(move |tx| tx.queue_account(&account, &audit)).await
    }

    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        self.remembered.account(id, || self.readers.look(|c| accounts::find_row(c, id)))
    }

    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>> {
        self.readers.look(|c| accounts::find_by_key(c, thumbprint))
    }

    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        let (id, contact, audit) = (id.clone(), contact.to_vec(), audit.clone());
        self.write(move |tx| tx.update_contact(&id, &contact, &audit)).await
    }

    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.deactivate_account(&id, &audit)).await
    }

    async fn change_key(
        &self,
        id: &AccountId,
        old_thumbprint: &str,
        jwk: &str,
        thumbprint: &str,
        jws: &str,
        audit: &AuditEntry,
    ) -> StoreResult<Account> {
        let account = self.readers.look(|c| accounts::find(c, id))?;
        accounts::verify_change(id, account.as_ref(), old_thumbprint, jwk, thumbprint, jws)?;
        let (id, old, audit) = (id.clone(), old_thumbprint.to_owned(), audit.clone());
        let (jwk, thumbprint, jws) = (jwk.to_owned(), thumbprint.to_owned(), jws.to_owned());
        self.write(move |tx| tx.change_key(&id, &old, &jwk, &thumbprint, &jws, &audit)).await
    }

    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.remembered.grant(id, || self.readers.look(|c| admin::find_grant_row(c, id)))
    }

    async fn grant_use(&self, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
        let id = id.clone();
        self.readers.list(move |c| grant_use::count(c, &id, since, at_most)).await
    }

    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let (order, audit) = (order.clone(), audit.clone());
        self.write(move |tx| tx.create_order(&order, &audit)).await
    }

    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>> {
        self.readers.look(|c| orders::find(c, id))
    }

    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, now: Timestamp, limit: u32) -> StoreResult<OrderPage> {
        let (account, cursor) = (account.clone(), cursor.cloned());
        self.readers.list(move |c| orders::page(c, &account, cursor.as_ref(), now, limit)).await
    }

    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        self.readers.look(|c| authorizations::find(c, id))
    }

    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        self.readers.look(|c| match orders::find(c, order)? {
            Some(order) => authorizations::of(c, &order),
            None => Ok(Vec::new()),
        })
    }

    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.deactivate_authorization(&id, &audit)).await
    }

    async fn queue_finalize(
        &self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        let (order, thumbprint, jws, audit) = (order.clone(), thumbprint.to_owned(), jws.to_owned(), audit.clone());
        self.write(move |tx| tx.queue_finalize(&order, &thumbprint, &jws, now, &audit)).await
    }

    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        let (id, problem, audit) = (id.clone(), problem.cloned(), audit.clone());
        self.write(move |tx| tx.cancel_order(&id, problem.as_ref(), &audit)).await
    }

    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
        revocation::on_request(self, jws, request).await
    }

    async fn await_request(&self, id: &RequestId, at_most: Duration) -> StoreResult<RequestState> {
        let state = || self.wakers.state_of(id).map_or_else(|| self.readers.look(|c| requests::state_of(c, id)), Ok);
        let Some(wait) = self.wakers.wait_for(id) else { return state() };
        // Listening begins before the look, so that an end between the two is not missed.
        let mut ended = pin!(wait.notify.notified());
        ended.as_mut().enable();
        match state()? {
            RequestState::Waiting if tokio::time::timeout(at_most, ended).await.is_ok() => state(),
            state => Ok(state),
        }
    }
}
