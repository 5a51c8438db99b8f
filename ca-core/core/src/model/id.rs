//! Typed ids. Two kinds: names that people choose, and ids that the software makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pki::{Sha256Digest, Timestamp, hex, sha256};
use crate::ports::Rng;

/// Why a text is not an id of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: 1 to 64 lowercase letters, digits, `-`, `_` or `.`, beginning with a letter or a digit")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

fn is_slug(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        // Never `-`, which clients would read as an option; never `.`, which file systems would.
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_slug(text) { Ok(Self(text.to_owned())) } else { Err(IdError { kind: $kind, text: text.chars().take(80).collect() }) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

text_id!(
    /// An authority in this instance; it stands in URLs that are baked into certificates, so it never changes.
    AuthorityName, "authority name"
);
text_id!(
    /// A key's label in a key store.
    KeyLabel, "key label"
);
text_id!(
    /// A credential that opens a key store, kept as shares of several people.
    CredentialName, "credential name"
);
text_id!(
    /// A person who holds a share of a credential; it stands in file names.
    HolderName, "holder name"
);
text_id!(
    /// A grant, and the `kid` of its external account binding (RFC 8555 §7.3.4).
    GrantId, "grant id"
);
text_id!(
    /// An ACME account: derived from its newAccount JWS, so that a `kid` is bound to that evidence.
    AccountId, "account id"
);
text_id!(
    /// An ACME order: the time and the digest of its newOrder JWS, so that a finalize URL is bound to that evidence.
    OrderId, "order id"
);
text_id!(
    /// An authorization: within an order, or for itself.
    AuthorizationId, "authorization id"
);
text_id!(
    /// A signing request handed to the worker.
    RequestId, "request id"
);
text_id!(
    /// One attempt at a signature by an authority key.
    AttemptId, "attempt id"
);
text_id!(
    /// A running worker.
    WorkerId, "worker id"
);
text_id!(
    /// A proof of holding a lease; a worker whose lease passed to another is fenced by it.
    LeaseToken, "lease token"
);
text_id!(
    /// A lifecycle job, unique by what it is about, for example `renew-ocsp.demo`.
    JobId, "job id"
);

text_id!(
    /// A proposal: derived from its statement, so that the name of one never means another.
    ProposalId, "proposal id"
);

fn first_128_bits(digest: Sha256Digest) -> String {
    hex(&digest.0[..16])
}

/// What an id begins with, so that those made together are near each other where they are sorted: seconds, as eight hex digits
/// (nine from the year 2106 on).
fn time_first(at: Timestamp) -> String {
    format!("{:08x}", at.unix().max(0))
}

fn random_128_bits(rng: &dyn Rng) -> String {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    hex(&bytes)
}

impl AccountId {
    /// The id of the account that this newAccount JWS asks for.
    pub fn from_evidence(jws: &str) -> Self {
        Self(first_128_bits(sha256(jws.as_bytes())))
    }
}

impl OrderId {
    /// The id of the order that this newOrder JWS asks for, made at `at`.
    pub fn from_evidence(jws: &str, at: Timestamp) -> Self {
        Self(format!("{}{}", time_first(at), first_128_bits(sha256(jws.as_bytes()))))
    }

    /// Whether it is the id of an order that this newOrder JWS asks for, whenever that was made.
    pub fn is_from_evidence(&self, jws: &str) -> bool {
        let time = self.0.strip_suffix(&first_128_bits(sha256(jws.as_bytes())));
        time.is_some_and(|time| time.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

impl AuthorizationId {
    /// The id of the authorization for the order's identifier at `index`.
    pub fn of(order: &OrderId, index: usize) -> Self {
        Self(format!("{order}.{index}"))
    }

    /// The order that the authorization belongs to, and the place of its identifier there; none: it stands for itself.
    pub fn of_order(&self) -> Option<(OrderId, usize)> {
        let (order, index) = self.0.rsplit_once('.')?;
        let (order, index) = (order.parse().ok()?, index.parse().ok()?);
        (Self::of(&order, index) == *self).then_some((order, index))
    }

    /// A new authorization that belongs to no order: the time and 128 random bits.
    pub fn new(at: Timestamp, rng: &dyn Rng) -> Self {
        Self(format!("{}{}", time_first(at), random_128_bits(rng)))
    }
}

impl RequestId {
    /// The request that makes `account` valid.
    pub fn for_account(account: &AccountId) -> Self {
        Self(format!("a.{account}"))
    }

    /// The request that issues for `order`; an order has one.
    pub fn for_order(order: &OrderId) -> Self {
        Self(format!("f.{order}"))
    }
}

impl ProposalId {
    /// The proposal of this statement: 64 bits of its digest, short enough to be typed. The store refuses a second
    /// statement with the same id.
    pub fn of(statement: &str) -> Self {
        Self(first_128_bits(sha256(statement.as_bytes()))[..16].to_owned())
    }
}

impl AttemptId {
    /// A new attempt: the time and 128 random bits.
    pub fn new(at: Timestamp, rng: &dyn Rng) -> Self {
        Self(format!("{}{}", time_first(at), random_128_bits(rng)))
    }
}

impl WorkerId {
    /// A new worker, made at each start.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(random_128_bits(rng))
    }
}

impl LeaseToken {
    /// A new lease.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(random_128_bits(rng))
    }
}

impl GrantId {
    /// A new grant. Hexadecimal, so it never begins with `-`.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(random_128_bits(rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_slugs() {
        for good in ["demo", "demo-root", "a", "0.1_x"] {
            assert!(good.parse::<AuthorityName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a/b", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<AuthorityName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_authorization_tells_its_order() {
        let order: OrderId = "a.b".parse().unwrap();
        assert_eq!(AuthorizationId::of(&order, 12).of_order(), Some((order, 12)));
        for none in ["a", "a.", "a.01", "a.+1", "a.x", ".1", "a.99999999999999999999"] {
            assert!(none.parse::<AuthorizationId>().map_or(true, |id| id.of_order().is_none()), "{none}");
        }
    }

    #[test]
    fn an_orders_id_is_bound_to_its_evidence_at_any_time() {
        let at = Timestamp::from_unix;
        let [early, late] = [0, 0x6000_0000].map(|time| OrderId::from_evidence("jws", at(time)));
        assert!(early < late && early.is_from_evidence("jws") && late.is_from_evidence("jws"));
        assert!(!late.is_from_evidence("another"));
        // As ids were made once, without a time.
        let digest = first_128_bits(sha256(b"jws"));
        let id = |text: String| text.parse::<OrderId>().unwrap();
        assert!(id(digest.clone()).is_from_evidence("jws"));
        // No other text before it: one that is not the software's own.
        assert!(!id(format!("x{digest}")).is_from_evidence("jws") && !id(digest[1..].to_owned()).is_from_evidence("jws"));
        let from_2106_on = OrderId::from_evidence("jws", at(1 << 32));
        assert!(from_2106_on.as_str().len() == 41 && from_2106_on.is_from_evidence("jws"));
    }
}
