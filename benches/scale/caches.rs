//! Redis, a Redis Cluster and memcached: what a session takes, how fast they are, and a fail-over.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::SessionStore;
use cloakroom::store::Record;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::it::servers::{Server, folder, free_port, is_root, program, redis as servers};
use crate::latency::write;
use crate::process;
use crate::rows::{Rows, mix, settings};
use crate::times::{Times, seconds, thousands};

/// Requests that are under way at the same time.
const CLIENTS: u64 = 64;

async fn open(url: &str) -> Arc<dyn SessionStore> {
    cloakroom::connect(url, &settings()).await.expect("the server is there")
}

/// Does a piece of work for each number below `total`, some at the same time. Gives how many a second.
async fn each<F>(total: u64, work: impl Fn(u64) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    let tasks = (0..CLIENTS).map(|client| {
        let work = work.clone();
        tokio::spawn(async move {
            for number in (client..total).step_by(CLIENTS as usize) {
                work(number).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    total as f64 / start.elapsed().as_secs_f64()
}

async fn fill(store: &Arc<dyn SessionStore>, rows: Rows) -> f64 {
    let store = Arc::clone(store);
    each(rows.total, move |number| {
        let store = Arc::clone(&store);
        async move {
            let (session_key, data) = (rows.session_key(number), rows.data(number));
            // All of them live: what has expired takes no place in a cache.
            let record = Record { data: &data, expire_date: rows.expire_date(number | 1), now: rows.now };
            store.create(&session_key, record).await.expect("it takes it");
        }
    })
    .await
}

async fn reads(store: &Arc<dyn SessionStore>, rows: Rows, total: u64) -> f64 {
    let store = Arc::clone(store);
    each(total, move |number| {
        let store = Arc::clone(&store);
        async move {
            let session_key = rows.session_key(mix(number) % rows.total);
            assert!(store.load(&session_key, rows.now).await.expect("it answers").is_some());
        }
    })
    .await
}

async fn writes(store: &Arc<dyn SessionStore>, rows: Rows, total: u64) -> f64 {
    let store = Arc::clone(store);
    each(total, move |number| {
        let store = Arc::clone(&store);
        async move {
            write(&*store, rows, number).await;
        }
    })
    .await
}

async fn info(connection: &mut MultiplexedConnection, section: &str, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg(section).query_async(connection).await.expect("it answers");
    let line =
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("it has that line");
    line.trim().parse().expect("a number")
}

/// What a session takes in Redis and in memcached.
pub(crate) async fn print_memory(rows: Rows) {
    println!("| {} sessions | bytes by the server's own count | bytes resident |", thousands(rows.total));
    println!("|---|---:|---:|");
    let per_session = |bytes: u64| bytes / rows.total;

    let server = servers::start().await;
    let url = servers::url_of(&server);
    let mut connection = servers::client(&url).await;
    let process = info(&mut connection, "server", "process_id").await;
    let before = (info(&mut connection, "memory", "used_memory").await, process::resident_of(process));
    fill(&open(&url).await, rows).await;
    let used = info(&mut connection, "memory", "used_memory").await - before.0;
    let resident = process::resident_of(process) - before.1;
    println!("| Redis | {} | {} |", per_session(used), per_session(resident));
    drop(server);

    let server = memcached().await;
    let before = memcached_stats(server.port).await;
    let resident = process::resident_of(before["pid"]);
    fill(&open(&format!("memcached://127.0.0.1:{}", server.port)).await, rows).await;
    let after = memcached_stats(server.port).await;
    assert_eq!((after["curr_items"], after["evictions"]), (rows.total, 0), "the server has room for all");
    let used = after["bytes"] - before["bytes"];
    println!(
        "| memcached | {} | {} |\n",
        per_session(used),
        per_session(process::resident_of(before["pid"]) - resident)
    );
}

/// A server with room for a million sessions; that of the tests is small.
async fn memcached() -> Server {
    let (folder, port) = (folder("memcached", None), free_port());
    let words = format!("-p {port} -l 127.0.0.1 -m 4096{}", if is_root() { " -u nobody" } else { "" });
    let command =
        std::iter::once(program("memcached", &[]).into()).chain(words.split(' ').map(OsString::from));
    let server = Server::start("memcached", folder, port, None, command);
    server.wait_until(|| async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    server
}

async fn memcached_stats(port: u16) -> HashMap<String, u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(b"stats\r\n").await.expect("it reads");
    let mut lines = BufReader::new(stream).lines();
    let mut stats = HashMap::new();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["STAT", name, value] => _ = value.parse().map(|value| stats.insert(name.to_owned(), value)),
            _ => break,
        }
    }
    stats
}

/// One server beside a cluster of three primaries and three replicas on the same machine, and then one primary less.
pub(crate) async fn print_cluster(rows: Rows) {
    let requests = (rows.total / 4).max(1_000);
    println!(
        "| {} sessions, {CLIENTS} requests at once | new, a second | reads | writes |",
        thousands(rows.total)
    );
    println!("|---|---:|---:|---:|");
    let server = servers::start().await;
    print_speed("one Redis", &open(&servers::url_of(&server)).await, rows, requests).await;
    drop(server);
    let (mut nodes, url) = servers::start_cluster().await;
    let store = open(&url).await;
    print_speed("Redis Cluster, 3 primaries and 3 replicas", &store, rows, requests).await;
    println!();

    println!("| primary | sessions | part of all | `used_memory` |");
    println!("|---|---:|---:|---:|");
    for (index, node) in nodes[..3].iter().enumerate() {
        let mut connection = servers::client(&format!("redis://127.0.0.1:{}", node.port)).await;
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("it answers");
        let memory = info(&mut connection, "memory", "used_memory").await;
        let part = keys as f64 / rows.total as f64 * 100.0;
        println!("| {} | {} | {part:.2} % | {} MB |", index + 1, thousands(keys), memory / 1_000_000);
    }
    println!();
    fail_over(&mut nodes, &store, rows).await;
}

async fn print_speed(name: &str, store: &Arc<dyn SessionStore>, rows: Rows, requests: u64) {
    let created = fill(store, rows).await;
    let (read, written) = (reads(store, rows, requests).await, writes(store, rows, requests).await);
    let rate = |rate: f64| thousands(rate as u64);
    println!("| {name} | {} | {} | {} |", rate(created), rate(read), rate(written));
}

/// Kills a primary and asks for sessions of all, one after the other, until none fails for three seconds.
async fn fail_over(nodes: &mut [Server], store: &Arc<dyn SessionStore>, rows: Rows) {
    const QUIET: Duration = Duration::from_secs(3);
    nodes[0].send("KILL");
    let start = Instant::now();
    let (mut answered, mut failed, mut last_failure) = (Times::default(), 0, Duration::ZERO);
    let mut number = 0;
    while start.elapsed() < QUIET || start.elapsed() - last_failure < QUIET {
        number += 1;
        let session_key = rows.session_key(mix(number) % rows.total);
        let asked = Instant::now();
        match store.load(&session_key, rows.now).await {
            Ok(_) => answered.add(asked.elapsed()),
            Err(_) => (failed, last_failure) = (failed + 1, start.elapsed()),
        }
        assert!(start.elapsed() < Duration::from_secs(120), "the cluster does not heal");
    }
    let mut lost = 0;
    let all = rows.total.min(100_000);
    for number in 0..all {
        lost +=
            u64::from(store.load(&rows.session_key(number), rows.now).await.expect("it answers").is_none());
    }
    println!(
        "One primary killed: {failed} reads failed, the last one {} after the kill; the longest that was answered took \
         {} ms. Of {} sessions asked for afterwards, {lost} were lost.\n",
        seconds(last_failure),
        answered.longest(),
        thousands(all)
    );
}
