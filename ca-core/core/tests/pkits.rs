//! NIST's Public Key Interoperability Test Suite through the parsers and the linter.
//!
//! Its certificates and CRLs come with the package that pyca/cryptography tests itself with; a first run brings it from
//! the package index into the build directory. `vectors/pkits.txt` has, for each file in which the linter finds errors,
//! the rules, and whether the suite refuses it too.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use ca_core::lint::{self, Context, Report, Severity};
use ca_core::pki::Certificate;
use ca_core::pki::crl::Crl;
use ca_testkit::brought::brought;
use ca_testkit::program::output;

/// Of the package.
const VERSION: &str = "50.0.2";
const EXPECTED: &str = include_str!("vectors/pkits.txt");

/// The suite's tests that fail for what a linter does not know, by a part of the certificate's name.
const BEYOND: &[(&str, &str)] = &[
    ("notAfterDate", "the time"),
    ("notBeforeDate", "the time"),
    ("nextUpdate", "the time"),
    ("Revoked", "revocation"),
    ("CRLSign", "revocation"),
    ("cRLSign", "revocation"),
    ("CRL", "revocation"),
    ("SerialNumber", "revocation"),
    ("distributionPoint", "revocation"),
    ("deltaCRL", "revocation"),
    ("onlyContains", "revocation"),
    ("onlySomeReasons", "revocation"),
    ("cRLIssuer", "revocation"),
    ("IDPwithindirectCRL", "revocation"),
    ("BasicSelfIssued", "revocation"),
    ("Policy", "policies that a relying party asks for"),
];

/// The suite's folder; brought once.
fn suite() -> PathBuf {
    brought(Path::new(env!("CARGO_TARGET_TMPDIR")), &format!("pkits-{VERSION}"), |folder| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/pkits.sh");
        let remedy = "install Debian's python3-venv, and make a package index reachable for pip";
        output(Command::new(script).arg(format!("cryptography-vectors=={VERSION}")).arg(folder), remedy);
    })
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn errors(report: &Report) -> BTreeSet<String> {
    report.findings().iter().filter(|f| f.severity == Severity::Error).map(|f| f.rule.to_owned()).collect()
}

/// The rules and the verdict of each line.
fn expected() -> BTreeMap<String, (BTreeSet<String>, &'static str)> {
    let lines = EXPECTED.lines().filter(|l| !l.starts_with('#'));
    let fields = |line: &'static str| {
        let [name, rules, verdict] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
        (name.to_owned(), (rules.split(' ').map(str::to_owned).collect(), verdict))
    };
    lines.map(fields).collect()
}

#[test]
fn pkits_the_suites_verdict_is_met() {
    let folder = suite();
    let (certificates, crls) = (files(&folder.join("certs")), files(&folder.join("crls")));
    assert_eq!((certificates.len(), crls.len()), (405, 173));
    let among: Vec<&[u8]> = certificates.values().map(Vec::as_slice).collect();
    let mut found = BTreeMap::new();
    let mut chains = BTreeMap::new();
    for (name, der) in &certificates {
        let issuers = lint::find_issuers(der, &among);
        let errors = errors(&lint::certificate(der, &Context { issuers: &issuers, previous_crl: None }));
        // What our own parser refuses, the linter finds wrong too.
        assert!(Certificate::from_der(der).is_ok() || !errors.is_empty(), "{name}");
        found.insert(name.clone(), errors);
        chains.insert(name.as_str(), issuers);
    }
    for (name, der) in &crls {
        let issuers = lint::find_issuers(der, &among);
        let errors = errors(&lint::crl(der, &Context { issuers: &issuers, previous_crl: None }));
        // Our own reader takes CRLs of the shapes that this CA makes; others it refuses, and does not panic.
        let _ = Crl::from_der(der);
        found.insert(name.clone(), errors);
    }
    let expected = expected();
    let wrong: Vec<_> = found
        .iter()
        .filter(|(name, errors)| **errors != expected.get(*name).map(|(rules, _)| rules.clone()).unwrap_or_default())
        .map(|(name, errors)| format!("{name}: {errors:?}"))
        .collect();
    assert!(wrong.is_empty() && expected.keys().all(|name| found.contains_key(name)), "{}", wrong.join("\n"));

    for (name, errors) in found.iter().filter(|(name, _)| name.ends_with("EE")) {
        let verdict = expected.get(name).map(|(_, verdict)| *verdict);
        if !name.starts_with("Invalid") {
            assert!(errors.is_empty() || verdict.is_some_and(|v| v.starts_with("stricter: ")), "{name} is valid");
            continue;
        }
        // Refused for itself, or for a certificate above it; or beyond what is judged.
        let above = chains[name.as_str()].iter().any(|der| {
            certificates.iter().any(|(other, d)| d == der && expected.get(other).is_some_and(|(_, verdict)| *verdict == "invalid"))
        });
        let is_beyond = BEYOND.iter().any(|(part, _)| name.contains(part));
        assert!(verdict == Some("invalid") || above || is_beyond || NAMES.iter().any(|(n, ..)| n == name), "{name} is invalid");
    }
}

/// Certificates that name their issuer otherwise than it names itself: whether the suite refuses them.
const NAMES: &[(&str, &str, bool)] = &[
    ("InvalidNameChainingTest1EE", "GoodCACert", true),
    ("InvalidNameChainingOrderTest2EE", "NameOrderingCACert", true),
    // Names that are equal when compared without regard to case, spaces or the string's type: here they are other names
    // (RFC 5280 §4.1.2.4 wants a CA to write one encoding).
    ("ValidNameChainingWhitespaceTest3EE", "GoodCACert", false),
    ("ValidNameChainingWhitespaceTest4EE", "GoodCACert", false),
    ("ValidNameChainingCapitalizationTest5EE", "GoodCACert", false),
    ("ValidRolloverfromPrintableStringtoUTF8StringTest10EE", "RolloverfromPrintableStringtoUTF8StringCACert", false),
    ("ValidUTF8StringCaseInsensitiveMatchTest11EE", "UTF8StringCaseInsensitiveMatchCACert", false),
];

#[test]
fn pkits_names_chain_byte_for_byte() {
    let certificates = files(&suite().join("certs"));
    for (name, issuer, _) in NAMES {
        let report = lint::certificate(&certificates[*name], &Context { issuers: &[&certificates[*issuer]], previous_crl: None });
        assert_eq!(errors(&report), BTreeSet::from(["issuer-name-chains".to_owned()]), "{name}");
    }
    assert_eq!(NAMES.iter().filter(|(.., refused)| *refused).count(), 2);
}
