//! Finding the token among the slots, and logging in: a wrong PIN is tried once, and the last try is left to people.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ca_core::ports::KeyStoreError;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use zeroize::Zeroizing;

use super::fault::{Fault, name};
use super::module::lock;
use crate::{CredentialSource, Pkcs11Spec};

/// Between two restarts of the module for a token that stays away.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The most slots that are looked at.
const MAX_SLOTS: usize = 256;

/// Which token, and what opens it.
pub(super) struct Token {
    pub(super) spec: Pkcs11Spec,
    pin: Box<dyn CredentialSource>,
    /// A PIN that the token refused. It is not tried again, since each try brings the lock-out nearer.
    refused: Mutex<Option<Zeroizing<Vec<u8>>>>,
    /// When a restart of the module last did not bring the token back.
    in_vain: Mutex<Option<Instant>>,
}

impl Token {
    pub(super) fn new(spec: Pkcs11Spec, pin: Box<dyn CredentialSource>) -> Self {
        Self { spec, pin, refused: Mutex::default(), in_vain: Mutex::default() }
    }

    /// Whether a restart of the module may bring the token back: not so soon after one that did not, since others may
    /// be at work on the same module.
    pub(super) fn may_restart(&self) -> bool {
        lock(&self.in_vain).is_none_or(|at| at.elapsed() >= RESTART_PAUSE)
    }

    pub(super) fn restarted_in_vain(&self) {
        *lock(&self.in_vain) = Some(now());
    }

    /// Says of which token a fault of the module keeps us.
    pub(super) fn name(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Store(KeyStoreError::Unavailable(reason)) => Fault::unavailable(format!("the {}: {reason}", self.spec)),
            other => other,
        }
    }

    /// The slot that the token is in now.
    pub(super) fn find(&self, context: &Pkcs11) -> Result<(Slot, TokenInfo), Fault> {
        let mut found = None;
        let mut others = Vec::new();
        for slot in context.get_slots_with_token().map_err(Fault::of("list the slots"))?.into_iter().take(MAX_SLOTS) {
            // A slot that cannot tell who it is, is not the one.
            let Ok(info) = context.get_token_info(slot) else { continue };
            if self.is(&info) {
                if found.is_some() {
                    return Err(Fault::unavailable(format!("more than one {} is there (hint: name its serial number, too)", self.spec)));
                }
                found = Some((slot, info));
            } else if info.token_initialized() {
                others.push(format!("`{}` ({})", info.label(), info.serial_number()));
            }
        }
        found.ok_or_else(|| {
            others.sort();
            others.truncate(8);
            let there = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            Fault::Lost(format!("it is not there; tokens there: {there} (hint: connect the device, or check `token` and `serial`)"))
        })
    }

    fn is(&self, info: &TokenInfo) -> bool {
        let equals = |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|w| w.trim_end() == have.trim_end());
        info.token_initialized() && equals(&self.spec.token, info.label()) && equals(&self.spec.serial, info.serial_number())
    }

    /// Opens a session and makes sure that the user is logged in, which holds for the whole process.
    pub(super) fn session(&self, context: &Pkcs11) -> Result<(Session, Slot), Fault> {
        let (slot, _) = self.find(context)?;
        // Closed by hand: after a restart of the module the handle may be another session's.
        let session = context.open_rw_session_no_drop(slot).map_err(Fault::of("open a session"))?;
        match self.log_in(context, &session, slot) {
            Ok(()) => Ok((session, slot)),
            Err(fault) => {
                // The first fault matters more.
                let _ = session.close();
                Err(fault)
            }
        }
    }

    fn log_in(&self, context: &Pkcs11, session: &Session, slot: Slot) -> Result<(), Fault> {
        // One at a time: the others then find it done.
        let mut refused = lock(&self.refused);
        if is_user(session)? {
            return Ok(());
        }
        let info = context.get_token_info(slot).map_err(Fault::of("inspect the token"))?;
        let spec = &self.spec;
        if info.user_pin_locked() {
            return Err(Fault::credential(format!(
                "the PIN of the {spec} is locked after too many wrong ones (hint: its security officer can set a new one)"
            )));
        }
        if info.user_pin_final_try() {
            return Err(Fault::credential(format!(
                "one more wrong PIN locks the {spec}, and this program does not spend that try (hint: log in by hand with the right PIN, for example with `pkcs11-tool --login --test`, which sets the count back)"
            )));
        }
        if !info.user_pin_initialized() {
            return Err(Fault::credential(format!("the {spec} has no user PIN yet (hint: its security officer sets one)")));
        }
        let pin = self.pin.credential(spec.pin.name())?;
        if refused.as_ref() == Some(&pin) {
            return Err(Fault::credential(format!(
                "the {spec} refused this PIN before; it is not tried again, lest the token lock (hint: correct the PIN, then restart)"
            )));
        }
        // cryptoki clears its copy.
        match session.login_with_raw(UserType::User, &RawAuthPin::new(Box::new(pin.to_vec()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                *refused = None;
                Ok(())
            }
            Err(Error::Pkcs11(
                code @ (RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked | RvError::PinExpired),
                _,
            )) => {
                *refused = Some(pin);
                let left = context.get_token_info(slot).map_or("does not say how many tries are left", |info| tries_left(&info));
                Err(Fault::credential(format!(
                    "the {spec} answers {} and {left}; this PIN is not tried again (hint: correct the PIN, then restart)",
                    name(code)
                )))
            }
            Err(other) => Err(Fault::of("log in")(other)),
        }
    }
}

pub(super) fn is_user(session: &Session) -> Result<bool, Fault> {
    let info = session.get_session_info().map_err(Fault::of("inspect the session"))?;
    Ok(matches!(info.session_state(), SessionState::RwUser | SessionState::RoUser))
}

#[expect(clippy::disallowed_methods, reason = "the pause between restarts is no matter of any certificate's time")]
fn now() -> Instant {
    Instant::now()
}

/// PKCS#11 has no count of tries, but three flags (CK_TOKEN_INFO).
fn tries_left(info: &TokenInfo) -> &'static str {
    match info {
        i if i.user_pin_locked() => "is locked now (CKF_USER_PIN_LOCKED)",
        i if i.user_pin_final_try() => "locks at the next wrong PIN (CKF_USER_PIN_FINAL_TRY)",
        i if i.user_pin_count_low() => "counts wrong PINs (CKF_USER_PIN_COUNT_LOW)",
        _ => "does not say how many tries are left",
    }
}
