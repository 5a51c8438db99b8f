//! The qualified certificate statements of open banking (ETSI TS 119 495, ETSI EN 319 412-5).
//!
//! Exactly two: what the certificate is for (QcType) and who may do what in payments (the PSD2 statement). A private CA
//! asserts neither QcCompliance nor QcSSCD, so there is no way to say them.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::ProfileError;
use crate::pki::walk::{self, ParseError, SEQUENCE, UTF8_STRING, Walker};
use crate::pki::{encode, oid};

/// Most characters of an authority's name and of its id (ETSI TS 119 495 annex A).
const MAX_TEXT: usize = 256;

/// What a payment service provider may do (ETSI TS 119 495 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Psd2Role {
    /// Account servicing.
    #[serde(rename = "PSP_AS")]
    AccountServicing,
    /// Payment initiation.
    #[serde(rename = "PSP_PI")]
    PaymentInitiation,
    /// Account information.
    #[serde(rename = "PSP_AI")]
    AccountInformation,
    /// Issuing of card-based payment instruments.
    #[serde(rename = "PSP_IC")]
    CardIssuing,
}

impl Psd2Role {
    /// Every role, in the order in which a certificate names them.
    pub const ALL: [Self; 4] = [Self::AccountServicing, Self::PaymentInitiation, Self::AccountInformation, Self::CardIssuing];

    /// Its name in certificates and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountServicing => "PSP_AS",
            Self::PaymentInitiation => "PSP_PI",
            Self::AccountInformation => "PSP_AI",
            Self::CardIssuing => "PSP_IC",
        }
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::AccountServicing => oid::PSD2_PSP_AS,
            Self::PaymentInitiation => oid::PSD2_PSP_PI,
            Self::AccountInformation => oid::PSD2_PSP_AI,
            Self::CardIssuing => oid::PSD2_PSP_IC,
        }
    }
}

impl fmt::Display for Psd2Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Psd2Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("unknown PSD2 role `{}` (one of PSP_AS, PSP_PI, PSP_AI, PSP_IC)", text.chars().take(60).collect::<String>());
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(wrong)
    }
}

/// The roles of a provider, and the national competent authority that gave them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Psd2 {
    /// The roles, at least one; a certificate has them in the order of their numbers, each once.
    pub roles: Vec<Psd2Role>,
    /// The authority's name: 1 to 256 characters.
    pub nca_name: String,
    /// Its id: the country and two to eight capital letters, `GB-FCA`.
    pub nca_id: String,
}

impl Psd2 {
    /// The roles as a certificate has them.
    pub fn sorted_roles(&self) -> Vec<Psd2Role> {
        let mut roles = self.roles.clone();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// Judges roles, name and id.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn check(&self) -> Result<(), ProfileError> {
        let name_is_fine = (1..=MAX_TEXT).contains(&self.nca_name.chars().count())
            && self.nca_name.trim() == self.nca_name
            && !self.nca_name.chars().any(char::is_control);
        if self.roles.is_empty() {
            Err(ProfileError::Psd2("there is at least one role"))
        } else if !name_is_fine {
            Err(ProfileError::Psd2("the authority's name has 1 to 256 characters, none of them a control, and no outer spaces"))
        } else if !is_nca_id(&self.nca_id) {
            Err(ProfileError::Psd2("an authority's id is a country, a hyphen and two to eight capital letters, as in GB-FCA"))
        } else {
            Ok(())
        }
    }
}

/// `CC-[A-Z]{2,8}` (ETSI TS 119 495 §5.2.3).
pub(super) fn is_nca_id(text: &str) -> bool {
    let capitals = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase());
    text.split_once('-').is_some_and(|(country, id)| country.len() == 2 && (2..=8).contains(&id.len()) && capitals(country) && capitals(id))
}

/// What an open-banking certificate is for (ETSI EN 319 412-5 §4.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum QcType {
    /// Electronic seals.
    Seal,
    /// Web site authentication.
    Web,
}

/// Both statements of one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QcStatements {
    /// What the certificate is for.
    pub qc_type: QcType,
    /// Roles and authority.
    pub psd2: Psd2,
}

impl QcStatements {
    /// The value of the extension.
    ///
    /// # Errors
    /// When a role, the authority's name or its id is none.
    pub fn to_der(&self) -> Result<Vec<u8>, ProfileError> {
        self.psd2.check()?;
        let qc_type = match self.qc_type {
            QcType::Seal => oid::QC_TYPE_ESEAL,
            QcType::Web => oid::QC_TYPE_WEB,
        };
        let utf8 = |text: &str| encode::tlv(UTF8_STRING, text.as_bytes());
        let roles: Vec<_> =
            self.psd2.sorted_roles().iter().map(|role| encode::sequence(&[&encode::oid(role.oid()), &utf8(role.name())])).collect();
        let info = encode::sequence(&[&encode::sequence(&[&roles.concat()]), &utf8(&self.psd2.nca_name), &utf8(&self.psd2.nca_id)]);
        Ok(encode::sequence(&[
            &encode::sequence(&[&encode::oid(oid::QC_TYPE), &encode::sequence(&[&encode::oid(qc_type)])]),
            &encode::sequence(&[&encode::oid(oid::QC_PSD2), &info]),
        ]))
    }

    /// Reads the value of the extension; it takes nothing that [`Self::to_der`] does not write.
    ///
    /// # Errors
    /// When a statement is missing, is another or has another shape (roles flattened into one SEQUENCE are a known
    /// mistake), or a role's name is not that of its identifier.
    pub fn from_der(value: &[u8]) -> Result<Self, ParseError> {
        const WHAT: &str = "qcStatements";
        const PSD2: &str = "PSD2 statement";
        let mut statements = Walker::single(value, SEQUENCE, WHAT)?.walk();

        let mut statement = statements.expect(SEQUENCE, "QcType")?.walk();
        is_oid(&mut statement, oid::QC_TYPE)?;
        let types = statement.expect(SEQUENCE, "QcType")?;
        statement.finish("QcType")?;
        let qc_type = match Walker::single(types.content, walk::OID, "QcType")?.content {
            id if id == oid::QC_TYPE_ESEAL.as_bytes() => QcType::Seal,
            id if id == oid::QC_TYPE_WEB.as_bytes() => QcType::Web,
            _ => return Err(ParseError::Value("QcType")),
        };

        let mut statement = statements.expect(SEQUENCE, PSD2)?.walk();
        is_oid(&mut statement, oid::QC_PSD2)?;
        let mut info = statement.expect(SEQUENCE, PSD2)?.walk();
        statement.finish(PSD2)?;
        let mut list = info.expect(SEQUENCE, "rolesOfPSP")?.walk();
        let mut roles: Vec<Psd2Role> = Vec::new();
        while !list.is_empty() {
            let mut role = list.expect(SEQUENCE, "roleOfPSP")?.walk();
            let id = role.expect(walk::OID, "roleOfPspOid")?.content;
            let found = Psd2Role::ALL.into_iter().find(|r| r.oid().as_bytes() == id).ok_or(ParseError::Value("roleOfPspOid"))?;
            let name = role.expect(UTF8_STRING, "roleOfPspName")?.content;
            role.finish("roleOfPSP")?;
            if name != found.name().as_bytes() {
                return Err(ParseError::Value("roleOfPspName"));
            }
            if roles.last().is_some_and(|last| *last >= found) {
                return Err(ParseError::Value("rolesOfPSP"));
            }
            roles.push(found);
        }
        let nca_name = text(&mut info, "nCAName")?;
        let nca_id = text(&mut info, "nCAId")?;
        info.finish(PSD2)?;
        statements.finish(WHAT)?;
        let psd2 = Psd2 { roles, nca_name, nca_id };
        psd2.check().map_err(|_| ParseError::Value(PSD2))?;
        Ok(Self { qc_type, psd2 })
    }
}

fn is_oid(fields: &mut Walker<'_>, id: ObjectIdentifier) -> Result<(), ParseError> {
    if fields.expect(walk::OID, "statementId")?.content == id.as_bytes() { Ok(()) } else { Err(ParseError::Value("statementId")) }
}

fn text(fields: &mut Walker<'_>, what: &'static str) -> Result<String, ParseError> {
    let element = fields.expect(UTF8_STRING, what)?;
    Ok(std::str::from_utf8(element.content).map_err(|_| ParseError::Value(what))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PSP_PI and PSP_AI of the Financial Conduct Authority, for web authentication (requirements: the reference vector).
    const VECTOR: &str = "306e3013060604008e4601063009060704008e4601060330570606040081982702304d302630110607040081982701020c065053505f50493\
         0110607040081982701030c065053505f41490c1b46696e616e6369616c20436f6e6475637420417574686f726974790c0647422d464341";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn fca(roles: &[Psd2Role]) -> Psd2 {
        Psd2 { roles: roles.to_vec(), nca_name: "Financial Conduct Authority".to_owned(), nca_id: "GB-FCA".to_owned() }
    }

    #[test]
    fn the_reference_vector_is_met_byte_for_byte() {
        use Psd2Role::{AccountInformation, PaymentInitiation};
        let statements = QcStatements { qc_type: QcType::Web, psd2: fca(&[PaymentInitiation, AccountInformation]) };
        let vector = unhex(VECTOR);
        assert_eq!(statements.to_der().unwrap(), vector);
        assert_eq!(QcStatements::from_der(&vector), Ok(statements));
        // However a policy lists them.
        let other = fca(&[AccountInformation, PaymentInitiation, AccountInformation]);
        assert_eq!(QcStatements { qc_type: QcType::Web, psd2: other }.to_der().unwrap(), vector);
        for role in Psd2Role::ALL {
            let one = QcStatements { qc_type: QcType::Seal, psd2: fca(&[role]) };
            assert_eq!(QcStatements::from_der(&one.to_der().unwrap()), Ok(one));
            assert_eq!(role.name().parse(), Ok(role));
        }
    }

    #[test]
    fn roles_flattened_into_one_sequence_are_refused() {
        // The known wrong shape: SEQUENCE OF SEQUENCE { PSP_PI, "PSP_PI", PSP_AI, "PSP_AI" }.
        let role = |r: Psd2Role| [encode::oid(r.oid()), encode::tlv(UTF8_STRING, r.name().as_bytes())].concat();
        let utf8 = |text: &str| encode::tlv(UTF8_STRING, text.as_bytes());
        let both = [role(Psd2Role::PaymentInitiation), role(Psd2Role::AccountInformation)];
        let wrapped = encode::sequence(&[&encode::sequence(&[&both.concat()])]);
        let bare = encode::sequence(&[&both.concat()]);
        for roles in [wrapped, bare] {
            let info = encode::sequence(&[&roles, &utf8("Financial Conduct Authority"), &utf8("GB-FCA")]);
            let value = encode::sequence(&[
                &encode::sequence(&[&encode::oid(oid::QC_TYPE), &encode::sequence(&[&encode::oid(oid::QC_TYPE_WEB)])]),
                &encode::sequence(&[&encode::oid(oid::QC_PSD2), &info]),
            ]);
            assert!(QcStatements::from_der(&value).is_err());
        }
    }

    /// What is read is what would be written: no other bytes read as the same statements.
    #[test]
    fn no_other_bytes_read_as_statements_of_the_vector() {
        let vector = unhex(VECTOR);
        let read = QcStatements::from_der(&vector).unwrap();
        for at in 0..vector.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut changed = vector.clone();
                changed[at] ^= bit;
                assert_ne!(QcStatements::from_der(&changed).as_ref(), Ok(&read), "bit {bit:#x} of octet {at}");
            }
            assert!(QcStatements::from_der(&vector[..at]).is_err());
        }
        assert!(QcStatements::from_der(&[&vector[..], &[0]].concat()).is_err());
    }

    #[test]
    fn authorities_and_roles_have_their_form() {
        let check = |change: &dyn Fn(&mut Psd2), expected: &str| {
            let mut psd2 = fca(&[Psd2Role::CardIssuing]);
            change(&mut psd2);
            let error = QcStatements { qc_type: QcType::Web, psd2 }.to_der().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|p| p.roles.clear(), "at least one role");
        check(&|p| p.nca_name.clear(), "1 to 256 characters");
        check(&|p| p.nca_name = "x".repeat(257), "1 to 256 characters");
        check(&|p| p.nca_name = "a\nb".to_owned(), "1 to 256 characters");
        for id in ["", "GB", "GBFCA", "GB-F", "GB-ABCDEFGHI", "gb-FCA", "GB-fca", "G-FCA", "GB-FCA-1", "GB-F1A"] {
            check(&|p| p.nca_id = id.to_owned(), "as in GB-FCA");
        }
    }
}
