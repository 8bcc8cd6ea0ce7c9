//! The codec and its neighbours in a request, each by itself: for comparing with an earlier state of the code.
//! What the README claims is measured by `codec_ratio`.

#![allow(clippy::expect_used, missing_docs)]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::middleware::{Decision, SessionUse, decide};
use cloakroom::signing::Compression;
use cloakroom::{MemoryStore, Session, SessionData, SessionKey, SessionMiddleware, Settings, Value};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use common::{Case, SIZES, session_json};

fn codec(criterion: &mut Criterion) {
    for (compression, label) in [(Compression::Never, "plain"), (Compression::AtLeast(0), "zlib")] {
        for (size, name) in SIZES {
            let case = Case::new(size, compression);
            let mut floor = case.floor(compression);
            let mut group = criterion.benchmark_group(format!("{label} {name}"));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function("encode", |bencher| bencher.iter(|| case.encode()));
            group.bench_function("encode floor", |bencher| bencher.iter(|| floor.encode()));
            group.bench_function("decode", |bencher| bencher.iter(|| case.decode()));
            group.bench_function("decode floor", |bencher| bencher.iter(|| floor.decode()));
        }
    }
}

fn values(criterion: &mut Criterion) {
    let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    for (key, value) in Case::new(1_000, Compression::Never).data.iter() {
        session.set_value(&key, value.clone());
    }
    criterion.bench_function("get a text of 1 kB", |bencher| {
        bencher.iter(|| session.get::<String>(black_box("_auth_user_id")).expect("a str"));
    });
    criterion.bench_function("get a float of 1 kB", |bencher| {
        bencher.iter(|| session.get::<f64>(black_box("last_seen")).expect("a float"));
    });
    criterion.bench_function("make a value", |bencher| {
        bencher.iter(|| Value::serialize(black_box(&("Zürich", 1.5, 42))).expect("plain values"));
    });
    let json = session_json(20_000);
    criterion.bench_function("check 20 kB of JSON", |bencher| {
        bencher.iter(|| Value::from_json(black_box(&json)).expect("JSON"));
    });
}

/// What somebody who may fill a session can make dear: time must grow with the size and no faster.
fn hostile(criterion: &mut Criterion) {
    let keys = |count: usize| {
        let entries: Vec<String> = (0..count).map(|key| format!("\"{key:08}\":1234")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let mut group = criterion.benchmark_group("hostile");
    group.sample_size(10);
    for count in [10_000, 100_000, 1_000_000] {
        let json = keys(count);
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(format!("{count} keys, read and dropped"), |bencher| {
            bencher.iter(|| SessionData::from_json(black_box(&json)).expect("JSON").len());
        });
    }
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    group.throughput(Throughput::Bytes(deep.len() as u64));
    group.bench_function("1000000 levels, refused", |bencher| {
        bencher.iter(|| SessionData::from_json(black_box(&deep)).expect_err("too deep"));
    });
}

fn requests(criterion: &mut Criterion) {
    criterion.bench_function("random session key", |bencher| {
        bencher.iter(|| SessionKey::random().expect("random bytes"));
    });

    let settings = Settings::new("secret");
    let observed = SessionUse {
        status: 200,
        cookie_sent: true,
        empty: false,
        accessed: true,
        modified: true,
        genuine: true,
    };
    criterion.bench_function("decide", |bencher| {
        bencher.iter(|| assert_eq!(decide(black_box(&observed), &settings), Decision::SaveAndSetCookie));
    });

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let middleware =
        SessionMiddleware::new(Arc::new(MemoryStore::new()), settings).expect("the defaults go together");
    let cookie = b"theme=dark; csrftoken=q1w2e3r4t5z6; sessionid=abcdefgh12345678abcdefgh12345678";
    criterion.bench_function("untouched request", |bencher| {
        bencher.iter(|| {
            let session = middleware.begin([black_box(&cookie[..])]);
            runtime.block_on(middleware.finish(&session, 200)).expect("nothing to do")
        });
    });
    criterion.bench_function("new session, saved in memory, with its cookie", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let session = middleware.begin([]);
                session.load().await.expect("new").set("visits", 1).expect("an int");
                middleware.finish(&session, 200).await.expect("room")
            })
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50);
    targets = codec, values, requests, hostile
}
criterion_main!(benches);
