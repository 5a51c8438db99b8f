//! Running other programs.

use std::process::Command;

/// What a program said.
pub struct Said {
    /// Ended with status 0.
    pub succeeded: bool,
    /// What is not UTF-8 is replaced.
    pub stdout: String,
    /// Both streams, for people.
    pub all: String,
}

/// Runs to the end.
///
/// # Panics
/// If it cannot be started; names the remedy.
pub fn run(command: &mut Command, remedy: &str) -> Said {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e} (hint: {remedy})"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { succeeded: output.status.success(), all: format!("{stdout}{stderr}"), stdout: stdout.into_owned() }
}

/// Runs something that must succeed, and gives what it printed.
///
/// # Panics
/// If it cannot be started or fails; names the remedy.
pub fn output(command: &mut Command, remedy: &str) -> String {
    let said = run(command, remedy);
    assert!(said.succeeded, "{command:?} failed (hint: {remedy}):\n{}", said.all);
    said.stdout
}
