//! Key pairs on the token: found by label, made with attributes that are read back, used, destroyed.

use std::sync::Arc;

use ca_core::model::KeyLabel;
use ca_core::pki::{KeyAlgorithm, PublicKey, SignatureAlgorithm};
use ca_core::ports::{GenerateKey, KeyAttributes, KeyInfo, KeyStoreError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;

use super::encode;
use super::fault::Fault;
use super::pool::Link;

/// The most objects that are looked at.
pub(super) const MAX_OBJECTS: usize = 4096;

/// RSASSA-PSS over a SHA-256 digest that was made here, with a salt as long (RFC 4055 §3.1).
const PSS: PkcsPssParams = PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: Ulong::new(32) };

/// What a private key must not be used for, in the standard's terms.
const OTHER_USES: [(AttributeType, &str); 4] = [
    (AttributeType::Decrypt, "decrypt"),
    (AttributeType::Unwrap, "unwrap"),
    (AttributeType::Derive, "derive"),
    (AttributeType::SignRecover, "sign-recover"),
];

/// The token objects that match, at most `max` of them.
pub(super) fn objects(link: &Link, template: &[Attribute], max: usize) -> Result<Vec<ObjectHandle>, Fault> {
    let wrong = Fault::of("search for objects");
    let found = link.session.iter_objects(template).map_err(&wrong)?;
    found.take(max).collect::<Result<_, _>>().map_err(wrong)
}

fn of_label(class: ObjectClass, label: &str) -> [Attribute; 3] {
    [Attribute::Class(class), Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())]
}

/// The private key with this label.
pub(super) fn private_key(link: &Link, label: &KeyLabel) -> Result<ObjectHandle, Fault> {
    match objects(link, &of_label(ObjectClass::PRIVATE_KEY, label.as_str()), 2)?.as_slice() {
        [handle] => Ok(*handle),
        [] => {
            link.token_answers()?;
            Err(Fault::Store(KeyStoreError::NotFound(label.clone())))
        }
        _ => Err(Fault::damaged(format!("two private keys on the token are labelled `{label}` (hint: rename one with the vendor's tool)"))),
    }
}

/// A wrapping key by its label; `usage` is what it is needed for.
pub(super) fn wrapping_key(link: &Link, label: &str, usage: Attribute) -> Result<ObjectHandle, Fault> {
    let mut template = of_label(ObjectClass::SECRET_KEY, label).to_vec();
    template.push(usage.clone());
    match objects(link, &template, 2)?.as_slice() {
        [handle] => Ok(*handle),
        [] => Err(Fault::Refused(format!(
            "no secret key on the token is labelled `{label}` with {usage:?} (hint: the token's security officer makes the wrapping key and marks it as trusted)"
        ))),
        _ => Err(Fault::Refused(format!("two secret keys on the token are labelled `{label}`"))),
    }
}

/// Algorithm and public half of a private key.
pub(super) fn info(link: &Link, label: &KeyLabel, private: ObjectHandle) -> Result<KeyInfo, Fault> {
    const WANTED: [AttributeType; 4] =
        [AttributeType::EcParams, AttributeType::EcPoint, AttributeType::Modulus, AttributeType::PublicExponent];
    let read = |handle| link.session.get_attributes(handle, &WANTED).map_err(Fault::of("read a public key"));
    let mut template = of_label(ObjectClass::PUBLIC_KEY, label.as_str()).to_vec();
    template.extend(id(link, private)?);
    let found = match objects(link, &template, 1)?.first() {
        Some(public) => encode::public_key(&read(*public)?),
        // Some modules keep the public half with the private one only.
        None => encode::public_key(&read(private)?),
    };
    let (algorithm, public_key) = found.ok_or_else(|| {
        Fault::damaged(format!(
            "the key `{label}` has no public half on the token that can be read, or is of a kind that is not handled (hint: use P-256, P-384, Ed25519 or RSA of 2048, 3072 or 4096 bits)"
        ))
    })?;
    Ok(KeyInfo { label: label.clone(), algorithm, public_key })
}

fn id(link: &Link, private: ObjectHandle) -> Result<Option<Attribute>, Fault> {
    let read = link.session.get_attributes(private, &[AttributeType::Id]).map_err(Fault::of("read a key's id"))?;
    Ok(read.into_iter().find(|a| matches!(a, Attribute::Id(id) if !id.is_empty())))
}

pub(super) fn describe(link: &Link, label: &KeyLabel) -> Result<KeyInfo, Fault> {
    info(link, label, private_key(link, label)?)
}

/// Every key of a handled kind whose label can be one of ours; others may live on the token, too.
pub(super) fn list(link: &Link) -> Result<Vec<KeyInfo>, Fault> {
    let handles = objects(link, &[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)], MAX_OBJECTS)?;
    if handles.is_empty() {
        link.token_answers()?;
    }
    let mut keys = Vec::with_capacity(handles.len());
    for handle in handles {
        let read = link.session.get_attributes(handle, &[AttributeType::Label]).map_err(Fault::of("read a label"))?;
        let Some(Attribute::Label(label)) = read.first() else { continue };
        let Some(label) = std::str::from_utf8(label).ok().and_then(|text| text.parse::<KeyLabel>().ok()) else { continue };
        match info(link, &label, handle) {
            Ok(info) => keys.push(info),
            Err(Fault::Store(KeyStoreError::Damaged(_))) => {}
            Err(fault) => return Err(fault),
        }
    }
    keys.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(keys)
}

/// Makes a pair that this label is free for, under a wrapping key that the security officer trusts, or none.
pub(super) fn generate(link: &Link, request: &GenerateKey, id: [u8; 16]) -> Result<KeyInfo, Fault> {
    let GenerateKey { label, algorithm, exportable_under } = request;
    refuse_existing(link, label)?;
    if let Some(wrapping) = exportable_under {
        trusted(link, wrapping_key(link, wrapping, Attribute::Wrap(true))?, wrapping)?;
    }
    let exportable = exportable_under.is_some();
    make(link, label, *algorithm, id, &private_template(label, id, exportable), exportable)
}

/// Makes a pair, and destroys it again where the token made it otherwise than asked.
pub(super) fn make(
    link: &Link,
    label: &KeyLabel,
    algorithm: KeyAlgorithm,
    id: [u8; 16],
    private: &[Attribute],
    exportable: bool,
) -> Result<KeyInfo, Fault> {
    let (mechanism, forms) = encode::generation(algorithm).ok_or_else(|| Fault::Refused(KeyAlgorithm::SOFTWARE_ONLY.to_owned()))?;
    let mut made = Err(Fault::Refused("the module makes no such keys".to_owned()));
    for parameters in forms {
        made =
            link.session.generate_key_pair(&mechanism, &public_template(label, id, parameters), private).map_err(Fault::of("make a key"));
        if !matches!(made, Err(Fault::Refused(_))) {
            break;
        }
    }
    let (public, private) = made?;
    let checked = assert_as_asked(link, label, private, exportable, true).and_then(|()| {
        // Another program may have been at it at the same moment; then neither keeps the label.
        if objects(link, &of_label(ObjectClass::PRIVATE_KEY, label.as_str()), 2)?.len() != 1 {
            return Err(Fault::Store(KeyStoreError::Exists(label.clone())));
        }
        let info = info(link, label, private)?;
        if info.algorithm == algorithm { Ok(info) } else { Err(Fault::Refused(format!("the token made a {} key", info.algorithm))) }
    });
    checked.map_err(|fault| undo(link, &[private, public], fault))
}

/// Any object with this label is in the way: labels tell keys apart for people, too.
pub(super) fn refuse_existing(link: &Link, label: &KeyLabel) -> Result<(), Fault> {
    let template = [Attribute::Token(true), Attribute::Label(label.as_str().as_bytes().to_vec())];
    let exists = !objects(link, &template, 1)?.is_empty();
    if exists { Err(Fault::Store(KeyStoreError::Exists(label.clone()))) } else { link.token_answers() }
}

fn public_template(label: &KeyLabel, id: [u8; 16], parameters: Vec<Attribute>) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::Label(label.as_str().as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    template.extend(parameters);
    template
}

/// The public key object of a pair whose private half came in wrapped.
pub(super) fn public_object(label: &KeyLabel, id: [u8; 16], algorithm: KeyAlgorithm, key: &PublicKey) -> Option<Vec<Attribute>> {
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(encode::key_type(algorithm)?)];
    template.extend(public_template(label, id, encode::public_attributes(algorithm, key)?));
    Some(template)
}

/// What a private key may do and be (ceremony requirement 19).
pub(super) fn private_template(label: &KeyLabel, id: [u8; 16], exportable: bool) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(exportable),
        Attribute::WrapWithTrusted(exportable),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::SignRecover(false),
        Attribute::Label(label.as_str().as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        // Last: SoftHSM takes attributes in order, and nothing after this one.
        Attribute::Modifiable(false),
    ]
}

/// Reads back what may be done with a key, and compares it with what was asked for. `here`: made on this token, not
/// brought in.
pub(super) fn assert_as_asked(link: &Link, label: &KeyLabel, private: ObjectHandle, exportable: bool, here: bool) -> Result<(), Fault> {
    let flags = Flags::read(link, private)?;
    let mut wrong = Vec::new();
    let mut want = |attribute, name, value| {
        if flags.get(attribute) != Some(value) {
            wrong.push(format!("{name} is not {value}"));
        }
    };
    want(AttributeType::Token, "token", true);
    want(AttributeType::Private, "private", true);
    want(AttributeType::Sensitive, "sensitive", true);
    want(AttributeType::Extractable, "extractable", exportable);
    want(AttributeType::Sign, "sign", true);
    want(AttributeType::Local, "local", here);
    if here {
        want(AttributeType::AlwaysSensitive, "always-sensitive", true);
        want(AttributeType::NeverExtractable, "never-extractable", !exportable);
    }
    if exportable {
        want(AttributeType::WrapWithTrusted, "wrap-with-trusted", true);
    }
    wrong.extend(OTHER_USES.iter().filter(|(a, _)| flags.get(*a) == Some(true)).map(|(_, name)| format!("{name} is allowed")));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Fault::Refused(format!("the token did not give the key `{label}` the attributes that were asked for: {}", wrong.join(", "))))
}

/// Destroys what was half made, and says so.
pub(super) fn undo(link: &Link, handles: &[ObjectHandle], fault: Fault) -> Fault {
    // All of them, whatever one says.
    let gone = handles.iter().filter(|handle| link.session.destroy_object(**handle).is_err()).count() == 0;
    let said = if gone { "the key was destroyed again" } else { "the key could NOT be destroyed again, and must be by hand" };
    match (fault, gone) {
        (fault, false) => Fault::damaged(format!("{fault}; {said}")),
        (Fault::Refused(reason), true) => Fault::Refused(format!("{reason}; {said}")),
        (other, true) => other,
    }
}

/// Boolean attributes as the token has them; what it does not tell is absent.
struct Flags(Vec<(AttributeType, bool)>);

impl Flags {
    fn read(link: &Link, handle: ObjectHandle) -> Result<Self, Fault> {
        const WANTED: [AttributeType; 13] = [
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Local,
            AttributeType::Sign,
            AttributeType::Decrypt,
            AttributeType::Unwrap,
            AttributeType::Derive,
            AttributeType::SignRecover,
            AttributeType::WrapWithTrusted,
        ];
        let read = link.session.get_attributes(handle, &WANTED).map_err(Fault::of("read a key's attributes"))?;
        let flag = |attribute: &Attribute| match attribute {
            Attribute::Token(b)
            | Attribute::Private(b)
            | Attribute::Sensitive(b)
            | Attribute::AlwaysSensitive(b)
            | Attribute::Extractable(b)
            | Attribute::NeverExtractable(b)
            | Attribute::Local(b)
            | Attribute::Sign(b)
            | Attribute::Decrypt(b)
            | Attribute::Unwrap(b)
            | Attribute::Derive(b)
            | Attribute::SignRecover(b)
            | Attribute::WrapWithTrusted(b) => Some((attribute.attribute_type(), *b)),
            _ => None,
        };
        Ok(Self(read.iter().filter_map(flag).collect()))
    }

    fn get(&self, attribute: AttributeType) -> Option<bool> {
        self.0.iter().find(|(a, _)| *a == attribute).map(|(_, value)| *value)
    }

    fn is(&self, attribute: AttributeType) -> bool {
        self.get(attribute) == Some(true)
    }
}

/// Refuses a wrapping key that the security officer did not mark as trusted.
pub(super) fn trusted(link: &Link, handle: ObjectHandle, label: &str) -> Result<(), Fault> {
    let read = link.session.get_attributes(handle, &[AttributeType::Trusted]).map_err(Fault::of("read a wrapping key's attributes"))?;
    match read.first() {
        Some(Attribute::Trusted(true)) => Ok(()),
        _ => Err(Fault::Refused(format!(
            "the wrapping key `{label}` is not trusted (hint: the token's security officer sets CKA_TRUSTED, on SoftHSM when the key is made)"
        ))),
    }
}

/// What may be done with a key. What the token does not tell counts as the worse.
pub(super) fn attributes(link: &Link, label: &KeyLabel) -> Result<KeyAttributes, Fault> {
    let flags = Flags::read(link, private_key(link, label)?)?;
    let mut capabilities: Vec<String> =
        OTHER_USES.iter().filter(|(attribute, _)| flags.is(*attribute)).map(|(_, name)| (*name).to_owned()).collect();
    if flags.is(AttributeType::Sign) {
        capabilities.push("sign".to_owned());
    }
    capabilities.sort();
    Ok(KeyAttributes {
        made_inside: flags.is(AttributeType::Local),
        sensitive: flags.is(AttributeType::Sensitive),
        extractable: flags.get(AttributeType::Extractable) != Some(false),
        wrap_with_trusted_only: flags.is(AttributeType::WrapWithTrusted),
        capabilities,
        domains: Vec::new(),
    })
}

/// Destroys both halves.
pub(super) fn destroy(link: &mut Link, label: &KeyLabel) -> Result<(), Fault> {
    let private = private_key(link, label)?;
    let mut template = of_label(ObjectClass::PUBLIC_KEY, label.as_str()).to_vec();
    template.extend(id(link, private)?);
    let public = objects(link, &template, MAX_OBJECTS)?;
    link.keys.remove(label);
    let wrong = Fault::of("destroy a key");
    // The private half first: if it stops half-way, what is left can sign nothing.
    link.session.destroy_object(private).map_err(&wrong)?;
    for handle in public {
        link.session.destroy_object(handle).map_err(&wrong)?;
    }
    match private_key(link, label) {
        Err(Fault::Store(KeyStoreError::NotFound(_))) => Ok(()),
        Ok(_) => Err(Fault::damaged(format!("the key `{label}` is still on the token after it was destroyed"))),
        Err(fault) => Err(fault),
    }
}

/// What the token is given to sign.
pub(super) struct Signing {
    pub(super) label: KeyLabel,
    pub(super) algorithm: SignatureAlgorithm,
    /// The digest, or the message where the algorithm has none.
    pub(super) input: Vec<u8>,
}

pub(super) fn sign(link: &mut Link, signing: &Signing) -> Result<Vec<u8>, Fault> {
    let Signing { label, algorithm, input } = signing;
    let (handle, info) = match link.keys.get(label) {
        Some((handle, info)) => (*handle, Arc::clone(info)),
        None => {
            let handle = private_key(link, label)?;
            let info = Arc::new(info(link, label, handle)?);
            link.remember(label.clone(), handle, Arc::clone(&info));
            (handle, info)
        }
    };
    if !info.algorithm.signs_as(*algorithm) {
        return Err(Fault::Refused(format!("it is a {} key and does not sign as {algorithm:?}", info.algorithm)));
    }
    let signed = match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 | SignatureAlgorithm::EcdsaP384Sha384 => {
            let raw = link.session.sign(&Mechanism::Ecdsa, handle, input).map_err(Fault::of("sign"))?;
            return encode::ecdsa_signature(&raw).ok_or_else(|| Fault::unavailable("the token gave no ECDSA signature"));
        }
        SignatureAlgorithm::Ed25519 => link.session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), handle, input),
        SignatureAlgorithm::RsaPssSha256 => link.session.sign(&Mechanism::RsaPkcsPss(PSS), handle, input),
        SignatureAlgorithm::RsaPkcs1Sha256 => link.session.sign(&Mechanism::RsaPkcs, handle, &encode::digest_info(input)),
        SignatureAlgorithm::MlDsa65 | SignatureAlgorithm::MlDsa87 => return Err(Fault::Refused(KeyAlgorithm::SOFTWARE_ONLY.to_owned())),
    };
    signed.map_err(Fault::of("sign"))
}
