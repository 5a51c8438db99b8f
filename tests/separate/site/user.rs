//! The users of a host.

use std::process::{Command, Stdio};

/// Whom a process runs as. The numbers are nobody's on a usual host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum User {
    Worker,
    Acme,
    /// The ACME server's replica, where there is one.
    Replica,
    /// Whom the worker sees in the place of a replica on another machine.
    Gateway,
    Responder,
    /// Someone on the host who has nothing to do with the CA.
    Stranger,
}

impl User {
    pub(crate) const fn uid(self) -> u32 {
        match self {
            Self::Worker => 61_001,
            Self::Acme => 61_002,
            Self::Responder => 61_003,
            Self::Stranger => 61_004,
            Self::Replica => 61_005,
            Self::Gateway => 61_006,
        }
    }

    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Acme => "acme",
            Self::Replica => "acme-2",
            Self::Gateway => "gateway",
            Self::Responder => "ocsp",
            Self::Stranger => "stranger",
        }
    }

    /// A command as this user, without any privilege or a way to gain one.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let uid = self.uid().to_string();
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"])
            .arg("--")
            .arg(program)
            // What root's own search path names may be closed to others.
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }
}
