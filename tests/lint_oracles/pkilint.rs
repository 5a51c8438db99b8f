//! pkilint: certificates, chains, CRLs, OCSP answers, and ETSI's profiles.

use std::path::{Path, PathBuf};
use std::process::Command;

use ca_testkit::specimens::Specimen;
use serde::Deserialize;

use crate::finding::{Finding, Judgement, Severity};
use crate::folder::Folder;
use crate::program::output;

const VERSION: &str = "0.13.3";

/// The interpreter of a virtual environment that has pkilint; made once, kept in the build directory.
fn python() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pkilint-{VERSION}"));
    let python = environment.join("bin/python");
    let ready = environment.join("ready");
    // Two runs may come at the same time: one makes it.
    let lock = std::fs::File::create(environment.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !ready.exists() {
        let remedy = "install Debian's packages python3 and python3-venv";
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), remedy);
        let library = format!("pkilint=={VERSION}");
        let remedy = format!("make a package index reachable for `pip install {library}`");
        output(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &library]), &remedy);
        std::fs::write(&ready, library).unwrap();
    }
    python
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
    let text = output(Command::new(python()).arg(script).arg(folder.path("manifest.json")), "read what the script says");
    let mut judgement = Judgement::new("pkilint", VERSION.to_owned());
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
