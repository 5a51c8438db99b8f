//! Points of elliptic curves.

use super::{Numbers, Verdict};
use crate::pki::spki::KeyMaterial;

const OFF_CURVE: &str = "the point is not on its curve";

/// The point solves the curve's equation, with both coordinates reduced. It is in uncompressed form, which the point at
/// infinity does not have; and a prime-order curve has no other subgroup.
pub(super) fn on_curve(key: &Numbers<'_>) -> Verdict {
    match key.material {
        KeyMaterial::P256(point) => Some(p256::PublicKey::from_sec1_bytes(point).map(|_| ()).map_err(|_| OFF_CURVE)),
        KeyMaterial::P384(point) => Some(p384::PublicKey::from_sec1_bytes(point).map(|_| ()).map_err(|_| OFF_CURVE)),
        _ => None,
    }
}

/// The octets decode to a point, and are the only ones that do.
pub(super) fn ed25519_valid(key: &Numbers<'_>) -> Verdict {
    let KeyMaterial::Ed25519(bytes) = key.material else { return None };
    Some(match ed25519_dalek::VerifyingKey::from_bytes(bytes) {
        Err(_) => Err(OFF_CURVE),
        Ok(point) if point.to_edwards().compress().as_bytes() != bytes => Err("the point is not in its one canonical form"),
        Ok(_) => Ok(()),
    })
}

/// With a point of small order one signature fits many messages.
pub(super) fn ed25519_order(key: &Numbers<'_>) -> Verdict {
    let KeyMaterial::Ed25519(bytes) = key.material else { return None };
    let weak = ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|point| point.is_weak());
    Some(if weak { Err("the point has a small order") } else { Ok(()) })
}
