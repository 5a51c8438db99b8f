//! docs/lints.md is the list of rules.

use std::fmt::Write as _;

use super::{Object, Severity, rules};

const BEGIN: &str = "<!-- rules: begin -->\n";
const END: &str = "<!-- rules: end -->\n";

fn table() -> String {
    let mut text = String::new();
    for object in [Object::Any, Object::Certificate, Object::Crl, Object::OcspResponse] {
        let all: Vec<_> = rules().filter(|r| r.object() == object).collect();
        let title = match object {
            Object::Any => "Any object",
            Object::Certificate => "Certificates",
            Object::Crl => "CRLs",
            Object::OcspResponse => "OCSP responses",
        };
        let count = |severity| all.iter().filter(|r| r.severity == severity).count();
        let counts: Vec<_> = Severity::ALL.into_iter().filter(|s| count(*s) > 0).map(|s| format!("{} {s}", count(s))).collect();
        writeln!(text, "### {title}\n\n{} rules: {}.\n", all.len(), counts.join(", ")).unwrap();
        text.push_str("| rule | severity | what must hold | clause |\n| --- | --- | --- | --- |\n");
        for rule in all {
            let beside = if rule.needs_issuer() { " (beside the issuer)" } else { "" };
            writeln!(text, "| `{}` | {} | {}{beside} | {} |", rule.name, rule.severity, rule.says, rule.clause).unwrap();
        }
        text.push('\n');
    }
    text
}

/// After a change of the rules: `LINTS=write cargo test -p ca-core --lib lint::tests::table`.
#[test]
fn the_documents_table_is_the_list_of_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lints.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("LINTS").is_some_and(|v| v == "write") {
        std::fs::write(path, format!("{head}{BEGIN}{}{END}{tail}", table())).unwrap();
        return;
    }
    assert!(found == table(), "docs/lints.md is out of date (hint: LINTS=write cargo test -p ca-core --lib lint::tests::table)");
}
