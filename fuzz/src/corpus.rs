//! The corpus that real Djangos wrote, and what a small mutator with a fixed seed makes of it: for the tests, which run the
//! targets with the stable toolchain.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// How many mutated inputs each target gets.
const MUTATED: usize = 3_000;

/// Runs the target on each seed and on mutated seeds; a panic shows the input that made it.
pub(crate) fn run(name: &str, target: impl Fn(&[u8])) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = here.ancestors().map(|folder| folder.join("fuzz/corpus.py")).find(|path| path.exists());
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("python3").arg(script.unwrap()).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut files: Vec<_> =
        folder.path().join(name).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let run = |input: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        assert!(outcome.is_ok(), "the target {name} fails for \"{}\"", input.escape_ascii());
    };
    seeds.iter().for_each(|seed| run(seed));
    let mut numbers = Numbers::new();
    (0..MUTATED).for_each(|_| run(&mutated(&seeds, &mut numbers)));
    let total = seeds.len() + MUTATED;
    println!("fuzz {name}: {total} of {total} inputs, {} of them the corpus", seeds.len());
}

/// The same random numbers in each run: xorshift64*.
pub(crate) struct Numbers {
    state: u64,
}

impl Numbers {
    pub(crate) fn new() -> Numbers {
        Numbers { state: 0x9e37_79b9_7f4a_7c15 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

/// A seed, changed at random: bits, bytes, parts taken out, doubled, or put in from another seed.
fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    const TELLING: &[u8] = b"\"\\{}[]:;=,.-_0189aeENIzZ \n\t\r\0\x7f\x80\xff";
    let mut input = seeds[numbers.below(seeds.len())].clone();
    input.truncate(4_096);
    for _ in 0..=numbers.below(4) {
        let place = numbers.below(input.len() + 1);
        let end = (place + 1 + numbers.below(16)).min(input.len());
        match numbers.below(6) {
            0 if place < input.len() => input[place] ^= 1 << numbers.below(8),
            1 => input.insert(place, TELLING[numbers.below(TELLING.len())]),
            2 if place < input.len() => input[place] = TELLING[numbers.below(TELLING.len())],
            3 if place < end => drop(input.drain(place..end)),
            4 if place < end => {
                let part = input[place..end].to_vec();
                input.splice(place..place, part);
            }
            _ => {
                let other = &seeds[numbers.below(seeds.len())];
                let start = numbers.below(other.len());
                let stop = (start + 1 + numbers.below(32)).min(other.len());
                input.splice(place..place, other[start.min(stop)..stop].iter().copied());
            }
        }
    }
    input
}
