//! What a session takes in the in-memory store.

use cloakroom::store::Record;
use cloakroom::{MemoryStore, SessionCodec, SessionData, SessionStore, Value};
use stats_alloc::Region;

use crate::process;
use crate::rows::{Rows, settings};
use crate::times::thousands;

/// Where a session's data came from, which decides how it lies in memory.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Empty,
    Read,
    Handler,
}

pub(crate) async fn print(rows: Rows) {
    let json = rows.data(rows.total / 2).to_json().len();
    println!(
        "| {} sessions in memory | bytes asked for | bytes resident | allocations |",
        thousands(rows.total)
    );
    println!("|---|---:|---:|---:|");
    let resident = process::resident();
    for (origin, name) in [
        (Origin::Empty, "empty".to_owned()),
        (Origin::Read, format!("5 keys, {json} B as JSON, read from a text")),
        (Origin::Handler, "the same, set key by key".to_owned()),
    ] {
        let region = Region::new(crate::ALLOCATOR);
        let store = filled(rows, origin).await;
        let change = region.change();
        let all = rows.total as f64;
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} |",
            (change.bytes_allocated - change.bytes_deallocated) as f64 / all,
            process::resident().saturating_sub(resident) as f64 / all,
            (change.allocations - change.deallocations) as f64 / all,
        );
        assert!(store.load(&rows.session_key(1), rows.now).await.expect("it answers").is_some());
    }
    println!();
}

async fn filled(rows: Rows, origin: Origin) -> MemoryStore {
    let (store, codec) = (MemoryStore::new(), SessionCodec::new(&settings()));
    for number in 0..rows.total {
        let data = match origin {
            Origin::Empty => SessionData::new(),
            Origin::Read => codec.decode(&rows.text(&codec, number)).expect("its own text"),
            Origin::Handler => by_key(&rows.data(number)),
        };
        let record = Record { data: &data, expire_date: rows.expire_date(number), now: rows.now };
        store.create(&rows.session_key(number), record).await.expect("it takes it");
    }
    store
}

/// As a handler makes it: each key and each value has a text of its own.
fn by_key(data: &SessionData) -> SessionData {
    let mut made = SessionData::new();
    for (key, value) in data.iter() {
        made.insert(&key, Value::from_json(value.json()).expect("JSON"));
    }
    made
}
