//! The owner's store, the front end's and the responder's as one, so that the whole suite runs over all three.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::limits::{Exceeded, Share};
use ca_core::model::*;
use ca_core::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp};
use ca_core::ports::*;
use ca_store_socket::SocketStore;
use ca_store_sqlite::SqliteStore;
use ca_testkit::FakeClock;

pub(crate) struct Joined {
    pub(crate) acme: SocketStore,
    /// The clock of the front end's owner, whose time counts: it shows what the suite says.
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) responder: SocketStore,
    pub(crate) owner: Arc<SqliteStore>,
}

/// The suite's entries are by its own component; the front end may make its own kind only.
fn mine(audit: &AuditEntry, kind: &str) -> AuditEntry {
    AuditEntry { actor: Actor::Anonymous, action: format!("{kind}.test"), ..audit.clone() }
}

impl Joined {
    fn acme_at(&self, at: Timestamp) -> &SocketStore {
        self.clock.set(at);
        &self.acme
    }
}

#[async_trait]
impl AcmeStore for Joined {
    async fn queue_account(&self, account: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        self.acme_at(account.account.created_at).queue_account(account, &mine(audit, "account")).await
    }
    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        self.acme.account(id).await
    }
    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>> {
        self.acme.account_by_key(thumbprint).await
    }
    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        self.acme_at(audit.at).update_contact(id, contact, &mine(audit, "account")).await
    }
    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        self.acme_at(audit.at).deactivate_account(id, &mine(audit, "account")).await
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
        self.acme_at(audit.at).change_key(id, old_thumbprint, jwk, thumbprint, jws, &mine(audit, "account")).await
    }
    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.acme.grant(id).await
    }
    async fn grant_use(&self, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
        self.acme.grant_use(id, since, at_most).await
    }
    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        self.acme_at(order.order.created_at).create_order(order, &mine(audit, "order")).await
    }
    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>> {
        self.acme.order(id).await
    }
    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, now: Timestamp, limit: u32) -> StoreResult<OrderPage> {
        self.acme.orders_of(account, cursor, now, limit).await
    }
    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        self.acme.authorization(id).await
    }
    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        self.acme.authorizations_of(order).await
    }
    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        self.acme_at(audit.at).deactivate_authorization(id, &mine(audit, "authorization")).await
    }
    async fn queue_finalize(
        &self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        self.acme_at(now).queue_finalize(order, thumbprint, jws, now, &mine(audit, "order")).await
    }
    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        self.acme_at(audit.at).cancel_order(id, problem, &mine(audit, "order")).await
    }
    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
        self.acme_at(request.at).revoke_on_request(jws, request).await
    }
    async fn await_request(&self, id: &RequestId, at_most: Duration) -> StoreResult<RequestState> {
        self.acme.await_request(id, at_most).await
    }
}

#[async_trait]
impl StandingStore for Joined {
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
        self.acme.standing(account, identifiers, since).await
    }
    async fn take_shares(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>> {
        self.acme_at(now).take_shares(wanted, now).await
    }
    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let own = AuditEntry { actor: Actor::system("limits"), action: "account.pause".to_owned(), ..audit.clone() };
        self.acme_at(audit.at).pause_account(id, &own).await
    }
}

#[async_trait]
impl AccountAdminStore for Joined {
    async fn accounts(&self, paused: bool, limit: u32) -> StoreResult<Vec<AccountRecord>> {
        self.owner.accounts(paused, limit).await
    }
    async fn account_record(&self, id: &AccountId) -> StoreResult<Option<AccountRecord>> {
        self.owner.account_record(id).await
    }
    async fn resume_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool> {
        self.owner.resume_account(id, audit).await
    }
}

#[async_trait]
impl ValidationStore for Joined {
    async fn create_authorization(&self, new: &Authorization, now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization> {
        self.acme_at(now).create_authorization(new, now, &mine(audit, "authorization")).await
    }
    async fn start_challenge(
        &self,
        id: &AuthorizationId,
        method: ChallengeMethod,
        by: &TakeUp,
        now: Timestamp,
        deadline: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        self.acme_at(now).start_challenge(id, method, by, now, deadline, &mine(audit, "authorization")).await
    }
    async fn lease_validations(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        share: u32,
    ) -> StoreResult<Vec<LeasedValidation>> {
        self.acme_at(now).lease_validations(worker, lease, now, until, limit, share).await
    }
    async fn finish_validation(
        &self,
        lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let audit = AuditEntry { actor: Actor::system("validation"), action: "authorization.validate".to_owned(), ..audit.clone() };
        self.acme_at(record.at).finish_validation(lease, record, end, &audit).await
    }
    async fn validations_of(&self, id: &AuthorizationId, limit: u32) -> StoreResult<Vec<ValidationRecord>> {
        self.owner.validations_of(id, limit).await
    }
    async fn await_validations(&self, at_most: Duration) {
        self.acme.await_validations(at_most).await;
    }
}

#[async_trait]
impl RevocationStore for Joined {
    async fn revoke(&self, request: &RevocationRequest) -> StoreResult<Revoked> {
        self.owner.revoke(request).await
    }
}

#[async_trait]
impl CertificateStore for Joined {
    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        let (one, other) = (self.acme.authorities().await?, self.responder.authorities().await?);
        assert_eq!(one, other);
        Ok(one)
    }
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        self.acme.cross_certificates().await
    }
    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        self.acme.certificate(authority, serial).await
    }
    async fn certificates(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> StoreResult<Vec<CertificateRecord>> {
        self.owner.certificates(filter, after, limit).await
    }
    async fn newest_for_key(
        &self,
        authority: &AuthorityName,
        profile: &str,
        spki: &Sha256Digest,
    ) -> StoreResult<Option<CertificateRecord>> {
        let (one, other) =
            (self.acme.newest_for_key(authority, profile, spki).await?, self.responder.newest_for_key(authority, profile, spki).await?);
        assert_eq!(one, other);
        Ok(one)
    }
    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>> {
        self.acme.key_uses(asked).await
    }
}

#[async_trait]
impl StatusStore for Joined {
    async fn status(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<SerialStatus>> {
        self.responder.status(authority, serial).await
    }
    async fn ledger_head(&self, authority: &AuthorityName) -> StoreResult<u64> {
        self.responder.ledger_head(authority).await
    }
    async fn ledger_after(&self, authority: &AuthorityName, number: u64, limit: u32) -> StoreResult<Vec<LedgerEntry>> {
        self.responder.ledger_after(authority, number, limit).await
    }
    async fn await_ledger(&self, at_most: Duration) {
        self.responder.await_ledger(at_most).await;
    }
    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlRecord>> {
        self.responder.current_crl(authority, scope).await
    }
}

#[async_trait]
impl IssuanceStore for Joined {
    async fn record_intent(&self, intent: &Intent) -> StoreResult<()> {
        self.owner.record_intent(intent).await
    }
    async fn complete(&self, completion: &Completion) -> StoreResult<Completed> {
        self.owner.complete(completion).await
    }
    async fn abandon(&self, abandonment: &Abandonment) -> StoreResult<()> {
        self.owner.abandon(abandonment).await
    }
    async fn open_intents(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<OpenIntent>> {
        self.owner.open_intents(now, until, limit).await
    }
}

#[async_trait]
impl RequestQueue for Joined {
    async fn lease_requests(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<SigningRequest>> {
        self.owner.lease_requests(worker, lease, now, until, limit).await
    }
    async fn accept_account(&self, request: &RequestId, lease: &LeaseToken, statement: &str, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.accept_account(request, lease, statement, audit).await
    }
    async fn refuse_request(
        &self,
        request: &RequestId,
        lease: &LeaseToken,
        fault: Fault,
        problem: &Problem,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        self.owner.refuse_request(request, lease, fault, problem, audit).await
    }
    async fn postpone_request(&self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()> {
        self.owner.postpone_request(request, lease, not_before).await
    }
    async fn await_requests(&self, at_most: Duration) {
        self.owner.await_requests(at_most).await;
    }
    async fn backlog(&self) -> StoreResult<(u64, Option<Timestamp>)> {
        self.owner.backlog().await
    }
}

#[async_trait]
impl CrlStore for Joined {
    async fn crl_head(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlHead>> {
        self.owner.crl_head(authority, scope).await
    }
    async fn relist(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64> {
        self.owner.relist(authority, scope, now).await
    }
    async fn allocate_crl_number(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64> {
        self.owner.allocate_crl_number(authority, scope, now).await
    }
    async fn revoked_entries(
        &self,
        authority: &AuthorityName,
        scope: &CrlScope,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> StoreResult<Vec<RevokedEntry>> {
        self.owner.revoked_entries(authority, scope, after, limit).await
    }
}

#[async_trait]
impl JobStore for Joined {
    async fn ensure_job(&self, job: &Job) -> StoreResult<()> {
        self.owner.ensure_job(job).await
    }
    async fn lease_jobs(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<LeasedJob>> {
        self.owner.lease_jobs(worker, lease, now, until, limit).await
    }
    async fn finish_job(&self, id: &JobId, lease: &LeaseToken, now: Timestamp, next: Timestamp) -> StoreResult<()> {
        self.owner.finish_job(id, lease, now, next).await
    }
    async fn end_job(&self, id: &JobId, lease: &LeaseToken) -> StoreResult<()> {
        self.owner.end_job(id, lease).await
    }
    async fn renewing_order(&self, id: &OrderId) -> StoreResult<Option<RenewingOrder>> {
        self.owner.renewing_order(id).await
    }
    async fn rest_job(&self, id: &JobId, lease: &LeaseToken, reason: &str, next: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.rest_job(id, lease, reason, next, audit).await
    }
    async fn fail_job(&self, id: &JobId, lease: &LeaseToken, error: &str, retry_at: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.fail_job(id, lease, error, retry_at, audit).await
    }
    async fn jobs(&self, limit: u32) -> StoreResult<Vec<JobRecord>> {
        self.owner.jobs(limit).await
    }
    async fn await_jobs(&self, at_most: Duration) {
        self.owner.await_jobs(at_most).await;
    }
    async fn prune(&self, now: Timestamp, limit: u32) -> StoreResult<u64> {
        self.owner.prune(now, limit).await
    }
}

#[async_trait]
impl AuditStore for Joined {
    async fn append_audit(&self, entry: &AuditEntry) -> StoreResult<u64> {
        self.owner.append_audit(entry).await
    }
    async fn audit_after(&self, number: u64, limit: u32) -> StoreResult<Vec<AuditRow>> {
        self.owner.audit_after(number, limit).await
    }
}

#[async_trait]
impl AdminStore for Joined {
    async fn import_authorities(&self, authorities: &[Authority], crls: &[CrlRecord], audit: &AuditEntry) -> StoreResult<()> {
        self.owner.import_authorities(authorities, crls, audit).await
    }
    async fn import_cross_certificates(&self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32> {
        self.owner.import_cross_certificates(certificates, audit).await
    }
    async fn put_policy(&self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.put_policy(version, bundle, audit).await
    }
    async fn policy(&self) -> StoreResult<Option<(u64, String)>> {
        self.acme.policy().await
    }
    async fn spend_nonce(&self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.spend_nonce(nonce, expires, audit).await
    }
    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.put_grant(grant, audit).await
    }
    async fn update_grant(&self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.update_grant(grant, evidence, previous, audit).await
    }
    async fn suspend_grant(&self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.suspend_grant(id, suspended, audit).await
    }
    async fn revoke_grant(&self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32> {
        self.owner.revoke_grant(id, audit).await
    }
    async fn grants(&self, after: Option<&GrantId>, limit: u32) -> StoreResult<Vec<GrantRecord>> {
        self.owner.grants(after, limit).await
    }
    async fn stored_grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.owner.stored_grant(id).await
    }
    async fn block_key(&self, spki: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<bool> {
        self.owner.block_key(spki, reason, audit).await
    }
    async fn blocked_keys(&self, limit: u32) -> StoreResult<Vec<BlockedKey>> {
        self.owner.blocked_keys(limit).await
    }
}

#[async_trait]
impl ReplacementStore for Joined {
    async fn mark_for_replacement(
        &self,
        authority: &AuthorityName,
        serials: &[SerialNumber],
        mark: &ReplacementMark,
        audit: &AuditEntry,
    ) -> StoreResult<u64> {
        self.owner.mark_for_replacement(authority, serials, mark, audit).await
    }
    async fn unmark(&self, authority: &AuthorityName, serials: &[SerialNumber], audit: &AuditEntry) -> StoreResult<u64> {
        self.owner.unmark(authority, serials, audit).await
    }
    async fn replacements(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        at_most: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<Replacement>> {
        self.owner.replacements(filter, after, at_most, now).await
    }
}

#[async_trait]
impl CompromiseStore for Joined {
    async fn compromises(&self, at_most: u32) -> StoreResult<Vec<CompromisedKey>> {
        self.owner.compromises(at_most).await
    }
    async fn certificates_of_compromise(&self, key: &CompromisedKey, now: Timestamp, at_most: u32) -> StoreResult<Vec<CertificateRecord>> {
        self.owner.certificates_of_compromise(key, now, at_most).await
    }
    async fn revoke_compromised(&self, key: &CompromisedKey, requests: &[RevocationRequest]) -> StoreResult<u64> {
        self.owner.revoke_compromised(key, requests).await
    }
    async fn end_compromise(&self, key: &CompromisedKey, now: Timestamp, refusal: Option<&AuditEntry>) -> StoreResult<bool> {
        self.owner.end_compromise(key, now, refusal).await
    }
}

#[async_trait]
impl ApprovalStore for Joined {
    async fn put_proposal(&self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.put_proposal(proposal, audit).await
    }
    async fn proposal(&self, id: &ProposalId) -> StoreResult<Option<Proposal>> {
        self.owner.proposal(id).await
    }
    async fn proposals(&self, state: Option<ProposalState>, limit: u32) -> StoreResult<Vec<Proposal>> {
        self.owner.proposals(state, limit).await
    }
    async fn signed_proposals(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Proposal>> {
        self.owner.signed_proposals(now, limit).await
    }
    async fn add_approval(&self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.add_approval(id, approval, audit).await
    }
    async fn begin_act(&self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.begin_act(id, nonce, expires, audit).await
    }
    async fn advance_act(&self, id: &ProposalId, progress: u64) -> StoreResult<()> {
        self.owner.advance_act(id, progress).await
    }
    async fn end_act(&self, id: &ProposalId, reason: Option<&str>, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.end_act(id, reason, audit).await
    }
    async fn void_proposals(&self, reason: &str, audit: &AuditEntry) -> StoreResult<u64> {
        self.owner.void_proposals(reason, audit).await
    }
    async fn put_roster_change(&self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()> {
        self.owner.put_roster_change(number, document, audit).await
    }
    async fn roster_changes(&self, limit: u32) -> StoreResult<Vec<(u64, String)>> {
        self.owner.roster_changes(limit).await
    }
    async fn put_revoked_authority(&self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool> {
        self.owner.put_revoked_authority(revoked, audit).await
    }
    async fn revoked_authorities(&self) -> StoreResult<Vec<RevokedAuthority>> {
        self.owner.revoked_authorities().await
    }
    async fn unhold(&self, request: &UnholdRequest) -> StoreResult<Unheld> {
        self.owner.unhold(request).await
    }
}
