//! A strict DER walker over borrowed bytes.
//!
//! It knows tags and lengths and nothing of types, so that what it reads owes nothing to the crate that builds
//! certificates: the parsers and the lints stand on it. It neither allocates nor recurses.

/// Why bytes are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More bytes than this kind of object may have.
    #[error("the object has more bytes than are accepted")]
    TooLarge,
    /// A header or a value runs past the end.
    #[error("the DER ends too early")]
    Truncated,
    /// A length that is not in its shortest form, indefinite or absurd, or a tag number above 30.
    #[error("a tag or a length is not in DER form")]
    NotDer,
    /// Another tag than the structure has here.
    #[error("{what}: tag {expected:#04x} was expected, and {found:#04x} stands there")]
    Tag {
        /// What was being read.
        what: &'static str,
        /// The tag of the structure.
        expected: u8,
        /// The tag of the bytes.
        found: u8,
    },
    /// Bytes after the end of a structure.
    #[error("{0}: bytes follow where the structure ends")]
    Trailing(&'static str),
    /// A value that its type does not allow.
    #[error("{0} has a value that is not allowed")]
    Value(&'static str),
    /// An extension that stands twice.
    #[error("an extension stands twice")]
    DuplicateExtension,
    /// An algorithm that this CA does not handle.
    #[error(
        "the signature algorithm is not handled (ECDSA P-256/SHA-256 and P-384/SHA-384, Ed25519, RSA SHA-256 as PKCS#1 or PSS, ML-DSA-65 and ML-DSA-87 are)"
    )]
    Algorithm,
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// One element: its tag, its content octets, and all its octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// A position in a run of elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walker<'a> {
    rest: &'a [u8],
}

impl<'a> Walker<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The one element that `bytes` are, and nothing after it.
    pub(crate) fn single(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<Tlv<'a>, ParseError> {
        let mut walker = Self::new(bytes);
        let element = walker.expect(tag, what)?;
        walker.finish(what)?;
        Ok(element)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, of less than 16 MiB.
    pub(crate) fn next(&mut self) -> Result<Tlv<'a>, ParseError> {
        self.take(3)
    }

    /// As [`Self::expect`], of less than 4 GiB: what holds the entries of a CRL.
    pub(crate) fn expect_long(&mut self, tag: u8, what: &'static str) -> Result<Tlv<'a>, ParseError> {
        match self.peek() {
            Some(found) if found == tag => self.take(4),
            _ => self.expect(tag, what),
        }
    }

    fn take(&mut self, most_length_octets: u8) -> Result<Tlv<'a>, ParseError> {
        let (&[tag, first], _) = self.rest.split_first_chunk::<2>().ok_or(ParseError::Truncated)?;
        if tag & 0x1f == 0x1f {
            return Err(ParseError::NotDer);
        }
        let (length, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 if first & 0x7f <= most_length_octets => {
                let count = usize::from(first & 0x7f);
                let octets = self.rest.get(2..2 + count).ok_or(ParseError::Truncated)?;
                let length = octets.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
                // X.690 §10.1: the shortest form.
                if octets.first() == Some(&0) || length < 0x80 {
                    return Err(ParseError::NotDer);
                }
                (length, 2 + count)
            }
            // 0x80 is the indefinite form.
            _ => return Err(ParseError::NotDer),
        };
        let whole = self.rest.get(..header + length).ok_or(ParseError::Truncated)?;
        self.rest = &self.rest[header + length..];
        Ok(Tlv { tag, content: &whole[header..], whole })
    }

    pub(crate) fn expect(&mut self, tag: u8, what: &'static str) -> Result<Tlv<'a>, ParseError> {
        match self.peek() {
            None => Err(ParseError::Truncated),
            Some(found) if found != tag => Err(ParseError::Tag { what, expected: tag, found }),
            Some(_) => self.next(),
        }
    }

    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Tlv<'a>>, ParseError> {
        if self.peek() == Some(tag) { self.next().map(Some) } else { Ok(None) }
    }

    pub(crate) const fn finish(&self, what: &'static str) -> Result<(), ParseError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ParseError::Trailing(what)) }
    }
}

impl<'a> Tlv<'a> {
    /// A walker over the content.
    pub(crate) const fn walk(&self) -> Walker<'a> {
        Walker::new(self.content)
    }

    /// The octets of a BIT STRING that is a whole number of octets.
    pub(crate) fn bit_string_octets(&self, what: &'static str) -> Result<&'a [u8], ParseError> {
        match self.content.split_first() {
            Some((0, octets)) if self.tag == BIT_STRING => Ok(octets),
            _ => Err(ParseError::Value(what)),
        }
    }

    /// The magnitude of an INTEGER that is positive and in its shortest form (X.690 §8.3.2).
    pub(crate) fn positive_integer(&self, what: &'static str) -> Result<&'a [u8], ParseError> {
        let wrong = Err(ParseError::Value(what));
        match self.content {
            _ if self.tag != INTEGER => wrong,
            [] | [0] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => wrong,
            [0, magnitude @ ..] => Ok(magnitude),
            magnitude => Ok(magnitude),
        }
    }

    /// A BOOLEAN (X.690 §11.1: true is 0xff).
    pub(crate) fn boolean(&self, what: &'static str) -> Result<bool, ParseError> {
        match (self.tag, self.content) {
            (BOOLEAN, [0]) => Ok(false),
            (BOOLEAN, [0xff]) => Ok(true),
            _ => Err(ParseError::Value(what)),
        }
    }
}

/// An extension as it stands (RFC 5280 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RawExtension<'a> {
    /// The content octets of its OBJECT IDENTIFIER.
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// The DER within the OCTET STRING.
    pub(crate) value: &'a [u8],
}

/// Most extensions that an object may carry.
const MAX_EXTENSIONS: usize = 32;

/// Reads `Extensions`, the SEQUENCE itself; refuses an extension that stands twice (RFC 5280 §4.2).
pub(crate) fn read_extensions<'a>(sequence: &Tlv<'a>) -> Result<Vec<RawExtension<'a>>, ParseError> {
    let mut walker = sequence.walk();
    let mut found: Vec<RawExtension<'a>> = Vec::new();
    while !walker.is_empty() {
        let mut fields = walker.expect(SEQUENCE, "extension")?.walk();
        let oid = fields.expect(OID, "extnID")?.content;
        let critical = match fields.optional(BOOLEAN)? {
            // DER does not encode a default (X.690 §11.5): FALSE may not stand there.
            Some(flag) if !flag.boolean("critical")? => return Err(ParseError::Value("critical")),
            flag => flag.is_some(),
        };
        let value = fields.expect(OCTET_STRING, "extnValue")?.content;
        fields.finish("extension")?;
        if found.iter().any(|e| e.oid == oid) {
            return Err(ParseError::DuplicateExtension);
        }
        if found.len() == MAX_EXTENSIONS {
            return Err(ParseError::TooLarge);
        }
        found.push(RawExtension { oid, critical, value });
    }
    if found.is_empty() { Err(ParseError::Value("extensions")) } else { Ok(found) }
}

/// Reads a `Time` in the form that RFC 5280 §4.1.2.5 allows: to the second, in UTC.
pub(crate) fn read_time(element: &Tlv<'_>, what: &'static str) -> Result<super::Timestamp, ParseError> {
    let wrong = ParseError::Value(what);
    let digits = element.content.strip_suffix(b"Z").filter(|d| d.iter().all(u8::is_ascii_digit)).ok_or(wrong)?;
    // Two digits for each part.
    let part = |at: usize| digits[2 * at..2 * at + 2].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, month) = match (element.tag, digits.len()) {
        (UTC_TIME, 12) => (part(0) + if part(0) < 50 { 2000 } else { 1900 }, 1),
        (GENERALIZED_TIME, 14) => (part(0) * 100 + part(1), 2),
        _ => return Err(wrong),
    };
    let [month, day, hour, minute, second] = [0, 1, 2, 3, 4].map(|next| part(month + next));
    super::Timestamp::from_civil([year, month, day, hour, minute, second]).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<usize, ParseError>) {
        assert_eq!(Walker::new(bytes).next().map(|t| t.content.len()), expected);
    }

    #[test]
    fn lengths_are_in_der_form() {
        check(&[4, 0], Ok(0));
        check(&[4, 1, 9, 9], Ok(1));
        check(&[&[4, 0x81, 0x80][..], &[7; 128]].concat(), Ok(128));
        check(&[4, 0x80, 0, 0], Err(ParseError::NotDer));
        check(&[4, 0x81, 0x7f], Err(ParseError::NotDer));
        check(&[4, 0x82, 0, 0x80], Err(ParseError::NotDer));
        check(&[4, 0x84, 1, 0, 0, 0], Err(ParseError::NotDer));
        check(&[0x1f, 0], Err(ParseError::NotDer));
        check(&[4, 2, 0], Err(ParseError::Truncated));
        check(&[4], Err(ParseError::Truncated));
        check(&[4, 0x82, 1], Err(ParseError::Truncated));
    }

    #[test]
    fn times() {
        let read = |tag, text: &str| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let element = Walker::new(&bytes).next().unwrap();
            read_time(&element, "time").map(|t| t.to_rfc3339())
        };
        assert_eq!(read(UTC_TIME, "491231235959Z").as_deref(), Ok("2049-12-31T23:59:59Z"));
        assert_eq!(read(UTC_TIME, "500101000000Z").as_deref(), Ok("1950-01-01T00:00:00Z"));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z").as_deref(), Ok("2050-01-01T00:00:00Z"));
        for (tag, bad) in [
            (UTC_TIME, "4912312359Z"),
            (UTC_TIME, "491231235959+0000"),
            (UTC_TIME, "491331235959Z"),
            (GENERALIZED_TIME, "20500101000000.5Z"),
            (INTEGER, "491231235959Z"),
            (UTC_TIME, "49123123595éZ"),
        ] {
            assert_eq!(read(tag, bad), Err(ParseError::Value("time")), "{bad}");
        }
    }
}
