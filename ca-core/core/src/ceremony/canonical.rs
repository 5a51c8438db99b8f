//! One form for each signed document: what officers sign is a file, and one meaning has one file.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CeremonyError;
use crate::pki::Timestamp;

/// JSON with its fields in declaration order, indented for the reader, and a final newline.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = serde_json::to_vec_pretty(value).expect("strings, numbers and structs have a JSON form");
    out.push(b'\n');
    out
}

/// Reads the canonical form; anything else is refused.
///
/// # Errors
/// When it has more than `most` bytes, does not parse or is not canonical.
pub(crate) fn parse<T: Serialize + DeserializeOwned>(what: &'static str, most: usize, bytes: &[u8]) -> Result<T, CeremonyError> {
    let syntax = |reason: String| CeremonyError::Syntax { what, reason };
    if bytes.len() > most {
        return Err(syntax(format!("it has {} bytes; the most is {most}", bytes.len())));
    }
    let value: T = serde_json::from_slice(bytes).map_err(|e| syntax(e.to_string()))?;
    if to_bytes(&value) != bytes {
        return Err(syntax("it is not in canonical form (hint: officers sign the file exactly as it was written)".to_owned()));
    }
    Ok(value)
}

/// Refuses a statement whose time has not come or is over.
///
/// # Errors
/// When `now` is not between its times.
pub(crate) fn check_time(issued_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<(), CeremonyError> {
    if now >= expires_at {
        return Err(CeremonyError::refused("statement", format!("its approvals ended at {expires_at}")));
    }
    // A small step back is a clock being set; the rest is a wrong clock.
    if now.plus(std::time::Duration::from_secs(300)) < issued_at {
        return Err(CeremonyError::refused("statement", format!("it is from {issued_at}, and the clock says {now}")));
    }
    Ok(())
}
