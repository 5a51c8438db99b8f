//! Completions and manual pages, from the one definition of the commands.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::render::print;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ca", &mut out);
    print(&String::from_utf8(out)?)
}

pub(crate) fn man(dir: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write manual pages into {} (hint: name a folder that you may write)", dir.display());
    std::fs::create_dir_all(dir).with_context(cannot)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(cannot)?;
    print(&format!("Wrote the manual pages into {0}; read one with: man {0}/ca.1\n", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        man(&folder.path().join("man")).unwrap();
        for page in ["ca.1", "ca-serve.1", "ca-cert-revoke.1", "ca-ceremony-run.1", "ca-agent-run.1"] {
            let text = std::fs::read_to_string(folder.path().join("man").join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
            assert!(text.contains(".TH"), "{page}");
        }
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ca", &mut out);
            assert!(String::from_utf8(out).unwrap().contains("ceremony"), "{shell}");
        }
    }
}
