//! The forbidden edges of ARCHITECTURE.md, checked against what cargo would really build.

use std::path::Path;
use std::process::Command;

/// The normal (not dev, not build) dependencies of `package`, as `name` lines.
fn dependencies(package: &str, extra: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ca-cli lies in the workspace"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}|{f}", "--offline"])
        .args(extra)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree {package}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8").lines().map(str::to_owned).collect()
}

#[track_caller]
fn check_never_depends(package: &str, forbidden: &[&str]) {
    let tree = dependencies(package, &[]);
    assert!(tree.len() > 3, "cargo tree printed next to nothing for {package}: {tree:?}");
    for name in forbidden {
        let found: Vec<_> = tree.iter().filter(|line| line.split(' ').next() == Some(name)).collect();
        assert!(found.is_empty(), "{package} must never depend on {name}, yet: {found:?}");
    }
}

#[test]
fn the_core_performs_no_io() {
    check_never_depends(
        "ca-core",
        &["sqlx", "rusqlite", "axum", "hyper", "tokio", "cryptoki", "yubihsm", "reqwest", "instant-acme", "rustls", "ring"],
    );
}

#[test]
fn the_front_end_and_the_responder_hold_no_authority_key() {
    for package in ["acme-server", "ocsp-responder"] {
        check_never_depends(package, &["cryptoki", "yubihsm", "ca-store-sqlite", "ca-ceremony", "ring"]);
        let tree = dependencies(package, &[]);
        let backend = tree.iter().find(|line| line.starts_with("ca-keystore ") && line.contains("authority"));
        assert!(backend.is_none(), "{package} must not build the authority key store: {backend:?}");
    }
}

#[test]
fn what_the_front_end_shares_with_the_worker_has_no_store_and_no_authority_key() {
    for package in ["ca-store-socket", "ca-service"] {
        check_never_depends(
            package,
            &["sqlx", "sqlx-sqlite", "rusqlite", "ca-store-sqlite", "cryptoki", "yubihsm", "ca-ceremony", "axum", "ring"],
        );
        let tree = dependencies(package, &[]);
        let backend = tree.iter().find(|line| line.starts_with("ca-keystore ") && line.contains("authority"));
        assert!(backend.is_none(), "{package} must not build the authority key store: {backend:?}");
    }
    check_never_depends("ca-store-socket", &["ca-keystore", "ca-service"]);
}

#[test]
fn the_offline_ceremony_has_no_network() {
    check_never_depends("ca-ceremony", &["axum", "hyper", "sqlx", "sqlx-postgres", "rusqlite", "reqwest", "instant-acme", "rustls"]);
}

#[test]
fn no_product_holds_a_simulated_device() {
    for package in ["ca-cli", "ca-ceremony", "ca-keystore", "acme-server", "ocsp-responder"] {
        check_never_depends(package, &["ca-yubihsm-simulator", "ca-testkit"]);
    }
}

#[test]
fn the_keyholder_has_neither_network_nor_database_nor_vendors_modules() {
    let forbidden =
        ["tokio", "axum", "hyper", "rustls", "sqlx", "libsqlite3-sys", "cryptoki", "yubihsm", "ca-store-sqlite", "ca-ceremony", "ring"];
    check_never_depends("ca-custody", &forbidden);
}

#[test]
fn the_check_itself_can_fail() {
    let tree = dependencies("ca-cli", &[]);
    assert!(tree.iter().any(|line| line.starts_with("axum ")), "ca-cli builds on axum, so the tree must show it");
}
