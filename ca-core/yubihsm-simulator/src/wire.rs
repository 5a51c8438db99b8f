//! The device's numbers, and the frames that commands and responses travel in.

/// The device's error codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DeviceError {
    /// The command is not known.
    InvalidCommand = 0x01,
    /// A field has a value that it cannot have.
    InvalidData = 0x02,
    /// No such session.
    InvalidSession = 0x03,
    /// The cryptogram is wrong.
    AuthenticationFailed = 0x04,
    /// All sixteen sessions are in use.
    SessionsFull = 0x05,
    /// A message did not authenticate.
    SessionFailed = 0x06,
    /// There is no room for another object.
    StorageFailed = 0x07,
    /// A message or a field is too long or too short.
    WrongLength = 0x08,
    /// A capability is missing.
    InsufficientPermissions = 0x09,
    /// The log is full, and the command must be logged.
    LogFull = 0x0a,
    /// No such object in the session's domains.
    ObjectNotFound = 0x0b,
    /// The id is reserved.
    InvalidId = 0x0c,
    /// The id is in use.
    ObjectExists = 0x11,
}

/// Command codes.
pub(crate) mod command {
    pub(crate) const BOOT: u8 = 0x00;
    pub(crate) const ECHO: u8 = 0x01;
    pub(crate) const CREATE_SESSION: u8 = 0x03;
    pub(crate) const AUTHENTICATE_SESSION: u8 = 0x04;
    pub(crate) const SESSION_MESSAGE: u8 = 0x05;
    pub(crate) const DEVICE_INFO: u8 = 0x06;
    pub(crate) const RESET_DEVICE: u8 = 0x08;
    pub(crate) const CLOSE_SESSION: u8 = 0x40;
    pub(crate) const GET_STORAGE_INFO: u8 = 0x41;
    pub(crate) const PUT_OPAQUE: u8 = 0x42;
    pub(crate) const GET_OPAQUE: u8 = 0x43;
    pub(crate) const PUT_AUTHENTICATION_KEY: u8 = 0x44;
    pub(crate) const PUT_ASYMMETRIC_KEY: u8 = 0x45;
    pub(crate) const GENERATE_ASYMMETRIC_KEY: u8 = 0x46;
    pub(crate) const LIST_OBJECTS: u8 = 0x48;
    pub(crate) const EXPORT_WRAPPED: u8 = 0x4a;
    pub(crate) const IMPORT_WRAPPED: u8 = 0x4b;
    pub(crate) const PUT_WRAP_KEY: u8 = 0x4c;
    pub(crate) const GET_LOG_ENTRIES: u8 = 0x4d;
    pub(crate) const GET_OBJECT_INFO: u8 = 0x4e;
    pub(crate) const SET_OPTION: u8 = 0x4f;
    pub(crate) const GET_OPTION: u8 = 0x50;
    pub(crate) const GET_PSEUDO_RANDOM: u8 = 0x51;
    pub(crate) const GET_PUBLIC_KEY: u8 = 0x54;
    pub(crate) const SIGN_ECDSA: u8 = 0x56;
    pub(crate) const DELETE_OBJECT: u8 = 0x58;
    pub(crate) const GENERATE_WRAP_KEY: u8 = 0x5b;
    pub(crate) const SIGN_ATTESTATION_CERTIFICATE: u8 = 0x64;
    pub(crate) const SET_LOG_INDEX: u8 = 0x67;
    pub(crate) const SIGN_EDDSA: u8 = 0x6a;
    pub(crate) const BLINK_DEVICE: u8 = 0x6b;
    pub(crate) const CHANGE_AUTHENTICATION_KEY: u8 = 0x6c;
    pub(crate) const ERROR: u8 = 0x7f;

    /// Every command with an audit setting, in the order in which the device lists them (Yubico, "Set Command Audit
    /// Option"); all are off after a reset.
    pub(crate) const AUDITABLE: &[u8] = &[
        0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x09, 0x08, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x55, 0x56, 0x48, 0x49, 0x57, 0x4a,
        0x4b, 0x4c, 0x4d, 0x67, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x54, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62,
        0x63, 0x64, 0x65, 0x66, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x0a, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
    ];
}

/// Capability bits.
pub(crate) mod capability {
    pub(crate) const GET_OPAQUE: u64 = 1;
    pub(crate) const PUT_OPAQUE: u64 = 1 << 0x01;
    pub(crate) const PUT_AUTHENTICATION_KEY: u64 = 1 << 0x02;
    pub(crate) const PUT_ASYMMETRIC_KEY: u64 = 1 << 0x03;
    pub(crate) const GENERATE_ASYMMETRIC_KEY: u64 = 1 << 0x04;
    pub(crate) const SIGN_ECDSA: u64 = 1 << 0x07;
    pub(crate) const SIGN_EDDSA: u64 = 1 << 0x08;
    pub(crate) const EXPORT_WRAPPED: u64 = 1 << 0x0c;
    pub(crate) const IMPORT_WRAPPED: u64 = 1 << 0x0d;
    pub(crate) const PUT_WRAP_KEY: u64 = 1 << 0x0e;
    pub(crate) const GENERATE_WRAP_KEY: u64 = 1 << 0x0f;
    pub(crate) const EXPORTABLE_UNDER_WRAP: u64 = 1 << 0x10;
    pub(crate) const SET_OPTION: u64 = 1 << 0x11;
    pub(crate) const GET_OPTION: u64 = 1 << 0x12;
    pub(crate) const GET_PSEUDO_RANDOM: u64 = 1 << 0x13;
    pub(crate) const GET_LOG_ENTRIES: u64 = 1 << 0x18;
    pub(crate) const RESET_DEVICE: u64 = 1 << 0x1c;
    pub(crate) const SIGN_ATTESTATION_CERTIFICATE: u64 = 1 << 0x22;
    pub(crate) const DELETE_OPAQUE: u64 = 1 << 0x27;
    pub(crate) const DELETE_AUTHENTICATION_KEY: u64 = 1 << 0x28;
    pub(crate) const DELETE_ASYMMETRIC_KEY: u64 = 1 << 0x29;
    pub(crate) const DELETE_WRAP_KEY: u64 = 1 << 0x2a;
    pub(crate) const CHANGE_AUTHENTICATION_KEY: u64 = 1 << 0x2e;

    /// Every capability of firmware 2.4: bits 0 to 0x37.
    pub(crate) const ALL: u64 = (1 << 0x38) - 1;
}

/// Algorithm numbers.
pub(crate) mod algorithm {
    pub(crate) const P256: u8 = 12;
    pub(crate) const P384: u8 = 13;
    pub(crate) const AES128_CCM_WRAP: u8 = 29;
    pub(crate) const OPAQUE_DATA: u8 = 30;
    pub(crate) const OPAQUE_X509_CERTIFICATE: u8 = 31;
    pub(crate) const AES128_AUTHENTICATION: u8 = 38;
    pub(crate) const AES192_CCM_WRAP: u8 = 41;
    pub(crate) const AES256_CCM_WRAP: u8 = 42;
    pub(crate) const ED25519: u8 = 46;

    /// What the simulator has; a device has more.
    pub(crate) const ALL: [u8; 12] = [
        P256,
        P384,
        23,
        AES128_CCM_WRAP,
        OPAQUE_DATA,
        OPAQUE_X509_CERTIFICATE,
        AES128_AUTHENTICATION,
        AES192_CCM_WRAP,
        AES256_CCM_WRAP,
        43,
        44,
        ED25519,
    ];
}

/// Reads fields from the front of a message.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DeviceError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DeviceError::WrongLength)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DeviceError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many octets were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DeviceError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DeviceError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DeviceError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn end(&self) -> Result<(), DeviceError> {
        if self.0.is_empty() { Ok(()) } else { Err(DeviceError::WrongLength) }
    }
}

/// `code ‖ length ‖ data`.
pub(crate) fn frame(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a message is shorter than 65,536 octets");
    let mut out = Vec::with_capacity(3 + data.len());
    out.push(code);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// Splits `code ‖ length ‖ data`; the length must be what follows.
pub(crate) fn unframe(message: &[u8]) -> Result<(u8, &[u8]), DeviceError> {
    let mut reader = Reader(message);
    let (code, length) = (reader.u8()?, reader.u16()?);
    let data = reader.take(usize::from(length))?;
    reader.end()?;
    Ok((code, data))
}

/// The answer to a command: its data under the command's code with the top bit set, or an error.
pub(crate) fn answer(code: u8, result: Result<Vec<u8>, DeviceError>) -> Vec<u8> {
    match result {
        Ok(data) => frame(code | 0x80, &data),
        Err(error) => frame(command::ERROR, &[error as u8]),
    }
}
