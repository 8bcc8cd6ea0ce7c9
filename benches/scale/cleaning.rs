//! Clearing half of a table: how long it takes beside one plain DELETE, what memory, and what a writer notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloakroom::SessionStore;

use crate::database::Database;
use crate::latency::write;
use crate::process;
use crate::rows::Rows;
use crate::times::{Times, seconds, thousands};

/// How long the writer is watched while nobody cleans.
const USUAL: Duration = Duration::from_secs(10);

/// Who removes the expired rows.
#[derive(Clone, Copy, PartialEq)]
enum Cleaner {
    Nobody,
    PlainDelete,
    /// `clear_expired` in another program than the writer, as from cron.
    OtherProgram,
    /// `clear_expired` of the writer's own store, as `spawn_cleaner`.
    SameStore,
}

struct Measured {
    time: Duration,
    /// By how much the memory of the process grew at most.
    memory: u64,
    writer: Times,
}

/// `rounds`: how often each is measured, in turns; the table shows medians, and of the waits the longest of all.
pub(crate) async fn print(database: &Database, rows: Rows, rounds: usize) {
    use Cleaner::{Nobody, OtherProgram, PlainDelete, SameStore};
    let cases = [
        (PlainDelete, false, "one plain DELETE"),
        (OtherProgram, false, "`clear_expired`"),
        (Nobody, true, "nobody cleans"),
        (PlainDelete, true, "one plain DELETE, and a writer"),
        (OtherProgram, true, "`clear_expired` from another program, and a writer"),
        (SameStore, true, "`clear_expired` of the writer's store"),
    ];
    let mut all: Vec<Vec<Measured>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for step in 0..cases.len() {
            // Every other round backwards: who comes later finds the machine in another state.
            let index = if round % 2 == 0 { step } else { cases.len() - 1 - step };
            let (cleaner, with_writer, name) = cases[index];
            let measured = measure(database, rows, cleaner, with_writer).await;
            eprintln!("{name}: {} {}", seconds(measured.time), measured.writer.longest());
            all[index].push(measured);
        }
    }
    let plain = median_time(&all[0]);
    println!(
        "| {} of {} rows | time | to the plain DELETE | memory | writes | p50, ms | p99.9 | longest |",
        thousands(rows.expired()),
        thousands(rows.total)
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for ((cleaner, with_writer, name), measured) in cases.into_iter().zip(&all) {
        let time = median_time(measured);
        let ratio = match cleaner {
            Nobody => String::new(),
            _ => format!("{:.2}", time.as_secs_f64() / plain.as_secs_f64()),
        };
        let memory = match cleaner {
            OtherProgram | SameStore => {
                let most = measured.iter().map(|measured| measured.memory).max().unwrap_or_default();
                format!("{:.1} MB", most as f64 / 1e6)
            }
            _ => String::new(),
        };
        let mut writer = Times::default();
        measured.iter().for_each(|measured| writer.extend(measured.writer.clone()));
        let waits = match with_writer {
            true => format!(
                "{} | {} | {} | {}",
                thousands(writer.len() as u64),
                writer.quantile(0.5),
                writer.quantile(0.999),
                writer.longest()
            ),
            false => " | | | ".to_owned(),
        };
        println!("| {name} | {} | {ratio} | {memory} | {waits} |", seconds(time));
    }
    println!();
}

fn median_time(measured: &[Measured]) -> Duration {
    let mut times = Times::default();
    measured.iter().for_each(|measured| times.add(measured.time));
    times.median()
}

async fn measure(database: &Database, rows: Rows, cleaner: Cleaner, with_writer: bool) -> Measured {
    let copy = database.copy().await;
    let store = copy.store().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = with_writer.then(|| tokio::spawn(write_until(Arc::clone(&store), rows, Arc::clone(&stop))));
    let cleaning_store = match cleaner {
        Cleaner::OtherProgram => copy.store().await,
        _ => Arc::clone(&store),
    };
    process::reset_peak();
    let (memory, start) = (process::resident(), Instant::now());
    match cleaner {
        Cleaner::Nobody => tokio::time::sleep(USUAL).await,
        Cleaner::PlainDelete => assert_eq!(copy.plain_delete(rows.now).await, rows.expired()),
        Cleaner::OtherProgram | Cleaner::SameStore => {
            let cleared = cleaning_store.clear_expired(rows.now).await.expect("it clears");
            assert_eq!(cleared, rows.expired());
        }
    }
    let time = start.elapsed();
    let memory = process::peak().saturating_sub(memory);
    stop.store(true, Ordering::Relaxed);
    let writer = match writer {
        Some(writer) => writer.await.expect("no panic"),
        None => Times::default(),
    };
    drop((store, cleaning_store));
    copy.remove().await;
    Measured { time, memory, writer }
}

/// One write after the other, to some live session each.
async fn write_until(store: Arc<dyn SessionStore>, rows: Rows, stop: Arc<AtomicBool>) -> Times {
    let mut times = Times::default();
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        times.add(write(&*store, rows, turn).await);
    }
    times
}
