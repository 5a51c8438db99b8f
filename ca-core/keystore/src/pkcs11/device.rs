//! The token as a device: who it is, what it holds, copies under a wrapping key.

use ca_core::model::KeyLabel;
use ca_core::pki::hex;
use ca_core::ports::{DeviceIdentity, DeviceKind, DeviceObject, FirmwareVersion, KeyInfo, KeyStoreError, WrappedKey};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use super::fault::Fault;
use super::pool::Link;
use super::{encode, keys};

/// The most bytes of a wrapped key: RSA-4096 as PKCS#8 has 2.4 KB.
const MAX_WRAPPED: usize = 16 * 1024;

pub(super) fn identity(link: &Link) -> Result<DeviceIdentity, Fault> {
    let info = link.context.get_token_info(link.slot).map_err(Fault::of("inspect the token"))?;
    let firmware = info.firmware_version();
    Ok(DeviceIdentity {
        kind: DeviceKind::Pkcs11,
        model: format!("{} {}", info.manufacturer_id().trim(), info.model().trim()),
        serial: info.serial_number().trim().to_owned(),
        firmware: Some(FirmwareVersion(firmware.major(), firmware.minor(), 0)),
    })
}

pub(super) fn inventory(link: &Link) -> Result<Vec<DeviceObject>, Fault> {
    const WANTED: [AttributeType; 4] = [AttributeType::Class, AttributeType::Id, AttributeType::Label, AttributeType::KeyType];
    link.token_answers()?;
    let handles = keys::objects(link, &[Attribute::Token(true)], keys::MAX_OBJECTS + 1)?;
    if handles.len() > keys::MAX_OBJECTS {
        return Err(Fault::unavailable(format!("the token has more than {} objects", keys::MAX_OBJECTS)));
    }
    let mut found = Vec::with_capacity(handles.len());
    for handle in handles {
        let read = link.session.get_attributes(handle, &WANTED).map_err(Fault::of("read an object"))?;
        let mut object = DeviceObject { kind: "unknown".to_owned(), id: String::new(), label: String::new(), algorithm: String::new() };
        for attribute in read {
            match attribute {
                Attribute::Class(class) => object.kind = class_name(class),
                Attribute::Id(id) => object.id = hex(&id),
                Attribute::Label(label) => object.label = String::from_utf8_lossy(&label).into_owned(),
                Attribute::KeyType(key_type) => object.algorithm = type_name(key_type),
                _ => {}
            }
        }
        found.push(object);
    }
    found.sort();
    Ok(found)
}

fn class_name(class: ObjectClass) -> String {
    match class {
        ObjectClass::PRIVATE_KEY => "private-key".to_owned(),
        ObjectClass::PUBLIC_KEY => "public-key".to_owned(),
        ObjectClass::SECRET_KEY => "secret-key".to_owned(),
        ObjectClass::CERTIFICATE => "certificate".to_owned(),
        ObjectClass::DATA => "data".to_owned(),
        other => format!("{other}"),
    }
}

fn type_name(key_type: KeyType) -> String {
    match key_type {
        KeyType::EC => "ec".to_owned(),
        KeyType::EC_EDWARDS => "ec-edwards".to_owned(),
        KeyType::RSA => "rsa".to_owned(),
        KeyType::AES => "aes".to_owned(),
        KeyType::GENERIC_SECRET => "generic-secret".to_owned(),
        other => format!("{other}"),
    }
}

/// A token just initialized has no object, and nobody has tried its PINs.
pub(super) fn deviations_from_reset(link: &Link) -> Result<Vec<String>, Fault> {
    let info = link.context.get_token_info(link.slot).map_err(Fault::of("inspect the token"))?;
    let mut deviations: Vec<String> =
        inventory(link)?.into_iter().map(|o| format!("it holds a {} labelled `{}` (id {})", o.kind, o.label, o.id)).collect();
    let flags = [
        (info.user_pin_count_low(), "a wrong user PIN was entered (CKF_USER_PIN_COUNT_LOW)"),
        (info.so_pin_count_low(), "a wrong security officer's PIN was entered (CKF_SO_PIN_COUNT_LOW)"),
        (info.so_pin_locked(), "the security officer's PIN is locked (CKF_SO_PIN_LOCKED)"),
        (info.error_state(), "its self-test failed (CKF_ERROR_STATE)"),
    ];
    deviations.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, what)| what.to_owned()));
    Ok(deviations)
}

/// Wraps a private key (PKCS#8 under AES key wrap with padding, RFC 5649).
pub(super) fn export_wrapped(link: &Link, label: &KeyLabel, wrapping: &str) -> Result<WrappedKey, Fault> {
    let private = keys::private_key(link, label)?;
    let KeyInfo { algorithm, public_key, .. } = keys::info(link, label, private)?;
    let under = keys::wrapping_key(link, wrapping, Attribute::Wrap(true))?;
    keys::trusted(link, under, wrapping)?;
    let bytes = link.session.wrap_key(&Mechanism::AesKeyWrapPad, under, private).map_err(Fault::of("wrap the key"))?;
    if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
        return Err(Fault::unavailable(format!("the token gave a wrapped key of {} bytes", bytes.len())));
    }
    Ok(WrappedKey { label: label.clone(), algorithm, public_key, wrapping_key: wrapping.to_owned(), bytes })
}

/// Brings a wrapped key in, under the attributes that a key for backups is made with.
pub(super) fn import_wrapped(link: &Link, wrapped: &WrappedKey, id: [u8; 16]) -> Result<KeyInfo, Fault> {
    let WrappedKey { label, algorithm, public_key, wrapping_key, bytes } = wrapped;
    keys::refuse_existing(link, label)?;
    if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
        return Err(Fault::Refused(format!("a wrapped key has 1 to {MAX_WRAPPED} bytes")));
    }
    let (public, key_type) = keys::public_object(label, id, *algorithm, public_key)
        .filter(|_| ca_core::pki::key_algorithm(public_key).is_ok_and(|a| a == *algorithm))
        .zip(encode::key_type(*algorithm))
        .ok_or_else(|| Fault::Refused(format!("its public half is not that of a {algorithm} key")))?;
    let under = keys::wrapping_key(link, wrapping_key, Attribute::Unwrap(true))?;
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(key_type)];
    template.extend(keys::private_template(label, id, true));
    let private = link.session.unwrap_key(&Mechanism::AesKeyWrapPad, under, bytes, &template).map_err(Fault::of("unwrap the key"))?;
    let mut made = vec![private];
    let checked = keys::assert_as_asked(link, label, private, true, false)
        .and_then(|()| same_public_half(link, private, wrapped))
        .and_then(|()| {
            made.push(link.session.create_object(&public).map_err(Fault::of("store the public half"))?);
            keys::describe(link, label)
        })
        .and_then(|info| if info.public_key == *public_key { Ok(info) } else { Err(Fault::Refused("another public half".to_owned())) });
    checked.map_err(|fault| keys::undo(link, &made, fault))
}

/// Where the token tells the public half from the private object alone (always for RSA), it must be the wrapped one's.
/// Where it does not, a test signature shows it (ceremony requirement 25).
fn same_public_half(link: &Link, private: cryptoki::object::ObjectHandle, wrapped: &WrappedKey) -> Result<(), Fault> {
    const WANTED: [AttributeType; 4] =
        [AttributeType::EcParams, AttributeType::EcPoint, AttributeType::Modulus, AttributeType::PublicExponent];
    let read = link.session.get_attributes(private, &WANTED).map_err(Fault::of("read the key"))?;
    let told = encode::public_key(&read);
    let is_rsa = encode::key_type(wrapped.algorithm) == Some(KeyType::RSA);
    match told {
        Some((_, key)) if key == wrapped.public_key => Ok(()),
        Some(_) => Err(Fault::Refused("what was wrapped is another key than the record says".to_owned())),
        None if is_rsa => Err(Fault::Refused("the token does not tell the key's modulus".to_owned())),
        None => Ok(()),
    }
}

/// Tokens keep no log that PKCS#11 could read.
pub(super) fn no_log() -> KeyStoreError {
    KeyStoreError::Unavailable(
        "a PKCS#11 token keeps no log that could be read or acknowledged (hint: see the vendor's audit tools)".to_owned(),
    )
}
