//! Intents and what becomes of them: the record before and after an authority key signs.

use async_trait::async_trait;
use ca_core::log::intent_leaf;
use ca_core::model::{
    Abandonment, AccountId, Actor, AuditEntry, AuthorityName, CertificateIntent, Completed, Completion, CrlIntent, CrlScope, Intent,
    IntentContent, OpenIntent, Origin, Outcome, RevocationReason,
};
use ca_core::pki::{Identifier, SerialNumber, Timestamp, sha256};
use ca_core::ports::{IssuanceStore, KEY_BLOCKED, LONGEST_LEASE, OWNER_ENDED, StoreError, StoreResult};
use rusqlite::Connection;
use serde_json::json;

use crate::convert::{self, limit, read, signed, time, unsigned, word};
use crate::error::{conflict, or_taken};
use crate::release::unordered_names;
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;
use crate::{SqliteStore, blocked_keys};

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

/// What an origin stands on.
struct Backing {
    lease_held: bool,
    /// Whether an order's account is valid and its grant in use.
    owner_goes_on: bool,
}

/// An attempt as stored.
pub(crate) struct Attempt {
    state: String,
    pub(crate) serial: Option<SerialNumber>,
    /// Its certificate's row and subject.
    pub(crate) certificate: Option<(i64, String)>,
    pub(crate) crl: Option<(CrlScope, i64)>,
    origin: OriginColumns,
    /// Whether it is the first certificate of an order that renews itself.
    pub(crate) renews: bool,
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
    fn record_intent(&mut self, intent: &Intent) -> StoreResult<()> {
        if sha256(intent.content.tbs()) != intent.tbs_sha256 || intent.leaf != intent_leaf(intent) {
            return conflict("the intent's digest or leaf is not that of its own content");
        }
        let (attempt, authority) = (intent.attempt.as_str(), intent.authority.as_str());
        let read_stored = |row: &Row<'_>| {
            let (of, tbs) = (row.get::<Option<String>>("authority")?, row.get::<Option<Vec<u8>>>("tbs_sha256")?);
            Ok(of.zip(tbs).zip(row.get::<Option<String>>("state")?))
        };
        let stored = optional!(
            &self.connection,
            read_stored,
            "SELECT a.authority, a.tbs_sha256, a.state FROM authorities n LEFT JOIN attempts a ON a.id = $2 WHERE n.name = $1",
            authority,
            attempt
        )?;
        let Some(stored) = stored else {
            return Err(StoreError::NotFound(format!("authority {authority} (hint: import its ceremony bundle first)")));
        };
        let backing = self.backing(&intent.origin, &intent.authority, Some(intent.at))?;
        if !backing.lease_held {
            return Err(StoreError::Fenced);
        }
        match stored {
            None => {}
            Some(((of, tbs), state)) if state == "open" && of == authority && tbs == intent.tbs_sha256.0 => return Ok(()),
            Some(_) => return conflict("this attempt is recorded with other bytes, or has ended"),
        }
        if !backing.owner_goes_on {
            return conflict(OWNER_ENDED);
        }
        // What is still to be revoked for a key's compromise, or was, gets no companion.
        if let IntentContent::Certificate(certificate) = &intent.content
            && blocked_keys::is_blocked(&self.connection, &certificate.spki_sha256)?
        {
            return conflict(KEY_BLOCKED);
        }
        self.has_volume(intent)?;
        match &intent.content {
            IntentContent::Certificate(certificate) => self.insert_certificate_intent(intent, certificate)?,
            IntentContent::Crl(crl) => self.insert_crl_intent(intent, crl)?,
            // Their record is the transcript; a worker signs neither.
            IntentContent::Request(_) | IntentContent::KeyTest(_) => return conflict("requests and key tests are a ceremony's"),
        }
        self.chain(&intent.leaf)?;
        Ok(())
    }

    fn insert_certificate_intent(&mut self, intent: &Intent, certificate: &CertificateIntent) -> StoreResult<()> {
        let (attempt, authority, at) = (intent.attempt.as_str(), intent.authority.as_str(), intent.at.unix());
        let (key, algorithm, digest) = (intent.key.as_str(), word(&intent.algorithm), intent.tbs_sha256.0.as_slice());
        let (serial, tbs) = (certificate.serial.as_bytes().as_slice(), certificate.tbs.as_slice());
        let origin = OriginColumns::of(&intent.origin);
        execute!(&self.connection, "INSERT INTO attempts (id, authority, key_label, algorithm, tbs_sha256, tbs, serial, request_id, order_id, job_id, lease, at, state)
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
            at).map_err(or_taken("the order has another attempt that is open or released"))?;

        let (account, grant, order) = match &intent.origin {
            Origin::Order { account, grant, order, .. } | Origin::Renewal { account, grant, order, .. } => {
                (Some(account.as_str()), Some(grant.as_str()), Some(order.as_str()))
            }
            Origin::Job { .. } | Origin::Ceremony => (None, None, None),
        };
        let (identifiers, spki) = (convert::json(&certificate.identifiers), certificate.spki_sha256.0.as_slice());
        let (not_before, not_after) = (certificate.not_before.unix(), certificate.not_after.unix());
        execute!(
            &self.connection,
            "INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before, not_after,
                                       crl_partition, account_id, grant_id, order_id, created_at)
             VALUES ($1, $2, 'intent', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
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
            at
        )
        .map_err(or_taken("the authority has used this serial number"))?;
        let row = self.connection.last_insert_rowid();
        for name in certificate.identifiers.iter().map(Identifier::value) {
            self.insert_name(row, &name)?;
        }
        Ok(())
    }

    fn insert_crl_intent(&mut self, intent: &Intent, crl: &CrlIntent) -> StoreResult<()> {
        let (attempt, authority, at) = (intent.attempt.as_str(), intent.authority.as_str(), intent.at.unix());
        let (key, algorithm, digest) = (intent.key.as_str(), word(&intent.algorithm), intent.tbs_sha256.0.as_slice());
        let (number, ledger_number, tbs) = (signed(crl.number)?, signed(crl.ledger_number)?, crl.tbs.as_slice());
        let (this_update, next_update) = (crl.this_update.unix(), crl.next_update.unix());
        let grown = execute!(
            &self.connection,
            "INSERT INTO crl_heads (authority, scope, allocated, intended) VALUES ($1, $2, $3, $3)
             ON CONFLICT (authority, scope) DO UPDATE SET intended = excluded.intended, allocated = max(allocated, excluded.allocated)
             WHERE excluded.intended > crl_heads.intended AND excluded.intended > crl_heads.released",
            authority,
            crl.scope.0,
            number
        )?;
        if grown == 0 {
            return conflict("the CRL number does not grow");
        }
        let origin = OriginColumns::of(&intent.origin);
        execute!(
            &self.connection,
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
        .map_err(or_taken("the CRL number is taken"))?;
        Ok(())
    }

    /// What an origin stands on; its lease at a time where one is given, else whether it has not passed to another.
    fn backing(&mut self, origin: &Origin, authority: &AuthorityName, at: Option<Timestamp>) -> StoreResult<Backing> {
        let at = at.map_or(i64::MIN, Timestamp::unix);
        match origin {
            Origin::Order { order, request, lease, account, grant: _, cap: _ } => {
                let (order, request, lease) = (order.as_str(), request.as_str(), lease.as_str());
                let (account, authority) = (account.as_str(), authority.as_str());
                one!(
                    &self.connection,
                    |row| Ok(Backing { lease_held: row.get("lease_held")?, owner_goes_on: row.get("owner_goes_on")? }),
                    "SELECT EXISTS (SELECT 1 FROM requests r JOIN orders o ON o.id = r.order_id
                              WHERE r.id = $1 AND r.order_id = $2 AND r.state = 'leased' AND r.lease = $3 AND r.lease_until > $4
                                AND o.status = 'processing' AND o.account_id = $5 AND o.authority = $6) AS lease_held,
                            EXISTS (SELECT 1 FROM accounts a JOIN grants g ON g.id = a.grant_id
                              WHERE a.id = $5 AND a.status = 'valid' AND g.status = 'active' AND g.suspended_at IS NULL) AS owner_goes_on",
                    request,
                    order,
                    lease,
                    at,
                    account,
                    authority
                )
            }
            Origin::Renewal { order, job, lease, account, grant: _, cap: _ } => Ok(Backing {
                lease_held: self.may_renew(order, job, lease, account, authority, at)?,
                owner_goes_on: self.owner_goes_on(account)?,
            }),
            Origin::Job { job, lease } => {
                let (job, lease) = (job.as_str(), lease.as_str());
                let held = optional!(
                    &self.connection,
                    |_| Ok(()),
                    "SELECT id FROM jobs WHERE id = $1 AND lease = $2 AND lease_until > $3",
                    job,
                    lease,
                    at
                )?;
                Ok(Backing { lease_held: held.is_some(), owner_goes_on: true })
            }
            Origin::Ceremony => Ok(Backing { lease_held: true, owner_goes_on: true }),
        }
    }

    /// Whether an account is valid and its grant in use, as [`Self::backing`] says of an order's.
    fn owner_goes_on(&self, account: &AccountId) -> StoreResult<bool> {
        let account = account.as_str();
        let found = optional!(
            &self.connection,
            |_| Ok(()),
            "SELECT a.id FROM accounts a JOIN grants g ON g.id = a.grant_id
             WHERE a.id = $1 AND a.status = 'valid' AND g.status = 'active' AND g.suspended_at IS NULL",
            account
        )?;
        Ok(found.is_some())
    }

    fn attempt(&self, id: &str, authority: &str) -> StoreResult<Attempt> {
        let read = |row: &Row<'_>| {
            let scope = row.get::<Option<i64>>("crl_scope")?.map(|scope| unsigned("CRL scope", scope).map(CrlScope)).transpose()?;
            Ok(Attempt {
                state: row.get("state")?,
                serial: row.get::<Option<Vec<u8>>>("serial")?.map(|octets| convert::serial(&octets)).transpose()?,
                certificate: row.get::<Option<i64>>("certificate")?.zip(row.get("subject")?),
                crl: scope.zip(row.get("crl_number")?),
                origin: OriginColumns {
                    request: row.get("request_id")?,
                    order: row.get("order_id")?,
                    job: row.get("job_id")?,
                    lease: row.get("lease")?,
                },
                renews: row.get("renews")?,
            })
        };
        let found = optional!(
            &self.connection,
            read,
            "SELECT a.crl_scope, a.state, a.serial, c.seq AS certificate, c.subject, a.crl_number, a.request_id, a.order_id, a.job_id, a.lease,
                    EXISTS (SELECT 1 FROM star_orders s WHERE s.order_id = a.order_id) AS renews
             FROM attempts a LEFT JOIN certificates c ON c.serial = a.serial AND c.authority = a.authority
             WHERE a.id = $1 AND a.authority = $2",
            id,
            authority
        )?;
        found.ok_or_else(|| StoreError::NotFound(format!("attempt {id} of authority {authority}")))
    }

    fn complete(&mut self, completion: &Completion, names: &[String]) -> StoreResult<Completed> {
        let attempt = self.attempt(completion.attempt.as_str(), completion.authority.as_str())?;
        if attempt.state == "released" && self.released_bytes(completion, &attempt)?.as_ref() == Some(&completion.signed.0) {
            return Ok(Completed::Released);
        }
        let ours = attempt.state == "open" && attempt.origin == OriginColumns::of(&completion.origin);
        let stands = ours && {
            let backing = self.backing(&completion.origin, &completion.authority, None)?;
            backing.lease_held && backing.owner_goes_on
        };
        let released = stands
            && match &attempt.serial {
                Some(serial) => self.release_certificate(completion, serial, &attempt, names)?,
                None => self.release_crl(completion)?,
            };
        let (noun, object) = attempt.noun_and_object();
        let (verb, outcome) = if released {
            ("release", Outcome::Done)
        } else {
            self.keep_unreleased(completion)?;
            let reason =
                "the attempt, its order's account or grant had ended, or its lease had passed on, when the signature came".to_owned();
            ("unreleased", Outcome::Failed { reason })
        };
        let detail = json!({ "sha256": sha256(&completion.signed.0) });
        let id = completion.attempt.as_str();
        self.audit_attempt(id, &completion.authority, &completion.actor, completion.at, (noun, verb, object), outcome, detail)?;
        Ok(if released { Completed::Released } else { Completed::Fenced })
    }

    fn abandon(&mut self, abandonment: &Abandonment) -> StoreResult<()> {
        let (id, authority) = (abandonment.attempt.as_str(), abandonment.authority.as_str());
        let attempt = self.attempt(id, authority)?;
        let (at, reason) = (abandonment.at.unix(), abandonment.reason.as_str());
        let ended = execute!(
            &self.connection,
            "UPDATE attempts SET state = 'abandoned', ended_at = $2, reason = $3 WHERE id = $1 AND state = 'open'",
            id,
            at,
            reason
        )?;
        if ended == 0 {
            return conflict(format!("the attempt is {}, not open", attempt.state));
        }
        let (noun, object) = attempt.noun_and_object();
        let detail = json!({ "reason": abandonment.reason });
        let act = (noun, "abandon", object);
        self.audit_attempt(id, &abandonment.authority, &abandonment.actor, abandonment.at, act, Outcome::Done, detail)?;
        if let Some(serial) = &attempt.serial {
            // Where the serial was revoked before, that stands.
            self.revoke_row(&abandonment.authority, serial, RevocationReason::Superseded, None, abandonment.at)?;
            let serial = serial.as_bytes().as_slice();
            execute!(
                &self.connection,
                "UPDATE certificates SET state = 'abandoned' WHERE authority = $1 AND serial = $2",
                authority,
                serial
            )?;
        }
        // Its request, if its lease has ended, may be leased again now.
        self.touched.requests |= attempt.origin.request.is_some();
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one audit entry")]
    fn audit_attempt(
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
        self.audit(&entry)
    }
}

#[async_trait]
impl IssuanceStore for SqliteStore {
    async fn record_intent(&self, intent: &Intent) -> StoreResult<()> {
        let intent = intent.clone();
        self.write(move |tx| tx.record_intent(&intent)).await
    }

    async fn complete(&self, completion: &Completion) -> StoreResult<Completed> {
        let (completion, names) = (completion.clone(), unordered_names(completion));
        self.write(move |tx| tx.complete(&completion, &names)).await
    }

    async fn abandon(&self, abandonment: &Abandonment) -> StoreResult<()> {
        let abandonment = abandonment.clone();
        self.write(move |tx| tx.abandon(&abandonment)).await
    }

    async fn open_intents(&self, now: Timestamp, until: Timestamp, at_most: u32) -> StoreResult<Vec<OpenIntent>> {
        let longest = now.plus(LONGEST_LEASE).unix();
        let (now, until, at_most) = (now.unix(), until.unix(), limit(at_most));
        let read_intent = |row: &Row<'_>| {
            let scope = row.get::<Option<i64>>("crl_scope")?.map(|scope| unsigned("CRL scope", scope).map(CrlScope)).transpose()?;
            let number = row.get::<Option<i64>>("crl_number")?.map(|number| unsigned("CRL number", number)).transpose()?;
            Ok(OpenIntent {
                attempt: read("attempt id", row.get("id")?)?,
                authority: read("authority", row.get("authority")?)?,
                serial: row.get::<Option<Vec<u8>>>("serial")?.map(|octets| convert::serial(&octets)).transpose()?,
                crl: scope.zip(number),
                at: time(row.get("at")?),
            })
        };
        let open = move |c: &Connection| {
            all!(
                c,
                read_intent,
                "SELECT a.id, a.authority, a.serial, a.crl_scope, a.crl_number, a.at FROM attempts a
                 WHERE a.state = 'open' AND (a.at <= $2 OR a.at > $4)
                   AND NOT EXISTS (SELECT 1 FROM requests r
                     WHERE r.id = a.request_id AND r.lease = a.lease AND r.lease_until > $1 AND r.lease_until <= $4)
                   AND NOT EXISTS (SELECT 1 FROM jobs j
                     WHERE j.id = a.job_id AND j.lease = a.lease AND j.lease_until > $1 AND j.lease_until <= $4)
                 ORDER BY a.at LIMIT $3",
                now,
                until,
                at_most,
                longest
            )
        };
        self.readers.list(open).await
    }
}
