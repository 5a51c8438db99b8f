//! Intents and what becomes of them: the record before and after an authority key signs.

use async_trait::async_trait;
use ca_core::log::intent_leaf;
use ca_core::model::{
    Abandonment, Actor, AuditEntry, AuthorityName, CertificateIntent, Completed, Completion, CrlIntent, CrlScope, Intent, IntentContent,
    OpenIntent, Origin, Outcome, RevocationReason,
};
use ca_core::pki::{Certificate, Identifier, SerialNumber, Timestamp, sha256};
use ca_core::ports::{IssuanceStore, StoreError, StoreResult};
use serde_json::json;

use crate::SqliteStore;
use crate::convert::{self, limit, read, signed, time, unsigned, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

/// An origin as columns.
#[derive(PartialEq, Eq, Default)]
struct OriginColumns {
    request: Option<String>,
    order: Option<String>,
    job: Option<String>,
    lease: Option<String>,
}

impl OriginColumns {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Order { order, request, lease, .. } => Self {
                request: Some(request.to_string()),
                order: Some(order.to_string()),
                lease: Some(lease.to_string()),
                ..Self::default()
            },
            // Its order has had an attempt that was released: the first one.
            Origin::Renewal { job, lease, .. } | Origin::Job { job, lease } => {
                Self { job: Some(job.to_string()), lease: Some(lease.to_string()), ..Self::default() }
            }
            Origin::Ceremony => Self::default(),
        }
    }
}

/// An attempt as stored.
struct Attempt {
    state: String,
    serial: Option<SerialNumber>,
    crl: Option<(CrlScope, i64)>,
    origin: OriginColumns,
    /// Whether it is the first certificate of an order that renews itself.
    renews: bool,
}

impl Attempt {
    /// What the audit trail calls the kind and the object of this attempt.
    fn noun_and_object(&self) -> (&'static str, String) {
        match (&self.serial, &self.crl) {
            (Some(serial), _) => ("certificate", serial.to_string()),
            (None, Some((scope, number))) => ("crl", format!("{scope}/{number}")),
            (None, None) => ("attempt", String::new()),
        }
    }
}

impl Tx {
    async fn record_intent(&mut self, intent: &Intent) -> StoreResult<()> {
        if sha256(intent.content.tbs()) != intent.tbs_sha256 || intent.leaf != intent_leaf(intent) {
            return conflict("the intent's digest or leaf is not that of its own content");
        }
        let (attempt, authority) = (intent.attempt.as_str(), intent.authority.as_str());
        let stored = sqlx::query!(
            r#"SELECT EXISTS (SELECT 1 FROM authorities WHERE name = $1) AS "known!: bool",
                      a.authority AS "authority?", a.tbs_sha256 AS "tbs_sha256?", a.state AS "state?"
               FROM (SELECT 1) AS one LEFT JOIN attempts a ON a.id = $2"#,
            authority,
            attempt
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if !stored.known {
            return Err(StoreError::NotFound(format!("authority {authority} (hint: import its ceremony bundle first)")));
        }
        if !self.holds_lease(&intent.origin, &intent.authority, Some(intent.at)).await? {
            return Err(StoreError::Fenced);
        }
        match (stored.authority.as_deref(), stored.tbs_sha256, stored.state.as_deref()) {
            (None, ..) => {}
            (Some(of), Some(tbs), Some("open")) if of == authority && tbs == intent.tbs_sha256.0 => return Ok(()),
            (Some(_), ..) => return conflict("this attempt is recorded with other bytes, or has ended"),
        }
        self.has_volume(intent).await?;
        match &intent.content {
            IntentContent::Certificate(certificate) => self.insert_certificate_intent(intent, certificate).await?,
            IntentContent::Crl(crl) => self.insert_crl_intent(intent, crl).await?,
            // Their record is the transcript; a worker signs neither.
            IntentContent::Request(_) | IntentContent::KeyTest(_) => return conflict("requests and key tests are a ceremony's"),
        }
        self.chain(&intent.leaf).await?;
        Ok(())
    }

    async fn insert_certificate_intent(&mut self, intent: &Intent, certificate: &CertificateIntent) -> StoreResult<()> {
        let (attempt, authority, at) = (intent.attempt.as_str(), intent.authority.as_str(), intent.at.unix());
        let (key, algorithm, digest) = (intent.key.as_str(), word(&intent.algorithm), intent.tbs_sha256.0.as_slice());
        let (serial, tbs) = (certificate.serial.as_bytes().as_slice(), certificate.tbs.as_slice());
        let origin = OriginColumns::of(&intent.origin);
        sqlx::query!(
            "INSERT INTO attempts (id, authority, key_label, algorithm, tbs_sha256, tbs, serial, request_id, order_id, job_id, lease, at, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open')",
            attempt,
            authority,
            key,
            algorithm,
            digest,
            tbs,
            serial,
            origin.request,
            origin.order,
            origin.job,
            origin.lease,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the order has another attempt that is open or released"))?;

        let (account, grant, order) = match &intent.origin {
            Origin::Order { account, grant, order, .. } | Origin::Renewal { account, grant, order, .. } => {
                (Some(account.as_str()), Some(grant.as_str()), Some(order.as_str()))
            }
            Origin::Job { .. } | Origin::Ceremony => (None, None, None),
        };
        let (identifiers, spki) = (convert::json(&certificate.identifiers), certificate.spki_sha256.0.as_slice());
        let (not_before, not_after) = (certificate.not_before.unix(), certificate.not_after.unix());
        let names = convert::json(&certificate.identifiers.iter().map(Identifier::value).collect::<Vec<_>>());
        sqlx::query!(
            "INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before, not_after,
                                       crl_partition, account_id, grant_id, order_id, created_at)
             VALUES ($1, $2, 'intent', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);
             INSERT INTO certificate_names (name, certificate)
             SELECT DISTINCT value, last_insert_rowid() FROM json_each($14)",
            authority,
            serial,
            certificate.profile,
            certificate.subject,
            identifiers,
            spki,
            not_before,
            not_after,
            certificate.partition,
            account,
            grant,
            order,
            at,
            names
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the authority has used this serial number"))?;
        Ok(())
    }

    async fn insert_crl_intent(&mut self, intent: &Intent, crl: &CrlIntent) -> StoreResult<()> {
        let (attempt, authority, at) = (intent.attempt.as_str(), intent.authority.as_str(), intent.at.unix());
        let (key, algorithm, digest) = (intent.key.as_str(), word(&intent.algorithm), intent.tbs_sha256.0.as_slice());
        let (number, ledger_number, tbs) = (signed(crl.number)?, signed(crl.ledger_number)?, crl.tbs.as_slice());
        let (this_update, next_update) = (crl.this_update.unix(), crl.next_update.unix());
        let grown = sqlx::query!(
            "INSERT INTO crl_heads (authority, scope, allocated, intended) VALUES ($1, $2, $3, $3)
             ON CONFLICT (authority, scope) DO UPDATE SET intended = excluded.intended, allocated = max(allocated, excluded.allocated)
             WHERE excluded.intended > crl_heads.intended AND excluded.intended > crl_heads.released",
            authority,
            crl.scope.0,
            number
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if grown.rows_affected() == 0 {
            return conflict("the CRL number does not grow");
        }
        let origin = OriginColumns::of(&intent.origin);
        sqlx::query!(
            "INSERT INTO attempts (id, authority, key_label, algorithm, tbs_sha256, tbs, crl_scope, crl_number, this_update, next_update,
                                   ledger_number, request_id, order_id, job_id, lease, at, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'open')",
            attempt,
            authority,
            key,
            algorithm,
            digest,
            tbs,
            crl.scope.0,
            number,
            this_update,
            next_update,
            ledger_number,
            origin.request,
            origin.order,
            origin.job,
            origin.lease,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the CRL number is taken"))?;
        Ok(())
    }

    /// Whether the origin's lease is held; at a time where one is given, else whether it has not passed to another.
    async fn holds_lease(&mut self, origin: &Origin, authority: &AuthorityName, at: Option<Timestamp>) -> StoreResult<bool> {
        let at = at.map_or(i64::MIN, Timestamp::unix);
        let held = match origin {
            Origin::Order { order, request, lease, account, grant: _, cap: _ } => {
                let (order, request, lease) = (order.as_str(), request.as_str(), lease.as_str());
                let (account, authority) = (account.as_str(), authority.as_str());
                sqlx::query_scalar!(
                    r#"SELECT r.seq AS "seq!" FROM requests r JOIN orders o ON o.id = r.order_id
                       WHERE r.id = $1 AND r.order_id = $2 AND r.state = 'leased' AND r.lease = $3 AND r.lease_until > $4
                         AND o.status = 'processing' AND o.account_id = $5 AND o.authority = $6"#,
                    request,
                    order,
                    lease,
                    at,
                    account,
                    authority
                )
                .fetch_optional(&mut self.connection)
                .await
                .map_err(from_sqlx)?
                .is_some()
            }
            Origin::Renewal { order, job, lease, account, grant: _, cap: _ } => {
                self.may_renew(order, job, lease, account, authority, at).await?
            }
            Origin::Job { job, lease } => {
                let (job, lease) = (job.as_str(), lease.as_str());
                sqlx::query_scalar!("SELECT id FROM jobs WHERE id = $1 AND lease = $2 AND lease_until > $3", job, lease, at)
                    .fetch_optional(&mut self.connection)
                    .await
                    .map_err(from_sqlx)?
                    .is_some()
            }
            Origin::Ceremony => true,
        };
        Ok(held)
    }

    async fn attempt(&mut self, id: &str, authority: &str) -> StoreResult<Attempt> {
        let row = sqlx::query!(
            r#"SELECT state, serial, crl_scope, crl_number, request_id, order_id, job_id, lease,
                      EXISTS (SELECT 1 FROM star_orders s WHERE s.order_id = attempts.order_id) AS "renews!: bool"
               FROM attempts WHERE id = $1 AND authority = $2"#,
            id,
            authority
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(from_sqlx)?
        .ok_or_else(|| StoreError::NotFound(format!("attempt {id} of authority {authority}")))?;
        let scope = row.crl_scope.map(|scope| unsigned("CRL scope", scope).map(CrlScope)).transpose()?;
        Ok(Attempt {
            state: row.state,
            serial: row.serial.map(|bytes| convert::serial(&bytes)).transpose()?,
            crl: scope.zip(row.crl_number),
            origin: OriginColumns { request: row.request_id, order: row.order_id, job: row.job_id, lease: row.lease },
            renews: row.renews,
        })
    }

    async fn complete(&mut self, completion: &Completion, names: &[String]) -> StoreResult<Completed> {
        let attempt = self.attempt(completion.attempt.as_str(), completion.authority.as_str()).await?;
        if attempt.state == "released" && self.released_bytes(completion, &attempt).await?.as_ref() == Some(&completion.signed.0) {
            return Ok(Completed::Released);
        }
        let ours = attempt.state == "open" && attempt.origin == OriginColumns::of(&completion.origin);
        let released = ours
            && self.holds_lease(&completion.origin, &completion.authority, None).await?
            && match &attempt.serial {
                Some(serial) => self.release_certificate(completion, serial, names, attempt.renews).await?,
                None => self.release_crl(completion).await?,
            };
        let (noun, object) = attempt.noun_and_object();
        let (verb, outcome) = if released {
            ("release", Outcome::Done)
        } else {
            self.keep_unreleased(completion).await?;
            let reason = "the attempt had ended, or its lease had passed on, when the signature came".to_owned();
            ("unreleased", Outcome::Failed { reason })
        };
        let detail = json!({ "sha256": sha256(&completion.signed.0) });
        let id = completion.attempt.as_str();
        self.audit_attempt(id, &completion.authority, &completion.actor, completion.at, (noun, verb, object), outcome, detail).await?;
        Ok(if released { Completed::Released } else { Completed::Fenced })
    }

    /// The signed object of a released attempt.
    async fn released_bytes(&mut self, completion: &Completion, attempt: &Attempt) -> StoreResult<Option<Vec<u8>>> {
        let authority = completion.authority.as_str();
        match (&attempt.serial, attempt.crl) {
            (Some(serial), _) => {
                let serial = serial.as_bytes().as_slice();
                let der = sqlx::query_scalar!("SELECT der FROM certificates WHERE authority = $1 AND serial = $2", authority, serial)
                    .fetch_optional(&mut self.connection)
                    .await;
                der.map(Option::flatten).map_err(from_sqlx)
            }
            (None, Some((scope, number))) => {
                sqlx::query_scalar!("SELECT der FROM crls WHERE authority = $1 AND scope = $2 AND number = $3", authority, scope.0, number)
                    .fetch_optional(&mut self.connection)
                    .await
                    .map_err(from_sqlx)
            }
            (None, None) => Ok(None),
        }
    }

    async fn end_attempt(&mut self, completion: &Completion) -> StoreResult<bool> {
        let (attempt, at) = (completion.attempt.as_str(), completion.at.unix());
        let ended =
            sqlx::query!("UPDATE attempts SET state = 'released', ended_at = $2, tbs = NULL WHERE id = $1 AND state = 'open'", attempt, at)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        Ok(ended.rows_affected() == 1)
    }

    /// `renews`: whether the order renews itself from now on.
    async fn release_certificate(
        &mut self,
        completion: &Completion,
        serial: &SerialNumber,
        names: &[String],
        renews: bool,
    ) -> StoreResult<bool> {
        let (attempt, at) = (completion.attempt.as_str(), completion.at.unix());
        let (authority, serial) = (completion.authority.as_str(), serial.as_bytes().as_slice());
        let order = match &completion.origin {
            Origin::Order { order, .. } => Some(order.as_str()),
            Origin::Renewal { .. } | Origin::Job { .. } | Origin::Ceremony => None,
        };
        // Each only where the one before found its row: `changes()` is of the statement before.
        let changed = sqlx::query!(
            "UPDATE attempts SET state = 'released', ended_at = $2, tbs = NULL WHERE id = $1 AND state = 'open';
             UPDATE certificates SET state = 'released', der = $5
             WHERE authority = $3 AND serial = $4 AND state = 'intent' AND changes() = 1;
             UPDATE orders SET status = 'valid', serial = $7 WHERE id = $6 AND status = 'processing' AND changes() = 1",
            attempt,
            at,
            authority,
            serial,
            completion.signed.0,
            order,
            serial
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        match (changed.rows_affected(), &completion.origin) {
            (0, _) => return Ok(false),
            (3, Origin::Order { request, lease, .. }) => drop(self.end_request(request, lease, None, completion.at).await?),
            (2, Origin::Renewal { order, .. }) => self.replace_standing(order, serial).await?,
            (2, Origin::Job { .. } | Origin::Ceremony) => {}
            _ => return conflict("the certificate of this attempt, or its order, is not in the state that its intent left"),
        }
        if let (true, Origin::Order { order, .. }) = (renews, &completion.origin) {
            self.begin_renewals(order, &completion.authority).await?;
        }
        self.insert_more_names(authority, serial, names).await?;
        Ok(true)
    }

    /// Lets a certificate be found by the names that no order has.
    async fn insert_more_names(&mut self, authority: &str, serial: &[u8], names: &[String]) -> StoreResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let names = convert::json(&names);
        sqlx::query!(
            "INSERT OR IGNORE INTO certificate_names (name, certificate)
             SELECT value, c.seq FROM certificates c JOIN json_each($1) WHERE c.authority = $2 AND c.serial = $3",
            names,
            authority,
            serial
        )
        .execute(&mut self.connection)
        .await
        .map(|_| ())
        .map_err(from_sqlx)
    }

    /// Makes the CRL current, if its number still grows.
    async fn release_crl(&mut self, completion: &Completion) -> StoreResult<bool> {
        let id = completion.attempt.as_str();
        let grown = sqlx::query!(
            "UPDATE crl_heads SET released = a.crl_number FROM attempts a
             WHERE a.id = $1 AND a.state = 'open' AND crl_heads.authority = a.authority AND crl_heads.scope = a.crl_scope
               AND a.crl_number > crl_heads.released",
            id
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if grown.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "INSERT INTO crls (authority, scope, number, this_update, next_update, ledger_number, der)
             SELECT authority, crl_scope, crl_number, this_update, next_update, ledger_number, $2 FROM attempts WHERE id = $1",
            id,
            completion.signed.0
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        // RFC 5280 §3.3: an entry must not be removed until it appears on one CRL issued beyond the validity period.
        sqlx::query!(
            "UPDATE certificates SET off_crl = 1 FROM attempts a
             WHERE a.id = $1 AND certificates.authority = a.authority AND certificates.crl_partition = a.crl_scope
               AND certificates.revoked_at IS NOT NULL AND certificates.off_crl = 0
               AND certificates.not_after < a.this_update AND certificates.revoked_number <= a.ledger_number",
            id
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        self.end_attempt(completion).await
    }

    async fn keep_unreleased(&mut self, completion: &Completion) -> StoreResult<()> {
        let id = completion.attempt.as_str();
        sqlx::query!("UPDATE attempts SET unreleased = $2 WHERE id = $1", id, completion.signed.0)
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(from_sqlx)
    }

    async fn abandon(&mut self, abandonment: &Abandonment) -> StoreResult<()> {
        let (id, authority) = (abandonment.attempt.as_str(), abandonment.authority.as_str());
        let attempt = self.attempt(id, authority).await?;
        let (at, reason) = (abandonment.at.unix(), abandonment.reason.as_str());
        let ended = sqlx::query!(
            "UPDATE attempts SET state = 'abandoned', ended_at = $2, reason = $3 WHERE id = $1 AND state = 'open'",
            id,
            at,
            reason
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if ended.rows_affected() == 0 {
            return conflict(format!("the attempt is {}, not open", attempt.state));
        }
        let (noun, object) = attempt.noun_and_object();
        let detail = json!({ "reason": abandonment.reason });
        let act = (noun, "abandon", object);
        self.audit_attempt(id, &abandonment.authority, &abandonment.actor, abandonment.at, act, Outcome::Done, detail).await?;
        if let Some(serial) = &attempt.serial {
            // Where the serial was revoked before, that stands.
            self.revoke_row(&abandonment.authority, serial, RevocationReason::Superseded, None, abandonment.at).await?;
            let serial = serial.as_bytes().as_slice();
            sqlx::query!("UPDATE certificates SET state = 'abandoned' WHERE authority = $1 AND serial = $2", authority, serial)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        }
        // Its request, if its lease has ended, may be leased again now.
        self.touched.requests |= attempt.origin.request.is_some();
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one audit entry")]
    async fn audit_attempt(
        &mut self,
        attempt: &str,
        authority: &AuthorityName,
        actor: &Actor,
        at: Timestamp,
        (noun, verb, object): (&str, &str, String),
        outcome: Outcome,
        detail: serde_json::Value,
    ) -> StoreResult<u64> {
        let entry = AuditEntry {
            at,
            actor: actor.clone(),
            action: format!("{noun}.{verb}"),
            authority: Some(authority.clone()),
            object,
            outcome,
            correlation: attempt.to_owned(),
            detail,
        };
        self.audit(&entry).await
    }
}

/// URIs and mailboxes of a certificate, which no order names. Read outside of the writer, for it takes a while.
fn unordered_names(completion: &Completion) -> Vec<String> {
    let certificate = Certificate::from_der(&completion.signed.0).ok();
    let names = certificate.iter().flat_map(|c| c.alt_names()).filter(|name| name.identifier().is_none());
    names.map(ToString::to_string).collect()
}

#[async_trait]
impl IssuanceStore for SqliteStore {
    async fn record_intent(&self, intent: &Intent) -> StoreResult<()> {
        let intent = intent.clone();
        self.write(move |tx| Box::pin(async move { tx.record_intent(&intent).await })).await
    }

    async fn complete(&self, completion: &Completion) -> StoreResult<Completed> {
        let (completion, names) = (completion.clone(), unordered_names(completion));
        self.write(move |tx| Box::pin(async move { tx.complete(&completion, &names).await })).await
    }

    async fn abandon(&self, abandonment: &Abandonment) -> StoreResult<()> {
        let abandonment = abandonment.clone();
        self.write(move |tx| Box::pin(async move { tx.abandon(&abandonment).await })).await
    }

    async fn open_intents(&self, now: Timestamp, until: Timestamp, at_most: u32) -> StoreResult<Vec<OpenIntent>> {
        let (now, until, at_most) = (now.unix(), until.unix(), limit(at_most));
        let rows = sqlx::query!(
            "SELECT a.id, a.authority, a.serial, a.crl_scope, a.crl_number, a.at FROM attempts a
             WHERE a.state = 'open' AND a.at <= $2
               AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = a.request_id AND r.lease = a.lease AND r.lease_until > $1)
               AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = a.job_id AND j.lease = a.lease AND j.lease_until > $1)
             ORDER BY a.at LIMIT $3",
            now,
            until,
            at_most
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sqlx)?;
        rows.into_iter()
            .map(|row| {
                let scope = row.crl_scope.map(|scope| unsigned("CRL scope", scope).map(CrlScope)).transpose()?;
                let number = row.crl_number.map(|number| unsigned("CRL number", number)).transpose()?;
                Ok(OpenIntent {
                    attempt: read("attempt id", row.id)?,
                    authority: read("authority", row.authority)?,
                    serial: row.serial.map(|bytes| convert::serial(&bytes)).transpose()?,
                    crl: scope.zip(number),
                    at: time(row.at),
                })
            })
            .collect()
    }
}
