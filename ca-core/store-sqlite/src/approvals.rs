//! What officers propose, sign and bring about.

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, JobKind, Proposal, ProposalId, ProposalState, RevocationReason, RevokedAuthority, StoredApproval, Unheld, UnholdRequest,
};
use ca_core::model::{CrlScope, Outcome};
use ca_core::pki::Timestamp;
use ca_core::ports::{ApprovalStore, MAX_PENDING_PROPOSALS, StoreError, StoreResult};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::SqliteStore;
use crate::convert::{from_json, json, limit, read, read_opt, reason, serial, signed, time, unsigned, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

struct ProposalRow {
    seq: i64,
    id: String,
    statement: String,
    subject: String,
    state: String,
    progress: i64,
    reason: Option<String>,
    proposed_at: i64,
    expires_at: i64,
}

impl ProposalRow {
    async fn read(self, executor: impl SqliteExecutor<'_>) -> StoreResult<Proposal> {
        let approvals = sqlx::query!("SELECT officer, signature, at FROM approvals WHERE proposal = $1 ORDER BY at, officer", self.seq)
            .fetch_all(executor)
            .await
            .map_err(from_sqlx)?;
        Ok(Proposal {
            id: read("proposal id", self.id)?,
            statement: self.statement,
            subject: self.subject,
            state: read("proposal state", self.state)?,
            progress: unsigned("progress", self.progress)?,
            reason: self.reason,
            proposed_at: time(self.proposed_at),
            expires_at: time(self.expires_at),
            approvals: approvals
                .into_iter()
                .map(|row| StoredApproval { officer: row.officer, signature: row.signature, at: time(row.at) })
                .collect(),
        })
    }
}

async fn find(connection: &mut SqliteConnection, id: &ProposalId) -> StoreResult<Option<ProposalRow>> {
    let id = id.as_str();
    sqlx::query_as!(
        ProposalRow,
        "SELECT seq, id, statement, subject, state, progress, reason, proposed_at, expires_at FROM proposals WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(from_sqlx)
}

impl Tx {
    async fn put_proposal(&mut self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()> {
        let (id, now, expires) = (proposal.id.as_str(), proposal.proposed_at.unix(), proposal.expires_at.unix());
        let open = sqlx::query!(r#"SELECT count(*) AS "count!: i64" FROM proposals WHERE state = 'pending' AND expires_at > $1"#, now)
            .fetch_one(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        if open.count >= i64::from(MAX_PENDING_PROPOSALS) {
            return conflict(format!(
                "{MAX_PENDING_PROPOSALS} proposals wait already (hint: withdraw one with `ca approve withdraw`, or have them signed)"
            ));
        }
        sqlx::query!(
            "INSERT INTO proposals (id, statement, subject, state, proposed_at, expires_at) VALUES ($1, $2, $3, 'pending', $4, $5)",
            id,
            proposal.statement,
            proposal.subject,
            now,
            expires
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the proposal is there already"))?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn add_approval(&mut self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()> {
        let row = self.open_proposal(id, "pending").await?;
        let at = approval.at.unix();
        // A later signature of the same person takes the place of the earlier one.
        sqlx::query!(
            "INSERT INTO approvals (proposal, officer, signature, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (proposal, officer) DO UPDATE SET signature = excluded.signature, at = excluded.at",
            row,
            approval.officer,
            approval.signature,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    /// The row's number, where the proposal is in this state.
    async fn open_proposal(&mut self, id: &ProposalId, state: &str) -> StoreResult<i64> {
        match find(&mut self.connection, id).await? {
            None => Err(StoreError::NotFound(format!("proposal {id}"))),
            Some(row) if row.state == state => Ok(row.seq),
            Some(row) => conflict(format!("proposal {id} is {}, not {state}", row.state)),
        }
    }

    async fn begin_act(&mut self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let row = self.open_proposal(id, "pending").await?;
        let expires = expires.unix();
        sqlx::query!("INSERT INTO nonces (nonce, expires) VALUES ($1, $2)", nonce, expires)
            .execute(&mut self.connection)
            .await
            .map_err(or_taken("the approval was used before: its nonce is spent (hint: propose the act again)"))?;
        sqlx::query!("UPDATE proposals SET state = 'begun' WHERE seq = $1", row).execute(&mut self.connection).await.map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn advance_act(&mut self, id: &ProposalId, progress: u64) -> StoreResult<()> {
        let (row, progress) = (self.open_proposal(id, "begun").await?, signed(progress)?);
        sqlx::query!("UPDATE proposals SET progress = max(progress, $2) WHERE seq = $1", row, progress)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        Ok(())
    }

    async fn end_act(&mut self, id: &ProposalId, done: bool, why: Option<&str>, audit: &AuditEntry) -> StoreResult<()> {
        let row = match find(&mut self.connection, id).await? {
            None => return Err(StoreError::NotFound(format!("proposal {id}"))),
            Some(row) if matches!(row.state.as_str(), "pending" | "begun") => row.seq,
            Some(row) => return conflict(format!("proposal {id} is {} already", row.state)),
        };
        let (state, at) = (word(&if done { ProposalState::Done } else { ProposalState::Ended }), audit.at.unix());
        sqlx::query!("UPDATE proposals SET state = $2, reason = $3, ended_at = $4 WHERE seq = $1", row, state, why, at)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn void_proposals(&mut self, why: &str, audit: &AuditEntry) -> StoreResult<u64> {
        let at = audit.at.unix();
        let ended = sqlx::query!("UPDATE proposals SET state = 'ended', reason = $1, ended_at = $2 WHERE state = 'pending'", why, at)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?
            .rows_affected();
        if ended > 0 {
            self.audit(audit).await?;
        }
        Ok(ended)
    }

    async fn put_roster_change(&mut self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (number, at) = (signed(number)?, audit.at.unix());
        let last = sqlx::query!("SELECT number, document FROM roster_changes ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        match &last {
            Some(row) if row.number == number && row.document == document => return Ok(()),
            _ if number != last.as_ref().map_or(0, |row| row.number) + 1 => {
                return conflict(format!("roster change {number} does not follow the last one"));
            }
            _ => {}
        }
        sqlx::query!("INSERT INTO roster_changes (number, document, stored_at) VALUES ($1, $2, $3)", number, document, at)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn put_revoked_authority(&mut self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool> {
        let (name, issuer) = (revoked.authority.as_str(), revoked.issuer.as_ref().map(|i| i.as_str()));
        let (serial, code) = (revoked.serial.as_bytes().as_slice(), i64::from(revoked.reason.code()));
        let (date, at, signatures) = (revoked.invalidity_date.map(Timestamp::unix), revoked.at.unix(), json(&revoked.signatures));
        let added = sqlx::query!(
            "INSERT INTO revoked_authorities (authority, issuer, serial, reason, invalidity_date, at, statement, signatures)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (authority) DO NOTHING",
            name,
            issuer,
            serial,
            code,
            date,
            at,
            revoked.statement,
            signatures
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("no such authority"))?
        .rows_affected()
            > 0;
        self.audit(audit).await?;
        Ok(added)
    }

    async fn unhold(&mut self, request: &UnholdRequest) -> StoreResult<Unheld> {
        let (name, serial) = (request.authority.as_str(), request.serial.as_bytes().as_slice());
        let row =
            sqlx::query!("SELECT revocation_reason, crl_partition FROM certificates WHERE authority = $1 AND serial = $2", name, serial)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        let hold = RevocationReason::CertificateHold;
        let (code, at) = (i64::from(hold.code()), request.at.unix());
        let partition = match row {
            None => return Ok(Unheld::NotFound),
            Some(row) if row.revocation_reason != Some(code) => return Ok(Unheld::NotHeld),
            Some(row) => row.crl_partition,
        };
        let entry = AuditEntry {
            at: request.at,
            actor: request.actor.clone(),
            action: "certificate.unhold".to_owned(),
            authority: Some(request.authority.clone()),
            object: request.serial.to_string(),
            outcome: Outcome::Done,
            correlation: request.correlation.clone(),
            detail: serde_json::Value::Null,
        };
        self.audit(&entry).await?;
        let scope = CrlScope(unsigned("CRL partition", partition)?);
        self.ensure_job(&JobKind::PublishCrl { authority: request.authority.clone(), scope }, request.at).await?;
        let head = sqlx::query!("UPDATE authorities SET ledger_head = ledger_head + 1 WHERE name = $1 RETURNING ledger_head", name)
            .fetch_one(&mut self.connection)
            .await
            .map_err(from_sqlx)?
            .ledger_head;
        sqlx::query!(
            "INSERT INTO ledger (authority, number, serial, event, reason, at) VALUES ($1, $2, $3, 'unhold', $4, $5)",
            name,
            head,
            serial,
            code,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        sqlx::query!(
            "UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL, invalidity_date = NULL, revoked_number = NULL
             WHERE authority = $1 AND serial = $2 AND revocation_reason = $3",
            name,
            serial,
            code
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        self.touched.ledger = true;
        Ok(Unheld::Now { number: unsigned("ledger number", head)? })
    }
}

#[async_trait]
impl ApprovalStore for SqliteStore {
    async fn put_proposal(&self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()> {
        let (proposal, audit) = (proposal.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.put_proposal(&proposal, &audit).await })).await
    }

    async fn proposal(&self, id: &ProposalId) -> StoreResult<Option<Proposal>> {
        let mut connection = self.readers.acquire().await.map_err(from_sqlx)?;
        match find(&mut connection, id).await? {
            None => Ok(None),
            Some(row) => row.read(&mut *connection).await.map(Some),
        }
    }

    async fn proposals(&self, state: Option<ProposalState>, at_most: u32) -> StoreResult<Vec<Proposal>> {
        let (state, at_most) = (state.map(|s| word(&s)), limit(at_most));
        let mut connection = self.readers.acquire().await.map_err(from_sqlx)?;
        let rows = match state {
            Some(state) => sqlx::query_as!(
                ProposalRow,
                "SELECT seq, id, statement, '' AS subject, state, progress, reason, proposed_at, expires_at FROM proposals
                 WHERE state = $1 ORDER BY seq DESC LIMIT $2",
                state,
                at_most
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(from_sqlx)?,
            None => sqlx::query_as!(
                ProposalRow,
                "SELECT seq, id, statement, '' AS subject, state, progress, reason, proposed_at, expires_at FROM proposals
                 ORDER BY seq DESC LIMIT $1",
                at_most
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(from_sqlx)?,
        };
        let mut proposals = Vec::with_capacity(rows.len());
        for row in rows {
            proposals.push(row.read(&mut *connection).await?);
        }
        Ok(proposals)
    }

    async fn add_approval(&self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()> {
        let (id, approval, audit) = (id.clone(), approval.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.add_approval(&id, &approval, &audit).await })).await
    }

    async fn begin_act(&self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, nonce, audit) = (id.clone(), nonce.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.begin_act(&id, &nonce, expires, &audit).await })).await
    }

    async fn advance_act(&self, id: &ProposalId, progress: u64) -> StoreResult<()> {
        let id = id.clone();
        self.write(move |tx| Box::pin(async move { tx.advance_act(&id, progress).await })).await
    }

    async fn end_act(&self, id: &ProposalId, reason: Option<&str>, audit: &AuditEntry) -> StoreResult<()> {
        let (id, reason, audit) = (id.clone(), reason.map(str::to_owned), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.end_act(&id, reason.is_none(), reason.as_deref(), &audit).await })).await
    }

    async fn void_proposals(&self, reason: &str, audit: &AuditEntry) -> StoreResult<u64> {
        let (reason, audit) = (reason.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.void_proposals(&reason, &audit).await })).await
    }

    async fn put_roster_change(&self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (document, audit) = (document.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.put_roster_change(number, &document, &audit).await })).await
    }

    async fn roster_changes(&self, at_most: u32) -> StoreResult<Vec<(u64, String)>> {
        let at_most = limit(at_most);
        let rows = sqlx::query!("SELECT number, document FROM roster_changes ORDER BY number LIMIT $1", at_most)
            .fetch_all(&self.readers)
            .await
            .map_err(from_sqlx)?;
        rows.into_iter().map(|row| Ok((unsigned("roster change", row.number)?, row.document))).collect()
    }

    async fn put_revoked_authority(&self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool> {
        let (revoked, audit) = (revoked.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.put_revoked_authority(&revoked, &audit).await })).await
    }

    async fn revoked_authorities(&self) -> StoreResult<Vec<RevokedAuthority>> {
        let most = limit(crate::MAX_LIST);
        let rows = sqlx::query!(
            "SELECT authority, issuer, serial, reason, invalidity_date, at, statement, signatures FROM revoked_authorities
             ORDER BY authority LIMIT $1",
            most
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sqlx)?;
        rows.into_iter()
            .map(|row| {
                Ok(RevokedAuthority {
                    authority: read("authority", row.authority)?,
                    issuer: read_opt("authority", row.issuer)?,
                    serial: serial(&row.serial)?,
                    reason: reason(row.reason)?,
                    invalidity_date: row.invalidity_date.map(time),
                    at: time(row.at),
                    statement: row.statement,
                    signatures: from_json("signatures", &row.signatures)?,
                })
            })
            .collect()
    }

    async fn unhold(&self, request: &UnholdRequest) -> StoreResult<Unheld> {
        let request = request.clone();
        self.write(move |tx| Box::pin(async move { tx.unhold(&request).await })).await
    }
}
