//! What is written when a signed object is released: its bytes, and the states that follow from it.

use ca_core::model::{Completion, Origin};
use ca_core::pki::{Certificate, SerialNumber};
use ca_core::ports::StoreResult;

use crate::convert;
use crate::error::{conflict, from_sqlx};
use crate::issuance::Attempt;
use crate::writer::Tx;

impl Tx {
    /// The signed object of a released attempt.
    pub(crate) async fn released_bytes(&mut self, completion: &Completion, attempt: &Attempt) -> StoreResult<Option<Vec<u8>>> {
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
    pub(crate) async fn release_certificate(
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
    pub(crate) async fn release_crl(&mut self, completion: &Completion) -> StoreResult<bool> {
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

    pub(crate) async fn keep_unreleased(&mut self, completion: &Completion) -> StoreResult<()> {
        let id = completion.attempt.as_str();
        sqlx::query!("UPDATE attempts SET unreleased = $2 WHERE id = $1", id, completion.signed.0)
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(from_sqlx)
    }
}

/// URIs and mailboxes of a certificate, which no order names. Read outside of the writer, for it takes a while.
pub(crate) fn unordered_names(completion: &Completion) -> Vec<String> {
    let certificate = Certificate::from_der(&completion.signed.0).ok();
    let names = certificate.iter().flat_map(|c| c.alt_names()).filter(|name| name.identifier().is_none());
    names.map(ToString::to_string).collect()
}
