//! Closes the process to others, before it has anything.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::Error;

/// No core dump; no tracing by processes of the same user, to whom `/proc/PID/mem` is closed as well; no swap.
///
/// # Errors
/// When one of them could not be had, and nothing may be held. `allow_swap` forgives the last.
pub(super) fn close_process(allow_swap: bool) -> Result<(), Error> {
    let failed = |what: &str, e: rustix::io::Errno| Error::Hardening(format!("{what}: {e}; a credential would not be safe here"));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(|e| failed("core dumps can't be turned off", e))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| failed("the process can't be closed to tracing", e))?;
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        Err(e) if !allow_swap => Err(failed(
            "memory can't be kept out of swap (hint: LimitMEMLOCK=infinity in the unit; or, on a machine without swap, allow_swap = true)",
            e,
        )),
        _ => Ok(()),
    }
}
