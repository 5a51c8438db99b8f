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
        let (account, audit) = (account.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.queue_account(&account, &audit).await })).await
    }

    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        self.remembered.account(id, accounts::find(&self.readers, id)).await
    }

    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>> {
        accounts::find_by_key(&self.readers, thumbprint).await
    }

    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        let (id, contact, audit) = (id.clone(), contact.to_vec(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.update_contact(&id, &contact, &audit).await })).await
    }

    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.deactivate_account(&id, &audit).await })).await
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
        let (id, old, audit) = (id.clone(), old_thumbprint.to_owned(), audit.clone());
        let (jwk, thumbprint, jws) = (jwk.to_owned(), thumbprint.to_owned(), jws.to_owned());
        self.write(move |tx| Box::pin(async move { tx.change_key(&id, &old, &jwk, &thumbprint, &jws, &audit).await })).await
    }

    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.remembered.grant(id, admin::find_grant(&self.readers, id)).await
    }

    async fn grant_use(&self, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
        grant_use::count(&self.readers, id, since, at_most).await
    }

    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let (order, audit) = (order.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.create_order(&order, &audit).await })).await
    }

    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>> {
        orders::find(&self.readers, id).await
    }

    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, limit: u32) -> StoreResult<OrderPage> {
        orders::page(&self.readers, account, cursor, limit).await
    }

    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        authorizations::find(&self.readers, id).await
    }

    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        match orders::find(&self.readers, order).await? {
            Some(order) => authorizations::of(&self.readers, &order).await,
            None => Ok(Vec::new()),
        }
    }

    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.deactivate_authorization(&id, &audit).await })).await
    }

    async fn queue_finalize(&self, order: &OrderId, jws: &str, now: Timestamp, audit: &AuditEntry) -> StoreResult<RequestId> {
        let (order, jws, audit) = (order.clone(), jws.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.queue_finalize(&order, &jws, now, &audit).await })).await
    }

    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        let (id, problem, audit) = (id.clone(), problem.cloned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.cancel_order(&id, problem.as_ref(), &audit).await })).await
    }

    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
        revocation::on_request(self, jws, request).await
    }

    async fn await_request(&self, id: &RequestId, at_most: Duration) -> StoreResult<RequestState> {
        let Some(wait) = self.wakers.wait_for(id) else { return requests::state_of(&self.readers, id).await };
        // Listening begins before the look, so that an end between the two is not missed.
        let mut ended = pin!(wait.notify.notified());
        ended.as_mut().enable();
        match requests::state_of(&self.readers, id).await? {
            RequestState::Waiting if tokio::time::timeout(at_most, ended).await.is_ok() => requests::state_of(&self.readers, id).await,
            state => Ok(state),
        }
    }
}
