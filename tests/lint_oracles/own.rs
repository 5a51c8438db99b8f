//! The project's own linter, `ca lint`, beside the others.

use ca_core::lint::{self, Context};
use ca_testkit::specimens::{Kind, Specimen};

use crate::finding::{Finding, Judgement, Severity};
use crate::folder::Folder;

pub(crate) fn judge(specimens: &[Specimen], _folder: &Folder) -> Judgement {
    let mut judgement = Judgement::new("ca-lint", env!("CARGO_PKG_VERSION").to_owned());
    for specimen in specimens {
        let issuers: Vec<_> = specimen.chain.certificates.iter().map(Vec::as_slice).collect();
        // A root has nothing above it.
        let above = Context { issuers: if specimen.profile == "root" { &[] } else { &issuers }, previous_crl: None };
        let report = match &specimen.kind {
            Kind::Certificate { .. } => lint::certificate(&specimen.der, &above),
            Kind::Crl => lint::crl(&specimen.der, &above),
            Kind::OcspResponse { .. } => lint::ocsp_response(&specimen.der, &above),
        };
        judgement.judged.push(specimen.name.clone());
        judgement.findings.extend(report.findings().iter().map(|finding| Finding {
            specimen: specimen.name.clone(),
            rule: finding.rule.to_owned(),
            severity: match finding.severity {
                lint::Severity::Info => Severity::Info,
                lint::Severity::Notice => Severity::Notice,
                lint::Severity::Warning => Severity::Warning,
                lint::Severity::Error => Severity::Error,
            },
            detail: format!("{}: {}", finding.field, finding.detail),
        }));
    }
    judgement
}
