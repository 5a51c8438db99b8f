//! Java: its PKIX validator with CRLs that it fetches itself from the certificates' distribution points.

use std::path::Path;
use std::process::Command;

use ca_testkit::program::{output, run};
use ca_testkit::specimens::{Kind, Specimen};

use crate::finding::Judgement;
use crate::folder::Folder;

const REMEDY: &str = "install Debian's package default-jdk-headless";

pub(crate) fn judge(specimens: &[Specimen], folder: &Folder) -> Judgement {
    let version = run(Command::new("java").arg("-version"), REMEDY).all;
    let version = version.split('"').nth(1).unwrap_or_default().to_owned();
    let mut lines = String::new();
    for specimen in specimens {
        let chain = &specimen.chain;
        let paths = |end: &str, count: usize| (0..count).map(|i| format!("{}.{i}.{end}", chain.name)).collect::<Vec<_>>().join(",");
        let kind = match specimen.kind {
            Kind::Certificate { .. } => "certificate",
            Kind::Crl => "crl",
            Kind::OcspResponse { .. } => continue,
        };
        let (issuers, crls) = (paths("cer", chain.certificates.len()), paths("crl", chain.crls.len()));
        lines += &format!("{}\t{kind}\t{}.der\t{issuers}\t{crls}\n", specimen.name, specimen.name);
    }
    std::fs::write(folder.path("java.tsv"), lines).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lint_oracles/java/Judge.java");
    std::fs::write(folder.path("hosts"), "127.0.0.1 status.example.com\n").unwrap();
    // In a network of its own, where port 80 is free.
    let mut command = folder.command("unshare", false);
    command.args(["--net", "sh", "-euc", "ip link set lo up; exec \"$@\"", "sh", "java", "-Dcom.sun.security.enableCRLDP=true"]);
    let text = output(command.arg("-Djdk.net.hosts.file=hosts").arg(source).arg("java.tsv"), REMEDY);
    let mut judgement = Judgement::new("java", version);
    judgement.note_lines(&text, specimens);
    judgement
}
