//! Running other programs.

use std::process::Command;

/// What a program said.
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    /// Both streams, for people.
    pub(crate) all: String,
}

/// Runs to the end; that it cannot be started is a failure with the remedy.
pub(crate) fn run(command: &mut Command, remedy: &str) -> Said {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e} (hint: {remedy})"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { succeeded: output.status.success(), all: format!("{stdout}{stderr}"), stdout: stdout.into_owned() }
}

/// Runs something that must succeed, and gives what it printed.
pub(crate) fn output(command: &mut Command, remedy: &str) -> String {
    let said = run(command, remedy);
    assert!(said.succeeded, "{command:?} failed (hint: {remedy}):\n{}", said.all);
    said.stdout
}
