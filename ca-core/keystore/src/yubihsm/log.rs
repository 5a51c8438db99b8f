//! Entries of the device's log, in the octets that the device wrote, and the chain of digests over them.

use aws_lc_rs::digest::{SHA256, digest};
use ca_core::ports::{DeviceLogEntry, KeyStoreError};

/// An entry's octets: 16 that say what happened, then the digest.
pub(crate) const ENTRY: usize = 32;
const BODY: usize = 16;

/// Whether `next` follows `previous`: its number is one more, and its digest covers its body and the digest before
/// (Yubico, "GET LOG ENTRIES").
pub(crate) fn follows(previous: &[u8], next: &[u8]) -> bool {
    if previous.len() != ENTRY || next.len() != ENTRY {
        return false;
    }
    let number = |entry: &[u8]| u16::from_be_bytes([entry[0], entry[1]]);
    let expected = digest(&SHA256, &[&next[..BODY], &previous[BODY..]].concat());
    number(next) == number(previous).wrapping_add(1) && expected.as_ref()[..BODY] == next[BODY..]
}

/// Whether an entry is the one that a reset writes: number 1, then ones.
pub(crate) fn is_reset(entry: &[u8]) -> bool {
    entry.len() == ENTRY && entry[..2] == [0, 1] && entry[2..BODY].iter().all(|b| *b == 0xff)
}

/// The first entries whose octets do not follow.
pub(crate) fn check_chain(entries: &[DeviceLogEntry]) -> Result<(), KeyStoreError> {
    for pair in entries.windows(2) {
        if !follows(&pair[0].raw, &pair[1].raw) {
            return Err(KeyStoreError::Damaged(format!(
                "the device's log breaks off between its entries {} and {} (hint: keep the device and its log as evidence)",
                pair[0].number, pair[1].number
            )));
        }
    }
    Ok(())
}

/// The octet that the device wrote for a command's result. The driver reads success as it stands and an error as its
/// own code, 0x75 less the device's.
pub(crate) fn result_octet(result: yubihsm::response::Code) -> u8 {
    match result.to_u8() {
        error @ 0x62..=0x75 if result.is_err() => 0x75 - error,
        octet => octet,
    }
}

/// The command's name in kebab case.
pub(crate) fn command_name(command: yubihsm::command::Code) -> String {
    match command {
        yubihsm::command::Code::Unknown => "boot".to_owned(),
        yubihsm::command::Code::HsmInitialization => "reset".to_owned(),
        other => {
            let mut name = String::new();
            for letter in format!("{other:?}").chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.push(letter.to_ascii_lowercase());
            }
            name
        }
    }
}

/// Whether a command asks for a signature by a key that the device holds for others.
pub(crate) const fn is_signature(command: yubihsm::command::Code) -> bool {
    use yubihsm::command::Code;
    matches!(command, Code::SignEcdsa | Code::SignEddsa | Code::SignPkcs1 | Code::SignPss | Code::SignSshCertificate)
}
