//! docs/profiles.md says of each shape what the code does.

use super::fixtures::*;
use crate::pki::walk::{OID, SEQUENCE, Walker, read_extensions};
use crate::pki::{Identifier, TbsFields, oid};
use crate::profile::*;

const DOCUMENT: &str = include_str!("../../../../../docs/profiles.md");

/// The cells of the row about a shape in the table whose first column has this heading row.
fn row(heading: &str, shape: LeafShape) -> Vec<String> {
    let table = DOCUMENT.split_once(heading).unwrap_or_else(|| panic!("the table {heading}")).1;
    let line = table.lines().take_while(|line| !line.starts_with('#')).find(|line| line.starts_with(&format!("| `{shape}`")));
    let line = line.unwrap_or_else(|| panic!("no row about {shape}"));
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn a17_the_documents_tables_are_what_each_profile_does() {
    let hierarchy = &*HIERARCHY;
    let device = Identifier::parse("permanent-identifier", "SN-1").unwrap();
    for shape in LeafShape::ALL {
        // What comes from where.
        let cells = row("| shape | the order's identifiers |", shape);
        let identifiers = match shape {
            LeafShape::Ocsp => "never ordered",
            _ if shape.carries_identifiers() => "become the names",
            _ => "authorize only",
        };
        assert!(cells[2].starts_with(identifiers), "{shape}: {}", cells[2]);
        assert_eq!(cells[2].contains("devices"), shape.takes_identifier(&device), "{shape}: {}", cells[2]);
        assert!(!cells[5].is_empty(), "{shape}: which clients can use it");

        // Exact shapes.
        let cells = row("| shape | subject, in this order |", shape);
        let request = hierarchy.leaf_request(shape);
        let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
        let tbs = Walker::single(&tbs, SEQUENCE, "tbsCertificate").unwrap();
        let fields = TbsFields::read(&tbs).unwrap();
        let extensions = read_extensions(&fields.extensions.unwrap()).unwrap();
        let value = |id: const_oid::ObjectIdentifier| extensions.iter().find(|e| e.oid == id.as_bytes()).map(|e| e.value);
        assert_eq!(cells[3].starts_with("none"), value(oid::SUBJECT_ALT_NAME).is_none(), "{shape}: {}", cells[3]);
        let usage = value(oid::KEY_USAGE).unwrap().last().copied().unwrap();
        let bits = [(0x80, "digitalSignature"), (0x40, "nonRepudiation"), (0x20, "keyEncipherment")];
        let usages: Vec<_> = bits.into_iter().filter(|(bit, _)| usage & bit != 0).map(|(_, name)| name).collect();
        assert_eq!(cells[4], usages.join(", "), "{shape}");
        let mut purposes = Vec::new();
        if let Some(value) = value(oid::EXTENDED_KEY_USAGE) {
            let mut list = Walker::single(value, SEQUENCE, "extKeyUsage").unwrap().walk();
            while !list.is_empty() {
                let purpose = list.expect(OID, "KeyPurposeId").unwrap().content;
                let known = [(oid::SERVER_AUTH, "serverAuth"), (oid::CLIENT_AUTH, "clientAuth"), (oid::OCSP_SIGNING, "OCSPSigning")];
                purposes.push(known.into_iter().find(|(id, _)| id.as_bytes() == purpose).expect("a purpose that the document names").1);
            }
        }
        let purposes = if purposes.is_empty() { "none".to_owned() } else { purposes.join(", ") };
        assert_eq!(cells[5], purposes, "{shape}");
        assert_eq!(cells[6].contains("qcStatements"), value(oid::QC_STATEMENTS).is_some(), "{shape}");
    }
}
