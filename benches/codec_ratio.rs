//! How much longer than its floor the codec takes, and Django than the codec, as Markdown tables.
//! `scripts/bench codec` runs it, with the name of a Python that has Django.
//!
//! On a busy machine only what runs at the same time can be compared: batches of a few microseconds of both
//! sides take turns, each pair gives one ratio, and the table shows the median of thousands.

#![allow(clippy::expect_used)]

mod common;
mod django;

use std::time::{Duration, Instant};

use cloakroom::Settings;
use cloakroom::signing::Compression;

use common::{Case, SIZES};
use django::{Direction, Django};

const ROUNDS: usize = 4_000;
const BATCH: Duration = Duration::from_micros(50);

fn main() {
    match std::env::args().skip_while(|argument| argument != "--django").nth(1) {
        Some(python) => beside_django(&python),
        None => beside_the_floor(),
    }
}

fn beside_django(python: &str) {
    let mut django = Django::start(python);
    println!(
        "| Session | Compression | Direction | Django {}, ns | Cloakroom, ns | Times faster |",
        django.version
    );
    println!("|---|---|---|---:|---:|---:|");
    let policies = [
        (Compression::Never, "none"),
        (Compression::Always, "as Django"),
        (Settings::new("").compression, "Django's; default here"),
    ];
    for (compression, label) in policies {
        for (size, name) in [(100, "100 B"), (300, "300 B"), (1_000, "1 kB"), (20_000, "20 kB")] {
            let case = Case::new(size, compression);
            django.session(&case.json, compression != Compression::Never);
            for direction in [Direction::Encode, Direction::Decode] {
                let ours: &mut dyn FnMut() = match direction {
                    Direction::Encode => &mut || case.encode(),
                    Direction::Decode => &mut || case.decode(),
                };
                let ratio = compare_batches(100, || django.time(direction, 20), || time(200, ours));
                println!(
                    "| {name} | {label} | {direction} | {:.0} | {:.0} | {:.1} |",
                    ratio.floor,
                    ratio.ours,
                    1.0 / ratio.ratio
                );
            }
        }
    }
}

fn beside_the_floor() {
    println!("| Session | Compression | Direction | Floor, ns | Cloakroom, ns | Ratio |");
    println!("|---|---|---|---:|---:|---:|");
    let policies =
        [(Compression::Never, "none"), (Compression::AtLeast(0), "zlib"), (Compression::Always, "as Django")];
    for (compression, kind) in policies {
        for (size, name) in SIZES {
            let case = Case::new(size, compression);
            assert_eq!(case.is_compressed(), compression != Compression::Never);
            let mut floor = case.floor(compression);
            let encode = compare(|| floor.encode(), || case.encode());
            println!("| {name} | {kind} | encode | {encode} |");
            let decode = compare(|| _ = floor.decode(), || case.decode());
            println!("| {name} | {kind} | decode | {decode} |");
        }
    }
}

struct Comparison {
    floor: f64,
    ours: f64,
    ratio: f64,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.0} | {:.0} | {:.2}", self.floor, self.ours, self.ratio)
    }
}

fn compare(mut floor: impl FnMut(), mut ours: impl FnMut()) -> Comparison {
    let warm_up = time(1_000, &mut floor) + time(1_000, &mut ours);
    let calls = (BATCH.as_nanos() as f64 / warm_up * 2.0).clamp(1.0, 1_000.0) as u32;
    compare_batches(ROUNDS, || time(calls, &mut floor), || time(calls, &mut ours))
}

/// Of two that tell the nanoseconds of a call.
fn compare_batches(
    rounds: usize,
    mut floor: impl FnMut() -> f64,
    mut ours: impl FnMut() -> f64,
) -> Comparison {
    let (mut floors, mut all_ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who goes first changes, in case the second finds the caches warmer.
        let (one, other) = if round % 2 == 0 {
            let one = floor();
            (one, ours())
        } else {
            let other = ours();
            (floor(), other)
        };
        floors.push(one);
        all_ours.push(other);
        ratios.push(other / one);
    }
    Comparison { floor: median(floors), ours: median(all_ours), ratio: median(ratios) }
}

/// Nanoseconds of one call.
fn time(calls: u32, work: &mut (impl FnMut() + ?Sized)) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
