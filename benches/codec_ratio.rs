//! How much longer than its floor the codec takes, as a Markdown table. `scripts/bench codec` runs it.
//!
//! On a busy machine only what runs at the same time can be compared: batches of a few microseconds of both
//! sides take turns, each pair gives one ratio, and the table shows the median of thousands.

#![allow(clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use cloakroom::signing::Compression;

use common::{Case, SIZES};

const ROUNDS: usize = 4_000;
const BATCH: Duration = Duration::from_micros(50);

fn main() {
    println!("| Session | Compression | Direction | Floor, ns | Cloakroom, ns | Ratio |");
    println!("|---|---|---|---:|---:|---:|");
    for compression in [Compression::Never, Compression::Always] {
        for (size, name) in SIZES {
            let case = Case::new(size, compression);
            let mut floor = case.floor(compression);
            let kind = match (compression, case.is_compressed()) {
                (Compression::Never, _) => "none",
                (_, true) => "zlib",
                (_, false) => "zlib tried",
            };
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
    let (mut floors, mut all_ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Who goes first changes, in case the second finds the caches warmer.
        let (one, other) = if round % 2 == 0 {
            let one = time(calls, &mut floor);
            (one, time(calls, &mut ours))
        } else {
            let other = time(calls, &mut ours);
            (time(calls, &mut floor), other)
        };
        floors.push(one);
        all_ours.push(other);
        ratios.push(other / one);
    }
    Comparison { floor: median(floors), ours: median(all_ours), ratio: median(ratios) }
}

/// Nanoseconds of one call.
fn time(calls: u32, work: &mut impl FnMut()) -> f64 {
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
