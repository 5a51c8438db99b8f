//! A certificate beside those above it (RFC 5280 §6.1, without what changes with time: validity now, revocation).

use super::algorithm;
use super::fields::validity;
use super::purpose::KEY_CERT_SIGN;
use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::general_name::GeneralName;
use crate::lint::known;
use crate::lint::names;
use crate::lint::rule::{Hits, Rule};
use crate::lint::values::{authority_key, general_names, name_constraints, object_identifiers};
use crate::pki::spki::key_material;
use crate::pki::verify::{scheme_of, verify_scheme};
use crate::pki::walk::Tlv;
use crate::pki::{PublicKey, key_algorithm, oid};

/// Most comparisons of names with subtrees: what is more is refused, so that the time stays linear.
const MAX_COMPARISONS: usize = 1 << 18;

const SIGNATURE: &str = "signatureValue";

/// Whether signatures of this algorithm by this kind of key are verified here.
pub(in crate::lint) fn is_verified_here(key: &Tlv<'_>, algorithm: &Tlv<'_>) -> bool {
    scheme_of(algorithm).is_some() && key_algorithm(&PublicKey::from_spki_der(key.whole.to_vec())).is_ok()
}

/// Whether a signature verifies; none where it is not verified here.
pub(in crate::lint) fn verifies(key: &Tlv<'_>, algorithm: &Tlv<'_>, message: &[u8], signature: &Tlv<'_>) -> Option<bool> {
    let [0, octets @ ..] = signature.content else { return Some(false) };
    let key = PublicKey::from_spki_der(key.whole.to_vec());
    let (material, scheme) = (key_material(&key).ok()?, scheme_of(algorithm)?);
    Some(verify_scheme(&material, scheme, message, octets).is_ok())
}

/// The algorithm of a signature is one of the issuer's key; none where either is unknown.
pub(in crate::lint) fn is_algorithm_of(algorithm: &Tlv<'_>, key: &Tlv<'_>) -> Option<bool> {
    let (id, _) = algorithm::split(algorithm)?;
    let known = algorithm::of_signature(id).filter(|s| !s.key.is_empty())?;
    let key = algorithm::Key::read(key)?;
    key.kind()?;
    Some(known.key.iter().any(|k| k.as_bytes() == key.id))
}

/// The names that constraints apply to: the subject, mailboxes in it where there is no other, the alternative names.
fn names<'a>(view: &CertificateView<'a>) -> Vec<GeneralName<'a>> {
    let mut found = view.value(oid::SUBJECT_ALT_NAME, general_names).unwrap_or_default();
    if !view.subject.content.is_empty() {
        found.push(GeneralName::Directory(view.subject.whole));
    }
    if !found.iter().any(|n| matches!(n, GeneralName::Email(_))) {
        let attributes = names::read(&view.subject).unwrap_or_default();
        let emails = attributes.into_iter().filter(|a| a.kind == known::EMAIL_ADDRESS.as_bytes());
        found.extend(emails.map(|a| GeneralName::Email(a.value.content)));
    }
    found
}

fn constrain(view: &CertificateView<'_>, above: &CertificateView<'_>, hits: &mut Hits<'_>) {
    let Some(subtrees) = above.value(oid::NAME_CONSTRAINTS, name_constraints) else { return };
    let names = names(view);
    if names.len() * subtrees.iter().map(Vec::len).sum::<usize>() > MAX_COMPARISONS {
        return hits.hit("tbsCertificate", "there are more names and constraints than are compared");
    }
    let [permitted, excluded] = subtrees;
    for name in names {
        let mut allowed = permitted.iter().filter(|s| s.base.form() == name.form()).peekable();
        // What can't be judged is not within: a URI without a host (RFC 9549 §4).
        let outside = allowed.peek().is_some() && !allowed.any(|s| name.is_within(&s.base) == Some(true));
        let forbidden = excluded.iter().any(|s| s.base.form() == name.form() && name.overlaps(&s.base) != Some(false));
        hits.require(
            !outside && !forbidden,
            || "tbsCertificate".to_owned(),
            || format!("{} is {}", name.shown(), if outside { "not permitted" } else { "excluded" }),
        );
    }
}

/// Where `below` CA certificates stand between `above` and the end of a path.
fn within_path_length(above: &CertificateView<'_>, below: u32, hits: &mut Hits<'_>) {
    if let Some(most) = above.basic_constraints().and_then(|b| b.path_len) {
        hits.require(below <= most, String::new, || format!("{below} CA certificates stand below one whose pathLenConstraint is {most}"));
    }
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::certificate(
        "self-signature-verifies",
        "RFC 5280 §3.2",
        Error,
        "the signature of a self-signed certificate verifies with its own key",
        |view, hits| {
            if let Some(s) = view.signature.as_ref().filter(|_| view.is_self_signed()) {
                let holds = verifies(&view.public_key, &s.algorithm, view.tbs.whole, &s.value) != Some(false);
                hits.require(holds, || SIGNATURE.to_owned(), || "it does not verify".to_owned());
            }
        },
    ),
    Rule::issued(
        "issuer-name-chains",
        "RFC 5280 §6.1.3",
        Error,
        "the issuer's name is the subject above, byte for byte",
        |view, chain, hits| {
            let holds = view.issuer.whole == chain.issuer.subject.whole;
            hits.require(holds, || "tbsCertificate.issuer".to_owned(), || "it is another than the issuer's subject".to_owned());
        },
    ),
    Rule::issued(
        "issuer-key-identifier",
        "RFC 5280 §4.2.1.1",
        Error,
        "the authorityKeyIdentifier is the subjectKeyIdentifier above",
        |view, chain, hits| {
            let named = view.value(oid::AUTHORITY_KEY_IDENTIFIER, authority_key).unwrap_or_default();
            let is_key = match (named.key_identifier, chain.issuer.key_identifier()) {
                (Some(named), Some(own)) => named == own,
                _ => true,
            };
            let of_names = |names: &[GeneralName<'_>]| names.contains(&GeneralName::Directory(chain.issuer.issuer.whole));
            let holds = is_key
                && named.serial.is_none_or(|serial| serial == chain.issuer.serial.content)
                && (named.issuer.is_empty() || of_names(&named.issuer));
            let field = || "tbsCertificate.extensions.authorityKeyIdentifier".to_owned();
            hits.require(holds, field, || "it names another key or certificate".to_owned());
        },
    ),
    Rule::issued("issuer-is-ca", "RFC 5280 §6.1.4 (k)", Error, "the issuer is a CA: of version 3, with cA true", |_, chain, hits| {
        hits.require(chain.issuer.is_ca(), String::new, || "cA is not true in the issuer's certificate".to_owned());
    }),
    Rule::issued("issuer-key-usage", "RFC 5280 §6.1.4 (n)", Error, "the issuer's keyUsage has keyCertSign", |_, chain, hits| {
        let holds = chain.issuer.key_usage().is_none_or(|u| u & KEY_CERT_SIGN != 0);
        hits.require(holds, String::new, || "keyCertSign is not set in the issuer's certificate".to_owned());
    }),
    Rule::issued(
        "issuer-path-length",
        "RFC 5280 §6.1.4 (l), (m)",
        Error,
        "no pathLenConstraint above is exceeded; self-issued certificates do not count, nor does this one",
        |_, chain, hits| {
            let mut below = 0;
            for above in chain.all() {
                within_path_length(above, below, hits);
                below += u32::from(!above.is_self_issued());
            }
        },
    ),
    Rule::issued(
        "ca-below-path-length",
        "RFC 5280 §4.2.1.9; ceremony requirement 30",
        Error,
        "a CA's certificate can have certificates below it: no pathLenConstraint above is used up",
        |view, chain, hits| {
            if !view.is_ca() || view.is_self_issued() {
                return;
            }
            let mut below = 1;
            for above in chain.all() {
                within_path_length(above, below, hits);
                below += u32::from(!above.is_self_issued());
            }
        },
    ),
    Rule::issued(
        "issuer-name-constraints",
        "RFC 5280 §6.1.3 (b), (c)",
        Error,
        "no nameConstraints above forbid a name; of a self-issued CA certificate the names are not judged",
        |view, chain, hits| {
            if view.is_ca() && view.is_self_issued() {
                return;
            }
            for above in chain.all() {
                constrain(view, above, hits);
            }
        },
    ),
    Rule::issued(
        "issuer-validity",
        "X.509 §7.3 (shell model); lesson 31",
        Warning,
        "the validity lies within the issuer's",
        |view, chain, hits| {
            if let (Some(own), Some(above)) = (validity(view), validity(chain.issuer)) {
                let holds = above.0 <= own.0 && own.1 <= above.1;
                hits.require(
                    holds,
                    || "tbsCertificate.validity".to_owned(),
                    || format!("{} to {} is not within {} to {}", own.0, own.1, above.0, above.1),
                );
            }
        },
    ),
    Rule::issued(
        "issuer-purposes",
        "RFC 5280 §4.2.1.12; BR 7.1.2",
        Warning,
        "the purposes are among the issuer's, where its certificate has any",
        |view, chain, hits| {
            let Some(above) = chain.issuer.value(oid::EXTENDED_KEY_USAGE, object_identifiers) else { return };
            if above.contains(&known::ANY_EXTENDED_KEY_USAGE.as_bytes()) {
                return;
            }
            for purpose in view.value(oid::EXTENDED_KEY_USAGE, object_identifiers).unwrap_or_default() {
                // A delegated responder's purpose is never its issuer's (lesson 21).
                let holds = above.contains(&purpose) || purpose == oid::OCSP_SIGNING.as_bytes();
                let field = || "tbsCertificate.extensions.extKeyUsage".to_owned();
                hits.require(holds, field, || format!("{} is not", known::dotted(purpose)));
            }
        },
    ),
    Rule::issued("issuer-own-key", "profiles", Error, "the key is not the issuer's own, unless the name is too", |view, chain, hits| {
        let same = view.public_key.whole == chain.issuer.public_key.whole;
        let holds = !same || view.subject.whole == chain.issuer.subject.whole;
        hits.require(holds, || "tbsCertificate.subjectPublicKeyInfo".to_owned(), || "it is the issuer's key".to_owned());
    }),
    Rule::issued(
        "signature-algorithm-of-issuer",
        "RFC 5280 §4.1.1.2",
        Error,
        "the signature algorithm is one of the issuer's key",
        |view, chain, hits| {
            let holds = is_algorithm_of(&view.algorithm, &chain.issuer.public_key) != Some(false);
            hits.require(holds, || "tbsCertificate.signature".to_owned(), || "the issuer's key is of another kind".to_owned());
        },
    ),
    Rule::issued(
        "signature-verifies",
        "RFC 5280 §6.1.3 (a)",
        Error,
        "the signature verifies with the issuer's key",
        |view, chain, hits| {
            if let Some(s) = &view.signature {
                let holds = verifies(&chain.issuer.public_key, &s.algorithm, view.tbs.whole, &s.value) != Some(false);
                hits.require(holds, || SIGNATURE.to_owned(), || "it does not verify".to_owned());
            }
        },
    ),
    Rule::issued(
        "signature-not-judged",
        "this linter's bound",
        Notice,
        "the signature is of a kind that is verified here",
        |view, chain, hits| {
            if let Some(s) = &view.signature {
                let holds = is_verified_here(&chain.issuer.public_key, &s.algorithm);
                hits.require(holds, || SIGNATURE.to_owned(), || "algorithm or key are of another kind".to_owned());
            }
        },
    ),
];
