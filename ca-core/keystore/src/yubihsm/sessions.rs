//! Sessions with the device: one for each authentication key, opened when needed, opened again when lost.

use std::fmt;

use ca_core::model::KeyLabel;
use ca_core::ports::{FirmwareVersion, KeyStoreError};
#[cfg(feature = "yubihsm-usb")]
use yubihsm::UsbConfig;
use yubihsm::client::ErrorKind as ClientErrorKind;
use yubihsm::device::ErrorKind as DeviceErrorKind;
use yubihsm::{Capability, Client, Connector, Credentials, Domain, HttpConfig, authentication, object};
use zeroize::Zeroizing;

use crate::{CredentialError, CredentialSource, YubiHsmConnector};

/// CVE-2024-45678: below it, an ECDSA key can be read out by whoever holds the device.
pub(crate) const SAFE_FIRMWARE: FirmwareVersion = FirmwareVersion(2, 4, 0);

/// One of the device's authentication keys, and where its 32 bytes come from at each login.
pub struct AuthenticationKey {
    /// Its id in the device.
    pub id: u16,
    /// Where the value comes from: 32 bytes, or 64 hexadecimal digits.
    pub source: Box<dyn CredentialSource>,
    /// The name to ask the source for.
    pub name: String,
}

/// Authentication keys whose values are at hand.
#[cfg(feature = "shares")]
pub(crate) fn given_keys(values: &[(u16, Zeroizing<[u8; 32]>)]) -> Vec<AuthenticationKey> {
    let key = |(id, value): &(u16, Zeroizing<[u8; 32]>)| AuthenticationKey {
        id: *id,
        source: Box::new(crate::credential::Held(Zeroizing::new(value.to_vec()))),
        name: String::new(),
    };
    values.iter().map(key).collect()
}

impl fmt::Debug for AuthenticationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthenticationKey({:#06x})", self.id)
    }
}

/// Which device, and what it must be.
#[derive(Clone, Debug)]
pub struct YubiHsmOptions {
    /// How it is reached.
    pub connector: YubiHsmConnector,
    /// The device's serial number, in decimal.
    pub serial: String,
    /// The lowest firmware that is good enough; the default is 2.4.0 (CVE-2024-45678).
    pub minimum_firmware: FirmwareVersion,
    /// The domains of new keys, 1 to 16.
    pub domains: Vec<u16>,
}

impl YubiHsmOptions {
    /// The device with this serial number, at least firmware 2.4.0, keys in domain 1.
    pub fn new(connector: impl Into<YubiHsmConnector>, serial: impl Into<String>) -> Self {
        Self { connector: connector.into(), serial: serial.into(), minimum_firmware: SAFE_FIRMWARE, domains: vec![1] }
    }

    /// The domains as the device writes them.
    pub(crate) fn domain_bits(&self) -> Result<Domain, Trouble> {
        let mut bits = Domain::empty();
        for number in &self.domains {
            bits |= Domain::at(usize::from(*number)).map_err(|e| Trouble::Pinned(e.to_string()))?;
        }
        if bits.is_empty() { Err(Trouble::Pinned("no domain is named (hint: name one or more of 1 to 16)".to_owned())) } else { Ok(bits) }
    }
}

/// What goes wrong with the device.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The device or its connector is away.
    Away(String),
    /// The device has ended the session; what was asked of it was certainly not done.
    Lost(String),
    /// The device refuses the command.
    Device(DeviceErrorKind),
    /// The device refuses the credential, or there is none that fits.
    Credential(String),
    /// It is not the device that is wanted, or not as it is wanted.
    Pinned(String),
    /// No authentication key that was given has this capability.
    Missing(Capability),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(reason) | Self::Lost(reason) | Self::Credential(reason) | Self::Pinned(reason) => f.write_str(reason),
            Self::Device(DeviceErrorKind::LogFull) => f.write_str(
                "the device's log is full and audit is forced, so that it does nothing that must be logged (hint: drain the log with \
                 the auditor's key)",
            ),
            Self::Device(DeviceErrorKind::StorageFailed) => {
                f.write_str("the device is full: it holds 256 objects or 126 KB (hint: destroy what is not needed in a ceremony)")
            }
            Self::Device(kind) => write!(f, "the device refuses: {kind}"),
            Self::Missing(capability) => write!(
                f,
                "no authentication key that was given can {} (hint: give the key of the role that may)",
                names(*capability).join(" and ")
            ),
        }
    }
}

impl Trouble {
    /// As the key store's error about `label`.
    pub(crate) fn about(self, label: &KeyLabel) -> KeyStoreError {
        match self {
            Self::Device(DeviceErrorKind::ObjectNotFound) => KeyStoreError::NotFound(label.clone()),
            Self::Device(DeviceErrorKind::ObjectExists) => KeyStoreError::Exists(label.clone()),
            Self::Device(DeviceErrorKind::InsufficientPermissions) | Self::Missing(_) => {
                KeyStoreError::Unsupported { label: label.clone(), reason: self.to_string() }
            }
            other => other.into(),
        }
    }
}

impl From<Trouble> for KeyStoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Credential(reason) => Self::Credential(reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Capabilities in the device's own terms.
pub(crate) fn names(capabilities: Capability) -> Vec<String> {
    capabilities
        .iter_names()
        .map(|(name, _)| match name {
            "PUT_OPTION" => "set-option".to_owned(),
            other => other.to_ascii_lowercase().replace('_', "-"),
        })
        .collect()
}

/// The domains' numbers.
pub(crate) fn domain_numbers(domains: Domain) -> Vec<u16> {
    (1..=16).filter(|n| domains.bits() & (1 << (n - 1)) != 0).collect()
}

/// The 32 bytes of an authentication key, from their binary or hexadecimal form.
pub(crate) fn key_bytes(given: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    match given.len() {
        32 => key.copy_from_slice(given),
        64 => {
            for (byte, pair) in key.iter_mut().zip(given.chunks(2)) {
                let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
                *byte = digit(pair[0])? << 4 | digit(pair[1])?;
            }
        }
        _ => return None,
    }
    Some(key)
}

/// The driver's way to the device.
fn reach(connector: &YubiHsmConnector) -> Result<Connector, Trouble> {
    match connector {
        YubiHsmConnector::Http(address) => {
            let config = HttpConfig { addr: address.ip().to_string(), port: address.port(), ..HttpConfig::default() };
            Ok(Connector::http(&config))
        }
        #[cfg(feature = "yubihsm-usb")]
        YubiHsmConnector::Usb(serial) => {
            // The driver wants the ten digits that the device tells, zeros in front.
            let padded = format!("{serial:0>10}").parse();
            let serial = padded.map_err(|e| Trouble::Pinned(format!("the serial number {serial}: {e}")))?;
            Ok(Connector::usb(&UsbConfig { serial: Some(serial), ..UsbConfig::default() }))
        }
        #[cfg(not(feature = "yubihsm-usb"))]
        YubiHsmConnector::Usb(serial) => Err(Trouble::Pinned(connector.check(serial).err().unwrap_or_default())),
    }
}

fn how_to_reach(connector: &YubiHsmConnector) -> String {
    match connector {
        YubiHsmConnector::Http(address) => format!("is yubihsm-connector running at {address}, and the device plugged in?"),
        YubiHsmConnector::Usb(serial) => {
            format!("is the device {serial} plugged in, may this user open it, and does no other program hold it?")
        }
    }
}

/// A session's client; the driver keeps no credential.
pub(crate) fn open_session(connector: &YubiHsmConnector, id: u16, key: &[u8; 32]) -> Result<Client, Trouble> {
    let credentials = Credentials::new(id, authentication::Key::new(*key));
    Client::open(reach(connector)?, credentials, false).map_err(|e| match (e.kind(), e.device_error()) {
        (ClientErrorKind::AuthenticationError, _) | (_, Some(DeviceErrorKind::AuthenticationFailed)) => {
            Trouble::Credential(format!("{e} (hint: check which credential belongs to the authentication key {id:#06x})"))
        }
        (_, Some(DeviceErrorKind::SessionsFull)) => Trouble::Away(
            "the device's sixteen sessions are in use (hint: idle ones end after 30 seconds; keep one store open instead of many)"
                .to_owned(),
        ),
        (_, Some(_)) | (ClientErrorKind::ResponseError, _) => trouble(&e),
        _ => Trouble::Away(format!("{e} (hint: {})", how_to_reach(connector))),
    })
}

/// The device's serial number in decimal, as it is printed on its case.
pub(crate) fn serial_text(info: &yubihsm::device::Info) -> String {
    let padded = info.serial_number.to_string();
    let text = padded.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

/// The device's firmware.
pub(crate) fn firmware(info: &yubihsm::device::Info) -> FirmwareVersion {
    FirmwareVersion(info.major_version, info.minor_version, info.build_version)
}

/// Holds the device against what is pinned.
pub(crate) fn check_device(info: &yubihsm::device::Info, options: &YubiHsmOptions) -> Result<(), Trouble> {
    let serial = serial_text(info);
    if serial != options.serial {
        return Err(Trouble::Pinned(format!(
            "the device has the serial number {serial}, and {} is pinned (hint: plug in that device, or correct the configuration)",
            options.serial
        )));
    }
    let firmware = firmware(info);
    if firmware < options.minimum_firmware {
        return Err(Trouble::Pinned(format!(
            "the device has firmware {firmware}, and at least {} is wanted (hint: below 2.4.0 its ECDSA keys can be read out, \
             CVE-2024-45678; firmware cannot be updated, so replace the device)",
            options.minimum_firmware
        )));
    }
    Ok(())
}

/// How often a command is tried while the device ends one session after the other.
const ATTEMPTS: u8 = 4;

/// Whether a command may be sent again when nobody knows whether it was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It changes nothing.
    Always,
    /// It leaves its mark in the device and its log: only where it certainly was not.
    IfNotDone,
}

struct Seat {
    key: AuthenticationKey,
    /// What the device says that the key may do; known after the first login.
    granted: Option<Capability>,
    client: Option<Client>,
}

/// All sessions.
pub(crate) struct Sessions {
    pub(crate) options: YubiHsmOptions,
    pub(crate) domains: Domain,
    seats: Vec<Seat>,
}

impl Sessions {
    pub(crate) fn new(options: YubiHsmOptions, keys: Vec<AuthenticationKey>) -> Result<Self, Trouble> {
        options.connector.check(&options.serial).map_err(Trouble::Pinned)?;
        let domains = options.domain_bits()?;
        if keys.is_empty() || keys.len() > 8 {
            return Err(Trouble::Credential("a store wants 1 to 8 authentication keys".to_owned()));
        }
        let seats = keys.into_iter().map(|key| Seat { key, granted: None, client: None }).collect();
        Ok(Self { options, domains, seats })
    }

    /// Logs in with a key and checks that the device is the one that is wanted.
    fn login(&mut self, seat: usize) -> Result<(), Trouble> {
        let key = &self.seats[seat].key;
        let given = key.source.credential(&key.name).map_err(|e| match e {
            CredentialError::Unavailable(_) => Trouble::Away(e.to_string()),
            CredentialError::Wrong(_) => Trouble::Credential(e.to_string()),
        })?;
        let bytes = key_bytes(&given).ok_or_else(|| {
            Trouble::Credential(format!(
                "what was given for the authentication key {:#06x} is not 32 bytes or 64 hexadecimal digits (hint: authentication keys \
                 are random, never passwords)",
                key.id
            ))
        })?;
        let client = open_session(&self.options.connector, key.id, &bytes)?;
        check_device(&client.device_info().map_err(|e| trouble(&e))?, &self.options)?;
        let info = client.get_object_info(key.id, object::Type::AuthenticationKey).map_err(|e| trouble(&e))?;
        if !info.domains.contains(self.domains) {
            return Err(Trouble::Pinned(format!(
                "the authentication key {:#06x} is in the domains {:?}, and {:?} are configured (hint: correct `domains`)",
                key.id,
                domain_numbers(info.domains),
                domain_numbers(self.domains)
            )));
        }
        let seat = &mut self.seats[seat];
        seat.granted = Some(info.capabilities);
        seat.client = Some(client);
        Ok(())
    }

    /// Logs in with every key. That the device is away is no error here.
    pub(crate) fn login_all(&mut self) -> Result<(), Trouble> {
        for seat in 0..self.seats.len() {
            match self.login(seat) {
                Ok(()) => {}
                Err(Trouble::Away(_) | Trouble::Lost(_)) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Ends every session here; the device ends them when they are idle.
    pub(crate) fn forget(&mut self) {
        for seat in &mut self.seats {
            seat.client = None;
        }
    }

    fn seat_with(&mut self, capability: Capability) -> Result<usize, Trouble> {
        for seat in 0..self.seats.len() {
            if self.seats[seat].granted.is_none() {
                self.login(seat)?;
            }
            if self.seats[seat].granted.is_some_and(|granted| granted.contains(capability)) {
                return Ok(seat);
            }
        }
        Err(Trouble::Missing(capability))
    }

    /// Sends a command with the first key that has the capability.
    pub(crate) fn run<T>(
        &mut self,
        capability: Capability,
        again: Again,
        command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>,
    ) -> Result<T, Trouble> {
        let seat = self.seat_with(capability)?;
        self.run_at(seat, again, command)
    }

    fn run_at<T>(
        &mut self,
        seat: usize,
        again: Again,
        command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>,
    ) -> Result<T, Trouble> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.attempt(seat, &command);
            match &result {
                Err(Trouble::Lost(_)) if attempts < ATTEMPTS => {}
                Err(Trouble::Away(_)) if attempts == 1 && again == Again::Always => {}
                _ => return result,
            }
        }
    }

    fn attempt<T>(&mut self, seat: usize, command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>) -> Result<T, Trouble> {
        if self.seats[seat].client.is_none() {
            self.login(seat)?;
        }
        let client = self.seats[seat].client.as_ref().expect("the login put it there");
        command(client).map_err(|error| {
            let trouble = trouble(&error);
            if matches!(trouble, Trouble::Lost(_) | Trouble::Away(_)) {
                // The driver would go on to use a session that the device has ended.
                self.seats[seat].client = None;
            }
            trouble
        })
    }

    /// Asks the device over each key's session who it is.
    pub(crate) fn check_each(&mut self) -> Result<yubihsm::device::Info, Trouble> {
        let mut last = None;
        for seat in 0..self.seats.len() {
            let info = self.run_at(seat, Again::Always, Client::device_info)?;
            check_device(&info, &self.options)?;
            last = Some(info);
        }
        last.ok_or_else(|| Trouble::Credential("a store wants 1 to 8 authentication keys".to_owned()))
    }
}

/// What an error of the driver means.
pub(crate) fn trouble(error: &yubihsm::client::Error) -> Trouble {
    match (error.device_error(), error.kind()) {
        // The device refused the message, or there was no session to send it in.
        (Some(DeviceErrorKind::InvalidSession | DeviceErrorKind::SessionFailed), _)
        | (None, ClientErrorKind::ResponseError | ClientErrorKind::AuthenticationError | ClientErrorKind::ClosedSessionError) => {
            Trouble::Lost(format!("the session with the device was lost: {error} (hint: it is opened again when next used)"))
        }
        (Some(kind), _) => Trouble::Device(kind),
        (None, _) => Trouble::Away(format!("{error} (hint: is yubihsm-connector running, where it is named, and the device plugged in?)")),
    }
}
