//! Project Wycheproof's JSON Web Signature vectors (their source: tests/vectors/README.md) against what reads and verifies a
//! JWS here. The vectors are of the compact form and know nothing of ACME's members, so each is taken apart at its dots
//! and stops short of `url` and `nonce`.

use serde_json::{Value, json};

use super::json;
use super::jwk::Jwk;
use super::jws::{JwsAlgorithm, RawJws, text};
use crate::model::{Problem, ProblemType};

const VECTORS: &str = include_str!("../../tests/vectors/wycheproof-jws.json");

/// A compact JWS as ACME would carry it: with too few parts, a member is missing; with too many, a dot is left over.
fn flattened(compact: &str) -> Value {
    ["protected", "payload", "signature"]
        .into_iter()
        .zip(compact.splitn(3, '.'))
        .map(|(name, part)| (name.to_owned(), json!(part)))
        .collect()
}

fn verify(compact: &str, key: &Value) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(ProblemType::Malformed, detail);
    let message = flattened(compact).to_string();
    let raw = RawJws::from_value(json::parse(message.as_bytes()).map_err(|e| refused(&e.to_string()))?)?;
    let algorithm = JwsAlgorithm::parse(text(&raw.header, "alg")?)
        .ok_or_else(|| Problem::new(ProblemType::BadSignatureAlgorithm, "not an account's algorithm"))?;
    let key = Jwk::from_value(key)?;
    if key.verify(algorithm, raw.signing_input.as_bytes(), &raw.signature) { Ok(()) } else { Err(refused("the signature")) }
}

#[test]
fn a05_wycheproofs_signatures_verify_or_are_refused_as_they_should() {
    let groups: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let (mut verified, mut refused, mut other_algorithm) = (0, 0, 0);
    for group in &groups {
        // What accounts may not use at all, MACs among it, is refused whether the vector is valid or not.
        let key = &group["key"];
        let ours = matches!(key["alg"].as_str(), Some("ES256" | "RS256") | None);
        for test in group["tests"].as_array().unwrap() {
            let told = format!("{} of {}: {}", test["id"], group["comment"], test["comment"]);
            match (verify(test["jws"].as_str().unwrap(), key), ours && test["valid"] == true) {
                (Ok(()), true) => verified += 1,
                (Err(problem), false) if ours => {
                    let expected = [ProblemType::Malformed, ProblemType::BadSignatureAlgorithm, ProblemType::BadPublicKey];
                    assert!(expected.contains(&problem.kind), "{told}: {problem:?}");
                    refused += 1;
                }
                (Err(_), false) => other_algorithm += 1,
                (result, expected) => panic!("{told}: {result:?}, but valid is {expected}"),
            }
        }
    }
    assert_eq!((verified, refused + other_algorithm), (10, 391));
    assert!(refused > 250, "{refused}");
}
