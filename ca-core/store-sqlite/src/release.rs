//! What is written when a signed object is released: its bytes, and the states that follow from it.

use ca_core::model::{Completion, Issued, Origin, RequestState};
use ca_core::pki::{Certificate, SerialNumber};
use ca_core::ports::StoreResult;

use crate::error::conflict;
use crate::issuance::Attempt;
use crate::sql::{Row, execute, optional};
use crate::writer::Tx;

impl Tx {
    /// The signed object of a released attempt.
    pub(crate) fn released_bytes(&mut self, completion: &Completion, attempt: &Attempt) -> StoreResult<Option<Vec<u8>>> {
        let authority = completion.authority.as_str();
        match (&attempt.serial, attempt.crl) {
            (Some(serial), _) => {
                let (serial, read) = (serial.as_bytes().as_slice(), |row: &Row<'_>| row.get::<Option<Vec<u8>>>("der"));
                let der = optional!(
                    &self.connection,
                    read,
                    "SELECT der FROM certificates WHERE authority = $1 AND serial = $2",
                    authority,
                    serial
                )?;
                Ok(der.flatten())
            }
            (None, Some((scope, number))) => {
                optional!(
                    &self.connection,
                    |row| row.get("der"),
                    "SELECT der FROM crls WHERE authority = $1 AND scope = $2 AND number = $3",
                    authority,
                    scope.0,
                    number
                )
            }
            (None, None) => Ok(None),
        }
    }

    fn end_attempt(&self, completion: &Completion) -> StoreResult<bool> {
        let (attempt, at) = (completion.attempt.as_str(), completion.at.unix());
        let ended = execute!(
            &self.connection,
            "UPDATE attempts SET state = 'released', ended_at = $2, tbs = NULL WHERE id = $1 AND state = 'open'",
            attempt,
            at
        )?;
        Ok(ended == 1)
    }

    pub(crate) fn release_certificate(
        &mut self,
        completion: &Completion,
        serial: &SerialNumber,
        attempt: &Attempt,
        names: &[String],
    ) -> StoreResult<bool> {
        if !self.end_attempt(completion)? {
            return Ok(false);
        }
        let (certificate, octets) = (attempt.certificate.as_ref(), serial.as_bytes().as_slice());
        let row = certificate.map(|(row, _)| *row);
        let released = execute!(
            &self.connection,
            "UPDATE certificates SET state = 'released', der = $2 WHERE seq = $1 AND state = 'intent'",
            row,
            completion.signed.0
        )?;
        let Some((row, subject)) = certificate.filter(|_| released == 1) else {
            return conflict("the certificate of this attempt is not in the state that its intent left");
        };
        match &completion.origin {
            Origin::Order { order, request, lease, .. } => {
                let id = order.as_str();
                let valid = execute!(
                    &self.connection,
                    "UPDATE orders SET status = 'valid', serial = $2 WHERE id = $1 AND status = 'processing'",
                    id,
                    octets
                )?;
                if valid == 0 {
                    return conflict("the order of this attempt is not in the state that its intent left");
                }
                let issued = Issued { serial: *serial, subject: subject.clone(), der: completion.signed.0.clone() };
                self.end_request(request, lease, RequestState::Done { certificate: Some(Box::new(issued)) }, completion.at)?;
                if attempt.renews {
                    self.begin_renewals(order, &completion.authority)?;
                }
            }
            Origin::Renewal { order, .. } => self.replace_standing(order, octets)?,
            Origin::Job { .. } | Origin::Ceremony => {}
        }
        // URIs and mailboxes, which no order names.
        for name in names {
            self.insert_name(*row, name)?;
        }
        Ok(true)
    }

    /// Lets a certificate be found by a name.
    pub(crate) fn insert_name(&self, certificate: i64, name: &str) -> StoreResult<()> {
        execute!(&self.connection, "INSERT OR IGNORE INTO certificate_names (name, certificate) VALUES ($1, $2)", name, certificate)?;
        Ok(())
    }

    /// Makes the CRL current, if its number still grows.
    pub(crate) fn release_crl(&mut self, completion: &Completion) -> StoreResult<bool> {
        let id = completion.attempt.as_str();
        let grown = execute!(
            &self.connection,
            "UPDATE crl_heads SET released = a.crl_number FROM attempts a
             WHERE a.id = $1 AND a.state = 'open' AND crl_heads.authority = a.authority AND crl_heads.scope = a.crl_scope
               AND a.crl_number > crl_heads.released",
            id
        )?;
        if grown == 0 {
            return Ok(false);
        }
        execute!(
            &self.connection,
            "INSERT INTO crls (authority, scope, number, this_update, next_update, ledger_number, der)
             SELECT authority, crl_scope, crl_number, this_update, next_update, ledger_number, $2 FROM attempts WHERE id = $1",
            id,
            completion.signed.0
        )?;
        // RFC 5280 §3.3: an entry must not be removed until it appears on one CRL issued beyond the validity period.
        execute!(
            &self.connection,
            "UPDATE certificates SET off_crl = 1 FROM attempts a
             WHERE a.id = $1 AND certificates.authority = a.authority AND certificates.crl_partition = a.crl_scope
               AND certificates.revoked_at IS NOT NULL AND certificates.off_crl = 0
               AND certificates.not_after < a.this_update AND certificates.revoked_number <= a.ledger_number",
            id
        )?;
        self.end_attempt(completion)
    }

    pub(crate) fn keep_unreleased(&mut self, completion: &Completion) -> StoreResult<()> {
        let id = completion.attempt.as_str();
        execute!(&self.connection, "UPDATE attempts SET unreleased = $2 WHERE id = $1", id, completion.signed.0)?;
        Ok(())
    }
}

/// URIs and mailboxes of a certificate, which no order names. Read outside of the writer, for it takes a while.
pub(crate) fn unordered_names(completion: &Completion) -> Vec<String> {
    let certificate = Certificate::from_der(&completion.signed.0).ok();
    let names = certificate.iter().flat_map(|c| c.alt_names()).filter(|name| name.identifier().is_none());
    names.map(ToString::to_string).collect()
}
