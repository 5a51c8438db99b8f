//! Writes a certificate of every profile in every kind of key into a folder, for programs that judge them:
//! `cargo run -p ca-testkit --example specimens -- DIR`.

use std::time::{SystemTime, UNIX_EPOCH};

use ca_core::pki::{KeyAlgorithm, Timestamp};

#[expect(clippy::disallowed_methods, reason = "the programs that judge the files ask the same clock")]
fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: specimens DIR");
        std::process::exit(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let written = ca_testkit::specimens::write(dir.as_ref(), &KeyAlgorithm::ALL, Timestamp::from_unix(now.cast_signed()));
    println!("{} files; the list is in specimens.json", written.len());
}
