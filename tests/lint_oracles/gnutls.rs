//! GnuTLS: `certtool` on chains and CRLs, `ocsptool` on answers.

use ca_testkit::program::{Said, output, run};
use ca_testkit::specimens::{Kind, Purpose, Specimen};

use crate::finding::{Judgement, Refusal, Verdict};
use crate::folder::{Folder, crls_pem, issuer_pem, root_pem};

const REMEDY: &str = "run tests/lint_oracles/run.sh";

pub(crate) fn judge(specimens: &[Specimen], folder: &Folder) -> Judgement {
    let version = output(folder.command("certtool", true).arg("--version"), REMEDY);
    let version = version.lines().next().and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned();
    let mut judgement = Judgement::new("gnutls", version);
    for specimen in specimens {
        match &specimen.kind {
            Kind::Certificate { purpose, is_revoked } => {
                judgement.note_path(&specimen.name, *is_revoked, verify(specimen, *purpose, folder));
            }
            Kind::Crl => {
                let mut command = folder.command("certtool", true);
                command.args(["--verify-crl", "--load-ca-certificate", &issuer_pem(&specimen.chain)]);
                let said = run(command.args(["--infile", &format!("{}.pem", specimen.name)]), REMEDY);
                judgement.note(&specimen.name, accepted(&said, "Verification output: Verified."));
            }
            Kind::OcspResponse { says, .. } => {
                let mut command = folder.command("ocsptool", true);
                command.args(["--verify-response", "--load-trust", &issuer_pem(&specimen.chain)]);
                let said = run(command.args(["--infile", &format!("{}.der", specimen.name)]), REMEDY);
                let found = accepted(&said, "Verifying OCSP Response: Success.");
                judgement.note(&specimen.name, found.and_then(|()| accepted(&said, &format!("Certificate Status: {says}\n"))));
            }
        }
    }
    judgement
}

fn verify(specimen: &Specimen, purpose: Purpose, folder: &Folder) -> Verdict {
    const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
    const SERVER: &str = "1.3.6.1.5.5.7.3.1";
    match purpose {
        Purpose::Client => verify_for(specimen, Some(CLIENT), folder),
        Purpose::Server => verify_for(specimen, Some(SERVER), folder),
        Purpose::ClientAndServer => verify_for(specimen, Some(CLIENT), folder).and(|| verify_for(specimen, Some(SERVER), folder)),
        Purpose::Other | Purpose::Issuing => verify_for(specimen, None, folder),
    }
}

fn verify_for(specimen: &Specimen, purpose: Option<&str>, folder: &Folder) -> Verdict {
    let chain = &specimen.chain;
    let mut command = folder.command("certtool", true);
    command.args(["--verify", "--verify-profile", "low"]);
    command.args(["--load-ca-certificate", &root_pem(chain), "--load-crl", &crls_pem(chain)]);
    if let Some(purpose) = purpose {
        command.args(["--verify-purpose", purpose]);
    }
    let said = run(command.args(["--infile", &format!("{}.chain.pem", specimen.name)]), REMEDY);
    match accepted(&said, "Chain verification output: Verified.") {
        Ok(()) => Verdict::Accepted,
        Err(_)
            if said
                .stdout
                .contains("Chain verification output: Not verified. The certificate is NOT trusted. The certificate chain is revoked.") =>
        {
            Verdict::Revoked
        }
        Err(refusal) => Verdict::Refused(refusal.detail),
    }
}

/// Whether it succeeded, and said so in these words.
fn accepted(said: &Said, words: &str) -> Result<(), Refusal> {
    if said.succeeded && said.all.contains(words) { Ok(()) } else { Err(Refusal::new("refused", said.all.clone())) }
}
