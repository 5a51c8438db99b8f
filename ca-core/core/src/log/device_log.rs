//! The chain in a device's own log: what follows what.

use crate::pki::sha256;
use crate::ports::{DeviceKind, DeviceLogEntry};

/// The octets of a YubiHSM 2's entry: 16 that say what happened, then the first 16 of SHA-256 over them and the digest
/// before (Yubico, "GET LOG ENTRIES").
pub const YUBIHSM_ENTRY: usize = 32;
const BODY: usize = 16;

/// A YubiHSM 2's commands that ask for a signature: PKCS#1, PSS, ECDSA, SSH certificate, EdDSA.
const SIGNING: [u8; 5] = [0x47, 0x55, 0x56, 0x5d, 0x6a];

/// Whether `next` follows `last` in a device's log: its number is one more, and where the device chains its entries
/// its digest covers it and the digest before.
pub fn follows(kind: DeviceKind, last: &DeviceLogEntry, next: &DeviceLogEntry) -> bool {
    match kind {
        DeviceKind::YubiHsm2 => {
            if last.raw.len() != YUBIHSM_ENTRY || next.raw.len() != YUBIHSM_ENTRY {
                return false;
            }
            let number = |raw: &[u8]| u16::from_be_bytes([raw[0], raw[1]]);
            let digest = sha256(&[&next.raw[..BODY], &last.raw[BODY..]].concat());
            number(&next.raw) == number(&last.raw).wrapping_add(1) && digest.0[..BODY] == next.raw[BODY..]
        }
        DeviceKind::Pkcs11 | DeviceKind::Software => next.number == last.number.wrapping_add(1),
    }
}

/// The first two neighbours of which the second does not follow the first.
pub fn first_gap(kind: DeviceKind, entries: &[DeviceLogEntry]) -> Option<(&DeviceLogEntry, &DeviceLogEntry)> {
    entries.windows(2).map(|pair| (&pair[0], &pair[1])).find(|(last, next)| !follows(kind, last, next))
}

/// Whether an entry is the one that a YubiHSM 2's reset writes: number 1, then ones. It follows nothing.
pub fn is_reset(entry: &DeviceLogEntry) -> bool {
    let raw = &entry.raw;
    raw.len() == YUBIHSM_ENTRY && raw[..2] == [0, 1] && raw[2..BODY].iter().all(|b| *b == 0xff)
}

/// Whether an entry says in its fields what the octets say that the device wrote. Names of commands and keys are not
/// in them.
pub fn reads_as_written(kind: DeviceKind, entry: &DeviceLogEntry) -> bool {
    match kind {
        DeviceKind::YubiHsm2 => {
            let raw = &entry.raw;
            raw.len() == YUBIHSM_ENTRY && entry.number == u64::from(u16::from_be_bytes([raw[0], raw[1]])) && {
                let signs = SIGNING.contains(&raw[2]);
                // A command that was done has its own code with the highest bit as the result.
                entry.is_signature == signs && (!signs || entry.succeeded == (raw[11] == raw[2] | 0x80))
            }
        }
        DeviceKind::Pkcs11 | DeviceKind::Software => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u16, rest: u8, before: &[u8]) -> DeviceLogEntry {
        let mut raw = number.to_be_bytes().to_vec();
        raw.resize(BODY, rest);
        let digest = sha256(&[&raw[..], before].concat());
        raw.extend(&digest.0[..BODY]);
        let (is_signature, succeeded) = (SIGNING.contains(&rest), false);
        DeviceLogEntry { number: number.into(), command: String::new(), key: None, is_signature, succeeded, raw }
    }

    #[test]
    fn number_and_digest_chain_the_entries() {
        let kind = DeviceKind::YubiHsm2;
        let first = entry(1, 0xff, &[7; BODY]);
        assert!(is_reset(&first) && !is_reset(&entry(2, 0xff, &[7; BODY])) && !is_reset(&entry(1, 0, &[7; BODY])));
        let second = entry(2, 0, &first.raw[BODY..]);
        assert!(follows(kind, &first, &second));
        assert!(!follows(kind, &first, &entry(3, 0, &first.raw[BODY..])), "a number is left out");
        assert!(!follows(kind, &first, &entry(2, 0, &second.raw[BODY..])), "another digest before");
        assert!(!follows(kind, &second, &first), "a reset follows nothing");
        assert!(follows(kind, &entry(u16::MAX, 0, &[0; BODY]), &entry(0, 0, &entry(u16::MAX, 0, &[0; BODY]).raw[BODY..])));
        for at in 0..YUBIHSM_ENTRY {
            let mut changed = second.clone();
            changed.raw[at] ^= 1;
            assert!(!follows(kind, &first, &changed), "octet {at}");
        }
        let mut short = second.clone();
        short.raw.pop();
        assert!(!follows(kind, &first, &short) && !follows(kind, &short, &first) && !reads_as_written(kind, &short));
        let gap = [first, second.clone(), entry(4, 0, &second.raw[BODY..])];
        assert_eq!(first_gap(kind, &gap).map(|(last, next)| (last.number, next.number)), Some((2, 4)));
        assert_eq!(first_gap(kind, &gap[..2]), None);
    }

    #[test]
    fn fields_say_what_the_octets_say() {
        let kind = DeviceKind::YubiHsm2;
        let mut signed = entry(9, 0x56, &[0; BODY]);
        assert!(reads_as_written(kind, &signed));
        signed.succeeded = true;
        assert!(!reads_as_written(kind, &signed), "the device did not do it");
        signed.raw[11] = 0x56 | 0x80;
        assert!(reads_as_written(kind, &signed));
        signed.is_signature = false;
        assert!(!reads_as_written(kind, &signed), "it is one");
        let mut other = entry(9, 0x41, &[0; BODY]);
        other.number = 8;
        assert!(!reads_as_written(kind, &other));
    }
}
