//! JSON from the network: bounded in size and depth, and without duplicate members.
//!
//! Two parsers that disagree about which of two equal members counts would let a message mean one thing to the front
//! end and another to the worker (RFC 7515 §4 asks for unique names too).

use std::fmt;

use serde::de::{Deserialize as _, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most bytes of a message.
pub const MAX_BYTES: usize = 64 * 1024;
/// The deepest nesting.
pub const MAX_DEPTH: u8 = 16;

/// Why a text is not a JSON value that is accepted here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More than [`MAX_BYTES`].
    #[error("more than 64 KiB of JSON")]
    TooLarge,
    /// Not JSON, nested too deeply, or with a member twice.
    #[error("{0}")]
    Syntax(String),
}

/// Reads one value.
///
/// # Errors
/// When it is larger than [`MAX_BYTES`], nested deeper than [`MAX_DEPTH`], has a member twice, or is not JSON.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    if text.len() > MAX_BYTES {
        return Err(JsonError::TooLarge);
    }
    let syntax = |e: serde_json::Error| JsonError::Syntax(e.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(syntax)?;
    deserializer.end().map_err(syntax)?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH { Err(E::custom("nested deeper than 16")) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, fine: bool) {
        assert_eq!(parse(text.as_bytes()).is_ok(), fine, "{text}");
    }

    #[test]
    fn strictness() {
        check(r#"{"a":[1,-2,3.5,"x",null,true,{}]}"#, true);
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"x":{"a":1,"\u0061":2}}"#, false);
        check("{} {}", false);
        check("", false);
        check(&format!("{}{}", "[".repeat(16), "]".repeat(16)), true);
        check(&format!("{}{}", "[".repeat(17), "]".repeat(17)), false);
        check(&"[".repeat(60_000), false);
        check(&format!("\"{}\"", "a".repeat(MAX_BYTES)), false);
        assert_eq!(parse(br#"{"a":[1,"x"]}"#).unwrap(), serde_json::json!({"a": [1, "x"]}));
    }
}
