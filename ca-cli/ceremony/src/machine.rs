//! The machine that a ceremony runs on, as the operating system shows it, and the tool itself.
//!
//! What cannot be read is reported as if it were wrong; the judgement is `ca_core::ceremony::findings`.

use std::path::Path;
use std::sync::OnceLock;

use ca_core::ceremony::{CoreDumps, MachineFacts};
use ca_core::pki::{Sha256Digest, sha256};
use rustix::process::{DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit};

use crate::Error;

/// The machine and the tool, as a run looks at them.
pub trait Machine: Send + Sync {
    /// SHA-256 of the running executable.
    ///
    /// # Errors
    /// When it can't be read.
    fn tool_sha256(&self) -> Result<Sha256Digest, Error>;

    /// The machine as it is now.
    fn facts(&self) -> MachineFacts;
}

/// This machine, through /proc and /sys.
#[derive(Debug, Default)]
pub struct SystemMachine {
    tool: OnceLock<Sha256Digest>,
}

impl Machine for SystemMachine {
    fn tool_sha256(&self) -> Result<Sha256Digest, Error> {
        if let Some(known) = self.tool.get() {
            return Ok(*known);
        }
        // The file that runs, even if its name leads to another one by now.
        let exe = Path::new("/proc/self/exe");
        let digest = sha256(&std::fs::read(exe).map_err(Error::io("read the tool itself,", exe))?);
        Ok(*self.tool.get_or_init(|| digest))
    }

    fn facts(&self) -> MachineFacts {
        let boot = text("/proc/sys/kernel/random/boot_id").map_or_else(|unreadable| unreadable, |t| t.trim().to_owned());
        let uptime = text("/proc/uptime").ok().and_then(|t| t.split('.').next()?.parse().ok()).unwrap_or(0);
        let core = CoreDumps {
            limit: getrlimit(Resource::Core).current,
            // A pattern that can't be read might be a program.
            pattern: text("/proc/sys/kernel/core_pattern").map_or_else(|unreadable| format!("|{unreadable}"), |t| t.trim().to_owned()),
            dumpable: !matches!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable)),
        };
        // /proc/self/net is this process's network namespace; /sys/class/net may be that of whoever mounted it.
        let interfaces_up = interfaces_up(text("/proc/self/net/dev"), |name| text(&format!("/sys/class/net/{name}/flags")).ok());
        MachineFacts { boot, uptime, interfaces_up, swaps: swaps(text("/proc/swaps")), core }
    }
}

/// Makes sure that no crash leaves the memory of this process in a file, and that no other process of its user reads
/// it: called before the first secret is read. [`MachineFacts`] shows whether it worked.
pub(crate) fn harden() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn text(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("({path} could not be read: {e})"))
}

/// The interfaces in /proc/net/dev, but loopback, that are up or whose flags are unknown.
fn interfaces_up(dev: Result<String, String>, flags: impl Fn(&str) -> Option<String>) -> Vec<String> {
    const IFF_UP: u32 = 1;
    let dev = match dev {
        Ok(dev) => dev,
        Err(unreadable) => return vec![unreadable],
    };
    // Two lines of headings, then a line for each: `  eth0: 1 2 …`.
    let names = dev.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    let is_up = |name: &str| {
        let flags = flags(name).and_then(|t| u32::from_str_radix(t.trim().trim_start_matches("0x"), 16).ok());
        flags.is_none_or(|f| f & IFF_UP != 0)
    };
    names.filter(|name| *name != "lo" && is_up(name)).map(str::to_owned).collect()
}

/// The areas in /proc/swaps.
fn swaps(swaps: Result<String, String>) -> Vec<String> {
    match swaps {
        Ok(text) => text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect(),
        Err(unreadable) => vec![unreadable],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_swaps_are_read_and_the_unreadable_counts() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth0: 1 2\n  ifb0: 0 0\nwlan0:0 0\n".to_owned();
        let flags = |name: &str| match name {
            "eth0" => Some("0x1003\n".to_owned()),
            "ifb0" => Some("0x82\n".to_owned()),
            _ => None,
        };
        assert_eq!(interfaces_up(Ok(dev), flags), ["eth0", "wlan0"]);
        assert_eq!(interfaces_up(Err("unreadable".to_owned()), flags), ["unreadable"]);
        let table = "Filename\tType\n/dev/sda2 partition 1 0 -2\n/swap file 1 0 -3\n".to_owned();
        assert_eq!(swaps(Ok(table)), ["/dev/sda2", "/swap"]);
        assert_eq!(swaps(Err("unreadable".to_owned())), ["unreadable"]);
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = SystemMachine::default();
        let facts = machine.facts();
        assert!(facts.boot.len() == 36 && facts.uptime > 0, "{facts:?}");
        let unreadable = |texts: &[String]| texts.iter().any(|t| t.contains("could not be read"));
        assert!(!unreadable(&facts.interfaces_up) && !unreadable(&facts.swaps) && !facts.core.pattern.starts_with("|("), "{facts:?}");
        let exe = std::env::current_exe().unwrap();
        assert_eq!(machine.tool_sha256().unwrap(), sha256(&std::fs::read(exe).unwrap()));
    }
}
