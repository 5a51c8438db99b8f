//! Between columns and model types.

use ca_core::model::RevocationReason;
use ca_core::pki::{SerialNumber, Sha256Digest, Timestamp};
use ca_core::ports::{StoreError, StoreResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::MAX_LIST;
use crate::error::damaged;

/// The word that serde writes for a unit variant.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => unreachable!("only used on enums of unit variants and on text ids"),
    }
}

/// Reads a word or an id back.
pub(crate) fn read<T: DeserializeOwned>(what: &str, text: String) -> StoreResult<T> {
    serde_json::from_value(Value::String(text)).map_err(|e| damaged(what, e))
}

/// Reads an id that may be missing.
pub(crate) fn read_opt<T: DeserializeOwned>(what: &str, text: Option<String>) -> StoreResult<Option<T>> {
    text.map(|text| read(what, text)).transpose()
}

/// A JSON text.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("model types have string keys and no failing serializer")
}

/// Reads a JSON text back.
pub(crate) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|e| damaged(what, e))
}

/// A serial number from its column.
pub(crate) fn serial(bytes: &[u8]) -> StoreResult<SerialNumber> {
    let bytes = bytes.try_into().map_err(|e| damaged("serial number", e))?;
    SerialNumber::from_bytes(bytes).map_err(|e| damaged("serial number", e))
}

/// A digest from its column.
pub(crate) fn digest(bytes: &[u8]) -> StoreResult<Sha256Digest> {
    bytes.try_into().map(Sha256Digest).map_err(|e| damaged("digest", e))
}

/// A time from its column.
pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

/// A revocation reason from its column.
pub(crate) fn reason(code: i64) -> StoreResult<RevocationReason> {
    u8::try_from(code).ok().and_then(RevocationReason::from_code).ok_or_else(|| damaged("revocation reason", code))
}

/// A number that is never negative.
pub(crate) fn unsigned<T: TryFrom<i64>>(what: &str, value: i64) -> StoreResult<T> {
    T::try_from(value).map_err(|_| damaged(what, value))
}

/// A number for a column.
pub(crate) fn signed(value: u64) -> StoreResult<i64> {
    i64::try_from(value).map_err(|_| StoreError::Conflict(format!("{value} is more than the store can number")))
}

/// A list's limit for a query.
pub(crate) fn limit(asked: u32) -> i64 {
    i64::from(asked.min(MAX_LIST))
}
