//! PEM text (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a text does not hold the PEM blocks that were looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Too much text.
    #[error("the PEM text has more than {0} bytes")]
    TooLarge(usize),
    /// No block with the label.
    #[error("no `-----BEGIN {0}-----` block was found (hint: is it DER, or another kind of file?)")]
    Missing(String),
    /// A block without its end.
    #[error("a `-----BEGIN {0}-----` block has no end line (hint: was the file cut short?)")]
    Unterminated(String),
    /// Something else than base64 inside a block.
    #[error("a `-----BEGIN {0}-----` block holds something else than base64")]
    NotBase64(String),
}

/// Most bytes of a PEM text: a bundle of a few hundred certificates.
const MAX_TEXT: usize = 1 << 20;

/// One block, in lines of 64 characters.
pub fn pem_encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// Every block of `text`, in order: its label and its content.
///
/// # Errors
/// When there is none, or one of them is cut short or is not base64.
pub fn pem_blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else { continue };
        let content = body(&mut lines, label, &format!("-----END {label}-----"))?;
        blocks.push((label.to_owned(), content));
    }
    if blocks.is_empty() { Err(PemError::Missing("…".to_owned())) } else { Ok(blocks) }
}

/// The contents of every block with this label, in order; other labels and the text between blocks are passed over.
///
/// # Errors
/// When the text is too large, there is no such block, or one of them is cut short or is not base64.
pub fn pem_decode_all(text: &str, label: &str) -> Result<Vec<Vec<u8>>, PemError> {
    pem_decode_within(text, label, MAX_TEXT)
}

/// The same for a text of at most `most` bytes: what is larger than a bundle of certificates.
///
/// # Errors
/// As [`pem_decode_all`].
pub fn pem_decode_within(text: &str, label: &str, most: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > most {
        return Err(PemError::TooLarge(most));
    }
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.by_ref().any(|line| line == begin) {
        blocks.push(body(&mut lines, label, &end)?);
    }
    if blocks.is_empty() { Err(PemError::Missing(label.to_owned())) } else { Ok(blocks) }
}

/// The content of a block whose first line was read.
fn body<'a>(lines: &mut impl Iterator<Item = &'a str>, label: &str, end: &str) -> Result<Vec<u8>, PemError> {
    let mut body = String::new();
    loop {
        match lines.next() {
            Some(line) if line == end => break,
            Some(line) if line.starts_with("-----") => return Err(PemError::Unterminated(label.to_owned())),
            Some(line) => body.push_str(line),
            None => return Err(PemError::Unterminated(label.to_owned())),
        }
    }
    STANDARD.decode(body).map_err(|_| PemError::NotBase64(label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_round_trip_among_other_text() {
        let text = format!("subject=x\n{}{}{}", pem_encode("A", &[7; 100]), pem_encode("B", b"b"), pem_encode("A", b""));
        assert!(text.lines().all(|l| l.len() <= 64));
        assert_eq!(pem_decode_all(&text, "A").unwrap(), [vec![7; 100], vec![]]);
        assert_eq!(pem_decode_all(&text.replace('\n', "\r\n"), "B").unwrap(), [b"b"]);
    }

    #[test]
    fn blocks_keep_their_order_and_label() {
        let text = format!("x\n{}{}", pem_encode("B C", b"b"), pem_encode("A", b"a"));
        assert_eq!(pem_blocks(&text).unwrap(), [("B C".to_owned(), b"b".to_vec()), ("A".to_owned(), b"a".to_vec())]);
        assert_eq!(pem_blocks("x"), Err(PemError::Missing("…".into())));
        assert_eq!(pem_blocks("-----BEGIN A-----\n"), Err(PemError::Unterminated("A".into())));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let good = pem_encode("A", b"hello");
        for (text, expected) in [
            (String::new(), PemError::Missing("A".into())),
            (good.replace("-----END A-----", ""), PemError::Unterminated("A".into())),
            (format!("-----BEGIN A-----\n{good}"), PemError::Unterminated("A".into())),
            (good.replace("aGVs", "aG*s"), PemError::NotBase64("A".into())),
            (" ".repeat(MAX_TEXT + 1), PemError::TooLarge(MAX_TEXT)),
        ] {
            assert_eq!(pem_decode_all(&text, "A"), Err(expected));
        }
    }
}
