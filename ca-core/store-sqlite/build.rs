//! Rebuilds the crate when a migration changes: `sqlx::migrate!` reads the folder, which Cargo does not see.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
