//! rustls-webpki: the path validator of rustls, with CRLs.

use std::time::Duration;

use ca_testkit::specimens::{Kind, Purpose, Specimen};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use crate::finding::{Judgement, Refusal, Verdict};
use crate::folder::Folder;

/// The release in Cargo.lock.
fn version() -> String {
    let lock = include_str!("../../Cargo.lock");
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"rustls-webpki\"");
    lines.nth(1).and_then(|line| line.split('"').nth(1)).expect("Cargo.lock names its version").to_owned()
}

pub(crate) fn judge(specimens: &[Specimen], _folder: &Folder) -> Judgement {
    let mut judgement = Judgement::new("rustls-webpki", version());
    for specimen in specimens {
        match &specimen.kind {
            // A CA's certificate is never an end entity's to it.
            Kind::Certificate { purpose: Purpose::Issuing, .. } | Kind::OcspResponse { .. } => {}
            Kind::Certificate { purpose, is_revoked } => {
                let verdicts = usages(*purpose).into_iter().map(|usage| match verify(specimen, usage) {
                    Ok(()) => Verdict::Accepted,
                    Err(Error::CertRevoked) => Verdict::Revoked,
                    Err(error) => Verdict::Refused(format!("{error:?}")),
                });
                let verdict = verdicts.fold(Verdict::Accepted, |verdict, next| verdict.and(|| next));
                judgement.note_path(&specimen.name, *is_revoked, verdict);
            }
            Kind::Crl => judgement.note(&specimen.name, read_crl(specimen)),
        }
    }
    judgement
}

fn usages(purpose: Purpose) -> Vec<KeyUsage> {
    match purpose {
        Purpose::Client => vec![KeyUsage::client_auth()],
        Purpose::Server => vec![KeyUsage::server_auth()],
        Purpose::ClientAndServer => vec![KeyUsage::client_auth(), KeyUsage::server_auth()],
        // `required` would ask it of the intermediate too, which has none.
        Purpose::Other | Purpose::Issuing => vec![KeyUsage::required_if_present(&[0x2b, 6, 1, 5, 5, 7, 3, 9])],
    }
}

fn verify(specimen: &Specimen, usage: KeyUsage) -> Result<(), Error> {
    let chain = &specimen.chain;
    let (leaf, root) = (CertificateDer::from(specimen.der.as_slice()), CertificateDer::from(chain.certificates.last().unwrap().as_slice()));
    let between: Vec<_> = chain.certificates[..chain.certificates.len() - 1].iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    let crls: Vec<_> =
        chain.crls.iter().map(|crl| BorrowedCertRevocationList::from_der(crl).map(CertRevocationList::from)).collect::<Result<_, _>>()?;
    let crls: Vec<_> = crls.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&crls)
        .map_err(|_| Error::UnknownRevocationStatus)?
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Deny)
        .build();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(crate::now().unix().unsigned_abs()));
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor_from_trusted_cert(&root)?], &between, now, usage, Some(revocation), None)
        .map(|_| ())
}

fn read_crl(specimen: &Specimen) -> Result<(), Refusal> {
    BorrowedCertRevocationList::from_der(&specimen.der).map(|_| ()).map_err(|error| Refusal::new("refused", format!("{error:?}")))
}
