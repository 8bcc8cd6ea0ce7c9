//! Private servers, and what is prepared in them.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::contenders::{Contender, Store};
use crate::error::Result;
use crate::options::Options;
use crate::process::{Process, command, free_port, is_root, program, run};

/// How many other sessions are in a database, so that its index is a real one.
const FILLER: u32 = 100_000;

/// The server of one store, where it has one.
pub(crate) struct Server {
    store: Store,
    process: Option<Process>,
}

impl Server {
    pub(crate) async fn start(options: &Options, store: Store) -> Result<Server> {
        let folder = &options.folder;
        let process = match store {
            Store::Postgres => Some(postgres(folder).await?),
            Store::Redis => Some(redis(&program("redis-server")?, folder)?),
            Store::Valkey => Some(redis(&options.valkey, folder)?),
            Store::Memory | Store::Sqlite => None,
        };
        Ok(Server { store, process })
    }

    /// Whose processor time is the server's.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// A place of its own for a contender: a database, a file.
    pub(crate) async fn make_place(
        &self,
        options: &Options,
        contender: &Contender,
        number: usize,
    ) -> Result<String> {
        let port = self.process.as_ref().map_or(0, |process| process.port);
        Ok(match self.store {
            Store::Memory => "memory:".to_owned(),
            Store::Postgres => {
                let name = contender.name.replace('-', "_");
                let client = connect(&postgres_url(port, "postgres")).await?;
                client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
                postgres_url(port, &name)
            }
            Store::Redis | Store::Valkey => format!("redis://127.0.0.1:{port}/{number}"),
            Store::Sqlite => {
                let path = options.folder.join(format!("{}.sqlite3", contender.name));
                let connection = rusqlite::Connection::open(&path)?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                format!("sqlite:{}", path.display())
            }
        })
    }
}

fn postgres_url(port: u16, database: &str) -> String {
    format!("postgres://bench@127.0.0.1:{port}/{database}")
}

/// PostgreSQL as it comes, durable, with 256 MB for its cache. Two things are left out because they happen at times
/// that have nothing to do with who is measured: autovacuum (each database is vacuumed before each run instead)
/// and checkpoints.
async fn postgres(folder: &Path) -> Result<Process> {
    let user = Some("postgres");
    let folder = folder.join("postgres");
    std::fs::create_dir_all(&folder)?;
    if is_root() {
        let mut chown = command(None, "chown");
        chown.arg("postgres:").arg(&folder);
        run(chown)?;
    }
    let data = folder.join("data");
    let mut initdb = command(user, program("initdb")?);
    initdb.arg("-D").arg(&data).args([
        "--no-sync",
        "-A",
        "trust",
        "-U",
        "bench",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]);
    initdb.current_dir(&folder);
    run(initdb)?;
    let port = free_port()?;
    let mut server = command(user, program("postgres")?);
    server.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    for setting in [
        "max_connections=300",
        "shared_buffers=256MB",
        "max_wal_size=8GB",
        "checkpoint_timeout=1h",
        "autovacuum=off",
    ] {
        server.args(["-c", setting]);
    }
    server.current_dir(&folder);
    let process = Process::start(server, port, &folder.with_extension("log"))?;
    // It listens a little before it lets anybody in.
    for _ in 0..500 {
        if connect(&postgres_url(port, "postgres")).await.is_ok() {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("PostgreSQL lets nobody in".into())
}

/// Redis or Valkey with nothing written to the disk.
fn redis(program: &Path, folder: &Path) -> Result<Process> {
    let port = free_port()?;
    let mut server = command(None, program);
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    server.arg("--dir").arg(folder);
    Process::start(server, port, &folder.join("redis.log"))
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Copies one session under 100,000 other keys.
pub(crate) async fn fill(place: &str, contender: &Contender) -> Result<()> {
    let table = contender.table;
    let (key, others) = (table.key, table.others);
    if place.starts_with("postgres:") {
        let name = if table.name == "tower_sessions" { "tower_sessions.session" } else { table.name };
        let statement = format!(
            "INSERT INTO {name} ({key}, {others}) SELECT substr(md5(number::text), 1, 22) || 'filler', {others} \
             FROM (SELECT {others} FROM {name} LIMIT 1) AS model, generate_series(1, {FILLER}) AS number"
        );
        let client = connect(place).await?;
        client.execute(&statement, &[]).await?;
        client.batch_execute("VACUUM ANALYZE").await?;
        client.batch_execute("CHECKPOINT").await?;
    } else if let Some(path) = place.strip_prefix("sqlite:") {
        let name = table.name;
        let statement = format!(
            "INSERT INTO {name} ({key}, {others}) WITH RECURSIVE numbers (number) AS \
             (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT {FILLER}) \
             SELECT lower(hex(randomblob(11))) || 'filler', {others} \
             FROM (SELECT {others} FROM {name} LIMIT 1), numbers"
        );
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute(&statement, [])?;
        connection.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?;
    }
    Ok(())
}

/// Removes what earlier runs left behind.
pub(crate) async fn tidy(place: &str) -> Result<()> {
    if place.starts_with("postgres:") {
        connect(place).await?.batch_execute("VACUUM").await?;
    } else if let Some(path) = place.strip_prefix("sqlite:") {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    }
    Ok(())
}
