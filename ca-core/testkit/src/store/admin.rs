//! Imports, policies, nonces, the audit trail.

use ca_core::log::{AUDIT_LEAF, CHAIN_START, INTENT_LEAF, audit_leaf, chain};
use ca_core::model::{AuditEntry, CrlRecord, CrlScope, CrossCertificate};
use ca_core::ports::StoreError;

use super::{StoreFactory, World, assert_conflict, assert_not_found, at, audit, together};

/// The same bundle or policy again changes nothing; an older one is refused or passed over.
pub async fn imports_and_policies_do_not_go_back(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = audit("authority.import");
    let crl = |number: u64, der: &[u8]| CrlRecord {
        authority: "demo-root".parse().unwrap(),
        scope: CrlScope::FULL,
        number,
        this_update: at(0),
        next_update: at(9000),
        ledger_number: 0,
        der: der.to_vec(),
    };
    let rows = || async { store.audit_after(0, 1000).await.unwrap().len() };
    store.import_authorities(&World::authorities(), &[crl(2, b"two")], &entry).await.unwrap();
    let before = rows().await;
    store.import_authorities(&World::authorities(), &[crl(2, b"two")], &entry).await.unwrap();
    store.import_authorities(&World::authorities(), &[crl(1, b"one")], &entry).await.unwrap();
    assert_eq!(rows().await, before, "nothing changed, nothing is audited");
    assert_conflict(store.import_authorities(&[], &[crl(2, b"other")], &entry).await);
    let current = store.current_crl(&"demo-root".parse().unwrap(), &CrlScope::FULL).await.unwrap();
    assert_eq!(current, Some(crl(2, b"two")));

    let [issuing, _] = World::authorities();
    let mut other = issuing.clone();
    other.certificate = b"another".to_vec();
    assert_conflict(store.import_authorities(&[other.clone()], &[], &entry).await);
    other.name = "second".parse().unwrap();
    assert_conflict(store.import_authorities(&[other.clone()], &[], &entry).await);
    (other.is_default, other.issuer) = (false, Some("missing".parse().unwrap()));
    assert_not_found(store.import_authorities(&[other], &[], &entry).await);
    assert_eq!(store.authorities().await.unwrap().len(), 2);

    assert_eq!(store.policy().await.unwrap(), None);
    store.put_policy(3, "three", &entry).await.unwrap();
    store.put_policy(3, "three", &entry).await.unwrap();
    assert_conflict(store.put_policy(3, "another three", &entry).await);
    assert_conflict(store.put_policy(2, "two", &entry).await);
    store.put_policy(4, "four", &entry).await.unwrap();
    assert_eq!(store.policy().await.unwrap(), Some((4, "four".to_owned())));
}

/// The same twice is one, numbers are for good, and there is room again when some have expired.
pub async fn a10_cross_certificates_are_kept_once_and_bounded(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let entry = |seconds| AuditEntry { at: at(seconds), ..audit("cross.import") };
    let cross = |authority: &str, which: usize, not_after| CrossCertificate {
        number: 0,
        authority: authority.parse().unwrap(),
        issuer: "CN=Another Root".to_owned(),
        certificate: format!("cross-certificate {which}").into_bytes(),
        not_after: at(not_after),
    };
    let listed = async || store.cross_certificates().await.unwrap();
    let rows = async || store.audit_after(0, 1000).await.unwrap().len();
    store.import_authorities(&World::authorities(), &[], &entry(0)).await.unwrap();
    let before = rows().await;
    assert_not_found(store.import_cross_certificates(&[cross("demo", 0, 900), cross("missing", 1, 900)], &entry(0)).await);
    assert_eq!((listed().await, rows().await), (Vec::new(), before), "all or none");

    for new in [2, 0] {
        assert_eq!(store.import_cross_certificates(&[cross("demo", 0, 900), cross("demo-root", 1, 5000)], &entry(0)).await.unwrap(), new);
        assert_eq!(rows().await, before + 1, "nothing changed, nothing is audited");
    }
    let first = listed().await;
    assert_eq!(
        first.iter().map(|c| CrossCertificate { number: 0, ..c.clone() }).collect::<Vec<_>>(),
        [cross("demo", 0, 900), cross("demo-root", 1, 5000)]
    );
    assert!(0 < first[0].number && first[0].number < first[1].number);

    // One has expired before it comes.
    assert_eq!(store.import_cross_certificates(&[cross("demo", 2, 100)], &entry(101)).await.unwrap(), 0);
    let many: Vec<_> = (10..10 + CrossCertificate::MAX_PER_AUTHORITY - 1).map(|i| cross("demo", i, 5000)).collect();
    assert_eq!(store.import_cross_certificates(&many, &entry(101)).await.unwrap() as usize, many.len());
    let full = listed().await;
    assert_conflict(store.import_cross_certificates(&[cross("demo", 3, 5000)], &entry(900)).await);
    assert_eq!(listed().await, full, "a conflict changes nothing");
    assert_eq!(store.import_cross_certificates(&[cross("demo", 3, 5000)], &entry(901)).await.unwrap(), 1);
    let later = listed().await;
    assert_eq!(later[..later.len() - 1], full[1..]);
    assert!(later.last().unwrap().number > full.last().unwrap().number);
}

/// A replayed statement is a conflict, whoever comes first.
pub async fn a_nonce_is_spent_once(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let entry = audit("statement.accept");
    let results = together((0..4).map(|_| world.store.spend_nonce("nonce", at(60), &entry)).collect()).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(results.iter().all(|r| matches!(r, Ok(()) | Err(StoreError::Conflict(_)))));
}

/// Numbered without gaps, chained from the start, and silent about what did not happen.
pub async fn the_audit_trail_is_a_chain(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    world.certificate(5000).await;
    store.spend_nonce("n", at(60), &audit("statement.accept")).await.unwrap();
    assert_conflict(store.spend_nonce("n", at(60), &audit("statement.replayed")).await);
    let number = store.append_audit(&audit("the.last")).await.unwrap();

    let rows = store.audit_after(0, 1000).await.unwrap();
    let mut before = CHAIN_START;
    for (expected, row) in (1..).zip(&rows) {
        before = chain(&before, &row.leaf);
        assert_eq!((row.number, row.hash), (expected, before));
    }
    assert_eq!(rows.last().unwrap().number, number);
    assert_eq!(rows.last().unwrap().leaf, audit_leaf(&audit("the.last")));
    let texts: Vec<_> = rows.iter().map(|row| String::from_utf8(row.leaf.clone()).unwrap()).collect();
    assert!(!texts.iter().any(|text| text.contains("statement.replayed")), "a command that failed leaves no entry");
    assert_eq!(texts.iter().filter(|text| text.starts_with(INTENT_LEAF)).count(), 1, "the intent's own leaf is in the chain");
    assert!(texts.iter().any(|text| text.starts_with(AUDIT_LEAF) && text.contains("certificate.release")));
    assert_eq!(store.audit_after(number - 1, 1000).await.unwrap().len(), 1);
    assert_eq!(store.audit_after(0, 2).await.unwrap(), rows[..2]);
}

/// A page of large rows ends where its bytes do, and one row that is larger alone is a page.
pub async fn a_page_of_the_audit_trail_is_bounded_in_bytes(factory: &dyn StoreFactory) {
    let world = World::new(factory).await;
    let store = &world.store;
    let before = store.audit_after(0, 1000).await.unwrap().len() as u64;
    for part in [6, 6, 6, 20, 1] {
        let mut entry = audit("crl.large");
        entry.detail = serde_json::Value::String("x".repeat(part * 1024 * 1024));
        store.append_audit(&entry).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = before;
    while let Some(last) = {
        let rows = store.audit_after(after, 1000).await.unwrap();
        pages.push(rows.len());
        rows.last().map(|row| row.number)
    } {
        after = last;
    }
    assert_eq!(pages, [2, 1, 1, 1, 0]);
}
