//! Only `issuance` asks an authority key to sign (invariant 1, lesson 1).
//!
//! Whoever calls `KeyStore::sign` must name `SignInput`. So the sources that name it are: the port, the path, the
//! backends that implement the port, and the test kit that judges and breaks them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const MAY_NAME_IT: [&str; 5] = [
    "ca-core/core/src/issuance/mod.rs",
    "ca-core/core/src/ports/",
    "ca-core/core/tests/one_signing_path.rs",
    "ca-core/keystore/",
    "ca-core/testkit/src/",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "var" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_else_can_ask_an_authority_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let naming: Vec<String> = files
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("SignInput"))
        .map(|path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(naming.iter().any(|f| f == MAY_NAME_IT[0]), "the search finds the path itself: {naming:?}");
    let strangers: Vec<_> = naming.iter().filter(|f| !MAY_NAME_IT.iter().any(|may| f.starts_with(may))).collect();
    assert!(strangers.is_empty(), "only `issuance` may ask an authority key to sign; these name SignInput too: {strangers:?}");
}
