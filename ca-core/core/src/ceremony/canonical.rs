//! The canonical form of what officers sign: one meaning has one form.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CeremonyError;

/// The most bytes of a document in canonical form.
pub(super) const MAX_BYTES: usize = 1 << 16;

/// JSON with its fields in declaration order, indented for the reader, and a final newline.
pub(super) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = serde_json::to_vec_pretty(value).expect("strings, numbers and structs have a JSON form");
    out.push(b'\n');
    out
}

/// Reads the canonical form of a document whose `format` is `expected`; anything else is refused.
///
/// # Errors
/// When it is too large, does not parse, has another format or is not canonical.
pub(super) fn parse<T: Serialize + DeserializeOwned>(
    what: &'static str,
    expected: &str,
    format: impl Fn(&T) -> &str,
    bytes: &[u8],
) -> Result<T, CeremonyError> {
    let syntax = |reason: String| CeremonyError::Syntax { what, reason };
    if bytes.len() > MAX_BYTES {
        return Err(syntax(format!("it has {} bytes; the most is {MAX_BYTES}", bytes.len())));
    }
    let value: T = serde_json::from_slice(bytes).map_err(|e| syntax(e.to_string()))?;
    if format(&value) != expected {
        return Err(syntax(format!("its format is not {expected}")));
    }
    if to_bytes(&value) != bytes {
        return Err(syntax("it is not in canonical form (hint: officers sign the file exactly as it was written)".to_owned()));
    }
    Ok(value)
}
