//! What a test's first run brings to the machine: kept in the build directory, made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ca_core::pki::sha256;

use crate::program::output;

/// The folder `directory/name`, filled by `bring` where no earlier run has done so.
///
/// Threads and processes that come at the same time wait for the one that fills it, and nobody changes it afterwards. What
/// a killed run left half-made is made anew. Another version of the content wants another `name`.
///
/// # Panics
/// If the folder cannot be made.
pub fn brought(directory: &Path, name: &str, bring: impl FnOnce(&Path)) -> PathBuf {
    let folder = directory.join(name);
    // Ends with the process that holds it, however that ends.
    let lock = File::create(directory.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let whole = folder.join("whole");
    if !whole.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        bring(&folder);
        File::create(whole).unwrap();
    }
    folder
}

/// The interpreter of a virtual environment in `directory` that has what a file of `tests/tools/python` lists.
///
/// # Panics
/// If the environment cannot be made; says what to install.
pub fn python_with(directory: &Path, list: &str) -> PathBuf {
    let list_path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/tools/python/{list}.txt"));
    let interpreter = |environment: &Path| environment.join("bin/python");
    // A list that was changed is another one.
    let digest = sha256(&fs::read(&list_path).unwrap()).to_string();
    let environment = brought(directory, &format!("{list}-{}", &digest[..16]), |environment| {
        let remedy = "install Debian's packages python3 and python3-venv";
        output(Command::new("python3").args(["-m", "venv"]).arg(environment), remedy);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "10", "--requirement"];
        let remedy = format!("make a package index reachable for `pip install -r {}`", list_path.display());
        output(Command::new(interpreter(environment)).args(pip).arg(&list_path), &remedy);
    });
    interpreter(&environment)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_comes_meanwhile_waits_for_the_whole_and_nobody_brings_it_twice() {
        let directory = tempfile::tempdir().unwrap();
        let times = AtomicU32::new(0);
        let bring = |folder: &Path| {
            times.fetch_add(1, Ordering::Relaxed);
            fs::write(folder.join("first"), "").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            fs::write(folder.join("last"), "").unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(brought(directory.path(), "suite-1", bring).join("last").exists()));
            }
        });
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_left_half_made_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let half = directory.path().join("suite-1");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("stale"), "").unwrap();
        let folder = brought(directory.path(), "suite-1", |folder| fs::write(folder.join("fresh"), "").unwrap());
        assert!(folder.join("fresh").exists() && !folder.join("stale").exists());
    }
}
