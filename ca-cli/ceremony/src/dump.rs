//! DER as text, for people to read before they sign. It judges nothing: the lints do.

use std::fmt::Write as _;

use ca_core::pki::hex;

const MAX_DEPTH: usize = 16;

/// Writes the structure of `der`, one element a line, indented by `depth`.
pub(crate) fn dump(out: &mut String, der: &[u8], depth: usize) {
    let mut rest = der;
    while let Some((tag, content, after)) = element(rest) {
        let indent = "  ".repeat(depth);
        let nested = (tag & 0x20 != 0 || (tag == 0x04 && nests(content))) && depth < MAX_DEPTH;
        let _ = writeln!(out, "{indent}{}{}", name(tag), if nested { String::new() } else { format!(" {}", value(tag, content)) });
        if nested {
            dump(out, content, depth + 1);
        }
        rest = after;
    }
    if !rest.is_empty() {
        let _ = writeln!(out, "{}(not DER) {}", "  ".repeat(depth), hex(rest));
    }
}

/// The first element: tag, content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) || rest.len() < count {
            return None;
        }
        (rest[..count].iter().fold(0usize, |n, b| n << 8 | usize::from(*b)), &rest[count..])
    };
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

/// Whether an OCTET STRING's content is one whole element, as an extension's value is.
fn nests(content: &[u8]) -> bool {
    element(content).is_some_and(|(tag, _, after)| after.is_empty() && matches!(tag, 0x30 | 0x03 | 0x04))
}

fn name(tag: u8) -> String {
    match tag {
        0x01 => "BOOLEAN".to_owned(),
        0x02 => "INTEGER".to_owned(),
        0x03 => "BIT STRING".to_owned(),
        0x04 => "OCTET STRING".to_owned(),
        0x05 => "NULL".to_owned(),
        0x06 => "OID".to_owned(),
        0x0a => "ENUMERATED".to_owned(),
        0x0c => "UTF8String".to_owned(),
        0x13 => "PrintableString".to_owned(),
        0x16 => "IA5String".to_owned(),
        0x17 => "UTCTime".to_owned(),
        0x18 => "GeneralizedTime".to_owned(),
        0x30 => "SEQUENCE".to_owned(),
        0x31 => "SET".to_owned(),
        _ if tag & 0xc0 == 0x80 => format!("[{}]", tag & 0x1f),
        _ => format!("tag {tag:#04x}"),
    }
}

fn value(tag: u8, content: &[u8]) -> String {
    let printable = !content.is_empty() && content.iter().all(|b| (0x20..0x7f).contains(b));
    match tag {
        0x01 => (if content == [0] { "false" } else { "true" }).to_owned(),
        0x06 => oid(content),
        0x0c | 0x13 | 0x16 | 0x17 | 0x18 => String::from_utf8_lossy(content).chars().flat_map(char::escape_debug).collect(),
        _ if tag & 0xc0 == 0x80 && printable => String::from_utf8_lossy(content).into_owned(),
        _ => hex(content),
    }
}

fn oid(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0u64;
    for byte in content {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc - first * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    let text = arcs.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
    let known = match text.as_str() {
        "2.5.4.3" => "commonName",
        "2.5.4.6" => "countryName",
        "2.5.4.10" => "organizationName",
        "2.5.29.14" => "subjectKeyIdentifier",
        "2.5.29.15" => "keyUsage",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.20" => "cRLNumber",
        "2.5.29.30" => "nameConstraints",
        "2.5.29.31" => "cRLDistributionPoints",
        "2.5.29.35" => "authorityKeyIdentifier",
        "1.3.6.1.5.5.7.1.1" => "authorityInfoAccess",
        "1.3.6.1.5.5.7.48.2" => "caIssuers",
        "1.2.840.10045.2.1" => "ecPublicKey",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.3.101.112" => "Ed25519",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        "1.2.840.113549.1.1.1" => "rsaEncryption",
        "1.2.840.113549.1.1.8" => "mgf1",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "2.16.840.1.101.3.4.2.1" => "SHA-256",
        _ => return text,
    };
    format!("{text} {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_named_and_rubbish_is_shown() {
        let check = |der: &[u8], expected: &str| {
            let mut out = String::new();
            dump(&mut out, der, 0);
            assert_eq!(out, expected);
        };
        check(&[0x30, 0x05, 0x06, 0x03, 0x55, 0x1d, 0x13], "SEQUENCE\n  OID 2.5.29.19 basicConstraints\n");
        check(&[0x04, 0x03, 0x30, 0x01, 0x05], "OCTET STRING\n  SEQUENCE\n    (not DER) 05\n");
        check(&[0x86, 0x01, b'x'], "[6] x\n");
        check(&[0x01, 0x01, 0xff, 0x02], "BOOLEAN true\n(not DER) 02\n");
        check(&[0x30, 0x85, 1, 1, 1, 1, 1], "(not DER) 30850101010101\n");
    }
}
