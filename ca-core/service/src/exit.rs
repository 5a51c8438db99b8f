//! Exit codes, which scripts rely on, and errors that carry one.

use std::process::ExitCode;

use ca_core::ports::StoreError;

/// What the codes mean, for help texts.
pub const CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration; 4 refused by policy; 5 temporary, try again.";

/// How a command ended, other than well (0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// The configuration, or a file that it names, is wrong.
    Configuration = 3,
    /// The policy does not allow it.
    Refused = 4,
    /// It may work later: something is away or held by another process.
    Temporary = 5,
}

impl Exit {
    /// From a number that crossed the control socket.
    pub fn from_code(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::Configuration,
            4 => Self::Refused,
            5 => Self::Temporary,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with its exit code. The message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What a person reads.
    pub message: String,
}

/// A failure with `exit`.
pub fn failure(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Failure { exit, message: message.into() }.into()
}

/// The configuration, or a file that it names, is wrong.
pub fn configuration(message: impl Into<String>) -> anyhow::Error {
    failure(Exit::Configuration, message)
}

/// The store did not do it.
pub fn store(error: StoreError) -> anyhow::Error {
    let exit = match &error {
        StoreError::Unavailable(_) => Exit::Temporary,
        StoreError::Conflict(_) | StoreError::Fenced | StoreError::NotFound(_) | StoreError::Damaged(_) => Exit::Failed,
    };
    failure(exit, error.to_string())
}

/// The exit code of an error: that of the innermost failure, 1 without one.
pub fn code_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Failed, |f| f.exit)
}

/// Tells a person what went wrong, and gives the process's exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    code_of(error).into()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn context_keeps_the_exit_code() {
        let error = Err::<(), _>(configuration("no such file")).context("cannot serve").unwrap_err();
        assert_eq!(code_of(&error), Exit::Configuration);
        assert_eq!(format!("{error:#}"), "cannot serve: no such file");
        assert_eq!(code_of(&anyhow::anyhow!("other")), Exit::Failed);
        for exit in [Exit::Failed, Exit::Usage, Exit::Configuration, Exit::Refused, Exit::Temporary] {
            assert_eq!(Exit::from_code(exit as u8), exit);
        }
    }
}
