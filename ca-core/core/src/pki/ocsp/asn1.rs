//! The ASN.1 of RFC 6960 appendix B.1, as derives; borrowed from the input.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, IntRef, Null, OctetStringRef};
use der::{Choice, Sequence};
use spki::AlgorithmIdentifierRef;

use super::ResponseStatus;

pub(super) const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
pub(super) const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
pub(super) const ACCEPTABLE_RESPONSES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.4");
pub(super) const PREFERRED_ALGORITHMS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.8");
pub(super) const EXTENDED_REVOKE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.9");

#[derive(Clone, Copy, PartialEq, Eq, Debug, Sequence)]
pub(super) struct Extension<'a> {
    pub(super) oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(super) critical: bool,
    pub(super) value: &'a OctetStringRef,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct Request<'a> {
    pub(super) tbs: TbsRequest<'a>,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) signature: Option<AnyRef<'a>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct TbsRequest<'a> {
    // DEFAULT v1: DER leaves it out, but some clients write it.
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) version: Option<u8>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) requestor_name: Option<AnyRef<'a>>,
    pub(super) requests: Vec<SingleRequest<'a>>,
    #[asn1(context_specific = "2", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct SingleRequest<'a> {
    pub(super) cert_id: CertId<'a>,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct CertId<'a> {
    pub(super) hash: AlgorithmIdentifierRef<'a>,
    pub(super) name_hash: &'a OctetStringRef,
    pub(super) key_hash: &'a OctetStringRef,
    pub(super) serial: IntRef<'a>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct Response<'a> {
    pub(super) status: ResponseStatus,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) bytes: Option<ResponseBytes<'a>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct ResponseBytes<'a> {
    pub(super) kind: ObjectIdentifier,
    pub(super) response: &'a OctetStringRef,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct BasicResponse<'a> {
    // Kept as it is: the signature is over these bytes.
    pub(super) data: AnyRef<'a>,
    pub(super) algorithm: AnyRef<'a>,
    pub(super) signature: BitStringRef<'a>,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) certificates: Option<Vec<AnyRef<'a>>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct ResponseData<'a> {
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) version: Option<u8>,
    pub(super) responder: ResponderId<'a>,
    pub(super) produced_at: GeneralizedTime,
    pub(super) responses: Vec<SingleResponse<'a>>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Choice)]
pub(super) enum ResponderId<'a> {
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", constructed = "true")]
    ByName(AnyRef<'a>),
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    ByKey(&'a OctetStringRef),
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct SingleResponse<'a> {
    pub(super) cert_id: CertId<'a>,
    pub(super) status: Status<'a>,
    pub(super) this_update: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Choice)]
pub(super) enum Status<'a> {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo<'a>),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub(super) struct RevokedInfo<'a> {
    pub(super) at: GeneralizedTime,
    // CRLReason, an ENUMERATED.
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    pub(super) reason: Option<AnyRef<'a>>,
}
