//! Another PIN in the place of the user's. The security officer has no part in it: whoever knows the old one sets the new.

use ca_core::ports::KeyStoreError;
use cryptoki::session::Session;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::module::Module;
use super::token::{Token, is_user};
use crate::Pkcs11Spec;
use crate::credential::Held;

/// Logs in with this PIN, whoever is logged in to the token here: a token answers a second login without looking at the
/// PIN, so the first one is ended, and with it the sessions of every store on the token in this process.
pub(crate) fn log_in_anew(spec: &Pkcs11Spec, pin: &Zeroizing<Vec<u8>>) -> Result<(), KeyStoreError> {
    with_login(spec, pin, |_| Ok(()))
}

/// Sets the user's PIN, and logs in with it. Stores that are open on the token in this process are to be opened again.
pub(crate) fn change_pin(spec: &Pkcs11Spec, old: &Zeroizing<Vec<u8>>, new: &Zeroizing<Vec<u8>>) -> Result<(), KeyStoreError> {
    let [before, after] = [old, new].map(|pin| std::str::from_utf8(pin).map(|text| AuthPin::new(text.into())));
    let no_text = || KeyStoreError::Credential(format!("the PIN of the {spec} is no text (hint: PINs are UTF-8)"));
    let (before, after) = (before.map_err(|_| no_text())?, after.map_err(|_| no_text())?);
    with_login(spec, old, |session| session.set_pin(&before, &after).map_err(Fault::of("set the user's PIN")))?;
    log_in_anew(spec, new)
}

fn with_login(spec: &Pkcs11Spec, pin: &Zeroizing<Vec<u8>>, work: impl FnOnce(&Session) -> Result<(), Fault>) -> Result<(), KeyStoreError> {
    let module = Module::load(&spec.module)?;
    let token = Token::new(spec.clone(), Box::new(Held(pin.clone())));
    let attempt = || {
        let pass = module.enter()?;
        let context = pass.context();
        let (slot, _) = token.find(context)?;
        let session = context.open_rw_session_no_drop(slot).map_err(Fault::of("open a session"))?;
        let ended = match is_user(&session) {
            Ok(true) => session.logout().map_err(Fault::of("log out")),
            Ok(false) => Ok(()),
            Err(fault) => Err(fault),
        };
        // Nothing is lost with it.
        let _ = session.close();
        ended?;
        let (session, _) = token.session(context)?;
        let done = work(&session);
        let _ = session.close();
        done
    };
    attempt().map_err(|fault| match token.name(fault) {
        Fault::Store(error) => error,
        Fault::Lost(reason) | Fault::Refused(reason) => KeyStoreError::Unavailable(format!("the {spec}: {reason}")),
    })
}
