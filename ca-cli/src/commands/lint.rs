//! `ca lint FILE…`: the linter of the signing path on anyone's files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ca_core::lint::{self, Context, Finding, Object, Report, Severity};
use ca_core::pki::crl::MAX_CRL_LEN;
use ca_core::pki::pem_blocks;
use serde::Serialize;

use crate::cli::LintArgs;
use crate::exit::{Exit, configuration};
use crate::render::{print, print_json, table};

/// Most bytes of a file: the largest CRL.
const MAX_FILE: u64 = MAX_CRL_LEN as u64 + 8192;
/// Most objects in all files together.
const MAX_OBJECTS: usize = 10_000;

/// An object of a file.
struct Item {
    /// The file, and the block's number where there are several.
    place: String,
    kind: Object,
    der: Vec<u8>,
}

/// What is reported of one.
#[derive(Serialize)]
struct Judged {
    file: String,
    object: &'static str,
    errors: usize,
    warnings: usize,
    /// More than a report holds.
    omitted: usize,
    findings: Vec<Finding>,
}

pub(crate) fn lint(args: &LintArgs) -> anyhow::Result<ExitCode> {
    if args.rules {
        list(args.output.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items = read_all(&args.files)?;
    let issuers = read_all(&args.issuer)?;
    if let Some(other) = issuers.iter().find(|i| i.kind != Object::Certificate) {
        return Err(configuration(format!("{} is a {}, not an issuer's certificate", other.place, other.kind.name())));
    }
    let previous = args.previous_crl.as_deref().map(read).transpose()?.and_then(|mut all| all.pop());
    let mut judged = Vec::with_capacity(items.len());
    for item in &items {
        let above: Vec<&[u8]> = if issuers.is_empty() {
            let among: Vec<_> = items.iter().filter(|i| i.kind == Object::Certificate).map(|i| i.der.as_slice()).collect();
            lint::find_issuers(&item.der, &among)
        } else {
            // One of the issuers themselves stands below those after it.
            let own = issuers.iter().position(|i| i.der == item.der).map_or(0, |at| at + 1);
            issuers[own..].iter().map(|i| i.der.as_slice()).collect()
        };
        let context = Context { issuers: &above, previous_crl: previous.as_ref().map(|p| p.der.as_slice()) };
        judged.push(report(item, &judge(item, &context), args.severity.into()));
    }
    if args.output.json {
        print_json(&judged)?
    } else {
        print(&text(&judged))?
    }
    let failed = judged.iter().any(|j| j.errors > 0);
    Ok(if failed { Exit::Failed.into() } else { ExitCode::SUCCESS })
}

fn judge(item: &Item, context: &Context<'_>) -> Report {
    match item.kind {
        Object::Crl => lint::crl(&item.der, context),
        Object::OcspResponse => lint::ocsp_response(&item.der, context),
        Object::Certificate | Object::Any => lint::certificate(&item.der, context),
    }
}

fn report(item: &Item, report: &Report, least: Severity) -> Judged {
    let count = |severity| report.findings().iter().filter(|f| f.severity == severity).count();
    let mut findings: Vec<_> = report.findings().iter().filter(|f| f.severity >= least).cloned().collect();
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Judged {
        file: item.place.clone(),
        object: item.kind.name(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        omitted: report.omitted(),
        findings,
    }
}

fn text(judged: &[Judged]) -> String {
    let mut out = String::new();
    for (index, j) in judged.iter().enumerate() {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let verdict = format!("{}, {}", count(j.errors, "error"), count(j.warnings, "warning"));
        let more = if j.omitted == 0 { String::new() } else { format!("; {} more findings than are kept", j.omitted) };
        out += &format!("{}{} ({}): {verdict}{more}\n", if index == 0 { "" } else { "\n" }, crate::render::plain(&j.file), j.object);
        if !j.findings.is_empty() {
            let row = |f: &Finding| [f.severity.to_string(), f.rule.to_owned(), f.detail.clone(), f.field.clone(), f.clause.to_owned()];
            let rows: Vec<_> = j.findings.iter().map(row).collect();
            out += &table(["SEVERITY", "RULE", "FOUND", "WHERE", "CLAUSE"], &rows);
        }
    }
    out
}

/// Every rule.
fn list(json: bool) -> anyhow::Result<()> {
    if json {
        let rules: Vec<_> = lint::rules()
            .map(|r| serde_json::json!({ "rule": r.name, "object": r.object().name(), "severity": r.severity, "holds": r.says, "clause": r.clause }))
            .collect();
        return print_json(&rules);
    }
    let row =
        |r: &lint::Rule| [r.name.to_owned(), r.object().name().to_owned(), r.severity.to_string(), r.says.to_owned(), r.clause.to_owned()];
    print(&table(["RULE", "OBJECT", "SEVERITY", "WHAT MUST HOLD", "CLAUSE"], &lint::rules().map(row).collect::<Vec<_>>()))
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for path in paths {
        items.extend(read(path)?);
        if items.len() > MAX_OBJECTS {
            return Err(configuration(format!("there are more than {MAX_OBJECTS} objects (hint: give fewer files at a time)")));
        }
    }
    Ok(items)
}

/// The objects of a file, in their order; at least one.
fn read(path: &Path) -> anyhow::Result<Vec<Item>> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let wrong = |what: &dyn std::fmt::Display| configuration(format!("{name}: {what}"));
    let mut bytes = Vec::new();
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(|e| wrong(&e))?) };
    input.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(&format!("it has more than {MAX_FILE} bytes, which no object that is judged has")));
    }
    if let Some(kind) = lint::recognize(&bytes) {
        return Ok(vec![Item { place: name, kind, der: bytes }]);
    }
    let none = "it holds no certificate, CRL or OCSP response (hint: DER or PEM; is it a request, a key or a PKCS #12 file?)";
    let text = String::from_utf8(bytes).map_err(|_| wrong(&none))?;
    if !text.contains("-----BEGIN ") {
        return Err(wrong(&none));
    }
    let blocks = pem_blocks(&text).map_err(|e| wrong(&e))?;
    let several = blocks.len() > 1;
    let mut items = Vec::new();
    for (index, (label, der)) in blocks.into_iter().enumerate() {
        let place = if several { format!("{name}[{}]", index + 1) } else { name.clone() };
        // The label tells what a damaged block was meant to be.
        let kind = match label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Some(Object::Certificate),
            "X509 CRL" | "CRL" => Some(Object::Crl),
            "OCSP RESPONSE" => Some(Object::OcspResponse),
            _ => lint::recognize(&der),
        };
        match kind {
            Some(kind) => items.push(Item { place, kind, der }),
            None => eprintln!("{place}: a block `{}` is not judged", crate::render::plain(&label)),
        }
    }
    if items.is_empty() { Err(wrong(&none)) } else { Ok(items) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;

    fn args(arguments: &[&std::ffi::OsStr]) -> LintArgs {
        let all = ["ca", "lint"].map(std::ffi::OsStr::new).into_iter().chain(arguments.iter().copied());
        match Cli::parse_from(all).command {
            crate::cli::Command::Lint(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// A root and a leaf below it, the leaf first, and a key; the files stay as long as the folder.
    fn files() -> (tempfile::TempDir, [PathBuf; 3]) {
        let (root_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.distinguished_name.push(rcgen::DnType::CommonName, "Root");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(root, root_key);
        let leaf = |name: &str| {
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, "Leaf");
            params.use_authority_key_identifier_extension = true;
            params.signed_by(&key, &issuer).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let paths = ["chain.pem", "bad.der", "root.pem"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], [leaf("a.test").pem(), key.serialize_pem(), root_certificate.pem()].concat()).unwrap();
        std::fs::write(&paths[1], leaf("a_b.test").der()).unwrap();
        std::fs::write(&paths[2], root_certificate.pem()).unwrap();
        (folder, paths)
    }

    #[test]
    fn files_are_read_in_every_form() {
        let (_folder, [chain, bad, root]) = files();
        let items = read(&chain).unwrap();
        let places: Vec<_> = items.iter().map(|i| i.place.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(places, ["chain.pem[1]", "chain.pem[3]"]);
        assert_eq!(read(&bad).unwrap()[0].kind, Object::Certificate);
        assert_eq!(read(&root).unwrap().len(), 1);
        for content in [&b""[..], b"\x30\x00", b"hello", b"-----BEGIN A-----\nx"] {
            std::fs::write(&root, content).unwrap();
            assert!(read(&root).is_err());
        }
    }

    #[test]
    fn errors_decide_the_exit_code() {
        let (_folder, [chain, bad, root]) = files();
        let run = |arguments: &[&std::ffi::OsStr]| lint(&args(arguments));
        let code = |arguments: &[&std::ffi::OsStr]| format!("{:?}", run(arguments).unwrap());
        let option = std::ffi::OsStr::new;
        let (failed, success) = (format!("{:?}", ExitCode::from(1)), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(&[chain.as_os_str(), option("--json")]), success);
        assert_eq!(code(&[bad.as_os_str()]), failed);
        // A level that hides the error changes nothing.
        assert_eq!(code(&[bad.as_os_str(), option("--severity"), option("error")]), failed);
        assert_eq!(code(&[option("--rules")]), success);
        assert_eq!(code(&[chain.as_os_str(), option("--issuer"), root.as_os_str()]), success);
        assert_eq!(code(&[chain.as_os_str(), option("--issuer"), bad.as_os_str()]), failed, "another's certificate is no issuer");
        assert_eq!(crate::exit::code_of(&run(&[option("/nowhere")]).unwrap_err()), Exit::Configuration);
    }

    #[test]
    fn a_report_is_a_table_for_people() {
        let (_folder, [_, bad, root]) = files();
        let item = read(&bad).unwrap().remove(0);
        let issuer = read(&root).unwrap().remove(0);
        let context = Context { issuers: &[&issuer.der], previous_crl: None };
        let judged = report(&item, &judge(&item, &context), Severity::Error);
        let shown = text(&[judged]);
        let mut lines = shown.lines();
        assert!(lines.next().unwrap().ends_with("bad.der (certificate): 1 error, 0 warnings"), "{shown}");
        assert!(lines.next().unwrap().starts_with("SEVERITY  RULE      FOUND"), "{shown}");
        assert_eq!(
            lines.next().unwrap().split("  ").map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>(),
            ["error", "dns-name", "it is `a_b.test`", "tbsCertificate.extensions.subjectAltName[0]", "RFC 5280 §4.2.1.6; RFC 1123 §2.1"]
        );
        assert_eq!(lines.next(), None);
    }
}
