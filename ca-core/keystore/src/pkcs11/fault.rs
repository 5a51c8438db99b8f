//! What goes wrong between this program and a token, sorted by what helps.

use std::fmt;

use ca_core::model::KeyLabel;
use ca_core::ports::KeyStoreError;
use cryptoki::error::{Error, RvError};

use crate::CredentialError;

/// Why a step on the token failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The session, the token or the module is gone or in disorder. Opening it anew may help.
    Lost(String),
    /// The token does not do this, now or later.
    Refused(String),
    /// Anything else, as it goes to the caller.
    Store(KeyStoreError),
}

impl Fault {
    /// For `map_err`: `action` says what was tried.
    pub(super) fn of(action: &'static str) -> impl Fn(Error) -> Self {
        move |error| match error {
            Error::Pkcs11(code, _) => of_code(action, code),
            Error::NullFunctionPointer | Error::NotSupported => Self::Refused(format!("the module cannot {action}")),
            other => Self::unavailable(format!("cannot {action}: {other}")),
        }
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Store(KeyStoreError::Unavailable(reason.into()))
    }

    pub(super) fn credential(reason: impl Into<String>) -> Self {
        Self::Store(KeyStoreError::Credential(reason.into()))
    }

    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Store(KeyStoreError::Damaged(reason.into()))
    }

    /// As the caller sees it, who asked for something with the key `label`.
    pub(super) fn with_key(self, label: &KeyLabel) -> Self {
        match self {
            Self::Refused(reason) => Self::Store(KeyStoreError::Unsupported { label: label.clone(), reason }),
            other => other,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<CredentialError> for Fault {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Unavailable(_) => Self::unavailable(error.to_string()),
            CredentialError::Wrong(_) => Self::credential(error.to_string()),
        }
    }
}

fn of_code(action: &'static str, code: RvError) -> Fault {
    let said = format!("cannot {action}: the token answers {}", name(code));
    match code {
        // An object handle dies with the login that found it; a token that went away can look like that, too.
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::ObjectHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::WrappingKeyHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::SlotIdInvalid
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::DeviceError
        | RvError::CryptokiNotInitialized
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::GeneralError => Fault::Lost(said),
        RvError::DeviceMemory => Fault::unavailable(format!(
            "{said}: it is full (hint: destroy keys that are no longer needed, in a ceremony; or use another token)"
        )),
        RvError::SessionCount => {
            Fault::unavailable(format!("{said}: it has no session left (hint: lower `sessions`, or end other programs that use it)"))
        }
        RvError::TokenWriteProtected | RvError::SessionReadOnly => Fault::unavailable(format!("{said}: it is write-protected")),
        RvError::FunctionNotSupported
        | RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::CurveNotSupported
        | RvError::DomainParamsInvalid
        | RvError::KeySizeRange
        | RvError::KeyFunctionNotPermitted
        | RvError::KeyTypeInconsistent
        | RvError::KeyNotWrappable
        | RvError::KeyUnextractable
        | RvError::WrappingKeyTypeInconsistent
        | RvError::UnwrappingKeyTypeInconsistent
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange
        | RvError::AttributeReadOnly
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::ActionProhibited
        | RvError::DataLenRange
        | RvError::DataInvalid => Fault::Refused(said),
        _ => Fault::unavailable(said),
    }
}

/// The code as the standard and the vendor's manual have it: `CKR_PIN_INCORRECT`.
pub(super) fn name(code: RvError) -> String {
    let camel = format!("{code:?}");
    let mut out = String::from("CKR");
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_as_in_the_standard() {
        assert_eq!(name(RvError::PinIncorrect), "CKR_PIN_INCORRECT");
        assert_eq!(name(RvError::VendorDefined(7)), "CKR_VENDOR_DEFINED(7)");
    }
}
