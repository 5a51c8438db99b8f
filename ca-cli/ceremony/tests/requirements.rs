//! The documents hold: the table of requirements names real tests, and the rehearsal verifies.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ca_ceremony::verify;
use ca_core::ceremony::{CeremonyKind, Roster};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Rust source of the workspace.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, out);
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

/// The functions `ceremony_NN_…` that a test run runs, each with its file: marked as tests and not ignored.
fn tests() -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    for folder in ["ca-core", "ca-cli", "acme-server", "ocsp-responder", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate() {
            let name = line.trim_start_matches("async ").strip_prefix("fn ").filter(|rest| rest.starts_with("ceremony_"));
            let Some(name) = name.and_then(|rest| rest.split('(').next()) else { continue };
            let above = lines[..i].iter().rev().take_while(|l| l.starts_with("#[") || l.starts_with("//"));
            let attributes: Vec<&&str> = above.filter(|l| l.starts_with("#[")).collect();
            let is_test = attributes.iter().any(|a| a.starts_with("#[test]") || a.starts_with("#[tokio::test"));
            if is_test && !attributes.iter().any(|a| a.contains("ignore")) {
                let twice = found.insert(name.to_owned(), file.clone());
                assert!(twice.is_none(), "`{name}` stands in {} and {}", file.display(), twice.unwrap().display());
            }
        }
    }
    found
}

#[test]
fn every_requirement_has_its_row_and_every_row_a_test_that_runs() {
    let table = std::fs::read_to_string(root().join("ceremony-docs/requirements.md")).unwrap();
    let tests = tests();
    assert!(tests.len() > 30, "{tests:?}");
    let mut seen = BTreeSet::new();
    for row in table.lines().filter(|l| l.starts_with("| ") && l.as_bytes()[2].is_ascii_digit()) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [number, requirement, test] = cells.as_slice() else { panic!("three cells: {row}") };
        let number: u32 = number.parse().unwrap();
        assert!(seen.insert(number) && !requirement.is_empty(), "{row}");
        let test = test.strip_prefix('`').and_then(|t| t.strip_suffix('`')).unwrap_or_else(|| panic!("the test stands in ticks: {row}"));
        assert!(test.starts_with(&format!("ceremony_{number:02}_")), "{row}");
        assert!(tests.contains_key(test), "there is no test `{test}`, or it is ignored");
    }
    assert_eq!(seen, (1..=40).collect());
}

/// The full rehearsal in the documents, made by `ceremony-docs/rehearse.sh`.
#[test]
fn the_rehearsals_in_the_documents_verify() {
    let folder = root().join("ceremony-docs");
    for (name, device) in [("rehearsal", "pkcs11"), ("rehearsal-yubihsm", "yubi-hsm2")] {
        let roster = Roster::parse(&std::fs::read_to_string(folder.join(format!("{name}-roster.toml"))).unwrap()).unwrap();
        let verified = verify(&folder.join(name), Some(&roster)).unwrap();
        let roster = &verified.roster;
        assert_eq!((roster.kind, roster.threshold, roster.officers.len()), (CeremonyKind::Rehearsal, 2, 3), "{name}");
        assert!(verified.cosigned_by_enough() && verified.authorities.len() == 2, "{name}: {:?}", verified.cosigners);
        // It shows an exception, too: something was written again, and an officer and a witness decided about it.
        assert!(verified.exceptions.len() == 1 && verified.exceptions[0].by == ["ana", "wim"], "{name}: {:?}", verified.exceptions);
        let plan = std::fs::read_to_string(folder.join(name).join("plan.toml")).unwrap();
        assert!(plan.contains(&format!("kind = \"{device}\"")), "{name} was on other devices:\n{plan}");
        let transcript = std::fs::read_to_string(folder.join(name).join("transcript.jsonl")).unwrap();
        assert_eq!(transcript.contains("\"event\":\"device-log\""), device == "yubi-hsm2", "{name}: a YubiHSM's own log is in it");
    }
}
