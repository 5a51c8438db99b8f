//! Bytes that anyone may send: the seeds of the fuzz targets, random bytes, and mutations of the seeds (lesson 16). What a
//! fuzzer runs for hours runs here for a moment, by the same bodies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

use ca_core::ports::Rng as _;
use ca_testkit::SeededRng;

/// Mutations of each seed.
const MUTATIONS: usize = 150;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Numbers below a bound, the same in each run.
struct Dice(SeededRng);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut octets = [0; 8];
        self.0.fill(&mut octets);
        usize::try_from(u64::from_be_bytes(octets) % bound.max(1) as u64).unwrap()
    }
}

/// A few octets changed, removed, repeated or put in from another seed.
fn mutated(seed: &[u8], other: &[u8], dice: &Dice) -> Vec<u8> {
    const TELLING: [u8; 12] = [0, 1, 0x30, 0x31, 0x7f, 0x80, 0x81, 0x84, 0xff, b'"', b'.', b'*'];
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let (at, len) = (dice.below(bytes.len()), dice.below(40));
        let end = (at + len).min(bytes.len());
        match dice.below(6) {
            _ if bytes.is_empty() => bytes.push(0x30),
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = TELLING[dice.below(TELLING.len())],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => {
                let from = dice.below(other.len());
                drop(bytes.splice(at..end, other[from..(from + len).min(other.len())].to_vec()));
            }
        }
    }
    bytes
}

#[test]
fn lesson_16_no_bytes_make_a_parser_panic() {
    let dice = Dice(SeededRng::new(16));
    for (target, body) in bodies::ALL {
        let seeds = seeds(target);
        assert!(seeds.len() >= 2, "{target} has seeds");
        for (i, seed) in seeds.iter().enumerate() {
            body(seed);
            for _ in 0..MUTATIONS {
                body(&mutated(seed, &seeds[(i + 1) % seeds.len()], &dice));
            }
        }
        for len in 0..300 {
            let mut bytes = vec![0; len];
            dice.0.fill(&mut bytes);
            body(&bytes);
        }
    }
}

#[test]
fn lesson_16_every_folder_of_seeds_has_its_body() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut folders: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    let mut targets = bodies::ALL.map(|(target, _)| target.to_owned());
    targets.sort();
    assert_eq!(folders, targets);
    for target in targets {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/targets/{target}.rs"));
        assert!(file.exists(), "{target} is a fuzz target too");
    }
}
