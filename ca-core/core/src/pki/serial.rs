//! Certificate serial numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ports::Rng;

/// A positive serial number of at most 20 octets (RFC 5280 §4.1.2.2).
///
/// Held big-endian in 20 octets; the top bit is never set, so that its DER INTEGER needs no leading zero octet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SerialNumber([u8; 20]);

/// Why bytes or text are not a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// Zero, negative or longer than 20 octets.
    #[error("a serial number is a positive integer of at most 20 octets")]
    OutOfRange,
    /// Text that is not hexadecimal.
    #[error("a serial number is written in hexadecimal, for example 3fa0…; colons and spaces may separate octets")]
    NotHex,
}

impl SerialNumber {
    /// Draws 159 random bits (ceremony requirement 29; 64 bits of randomness are the least that BR 7.1 asks).
    ///
    /// Draws again in the case of zero, which no one will see.
    pub fn random(rng: &dyn Rng) -> Self {
        loop {
            let mut bytes = [0u8; 20];
            rng.fill(&mut bytes);
            bytes[0] &= 0x7f;
            if bytes != [0; 20] {
                return Self(bytes);
            }
        }
    }

    /// From the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// When the integer is not positive or has more than 20 significant octets.
    pub fn from_der_integer(content: &[u8]) -> Result<Self, SerialError> {
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            return Err(SerialError::OutOfRange);
        }
        let digits = &content[content.iter().take_while(|b| **b == 0).count()..];
        let mut bytes = [0u8; 20];
        // A top bit in the first of 20 octets needs a 21st octet in DER, which RFC 5280 forbids.
        if digits.is_empty() || digits.len() > 20 || (digits.len() == 20 && digits[0] & 0x80 != 0) {
            return Err(SerialError::OutOfRange);
        }
        bytes[20 - digits.len()..].copy_from_slice(digits);
        Ok(Self(bytes))
    }

    /// The content octets of its DER INTEGER: shortest form, positive.
    pub fn to_der_integer(self) -> Vec<u8> {
        let digits = &self.0[self.0.iter().take_while(|b| **b == 0).count()..];
        let mut out = Vec::with_capacity(21);
        if digits.first().is_some_and(|b| b & 0x80 != 0) {
            out.push(0);
        }
        out.extend_from_slice(digits);
        out
    }

    /// The fixed-width big-endian form, as the stores keep it.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// From the fixed-width form.
    ///
    /// # Errors
    /// When it is zero or its top bit is set.
    pub fn from_bytes(bytes: [u8; 20]) -> Result<Self, SerialError> {
        if bytes == [0; 20] || bytes[0] & 0x80 != 0 { Err(SerialError::OutOfRange) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for SerialNumber {
    /// Lowercase hexadecimal of the DER content octets, as `openssl x509 -serial` prints it but for the case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = &self.0[self.0.iter().take_while(|b| **b == 0).count()..];
        f.write_str(&super::hex(digits))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

impl FromStr for SerialNumber {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let text = text.trim().trim_start_matches("0x");
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        if digits.is_empty() || digits.len() > 42 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SerialError::NotHex);
        }
        let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let mut content = vec![0u8];
        for i in (0..padded.len()).step_by(2) {
            content.push(u8::from_str_radix(&padded[i..i + 2], 16).map_err(|_| SerialError::NotHex)?);
        }
        Self::from_der_integer(&content)
    }
}

impl TryFrom<String> for SerialNumber {
    type Error = SerialError;
    fn try_from(text: String) -> Result<Self, SerialError> {
        text.parse()
    }
}

impl From<SerialNumber> for String {
    fn from(serial: SerialNumber) -> Self {
        serial.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_der_agree() {
        let serial: SerialNumber = "00:87:65:43".parse().unwrap();
        assert_eq!(serial.to_string(), "876543");
        assert_eq!(serial.to_der_integer(), [0, 0x87, 0x65, 0x43]);
        assert_eq!(SerialNumber::from_der_integer(&[0, 0x87, 0x65, 0x43]), Ok(serial));
    }

    #[test]
    fn what_is_not_positive_or_too_long_is_refused() {
        assert_eq!("0".parse::<SerialNumber>(), Err(SerialError::OutOfRange));
        assert_eq!("zz".parse::<SerialNumber>(), Err(SerialError::NotHex));
        assert_eq!(SerialNumber::from_der_integer(&[0x80]), Err(SerialError::OutOfRange));
        assert_eq!(SerialNumber::from_der_integer(&[]), Err(SerialError::OutOfRange));
        let mut twenty = [0xffu8; 21];
        twenty[0] = 0;
        assert_eq!(SerialNumber::from_der_integer(&twenty), Err(SerialError::OutOfRange));
    }

    #[test]
    fn random_serials_have_159_bits() {
        struct Ones;
        impl Rng for Ones {
            fn fill(&self, out: &mut [u8]) {
                out.fill(0xff);
            }
        }
        let serial = SerialNumber::random(&Ones);
        assert_eq!(serial.as_bytes()[0], 0x7f);
        assert!(serial.as_bytes()[1..].iter().all(|b| *b == 0xff));
    }
}
