//! zlint: certificates and CRLs, against the sources that bind a private CA.

use std::collections::BTreeMap;

use ca_testkit::program::{output, run};
use ca_testkit::specimens::{Kind, Specimen};
use serde::Deserialize;

use crate::finding::{Finding, Judgement, Refusal, Severity};
use crate::folder::Folder;

const REMEDY: &str = "run tests/lint_oracles/run.sh";
/// Rules for public CAs, which refuse internal names. What is left are the RFCs', ETSI's, and what the makers of zlint hold for
/// good practice.
const NOT_FOR_PRIVATE_CAS: &str = "Apple,CABF_BR,CABF_EV,CABF_SMIME_BR,Mozilla";
/// The rules of the same sources for CRLs, which zlint leaves out by neither source nor name. (BR 7.2.2 forbids certificateHold
/// and cACompromise.)
const NOT_FOR_PRIVATE_CRLS: &str = "e_cab_crl_";

#[derive(Deserialize)]
struct Verdict {
    result: String,
    #[serde(default)]
    details: String,
}

pub(crate) fn judge(specimens: &[Specimen], folder: &Folder) -> Judgement {
    let version = output(folder.command("zlint", true).arg("-version"), REMEDY);
    let version = version.split_whitespace().last().unwrap_or_default().to_owned();
    let mut judgement = Judgement::new("zlint", version);
    for specimen in specimens.iter().filter(|s| !matches!(s.kind, Kind::OcspResponse { .. })) {
        let said =
            run(folder.command("zlint", true).args(["-excludeSources", NOT_FOR_PRIVATE_CAS]).arg(format!("{}.pem", specimen.name)), REMEDY);
        // It exits with 0 whatever it finds.
        let Ok(verdicts) = serde_json::from_str::<BTreeMap<String, Verdict>>(&said.stdout) else {
            judgement.note(&specimen.name, Err(Refusal::new("unreadable", said.all)));
            continue;
        };
        assert!(verdicts.len() > 2, "zlint applies next to no rule to {}", specimen.name);
        judgement.judged.push(specimen.name.clone());
        for (rule, verdict) in verdicts.into_iter().filter(|(rule, _)| !rule.starts_with(NOT_FOR_PRIVATE_CRLS)) {
            if let Some(severity) = severity(&verdict.result) {
                judgement.findings.push(Finding { specimen: specimen.name.clone(), rule, severity, detail: verdict.details });
            }
        }
    }
    judgement
}

fn severity(result: &str) -> Option<Severity> {
    match result {
        "pass" | "NA" | "NE" => None,
        "info" => Some(Severity::Info),
        "notice" => Some(Severity::Notice),
        "warn" => Some(Severity::Warning),
        "error" | "fatal" => Some(Severity::Error),
        _ => panic!("zlint has no result {result}"),
    }
}
