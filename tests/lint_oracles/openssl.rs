//! OpenSSL: `verify` with every strictness it has, `crl` and `ocsp`.

use ca_testkit::program::{output, run};
use ca_testkit::specimens::{Chain, Kind, Purpose, Specimen};

use crate::finding::{Judgement, Refusal, Verdict};
use crate::folder::{Folder, between_pem, crls_pem, issuer_pem, root_pem};

const REMEDY: &str = "install Debian's package openssl";

/// One release of OpenSSL.
pub(crate) struct OpenSsl {
    oracle: &'static str,
    in_userland: bool,
}

impl OpenSsl {
    /// This machine's.
    pub(crate) const fn host() -> Self {
        Self { oracle: "openssl", in_userland: false }
    }

    /// The userland's, which is newer.
    #[cfg(feature = "all-oracles")]
    pub(crate) const fn newer() -> Self {
        Self { oracle: "openssl-newer", in_userland: true }
    }

    pub(crate) fn judge(&self, specimens: &[Specimen], folder: &Folder) -> Judgement {
        let version = output(folder.command("openssl", self.in_userland).arg("version"), REMEDY);
        let version = version.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut judgement = Judgement::new(self.oracle, version);
        for specimen in specimens {
            match &specimen.kind {
                Kind::Certificate { purpose, is_revoked } => {
                    judgement.note_path(&specimen.name, *is_revoked, self.verify(specimen, *purpose, folder));
                }
                Kind::Crl => judgement.note(&specimen.name, self.crl(specimen, folder)),
                Kind::OcspResponse { serial, hash, says, .. } => {
                    let about = [format!("-{hash:?}").to_lowercase(), "-serial".to_owned(), format!("0x{serial}"), "-no_nonce".to_owned()];
                    let status = format!("0x{serial}: {says}");
                    let found = self.ocsp(specimen, &about, folder, |said| said.lines().any(|line| line == status));
                    // And as the answer to its own request: the nonce is compared too.
                    let request = ["-reqin".to_owned(), format!("{}.request.der", specimen.name)];
                    judgement.note(&specimen.name, found.and_then(|()| self.ocsp(specimen, &request, folder, |_| true)));
                }
            }
        }
        judgement
    }

    fn verify(&self, specimen: &Specimen, purpose: Purpose, folder: &Folder) -> Verdict {
        match purpose {
            Purpose::Client => self.verify_for(specimen, "sslclient", folder),
            Purpose::Server => self.verify_for(specimen, "sslserver", folder),
            Purpose::ClientAndServer => {
                self.verify_for(specimen, "sslclient", folder).and(|| self.verify_for(specimen, "sslserver", folder))
            }
            Purpose::Other | Purpose::Issuing => self.verify_for(specimen, "any", folder),
        }
    }

    fn verify_for(&self, specimen: &Specimen, purpose: &str, folder: &Folder) -> Verdict {
        let chain = &specimen.chain;
        let mut command = folder.command("openssl", self.in_userland);
        command.args(["verify", "-x509_strict", "-check_ss_sig", "-crl_check_all", "-purpose", purpose]);
        command.args(["-CAfile", &root_pem(chain), "-CRLfile", &crls_pem(chain)]);
        if has_between(chain) {
            command.args(["-untrusted", &between_pem(chain)]);
        }
        let said = run(command.arg(format!("{}.pem", specimen.name)), REMEDY);
        match said.succeeded {
            true => Verdict::Accepted,
            // X509_V_ERR_CERT_REVOKED
            false if said.all.contains("error 23 at 0 depth lookup") => Verdict::Revoked,
            false => Verdict::Refused(said.all),
        }
    }

    fn crl(&self, specimen: &Specimen, folder: &Folder) -> Result<(), Refusal> {
        let mut command = folder.command("openssl", self.in_userland);
        command.args(["crl", "-noout", "-text", "-CAfile", &issuer_pem(&specimen.chain), "-in", &format!("{}.pem", specimen.name)]);
        let said = run(&mut command, REMEDY);
        if said.succeeded && said.all.contains("verify OK") { Ok(()) } else { Err(Refusal::new("refused", said.all)) }
    }

    /// The client exits with 0 for a revoked certificate too: what counts is what it prints.
    fn ocsp(&self, specimen: &Specimen, about: &[String], folder: &Folder, says: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        let chain = &specimen.chain;
        let mut command = folder.command("openssl", self.in_userland);
        command.args(["ocsp", "-respin", &format!("{}.der", specimen.name), "-CAfile", &root_pem(chain)]);
        command.args(["-verify_other", &issuer_pem(chain), "-issuer", &issuer_pem(chain)]).args(about);
        let said = run(&mut command, REMEDY);
        let is_clean = ["WARNING", "Nonce Verify error", "Status times invalid"].iter().all(|words| !said.all.contains(words));
        if said.all.contains("Response verify OK") && is_clean && says(&said.stdout) {
            Ok(())
        } else {
            Err(Refusal::new("refused", said.all))
        }
    }
}

fn has_between(chain: &Chain) -> bool {
    chain.certificates.len() > 1
}
