//! Anti-replay nonces (RFC 8555 §6.5) of one process, without IO.
//!
//! A nonce is the replica's number and a counter with a MAC under a key that lives as long as the process. Which of the
//! latest nonces are outstanding stands in a bitmap of fixed size; older ones count as used, and the client gets a fresh
//! one. A nonce of another replica is that one's to redeem (`replicas`).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::ports::Rng;

/// How many nonces may be outstanding: 128 KiB of bitmap.
const SLOTS: u64 = 1 << 20;
/// The oldest nonces are refused a little before their slot is used again, so that a redemption that was overtaken
/// between its two steps cannot accept a slot's next owner.
const ACCEPTED: u64 = SLOTS - (1 << 16);
const MAC: usize = 16;
/// The replica's number, and the counter's lower six octets: more nonces than a process can issue.
const ID: usize = 2;
const COUNTER: usize = 6;
/// The octets of a nonce.
pub(crate) const OCTETS: usize = ID + COUNTER + MAC;
const CHARACTERS: usize = OCTETS / 3 * 4;

/// Issues and redeems nonces.
pub(crate) struct Nonces {
    replica: u16,
    key: hmac::Key,
    next: AtomicU64,
    outstanding: Box<[AtomicU64]>,
}

impl Nonces {
    /// Nonces of this replica under a new key.
    pub(crate) fn new(replica: u16, rng: &dyn Rng) -> Self {
        let mut secret = [0u8; 32];
        rng.fill(&mut secret);
        let words = (0..SLOTS / 64).map(|_| AtomicU64::new(0)).collect();
        Self { replica, key: hmac::Key::new(hmac::HMAC_SHA256, &secret), next: AtomicU64::new(0), outstanding: words }
    }

    /// A fresh nonce, base64url.
    pub(crate) fn issue(&self) -> [u8; CHARACTERS] {
        let counter = self.next.fetch_add(1, Ordering::SeqCst);
        let (word, bit) = self.slot(counter);
        word.fetch_or(bit, Ordering::SeqCst);
        let mut octets = [0u8; OCTETS];
        octets[..ID].copy_from_slice(&self.replica.to_be_bytes());
        octets[ID..ID + COUNTER].copy_from_slice(&counter.to_be_bytes()[8 - COUNTER..]);
        let mac = hmac::sign(&self.key, &octets[..ID + COUNTER]);
        octets[ID + COUNTER..].copy_from_slice(&mac.as_ref()[..MAC]);
        let mut text = [0u8; CHARACTERS];
        URL_SAFE_NO_PAD.encode_slice(octets, &mut text).expect("24 octets are 32 characters");
        text
    }

    /// Whose nonce it is: `Err` with the number of another replica, which alone can judge it, and its octets. Otherwise
    /// whether it was accepted, as by [`Self::redeem_own`].
    pub(crate) fn redeem(&self, nonce: &str) -> Result<bool, (u16, [u8; OCTETS])> {
        // decode_slice asks for room for what the length might at most decode to.
        let mut octets = [0u8; OCTETS];
        if nonce.len() != CHARACTERS || URL_SAFE_NO_PAD.decode_slice(nonce, &mut octets) != Ok(OCTETS) {
            return Ok(false);
        }
        match u16::from_be_bytes([octets[0], octets[1]]) {
            own if own == self.replica => Ok(self.redeem_own(&octets)),
            other => Err((other, octets)),
        }
    }

    /// Whether the nonce was issued here, is not too old, and was not redeemed before. It now is.
    pub(crate) fn redeem_own(&self, octets: &[u8; OCTETS]) -> bool {
        let (signed, mac) = octets.split_at(ID + COUNTER);
        let expected = hmac::sign(&self.key, signed);
        if aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..MAC], mac).is_err() {
            return false;
        }
        let mut number = [0u8; 8];
        number[8 - COUNTER..].copy_from_slice(&signed[ID..]);
        let counter = u64::from_be_bytes(number);
        if self.next.load(Ordering::SeqCst).wrapping_sub(counter) > ACCEPTED {
            return false;
        }
        let (word, bit) = self.slot(counter);
        word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    fn slot(&self, counter: u64) -> (&AtomicU64, u64) {
        let slot = counter % SLOTS;
        // The remainder is below SLOTS, so it fits and the index is in range.
        (&self.outstanding[(slot / 64) as usize], 1 << (slot % 64))
    }
}

#[cfg(test)]
mod tests {
    use ca_testkit::SeededRng;

    use super::*;

    fn text(nonce: [u8; CHARACTERS]) -> String {
        String::from_utf8(nonce.to_vec()).unwrap()
    }

    #[test]
    fn a_nonce_is_accepted_once() {
        let nonces = Nonces::new(1, &SeededRng::new(1));
        let (a, b) = (text(nonces.issue()), text(nonces.issue()));
        assert_ne!(a, b);
        assert_eq!(nonces.redeem(&b), Ok(true));
        assert_eq!(nonces.redeem(&a), Ok(true));
        assert_eq!(nonces.redeem(&a), Ok(false));
        assert_eq!(nonces.redeem(&b), Ok(false));
    }

    #[test]
    fn nonces_of_others_and_broken_ones_are_refused() {
        let nonces = Nonces::new(1, &SeededRng::new(1));
        let other = Nonces::new(1, &SeededRng::new(2));
        let own = text(nonces.issue());
        assert_eq!(nonces.redeem(&text(other.issue())), Ok(false));
        let flipped = format!("{}{}", &own[..CHARACTERS - 1], if own.ends_with('A') { 'E' } else { 'A' });
        for bad in ["", "A", &own[1..], &format!("{own}A"), &flipped, &"ü".repeat(16)] {
            assert_eq!(nonces.redeem(bad), Ok(false), "{bad}");
        }
        assert_eq!(nonces.redeem(&own), Ok(true));
    }

    #[test]
    fn an_old_nonce_is_refused_even_where_its_slot_is_in_use_again() {
        let nonces = Nonces::new(1, &SeededRng::new(1));
        let (used, unused) = (text(nonces.issue()), text(nonces.issue()));
        assert_eq!(nonces.redeem(&used), Ok(true));
        for _ in 0..SLOTS {
            nonces.issue();
        }
        assert_eq!(nonces.redeem(&used), Ok(false));
        assert_eq!(nonces.redeem(&unused), Ok(false));
        assert_eq!(nonces.redeem(&text(nonces.issue())), Ok(true));
    }

    #[test]
    fn another_replicas_nonce_is_that_ones_to_judge() {
        let (one, two) = (Nonces::new(1, &SeededRng::new(1)), Nonces::new(2, &SeededRng::new(2)));
        let nonce = text(two.issue());
        let (issuer, octets) = one.redeem(&nonce).unwrap_err();
        assert_eq!(issuer, 2);
        assert!(!one.redeem_own(&octets), "only its issuer can");
        assert!(two.redeem_own(&octets));
        assert_eq!(two.redeem(&nonce), Ok(false), "once");
    }
}
