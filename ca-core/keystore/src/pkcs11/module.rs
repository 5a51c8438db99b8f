//! Modules: shared libraries that are loaded once for the whole process, as PKCS#11 wants it.
//!
//! A module is never unloaded. It can be restarted (C_Finalize, C_Initialize), which ends every session of every
//! store on it; a gate keeps that apart from calls under way, and a generation tells sessions from before it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ca_core::ports::KeyStoreError;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::fault::{Fault, name};

/// How long a restart waits for calls under way.
const RESTART_PATIENCE: Duration = Duration::from_secs(5);
/// The most modules in one process.
const MAX_MODULES: usize = 8;

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A loaded module.
pub(super) struct Module {
    context: Pkcs11,
    gate: Mutex<Gate>,
    changed: Condvar,
}

struct Gate {
    /// Calls under way.
    inside: usize,
    restarting: bool,
    initialized: bool,
    generation: u64,
}

/// Lets one thread call the module, which is initialized and stays so while this lives.
pub(super) struct Pass<'a> {
    module: &'a Module,
    /// How often the module was initialized before.
    pub(super) generation: u64,
}

impl Module {
    /// The module at `path`, loaded where it is not yet. It is initialized when it is first used.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, KeyStoreError> {
        let shown = path.display();
        let wrong = |reason: String| KeyStoreError::Unavailable(format!("the PKCS#11 module {shown}: {reason}"));
        let hint = "(hint: `module` names the vendor's shared library, for SoftHSM /usr/lib/softhsm/libsofthsm2.so)";
        let real = fs::canonicalize(path).map_err(|e| wrong(format!("{e} {hint}")))?;
        let metadata = fs::metadata(&real).map_err(|e| wrong(e.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong(format!("it is not a file {hint}")));
        }
        // What is loaded runs with the rights of this process.
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(wrong(format!("others may change it (mode {mode:04o}); it is not loaded (hint: chmod 755 {})", real.display())));
        }
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(&real) {
            return Ok(Arc::clone(module));
        }
        if modules.len() >= MAX_MODULES {
            return Err(wrong(format!("more than {MAX_MODULES} modules in one process")));
        }
        let context = Pkcs11::new(&real).map_err(|e| match e {
            Error::LibraryLoading(e) => wrong(format!("it cannot be loaded: {e} {hint}")),
            Error::MissingSymbol(symbol) => wrong(format!("it is no PKCS#11 module: it has no {symbol} {hint}")),
            other => wrong(format!("it cannot be loaded: {other}")),
        })?;
        let gate = Gate { inside: 0, restarting: false, initialized: false, generation: 0 };
        let module = Arc::new(Self { context, gate: Mutex::new(gate), changed: Condvar::new() });
        modules.insert(real, Arc::clone(&module));
        Ok(module)
    }

    /// Waits for a restart under way, and initializes the module where it is not.
    pub(super) fn enter(&self) -> Result<Pass<'_>, Fault> {
        let mut gate = self.changed.wait_while(lock(&self.gate), |g| g.restarting).unwrap_or_else(PoisonError::into_inner);
        if !gate.initialized {
            self.initialize(&mut gate)?;
        }
        gate.inside += 1;
        Ok(Pass { module: self, generation: gate.generation })
    }

    /// Finalizes and initializes the module, unless that was done since `generation`. Nobody may be inside on this
    /// thread.
    pub(super) fn restart(&self, generation: u64) -> Result<(), Fault> {
        let mut gate = lock(&self.gate);
        // Who comes while a restart is under way finds it done when it enters.
        if gate.generation != generation || gate.restarting {
            return Ok(());
        }
        gate.restarting = true;
        let (mut gate, waited) =
            self.changed.wait_timeout_while(gate, RESTART_PATIENCE, |g| g.inside > 0).unwrap_or_else(PoisonError::into_inner);
        let done = if waited.timed_out() {
            Err(Fault::Lost("a call to the module does not end, so that it cannot be restarted (hint: restart this program)".to_owned()))
        } else {
            if gate.initialized {
                // A module that cannot even be finalized shows it at the initialization.
                let _ = self.context.clone().finalize();
            }
            gate.initialized = false;
            self.initialize(&mut gate)
        };
        gate.restarting = false;
        self.changed.notify_all();
        done
    }

    fn initialize(&self, gate: &mut Gate) -> Result<(), Fault> {
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of the process may use the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                gate.initialized = true;
                gate.generation += 1;
                Ok(())
            }
            Err(Error::Pkcs11(code, _)) => Err(Fault::unavailable(format!(
                "the PKCS#11 module does not start: {} (hint: see the vendor's configuration; SoftHSM reads $SOFTHSM2_CONF and needs its token directory)",
                name(code)
            ))),
            Err(other) => Err(Fault::unavailable(format!("the PKCS#11 module does not start: {other}"))),
        }
    }
}

impl Pass<'_> {
    pub(super) fn context(&self) -> &Pkcs11 {
        &self.module.context
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut gate = lock(&self.module.gate);
        gate.inside -= 1;
        if gate.inside == 0 && gate.restarting {
            self.module.changed.notify_all();
        }
    }
}

/// What these locks guard is whole at any moment, so a poisoned one is as good.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
