//! CBOR (RFC 8949) in the canonical form of CTAP2, as far as attestation objects need it: definite lengths, in their shortest
//! form, no tags, no floats. Bounded in octets, depth and items; it borrows.
//!
//! The order of a map's keys, which the canonical form also fixes, is not asked for: encoders differ, and a key that stands
//! twice is refused.

/// Most octets.
const MAX_OCTETS: usize = super::MAX_OBJECT;
/// Most arrays and maps within one another.
const MAX_DEPTH: usize = 6;
/// Most items in all.
const MAX_ITEMS: usize = 256;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cbor<'a> {
    /// Not negative.
    Unsigned(u64),
    /// -1 less the number.
    Negative(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(Vec<Self>),
    /// Text keys only, each once.
    Map(Vec<(&'a str, Self)>),
    Bool(bool),
    Null,
}

impl<'a> Cbor<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    pub(super) const fn text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(*text) } else { None }
    }

    pub(super) const fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(*bytes) } else { None }
    }

    pub(super) fn array(&self) -> Option<&[Self]> {
        if let Self::Array(list) = self { Some(list) } else { None }
    }

    /// An integer that fits.
    pub(super) fn integer(&self) -> Option<i64> {
        match *self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Negative(number) => i64::try_from(number).ok().map(|number| -1 - number),
            _ => None,
        }
    }
}

/// The one value that `bytes` are.
pub(super) fn read(bytes: &[u8]) -> Result<Cbor<'_>, &'static str> {
    if bytes.len() > MAX_OCTETS {
        return Err("it has too many octets");
    }
    let mut reader = Reader { rest: bytes, items: 0 };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err("bytes follow where it ends") }
}

struct Reader<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    /// Major type and argument (RFC 8949 §3).
    fn head(&mut self) -> Result<(u8, u64), &'static str> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => return Ok((major, u64::from(info))),
            24..=27 => 1usize << (info - 24),
            31 => return Err("a length is indefinite"),
            _ => return Err("a reserved form is used"),
        };
        let argument = self.take(width)?.iter().fold(0u64, |n, octet| n << 8 | u64::from(*octet));
        // The shortest form: what fits into the form below does not stand in this one.
        let least = if width == 1 { 24 } else { 1u64 << (4 * width) };
        if argument < least { Err("a number or a length is not in its shortest form") } else { Ok((major, argument)) }
    }

    fn length(&self, argument: u64) -> Result<usize, &'static str> {
        usize::try_from(argument).ok().filter(|length| *length <= self.rest.len()).ok_or("it ends too early")
    }

    fn value(&mut self, depth: usize) -> Result<Cbor<'a>, &'static str> {
        self.items += 1;
        if self.items > MAX_ITEMS || depth > MAX_DEPTH {
            return Err("it has too many items, or too deep");
        }
        let (major, argument) = self.head()?;
        Ok(match major {
            0 => Cbor::Unsigned(argument),
            1 => Cbor::Negative(argument),
            2 => {
                let length = self.length(argument)?;
                Cbor::Bytes(self.take(length)?)
            }
            3 => {
                let length = self.length(argument)?;
                Cbor::Text(std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?)
            }
            4 => {
                // Each item has an octet at least, so that the count is bounded by what is there.
                let count = self.length(argument)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(depth + 1)?);
                }
                Cbor::Array(list)
            }
            5 => {
                let count = self.length(argument)?;
                let mut entries: Vec<(&'a str, Cbor<'a>)> = Vec::new();
                for _ in 0..count {
                    let key = self.value(depth + 1)?.text().ok_or("a key is no text")?;
                    if entries.iter().any(|(name, _)| *name == key) {
                        return Err("a key stands twice");
                    }
                    entries.push((key, self.value(depth + 1)?));
                }
                Cbor::Map(entries)
            }
            7 => match argument {
                20 => Cbor::Bool(false),
                21 => Cbor::Bool(true),
                22 => Cbor::Null,
                _ => return Err("a float or another simple value stands there"),
            },
            _ => return Err("a tag stands there"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Cbor<'_>, &str>) {
        match (read(bytes), expected) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, expected) => assert_eq!(got, expected, "{bytes:02x?}"),
        }
    }

    #[test]
    fn a12_the_examples_of_rfc_8949_that_are_canonical() {
        check(&[0x00], Ok(Cbor::Unsigned(0)));
        check(&[0x17], Ok(Cbor::Unsigned(23)));
        check(&[0x18, 0x18], Ok(Cbor::Unsigned(24)));
        check(&[0x19, 0x03, 0xe8], Ok(Cbor::Unsigned(1000)));
        check(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Ok(Cbor::Unsigned(u64::MAX)));
        check(&[0x20], Ok(Cbor::Negative(0)));
        check(&[0x39, 0x01, 0x00], Ok(Cbor::Negative(256)));
        assert_eq!(read(&[0x39, 0x01, 0x00]).unwrap().integer(), Some(-257));
        assert_eq!(read(&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap().integer(), None);
        check(&[0x44, 1, 2, 3, 4], Ok(Cbor::Bytes(&[1, 2, 3, 4])));
        check(b"\x64IETF", Ok(Cbor::Text("IETF")));
        check(&[0x83, 1, 2, 3], Ok(Cbor::Array(vec![Cbor::Unsigned(1), Cbor::Unsigned(2), Cbor::Unsigned(3)])));
        check(
            b"\xa2\x61a\x01\x61b\x82\xf5\xf6",
            Ok(Cbor::Map(vec![("a", Cbor::Unsigned(1)), ("b", Cbor::Array(vec![Cbor::Bool(true), Cbor::Null]))])),
        );
    }

    #[test]
    fn a12_other_forms_are_refused() {
        check(&[], Err("too early"));
        check(&[0x00, 0x00], Err("bytes follow"));
        check(&[0x18, 0x17], Err("shortest"));
        check(&[0x19, 0x00, 0xff], Err("shortest"));
        check(&[0x1a, 0x00, 0x00, 0xff, 0xff], Err("shortest"));
        check(&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Err("shortest"));
        check(&[0x5f, 0x41, 0x01, 0xff], Err("indefinite"));
        check(&[0x9f, 0xff], Err("indefinite"));
        check(&[0xbf, 0xff], Err("indefinite"));
        check(&[0xff], Err("indefinite"));
        check(&[0x1c], Err("reserved"));
        check(&[0xc0, 0x00], Err("a tag"));
        check(&[0xf9, 0x3c, 0x00], Err("a float"));
        check(&[0xf7], Err("simple value"));
        check(&[0x61, 0xff], Err("UTF-8"));
        check(&[0xa1, 0x01, 0x01], Err("no text"));
        check(b"\xa2\x61a\x01\x61a\x02", Err("twice"));
        check(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Err("too early"));
        check(&[0x5a, 0x7f, 0xff, 0xff, 0xff], Err("too early"));
        check(&[0x81; 9], Err("too deep"));
        let mut many = vec![0x99, 0x01, 0x00];
        many.extend([0u8; 256]);
        check(&many, Err("too many items"));
        check(&vec![0x40; MAX_OCTETS + 1], Err("too many octets"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
