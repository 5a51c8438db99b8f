//! The whole check of a key's numbers, which each request's key meets twice: at the front end and at the worker.

use std::process::Command;

use crate::harness::{Demo, expect_success};
use crate::process::now;

pub(crate) fn checks(demo: &Demo, rounds: u32) {
    for (name, kind) in
        [("RSA-2048", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), ("P-256", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])]
    {
        let (private, public) = (demo.path("bench.key"), demo.path("bench.pub"));
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm"]).args(kind).arg("-out").arg(&private).output().expect("openssl runs");
        expect_success("openssl genpkey", &made);
        let made =
            Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&private).arg("-out").arg(&public).output();
        expect_success("openssl pkey", &made.expect("openssl runs"));
        let key = ca_core::pki::PublicKey::from_spki_der(std::fs::read(&public).expect("openssl wrote it"));
        ca_core::profile::check_key(&key).expect("a fresh key keeps every rule");
        let begun = now();
        for _ in 0..rounds {
            std::hint::black_box(ca_core::profile::check_key(std::hint::black_box(&key))).expect("as before");
        }
        println!("key check, {name}: {:.1} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
}
