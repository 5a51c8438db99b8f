//! The forms of identifiers that profiles put into subjects and names.

use super::ProfileError;

/// The group that every Kubernetes API server lets do everything, past its access rules.
const MASTERS: &str = "system:masters";

/// Whether a name is `system:masters`, in any case.
pub(super) fn is_masters(name: &str) -> bool {
    name.eq_ignore_ascii_case(MASTERS)
}

/// Judges an organizationIdentifier (ETSI EN 319 412-1 §5.1.4, ETSI TS 119 495 §5.2.1): of a payment service provider,
/// which names the authority that authorized it, a national trade or tax register, or an LEI.
pub(super) fn check_organization_identifier(text: &str, nca_id: &str) -> Result<(), ProfileError> {
    const WRONG: ProfileError =
        ProfileError::Subject("an organizationIdentifier is PSDCC-AUTHORITY-ID, NTRCC-ID, VATCC-ID or LEIXG-LEI, as in PSDGB-FCA-123456");
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic());
    let (kind, rest) = text.split_at_checked(3).ok_or(WRONG)?;
    let (country, id) = rest.split_once('-').ok_or(WRONG)?;
    let has_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    match kind {
        "PSD" if has_country => match id.split_once('-') {
            Some((authority, id)) if is_id(id) && super::psd2::is_nca_id(&format!("{country}-{authority}")) => {
                if format!("{country}-{authority}") == nca_id {
                    Ok(())
                } else {
                    Err(ProfileError::Subject("the organizationIdentifier names another authority than the PSD2 statement"))
                }
            }
            _ => Err(WRONG),
        },
        "NTR" | "VAT" if has_country && is_id(id) => Ok(()),
        "LEI" if country == "XG" && is_lei(id) => Ok(()),
        _ => Err(WRONG),
    }
}

/// A legal entity identifier with its check digits (ISO 17442-1, ISO/IEC 7064 MOD 97-10).
fn is_lei(text: &str) -> bool {
    let digits = |b: u8| if b.is_ascii_digit() { (10, u32::from(b - b'0')) } else { (100, u32::from(b - b'A') + 10) };
    text.len() == 20
        && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && text.bytes().map(digits).fold(0, |rest, (shift, value)| (rest * shift + value) % 97) == 1
}

/// A Brazilian company number with its check digits: twelve letters or digits, each worth its ASCII code less 48, and
/// two digits of modulus 11 (Receita Federal, Instrução Normativa 2.229/2024; of digits alone it is the older form).
pub(super) fn is_cnpj(text: &str) -> bool {
    let octets = text.as_bytes();
    let form = octets.len() == 14
        && octets[..12].iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && octets[12..].iter().all(u8::is_ascii_digit);
    let check_digit = |of: &[u8]| {
        // Weights 2 to 9 from the right, again and again.
        let sum: u32 = of.iter().rev().zip((2..=9).cycle()).map(|(b, weight)| u32::from(b - b'0') * weight).sum();
        match sum % 11 {
            0 | 1 => b'0',
            rest => b'0' + (11 - rest).to_le_bytes()[0],
        }
    };
    let all_the_same = octets.iter().all(|b| *b == octets[0]);
    form && !all_the_same && check_digit(&octets[..12]) == octets[12] && check_digit(&octets[..13]) == octets[13]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_numbers_have_their_check_digits() {
        // The second is the example of the alphanumeric form's instruction.
        for good in ["11222333000181", "12ABC34501DE35", "00000000000191"] {
            assert!(is_cnpj(good), "{good}");
        }
        for bad in ["", "11222333000182", "11222333000171", "12ABC34501DE34", "12abc34501de35", "11.222.333/0001-81", "00000000000000"] {
            assert!(!is_cnpj(bad), "{bad}");
        }
    }

    #[test]
    fn organizations_are_identified() {
        let check = |text: &str, expected: Result<(), &str>| {
            let got = check_organization_identifier(text, "GB-FCA").map_err(|e| e.to_string());
            match expected {
                Ok(()) => assert_eq!(got, Ok(()), "{text}"),
                Err(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{text}: {got:?}"),
            }
        };
        check("PSDGB-FCA-123456", Ok(()));
        check("NTRGB-12345678", Ok(()));
        check("VATDE-123456789", Ok(()));
        check("LEIXG-5493001KJTIIGC8Y1R12", Ok(()));
        check("PSDDE-BAFIN-123456", Err("another authority"));
        for bad in [
            "",
            "PSD",
            "PSDGB",
            "PSDGB-FCA",
            "PSDGB-FCA-",
            "PSDGB-fca-1",
            "PSDgb-FCA-1",
            "psdGB-FCA-1",
            "NTRGB-",
            "NTRGBR-1",
            "NTRGB-1 2",
            "VATDE-ü",
            "LEIXG-5493001KJTIIGC8Y1R13",
            "LEIGB-5493001KJTIIGC8Y1R12",
            "LEIXG-5493001KJTIIGC8Y1R1",
            "Bank",
            "üüüü-1",
        ] {
            check(bad, Err("as in PSDGB-FCA-123456"));
        }
    }

    #[test]
    fn kubernetes_names() {
        assert!(is_masters("system:masters") && is_masters("System:Masters") && !is_masters("masters"));
    }
}
