//! DNS names as certificates carry them: LDH labels in lower case, internationalized ones as A-labels.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

use super::IdentifierError;

/// Most octets of a name's text (RFC 1035 §2.3.4, less the root's label).
const MAX_NAME: usize = 253;
/// Most octets of a label.
const MAX_LABEL: usize = 63;

/// What is wrong with a text that should be a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameFault {
    /// Nothing, or too much.
    #[error("a name has 1 to {MAX_NAME} octets")]
    Length,
    /// The root's label is written out.
    #[error("it ends in a dot (hint: leave that out)")]
    TrailingDot,
    /// An empty or over-long label.
    #[error("its label `{0}` does not have 1 to {MAX_LABEL} octets")]
    LabelLength(String),
    /// A label with other characters than letters, digits and inner hyphens.
    #[error("its label `{0}` is not of letters, digits and inner hyphens")]
    Label(String),
    /// A label in Unicode.
    #[error("its label `{0}` is not ASCII (hint: write its A-label, `{1}`)")]
    Unicode(String, String),
    /// Hyphens in the third and fourth place of what is no A-label (RFC 5890 §2.3.1).
    #[error("its label `{0}` is reserved: hyphens in third and fourth place are for A-labels, which begin with `xn--`")]
    Reserved(String),
    /// An A-label that is not what its Unicode form gives (RFC 5891 §5.4, UTS #46 §4).
    #[error("its label `{0}` is no A-label: it does not become valid Unicode, or not the same label again on the way back")]
    ALabel(String),
    /// A right-to-left label among others that break the rule for both directions (RFC 5893).
    #[error("its labels together break the rule for names in two directions (RFC 5893)")]
    Bidi,
    /// A star elsewhere than as the whole first label.
    #[error("a `*` is the whole first label of at least two, or nowhere")]
    Wildcard,
    /// Its last label is a number.
    #[error("its last label `{0}` is a number, which makes it an address or a mistake")]
    Number(String),
}

/// A lowercase DNS name of LDH labels, perhaps with `*` as its whole first label (RFC 5280 §4.2.1.6, RFC 8555 §7.1.3).
/// Internationalized labels are A-labels that were checked both ways (UTS #46, non-transitional).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct DnsName(String);

impl DnsName {
    /// Reads a name; upper case is folded, as DNS does.
    ///
    /// # Errors
    /// With what is wrong: see [`DnsNameFault`].
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        let name = text.to_ascii_lowercase();
        match check(&name) {
            Ok(()) => Ok(Self(name)),
            Err(fault) => Err(IdentifierError::DnsName { name: shorten(text), fault }),
        }
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name without a leading `*.`.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Whether this name is `zone` or lies below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.base().strip_suffix(zone.base()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}

fn check(name: &str) -> Result<(), DnsNameFault> {
    let base = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > MAX_NAME || base.is_empty() {
        return Err(if name.contains('*') && name.len() <= MAX_NAME { DnsNameFault::Wildcard } else { DnsNameFault::Length });
    }
    if base.ends_with('.') {
        return Err(DnsNameFault::TrailingDot);
    }
    base.split('.').try_for_each(check_label)?;
    let last = base.rsplit('.').next().unwrap_or_default();
    // Some readers take `0x7f` for a number too.
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DnsNameFault::Number(last.to_owned()));
    }
    check_idna(base)
}

fn check_label(label: &str) -> Result<(), DnsNameFault> {
    if label.contains('*') {
        return Err(DnsNameFault::Wildcard);
    }
    if !label.is_ascii() {
        return Err(match to_ascii(label) {
            Some(ascii) => DnsNameFault::Unicode(label.to_owned(), ascii),
            None => DnsNameFault::Label(label.to_owned()),
        });
    }
    if !(1..=MAX_LABEL).contains(&label.len()) {
        return Err(DnsNameFault::LabelLength(label.to_owned()));
    }
    let characters_are_fine = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !characters_are_fine || label.starts_with('-') || label.ends_with('-') {
        return Err(DnsNameFault::Label(label.to_owned()));
    }
    if label.get(2..4) == Some("--") && !is_a_label(label) {
        return Err(DnsNameFault::Reserved(label.to_owned()));
    }
    Ok(())
}

fn is_a_label(label: &str) -> bool {
    label.starts_with("xn--")
}

/// Each A-label alone, so that an error names it, then all labels together for the rule about directions.
fn check_idna(base: &str) -> Result<(), DnsNameFault> {
    if !base.split('.').any(is_a_label) {
        return Ok(());
    }
    for label in base.split('.').filter(|l| is_a_label(l)) {
        if to_unicode(label).and_then(|u| to_ascii(&u)).as_deref() != Some(label) {
            return Err(DnsNameFault::ALabel(label.to_owned()));
        }
    }
    if to_unicode(base).and_then(|u| to_ascii(&u)).as_deref() == Some(base) { Ok(()) } else { Err(DnsNameFault::Bidi) }
}

/// The Unicode form of a label or name whose labels are LDH, where it has a valid one.
pub(crate) fn to_unicode(text: &str) -> Option<String> {
    let (unicode, judged) = Uts46::new().to_unicode(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    judged.is_ok().then(|| unicode.into_owned())
}

fn to_ascii(text: &str) -> Option<String> {
    let ascii = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify);
    ascii.ok().map(std::borrow::Cow::into_owned)
}

impl TryFrom<String> for DnsName {
    type Error = IdentifierError;
    fn try_from(text: String) -> Result<Self, IdentifierError> {
        Self::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (DnsName::parse(text).map_err(|e| e.to_string()), expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name.as_str(), expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn labels_of_letters_digits_and_inner_hyphens() {
        for good in ["a.test", "localhost", "*.demo.test", "a-b.c--d.test", "a--.b--b.test"] {
            let parsed = DnsName::parse(good);
            assert_eq!(parsed.is_ok(), !good.contains("a--."), "{good}");
        }
        check("A.Demo.TEST", Ok("a.demo.test"));
        check("", Err("1 to 253"));
        check("a.", Err("leave that out"));
        check(".a", Err("`` does not have 1 to 63"));
        check("a..b", Err("`` does not have"));
        check("-a.b", Err("label `-a`"));
        check("a-.b", Err("label `a-`"));
        check("a b.test", Err("label `a b`"));
        check("a_b.test", Err("label `a_b`"));
        check("a.b/c", Err("label `b/c`"));
        for bad in ["*", "*.", "a.*.b", "f*.b", "*.*.b"] {
            check(bad, Err("whole first label"));
        }
        check("1.2.3.4", Err("`4` is a number"));
        check("a.9", Err("`9` is a number"));
        check("a.0x7f", Err("`0x7f` is a number"));
        check("a.0x", Err("is a number"));
        check(&format!("{}.test", "a".repeat(64)), Err("does not have 1 to 63"));
        check(&["abc"; 70].join("."), Err("1 to 253"));
    }

    #[test]
    fn a_labels_hold_both_ways() {
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("XN--BCHER-KVA.example", Ok("xn--bcher-kva.example"));
        check("xn--strae-oqa.test", Ok("xn--strae-oqa.test"));
        check("bücher.example", Err("`bücher` is not ASCII (hint: write its A-label, `xn--bcher-kva`)"));
        // Not punycode; nothing in it; ASCII in disguise; an upper-case letter; not in normal form; unassigned.
        for bad in ["xn--a-\u{2d}.test", "xn--.test", "xn--abc-.test", "xn--bcher-koa.test", "xn--zzzzzzzzzzzzzz.test", "xn--99999999.test"]
        {
            assert!(DnsName::parse(bad).is_err(), "{bad}");
        }
        check("ab--cd.test", Err("`ab--cd` is reserved"));
        check("xm--bcher-kva.test", Err("reserved"));
        // A zero-width joiner with nothing that it joins (RFC 5892 appendix A.2).
        check("xn--ab-m1t.test", Err("`xn--ab-m1t` is no A-label"));
    }

    #[test]
    fn right_to_left_labels_keep_their_rule() {
        check("xn--4dbcagdahymbxekheh6e0a7fei0b.test", Ok("xn--4dbcagdahymbxekheh6e0a7fei0b.test"));
        // In a name with a Hebrew label no other may begin with a digit (RFC 5893 §2).
        check("1a.xn--4dbrk0ce.test", Err("two directions"));
    }

    #[test]
    fn zones() {
        let within = |name: &str, zone: &str| DnsName::parse(name).unwrap().is_within(&DnsName::parse(zone).unwrap());
        assert!(within("a.bank.test", "bank.test") && within("bank.test", "bank.test") && within("*.bank.test", "bank.test"));
        assert!(!within("abank.test", "bank.test") && !within("test", "bank.test"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_that_stays_itself_or_an_error(text in "\\PC{0,80}") {
            if let Ok(name) = DnsName::parse(&text) {
                prop_assert_eq!(DnsName::parse(name.as_str()).unwrap(), name);
            }
        }

        #[test]
        fn labels_that_look_like_a_labels(tail in "[a-z0-9-]{0,40}", rest in "[a-z0-9.*-]{0,20}") {
            let text = format!("xn--{tail}.{rest}test");
            if let Ok(name) = DnsName::parse(&text) {
                prop_assert_eq!(name.as_str(), text);
            }
        }

        #[test]
        fn what_unicode_gives_is_accepted(label in "[\u{e0}-\u{f6}\u{3b1}-\u{3c9}\u{430}-\u{44f}]{1,12}") {
            let name = format!("{}.test", to_ascii(&label).unwrap());
            prop_assert!(DnsName::parse(&name).is_ok(), "{}", name);
        }
    }
}
