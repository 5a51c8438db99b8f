//! pkilint: certificates, chains, CRLs, OCSP answers, and ETSI's profiles.

use std::path::Path;
use std::process::Command;

use ca_testkit::brought::python_with;
use ca_testkit::program::output;
use ca_testkit::specimens::Specimen;
use serde::Deserialize;

use crate::finding::{Finding, Judgement, Severity};
use crate::folder::Folder;

/// What is installed.
const LIST: &str = include_str!("../tools/python/pkilint.txt");

fn version() -> &'static str {
    LIST.lines().find_map(|line| line.strip_prefix("pkilint==")).unwrap()
}

/// A line of the script's output: what one of pkilint's programs said of one specimen.
#[derive(Deserialize)]
struct Line {
    specimen: String,
    program: String,
    findings: Vec<LineFinding>,
}

#[derive(Deserialize)]
struct LineFinding {
    severity: String,
    code: String,
    detail: String,
}

pub(crate) fn judge(specimens: &[Specimen], folder: &Folder) -> Judgement {
    folder.write(specimens);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lint_oracles/drive_pkilint.py");
    let python = python_with(Path::new(env!("CARGO_TARGET_TMPDIR")), "pkilint");
    let text = output(Command::new(python).arg(script).arg(folder.path("manifest.json")), "read what the script says");
    let mut judgement = Judgement::new("pkilint", version().to_owned());
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        for finding in line.findings {
            judgement.findings.push(Finding {
                specimen: line.specimen.clone(),
                rule: finding.code,
                severity: severity(&finding.severity),
                detail: format!("{}: {}", line.program, finding.detail),
            });
        }
        judgement.judged.push(line.specimen);
    }
    judgement
}

fn severity(word: &str) -> Severity {
    match word {
        "FATAL" | "ERROR" => Severity::Error,
        "WARNING" => Severity::Warning,
        "NOTICE" => Severity::Notice,
        "INFO" | "DEBUG" => Severity::Info,
        _ => panic!("pkilint has no severity {word}"),
    }
}
