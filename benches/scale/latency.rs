//! How long one read and one write take, by the number of rows.

use std::time::{Duration, Instant};

use cloakroom::SessionStore;
use cloakroom::store::{Record, Updated};

use crate::database::{Database, Place};
use crate::rows::{Rows, mix};
use crate::times::{Times, thousands};

/// The tables take turns, so that a busy machine is busy for all.
const TURNS: u64 = 3_000;
const AT_MOST: Duration = Duration::from_secs(60);

pub(crate) async fn print(place: &Place, tables: &[(Rows, Database)]) {
    let mut measured = Vec::new();
    for (rows, database) in tables {
        let store = database.store().await;
        // Once unmeasured, so that statements are prepared.
        read(&*store, *rows, 0).await;
        write(&*store, *rows, 0).await;
        measured.push((*rows, store, Times::default(), Times::default()));
    }
    let start = Instant::now();
    for turn in 1..=TURNS {
        for (rows, store, reads, writes) in &mut measured {
            reads.add(read(&**store, *rows, turn).await);
            writes.add(write(&**store, *rows, turn).await);
        }
        if start.elapsed() > AT_MOST {
            break;
        }
    }
    println!(
        "| {}, rows | on disk | reads and writes | read p50, ms | p99 | write p50, ms | p99 |",
        place.name()
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for ((_, database), (rows, _, reads, writes)) in tables.iter().zip(&measured) {
        println!(
            "| {} | {} MB | {} each | {} | {} | {} | {} |",
            thousands(rows.total),
            thousands(database.size().await / 1_000_000),
            thousands(reads.len() as u64),
            reads.quantile(0.5),
            reads.quantile(0.99),
            writes.quantile(0.5),
            writes.quantile(0.99),
        );
    }
    println!();
}

async fn read(store: &dyn SessionStore, rows: Rows, turn: u64) -> Duration {
    let session_key = rows.session_key(rows.live(turn * 2));
    let start = Instant::now();
    let loaded = store.load(&session_key, rows.now).await.expect("it answers");
    let time = start.elapsed();
    assert!(loaded.is_some_and(|loaded| loaded.is_genuine()));
    time
}

/// Writes some live session.
pub(crate) async fn write(store: &dyn SessionStore, rows: Rows, turn: u64) -> Duration {
    let number = rows.live(mix(turn * 2 + 1));
    let (session_key, data) = (rows.session_key(number), rows.data(number));
    let record = Record { data: &data, expire_date: rows.expire_date(number), now: rows.now };
    let start = Instant::now();
    let updated = store.update(&session_key, None, record).await.expect("it answers");
    let time = start.elapsed();
    assert!(matches!(updated, Updated::Updated(_)));
    time
}
