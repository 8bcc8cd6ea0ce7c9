//! What happens with a million sessions and with ten. `scripts/bench scale` runs it and puts its tables into
//! `docs/scaling.md`.
//!
//! Arguments: one of `sqlite`, `postgres`, `memory`, `cluster`, and perhaps `--rows N` for the largest table and
//! `--rounds N` for how often clearing is repeated. All servers are its own, in temporary folders under `TMPDIR`; ten
//! million rows take 12 GB there for a while.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod caches;
mod cleaning;
mod database;
#[path = "../../tests/it/support"]
mod it {
    #[allow(dead_code, unused_imports, reason = "the tests use all of it")]
    pub(crate) mod servers;
}
mod latency;
mod memory;
mod process;
mod rows;
mod times;

use cloakroom::chrono::{SubsecRound, Utc};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::database::Place;
use crate::rows::Rows;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

#[tokio::main]
async fn main() {
    // `cargo bench` adds a `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (store, options) = arguments.split_first().expect("one of sqlite, postgres, memory and cluster");
    let option = |name: &str| {
        let value = options.chunks(2).find(|option| option[0] == name).map(|option| &option[1]);
        value.map(|value| value.parse::<u64>().expect("a number"))
    };
    let (most, rounds) = (option("--rows"), option("--rounds").unwrap_or(3) as usize);
    let now = Utc::now().trunc_subsecs(0);
    let rows = |total: u64| Rows { total, now };
    match store.as_str() {
        "sqlite" => database(Place::sqlite(), most, rounds, rows).await,
        "postgres" => database(Place::postgres().await, most, rounds, rows).await,
        "memory" => memory::print(rows(most.unwrap_or(1_000_000))).await,
        "cluster" => {
            caches::print_memory(rows(most.unwrap_or(1_000_000))).await;
            caches::print_cluster(rows(most.unwrap_or(1_000_000).min(300_000))).await;
        }
        other => eprintln!("no measurement is called {other}"),
    }
}

/// The rows of the table in which clearing is measured, or of the largest one, where that has fewer. Ten million take
/// ten times as long.
const CLEARED: u64 = 1_000_000;

async fn database(place: Place, most: Option<u64>, rounds: usize, rows: impl Fn(u64) -> Rows) {
    let most = most.unwrap_or(10_000_000);
    let mut tables = Vec::new();
    for total in [1_000, 1_000_000, most] {
        if total <= most && tables.iter().all(|(rows, _): &(Rows, _)| rows.total != total) {
            let start = std::time::Instant::now();
            tables.push((rows(total), place.fill(rows(total)).await));
            eprintln!("{total} rows filled in {}", times::seconds(start.elapsed()));
        }
    }
    latency::print(&place, &tables).await;
    for (rows, database) in tables {
        if rows.total == most.min(CLEARED) {
            cleaning::print(&database, rows, rounds).await;
        }
        database.remove().await;
    }
}
