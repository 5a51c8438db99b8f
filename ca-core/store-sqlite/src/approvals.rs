//! What officers propose, sign and bring about.

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, LedgerEvent, Proposal, ProposalId, ProposalState, RevocationReason, RevokedAuthority, StoredApproval, Unheld, UnholdRequest,
};
use ca_core::model::{CrlScope, Outcome};
use ca_core::pki::Timestamp;
use ca_core::ports::{ApprovalStore, MAX_PENDING_PROPOSALS, StoreError, StoreResult};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::convert::{from_json, json, limit, read, read_opt, reason, serial, signed, time, unsigned, word};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, all, execute, one, optional};
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
    fn read(self, connection: &Connection) -> StoreResult<Proposal> {
        let approval =
            |row: &Row<'_>| Ok(StoredApproval { officer: row.get("officer")?, signature: row.get("signature")?, at: time(row.get("at")?) });
        let approvals =
            all!(connection, approval, "SELECT officer, signature, at FROM approvals WHERE proposal = $1 ORDER BY at, officer", self.seq)?;
        Ok(Proposal {
            id: read("proposal id", self.id)?,
            statement: self.statement,
            subject: self.subject,
            state: read("proposal state", self.state)?,
            progress: unsigned("progress", self.progress)?,
            reason: self.reason,
            proposed_at: time(self.proposed_at),
            expires_at: time(self.expires_at),
            approvals,
        })
    }
}

fn read_row(row: &Row<'_>) -> StoreResult<ProposalRow> {
    Ok(ProposalRow {
        seq: row.get("seq")?,
        id: row.get("id")?,
        statement: row.get("statement")?,
        subject: row.get("subject")?,
        state: row.get("state")?,
        progress: row.get("progress")?,
        reason: row.get("reason")?,
        proposed_at: row.get("proposed_at")?,
        expires_at: row.get("expires_at")?,
    })
}

fn find(connection: &Connection, id: &ProposalId) -> StoreResult<Option<ProposalRow>> {
    let id = id.as_str();
    optional!(
        connection,
        read_row,
        "SELECT seq, id, statement, subject, state, progress, reason, proposed_at, expires_at FROM proposals WHERE id = $1",
        id
    )
}

/// The newest proposals, in one state or in any; without their subjects.
fn list(connection: &Connection, state: Option<&str>, at_most: i64) -> StoreResult<Vec<Proposal>> {
    let rows = match state {
        Some(state) => all!(
            connection,
            read_row,
            "SELECT seq, id, statement, '' AS subject, state, progress, reason, proposed_at, expires_at FROM proposals
                 WHERE state = $1 ORDER BY seq DESC LIMIT $2",
            state,
            at_most
        )?,
        None => all!(
            connection,
            read_row,
            "SELECT seq, id, statement, '' AS subject, state, progress, reason, proposed_at, expires_at FROM proposals
                 ORDER BY seq DESC LIMIT $1",
            at_most
        )?,
    };
    rows.into_iter().map(|row| row.read(connection)).collect()
}

fn list_signed(connection: &Connection, now: i64, at_most: i64) -> StoreResult<Vec<Proposal>> {
    let rows = all!(
        connection,
        read_row,
        "SELECT seq, id, statement, '' AS subject, state, progress, reason, proposed_at, expires_at FROM proposals
             WHERE state = 'pending' AND expires_at > $1 AND EXISTS (SELECT 1 FROM approvals WHERE proposal = proposals.seq)
             ORDER BY seq LIMIT $2",
        now,
        at_most
    )?;
    rows.into_iter().map(|row| row.read(connection)).collect()
}

fn read_revoked_authority(row: &Row<'_>) -> StoreResult<RevokedAuthority> {
    Ok(RevokedAuthority {
        authority: read("authority", row.get("authority")?)?,
        issuer: read_opt("authority", row.get("issuer")?)?,
        serial: serial(&row.get::<Vec<u8>>("serial")?)?,
        reason: reason(row.get("reason")?)?,
        invalidity_date: row.get::<Option<i64>>("invalidity_date")?.map(time),
        at: time(row.get("at")?),
        statement: row.get("statement")?,
        signatures: from_json("signatures", &row.get::<String>("signatures")?)?,
    })
}

impl Tx {
    fn put_proposal(&mut self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()> {
        let (id, now, expires) = (proposal.id.as_str(), proposal.proposed_at.unix(), proposal.expires_at.unix());
        let open = one!(
            &self.connection,
            |row| row.get::<i64>("count"),
            "SELECT count(*) AS count FROM proposals WHERE state = 'pending' AND expires_at > $1",
            now
        )?;
        if open >= i64::from(MAX_PENDING_PROPOSALS) {
            return conflict(format!(
                "{MAX_PENDING_PROPOSALS} proposals wait already (hint: withdraw one with `ca approve withdraw`, or have them signed)"
            ));
        }
        execute!(
            &self.connection,
            "INSERT INTO proposals (id, statement, subject, state, proposed_at, expires_at) VALUES ($1, $2, $3, 'pending', $4, $5)",
            id,
            proposal.statement,
            proposal.subject,
            now,
            expires
        )
        .map_err(or_taken("the proposal is there already"))?;
        self.audit(audit)?;
        Ok(())
    }

    fn add_approval(&mut self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()> {
        let row = self.open_proposal(id, "pending")?;
        let at = approval.at.unix();
        // A later signature of the same person takes the place of the earlier one.
        execute!(
            &self.connection,
            "INSERT INTO approvals (proposal, officer, signature, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (proposal, officer) DO UPDATE SET signature = excluded.signature, at = excluded.at",
            row,
            approval.officer,
            approval.signature,
            at
        )?;
        self.audit(audit)?;
        Ok(())
    }

    /// The row's number, where the proposal is in this state.
    fn open_proposal(&mut self, id: &ProposalId, state: &str) -> StoreResult<i64> {
        match find(&self.connection, id)? {
            None => Err(StoreError::NotFound(format!("proposal {id}"))),
            Some(row) if row.state == state => Ok(row.seq),
            Some(row) => conflict(format!("proposal {id} is {}, not {state}", row.state)),
        }
    }

    fn begin_act(&mut self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let row = self.open_proposal(id, "pending")?;
        let expires = expires.unix();
        execute!(&self.connection, "INSERT INTO nonces (nonce, expires) VALUES ($1, $2)", nonce, expires)
            .map_err(or_taken("the approval was used before: its nonce is spent (hint: propose the act again)"))?;
        execute!(&self.connection, "UPDATE proposals SET state = 'begun' WHERE seq = $1", row)?;
        self.audit(audit)?;
        Ok(())
    }

    fn advance_act(&mut self, id: &ProposalId, progress: u64) -> StoreResult<()> {
        let (row, progress) = (self.open_proposal(id, "begun")?, signed(progress)?);
        execute!(&self.connection, "UPDATE proposals SET progress = max(progress, $2) WHERE seq = $1", row, progress)?;
        Ok(())
    }

    fn end_act(&mut self, id: &ProposalId, done: bool, why: Option<&str>, audit: &AuditEntry) -> StoreResult<()> {
        let row = match find(&self.connection, id)? {
            None => return Err(StoreError::NotFound(format!("proposal {id}"))),
            Some(row) if matches!(row.state.as_str(), "pending" | "begun") => row.seq,
            Some(row) => return conflict(format!("proposal {id} is {} already", row.state)),
        };
        let (state, at) = (word(&if done { ProposalState::Done } else { ProposalState::Ended }), audit.at.unix());
        execute!(&self.connection, "UPDATE proposals SET state = $2, reason = $3, ended_at = $4 WHERE seq = $1", row, state, why, at)?;
        self.audit(audit)?;
        Ok(())
    }

    fn void_proposals(&mut self, why: &str, audit: &AuditEntry) -> StoreResult<u64> {
        let at = audit.at.unix();
        let ended = execute!(
            &self.connection,
            "UPDATE proposals SET state = 'ended', reason = $1, ended_at = $2 WHERE state = 'pending'",
            why,
            at
        )?;
        if ended > 0 {
            self.audit(audit)?;
        }
        Ok(ended as u64)
    }

    fn put_roster_change(&mut self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (number, at) = (signed(number)?, audit.at.unix());
        let read = |row: &Row<'_>| Ok((row.get::<i64>("number")?, row.get::<String>("document")?));
        let last = optional!(&self.connection, read, "SELECT number, document FROM roster_changes ORDER BY number DESC LIMIT 1")?;
        match &last {
            Some((stored, text)) if *stored == number && text == document => return Ok(()),
            _ if number != last.as_ref().map_or(0, |(stored, _)| *stored) + 1 => {
                return conflict(format!("roster change {number} does not follow the last one"));
            }
            _ => {}
        }
        execute!(&self.connection, "INSERT INTO roster_changes (number, document, stored_at) VALUES ($1, $2, $3)", number, document, at)?;
        self.audit(audit)?;
        Ok(())
    }

    fn put_revoked_authority(&mut self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool> {
        let (name, issuer) = (revoked.authority.as_str(), revoked.issuer.as_ref().map(|i| i.as_str()));
        let (serial, code) = (revoked.serial.as_bytes().as_slice(), i64::from(revoked.reason.code()));
        let (date, at, signatures) = (revoked.invalidity_date.map(Timestamp::unix), revoked.at.unix(), json(&revoked.signatures));
        let added = execute!(
            &self.connection,
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
        .map_err(or_taken("no such authority"))?;
        self.audit(audit)?;
        Ok(added > 0)
    }

    fn unhold(&mut self, request: &UnholdRequest) -> StoreResult<Unheld> {
        let (name, serial) = (request.authority.as_str(), request.serial.as_bytes().as_slice());
        let row = optional!(
            &self.connection,
            |row| Ok((row.get::<Option<i64>>("revocation_reason")?, row.get::<i64>("crl_partition")?)),
            "SELECT revocation_reason, crl_partition FROM certificates WHERE authority = $1 AND serial = $2",
            name,
            serial
        )?;
        let hold = RevocationReason::CertificateHold;
        let code = i64::from(hold.code());
        let partition = match row {
            None => return Ok(Unheld::NotFound),
            Some((reason, _)) if reason != Some(code) => return Ok(Unheld::NotHeld),
            Some((_, partition)) => partition,
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
        self.audit(&entry)?;
        let scope = CrlScope(unsigned("CRL partition", partition)?);
        self.ensure_crl(&request.authority, scope, request.at)?;
        let head = self.ledger_row(&request.authority, &request.serial, LedgerEvent::Unhold, hold, request.at)?;
        execute!(
            &self.connection,
            "UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL, invalidity_date = NULL, revoked_number = NULL
             WHERE authority = $1 AND serial = $2 AND revocation_reason = $3",
            name,
            serial,
            code
        )?;
        Ok(Unheld::Now { number: unsigned("ledger number", head)? })
    }
}

#[async_trait]
impl ApprovalStore for SqliteStore {
    async fn put_proposal(&self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()> {
        let (proposal, audit) = (proposal.clone(), audit.clone());
        self.write(move |tx| tx.put_proposal(&proposal, &audit)).await
    }

    async fn proposal(&self, id: &ProposalId) -> StoreResult<Option<Proposal>> {
        self.readers.look(|c| find(c, id)?.map(|row| row.read(c)).transpose())
    }

    async fn proposals(&self, state: Option<ProposalState>, at_most: u32) -> StoreResult<Vec<Proposal>> {
        let (state, at_most) = (state.map(|s| word(&s)), limit(at_most));
        self.readers.list(move |c| list(c, state.as_deref(), at_most)).await
    }

    async fn signed_proposals(&self, now: Timestamp, at_most: u32) -> StoreResult<Vec<Proposal>> {
        let (now, at_most) = (now.unix(), limit(at_most));
        self.readers.list(move |c| list_signed(c, now, at_most)).await
    }

    async fn add_approval(&self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()> {
        let (id, approval, audit) = (id.clone(), approval.clone(), audit.clone());
        self.write(move |tx| tx.add_approval(&id, &approval, &audit)).await
    }

    async fn begin_act(&self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, nonce, audit) = (id.clone(), nonce.to_owned(), audit.clone());
        self.write(move |tx| tx.begin_act(&id, &nonce, expires, &audit)).await
    }

    async fn advance_act(&self, id: &ProposalId, progress: u64) -> StoreResult<()> {
        let id = id.clone();
        self.write(move |tx| tx.advance_act(&id, progress)).await
    }

    async fn end_act(&self, id: &ProposalId, reason: Option<&str>, audit: &AuditEntry) -> StoreResult<()> {
        let (id, reason, audit) = (id.clone(), reason.map(str::to_owned), audit.clone());
        self.write(move |tx| tx.end_act(&id, reason.is_none(), reason.as_deref(), &audit)).await
    }

    async fn void_proposals(&self, reason: &str, audit: &AuditEntry) -> StoreResult<u64> {
        let (reason, audit) = (reason.to_owned(), audit.clone());
        self.write(move |tx| tx.void_proposals(&reason, &audit)).await
    }

    async fn put_roster_change(&self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (document, audit) = (document.to_owned(), audit.clone());
        self.write(move |tx| tx.put_roster_change(number, &document, &audit)).await
    }

    async fn roster_changes(&self, at_most: u32) -> StoreResult<Vec<(u64, String)>> {
        let at_most = limit(at_most);
        let changes = move |c: &Connection| {
            let read = |row: &Row<'_>| Ok((unsigned("roster change", row.get("number")?)?, row.get("document")?));
            all!(c, read, "SELECT number, document FROM roster_changes ORDER BY number LIMIT $1", at_most)
        };
        self.readers.list(changes).await
    }

    async fn put_revoked_authority(&self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool> {
        let (revoked, audit) = (revoked.clone(), audit.clone());
        self.write(move |tx| tx.put_revoked_authority(&revoked, &audit)).await
    }

    async fn revoked_authorities(&self) -> StoreResult<Vec<RevokedAuthority>> {
        let most = limit(crate::MAX_LIST);
        let revoked = move |c: &Connection| {
            all!(
                c,
                read_revoked_authority,
                "SELECT authority, issuer, serial, reason, invalidity_date, at, statement, signatures FROM revoked_authorities
             ORDER BY authority LIMIT $1",
                most
            )
        };
        self.readers.list(revoked).await
    }

    async fn unhold(&self, request: &UnholdRequest) -> StoreResult<Unheld> {
        let request = request.clone();
        self.write(move |tx| tx.unhold(&request)).await
    }
}
