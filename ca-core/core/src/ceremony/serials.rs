//! The list of a bulk revocation: what its statement's digest is over.

use super::CeremonyError;
use crate::pki::SerialNumber;

/// The most certificates that one act revokes.
pub const MAX_BULK: usize = 100_000;

/// The list's one form: each serial number in lowercase hexadecimal on its own line, in order, none twice.
pub fn serial_list(serials: &mut Vec<SerialNumber>) -> String {
    serials.sort_unstable();
    serials.dedup();
    serials.iter().map(|serial| format!("{serial}\n")).collect()
}

/// Reads the list's one form.
///
/// # Errors
/// When it is empty, has more than [`MAX_BULK`] lines, or is in another form.
pub fn parse_serial_list(text: &str) -> Result<Vec<SerialNumber>, CeremonyError> {
    let refused = |reason: String| CeremonyError::refused("list of serial numbers", reason);
    if text.is_empty() || text.len() > MAX_BULK * 48 {
        return Err(refused(format!("it is empty or has more than {MAX_BULK} lines")));
    }
    let mut serials = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if i >= MAX_BULK {
            return Err(refused(format!("it has more than {MAX_BULK} lines")));
        }
        serials.push(line.parse::<SerialNumber>().map_err(|e| refused(format!("line {}: {e}", i + 1)))?);
    }
    if serial_list(&mut serials) != text {
        return Err(refused("it is not in order, has one twice, or is otherwise not as it was proposed".to_owned()));
    }
    Ok(serials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_form() {
        let serial = |n: u8| SerialNumber::from_bytes([n; 20]).unwrap();
        let text = serial_list(&mut vec![serial(3), serial(1), serial(3), serial(2)]);
        assert_eq!(parse_serial_list(&text).unwrap(), [serial(1), serial(2), serial(3)]);
        let reversed: String = text.lines().rev().map(|l| format!("{l}\n")).collect();
        for wrong in ["", "x\n", text.trim_end(), &reversed, &text.to_uppercase().replace('0', "O"), &format!("{text}{text}")] {
            assert!(parse_serial_list(wrong).is_err(), "{wrong}");
        }
    }
}
