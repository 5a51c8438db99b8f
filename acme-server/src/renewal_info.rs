//! Renewal information (RFC 9773): when a certificate's holder should renew.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::model::{CertificateRecord, CertificateState, ExplanationUrl};
use ca_core::pki::{SerialNumber, Timestamp, sha256};
use http::{StatusCode, header};
use serde_json::json;

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::Id;
use crate::routes::{json, with_header};

/// The identifier of a certificate: its AKI and serial number (RFC 9773 §4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertId {
    /// The keyIdentifier of its authority key identifier.
    pub key_identifier: Vec<u8>,
    /// Its serial number.
    pub serial: SerialNumber,
}

/// A text that is not a certID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certID: base64url of the authority key identifier, a dot, base64url of the serial number, without padding")]
pub struct CertIdError;

impl FromStr for CertId {
    type Err = CertIdError;

    fn from_str(text: &str) -> Result<Self, CertIdError> {
        let (key_identifier, serial) = text.split_once('.').ok_or(CertIdError)?;
        if key_identifier.is_empty() || key_identifier.len() > 100 || serial.len() > 30 {
            return Err(CertIdError);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| CertIdError);
        let content = decode(serial)?;
        let serial = SerialNumber::from_der_integer(&content).map_err(|_| CertIdError)?;
        // One certificate has one certID: the serial number is the INTEGER's content octets, in DER.
        if serial.to_der_integer() != content {
            return Err(CertIdError);
        }
        Ok(Self { key_identifier: decode(key_identifier)?, serial })
    }
}

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", URL_SAFE_NO_PAD.encode(&self.key_identifier), URL_SAFE_NO_PAD.encode(self.serial.to_der_integer()))
    }
}

/// When the holder should renew: about two thirds into the life, somewhere that depends on the serial number alone, so
/// that a fleet enrolled in one minute does not renew in one minute. The window of one that is revoked, superseded or marked
/// for replacement has passed (RFC 9773 §4.2).
pub fn suggested_window(record: &CertificateRecord) -> (Timestamp, Timestamp) {
    let why = record.revoked.map(|(at, _)| at).or(record.marked.as_ref().map(|mark| mark.at));
    if let Some(at) = why {
        return (at.minus(Duration::from_secs(3600)), at.minus(Duration::from_secs(1)));
    }
    if record.replaced_by.is_some() {
        return (record.not_before, record.not_before.plus(Duration::from_secs(1)));
    }
    let life = record.not_after.since(record.not_before);
    let digest = sha256(record.serial.as_bytes()).0;
    let share = u32::from(u16::from_be_bytes([digest[0], digest[1]]));
    // The window begins between 5/8 and 17/24 of the life and is 1/24 long: it ends at 3/4 of the life at the latest.
    let start = life * 5 / 8 + life / 12 * share / 65_536;
    let from = record.not_before.plus(start);
    (from, from.plus((life / 24).max(Duration::from_secs(1))))
}

/// Why the window is not the usual one (RFC 9773 §4.2): as the operator said who marked it, or else `usual`.
fn explanation<'a>(record: &'a CertificateRecord, usual: Option<&'a str>) -> Option<&'a str> {
    let marked = record.marked.as_ref();
    let own = marked.and_then(|mark| mark.explanation.as_ref()).map(ExplanationUrl::as_str);
    own.or(usual.filter(|_| record.revoked.is_some() || marked.is_some()))
}

/// How long an answer holds: 6 hours, less for short lives (RFC 9773 §4.3).
fn retry_after(record: &CertificateRecord) -> u64 {
    (record.not_after.since(record.not_before).as_secs() / 24).clamp(5, 21_600)
}

/// GET /acme/renewal-info/{certID}
pub(crate) async fn read(State(server): State<Arc<AcmeServer>>, Id(id): Id<CertId>) -> Result<Response, Refusal> {
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.key_identifier == id.key_identifier).await?;
    let issuer = issuer.ok_or_else(Refusal::not_found)?;
    let record = server.store.certificate(&issuer.name, &id.serial).await?.ok_or_else(Refusal::not_found)?;
    if record.state != CertificateState::Released {
        return Err(Refusal::not_found());
    }
    let (start, end) = suggested_window(&record);
    let mut body = json!({ "suggestedWindow": { "start": start.to_rfc3339(), "end": end.to_rfc3339() } });
    if let Some(url) = explanation(&record, server.config.explanation_url.as_deref()) {
        body["explanationURL"] = json!(url);
    }
    Ok(with_header(json(StatusCode::OK, &body), header::RETRY_AFTER, &retry_after(&record).to_string()))
}

#[cfg(test)]
mod tests {
    use ca_core::model::ReplacementMark;

    use super::*;

    #[test]
    fn a20_the_vector_of_rfc_9773() {
        let id: CertId = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".parse().unwrap();
        assert_eq!(id.key_identifier[..4], [0x69, 0x88, 0x5b, 0x6b]);
        assert_eq!(id.serial.to_string(), "87654321");
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        for bad in
            ["", ".", "AA", "AA.", ".AIdlQyE", "AA.h2VDIQ", "AA.AAAB", "AA.AIdlQyE=", "AA.AIdlQyE.AA", &format!("{}.AQ", "A".repeat(101))]
        {
            assert_eq!(bad.parse::<CertId>(), Err(CertIdError), "{bad}");
        }
    }

    fn record(serial: u8, life: i64) -> CertificateRecord {
        CertificateRecord {
            authority: "demo".parse().unwrap(),
            serial: SerialNumber::from_der_integer(&[serial]).unwrap(),
            state: CertificateState::Released,
            profile: "client".into(),
            subject: String::new(),
            identifiers: Vec::new(),
            spki_sha256: sha256(b""),
            not_before: Timestamp::from_unix(1000),
            not_after: Timestamp::from_unix(1000 + life),
            partition: 0,
            der: Vec::new(),
            account: None,
            grant: None,
            order: None,
            revoked: None,
            follows: None,
            replaced_by: None,
            marked: None,
            created_at: Timestamp::from_unix(1060),
        }
    }

    #[test]
    fn a20_windows_lie_around_two_thirds_differ_and_have_passed_for_what_is_revoked_or_replaced() {
        let mut starts = std::collections::BTreeSet::new();
        for serial in 1..100 {
            for life in [120, 30 * 86_400] {
                let (start, end) = suggested_window(&record(serial, life));
                let (start, end) = (start.unix() - 1000, end.unix() - 1000);
                assert!(start * 8 >= life * 5 - 8 && start < end && end * 4 <= life * 3 + 4, "{start} {end} of {life}");
                starts.insert(start);
            }
        }
        assert!(starts.len() > 90, "{}", starts.len());
        assert_eq!(suggested_window(&record(1, 86_400)), suggested_window(&record(1, 86_400)));
        let mut revoked = record(1, 86_400);
        revoked.revoked = Some((Timestamp::from_unix(5000), ca_core::model::RevocationReason::KeyCompromise));
        assert!(suggested_window(&revoked).1 < Timestamp::from_unix(5000));
        // Revoked in its first second: the window has passed all the same.
        revoked.revoked = Some((revoked.not_before, ca_core::model::RevocationReason::Superseded));
        assert!(suggested_window(&revoked).1 < revoked.not_before);
        let mut marked = record(1, 86_400);
        marked.marked = Some(ReplacementMark { at: Timestamp::from_unix(6000), explanation: None });
        assert!(suggested_window(&marked).1 < Timestamp::from_unix(6000), "in the past from the moment that it is marked");
        marked.replaced_by = Some("order".parse().unwrap());
        assert!(suggested_window(&marked).1 < Timestamp::from_unix(6000));
        let mut replaced = record(1, 86_400);
        replaced.replaced_by = Some("order".parse().unwrap());
        assert!(suggested_window(&replaced).1 < replaced.created_at, "in the past from the moment that it was issued");
    }
}
