//! Entries of the device's log: what the driver reads, as the device wrote it.

use ca_core::log::first_gap;
use ca_core::ports::{DeviceKind, DeviceLogEntry, KeyStoreError};

/// The first entries whose octets do not follow.
pub(crate) fn check_chain(entries: &[DeviceLogEntry]) -> Result<(), KeyStoreError> {
    if let Some((last, next)) = first_gap(DeviceKind::YubiHsm2, entries) {
        return Err(KeyStoreError::Damaged(format!(
            "the device's log breaks off between its entries {} and {} (hint: keep the device and its log as evidence)",
            last.number, next.number
        )));
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
