//! The two databases: filling a table fast, copying it as it is, and clearing it with one plain DELETE.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::{PostgresStore, SessionCodec, SessionStore, SqliteStore};
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::it::servers::{Server, postgres};
use crate::rows::{Rows, settings};

/// A database with sessions in it.
pub(crate) enum Database {
    Sqlite { folder: Arc<tempfile::TempDir>, path: PathBuf },
    Postgres { server: Arc<Server>, name: String },
}

/// Where to make databases.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite(Arc<tempfile::TempDir>),
    Postgres(Arc<Server>),
}

impl Place {
    pub(crate) fn sqlite() -> Place {
        Place::Sqlite(Arc::new(tempfile::tempdir().expect("a temporary folder")))
    }

    pub(crate) async fn postgres() -> Place {
        Place::Postgres(Arc::new(postgres::start().await))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Place::Sqlite(_) => "SQLite",
            Place::Postgres(_) => "PostgreSQL",
        }
    }

    /// A database with these sessions, at rest: written to disk, with statistics.
    pub(crate) async fn fill(&self, rows: Rows) -> Database {
        let name = format!("rows_{}", rows.total);
        match self {
            Place::Sqlite(folder) => {
                let path = folder.path().join(name);
                SqliteStore::at(&path).create_table(Default::default()).await.expect("a table");
                fill_sqlite(&path, rows).expect("SQLite takes them");
                Database::Sqlite { folder: Arc::clone(folder), path }
            }
            Place::Postgres(server) => {
                let database = Database::Postgres { server: Arc::clone(server), name };
                database.administer(&format!("CREATE DATABASE {}", database.name())).await;
                let options = PostgresStore::options(&database.url()).expect("a URL");
                options.create_table(Default::default()).await.expect("a table");
                fill_postgres(&postgres::client(&database.url()).await, rows)
                    .await
                    .expect("PostgreSQL takes them");
                database
            }
        }
    }
}

impl Database {
    fn name(&self) -> &str {
        match self {
            Database::Sqlite { path, .. } => path.to_str().expect("a plain path"),
            Database::Postgres { name, .. } => name,
        }
    }

    fn url(&self) -> String {
        match self {
            Database::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
            Database::Postgres { server, name } => postgres::url(server, name),
        }
    }

    async fn administer(&self, statement: &str) {
        if let Database::Postgres { server, .. } = self {
            let client = postgres::client(&postgres::url(server, "postgres")).await;
            client.batch_execute(statement).await.expect("the server does it");
        }
    }

    /// A store of its own, as another program would have it. Writers wait for as long as it takes.
    pub(crate) async fn store(&self) -> Arc<dyn SessionStore> {
        let patience = Duration::from_secs(10 * 60);
        match self {
            Database::Sqlite { path, .. } => {
                let mut options = SqliteStore::at(path);
                options.timeout = patience;
                Arc::new(options.open(&settings()).await.expect("it is there"))
            }
            Database::Postgres { .. } => {
                let mut options = PostgresStore::options(&self.url()).expect("a URL");
                options.timeout = patience;
                Arc::new(options.open(&settings()).await.expect("it is there"))
            }
        }
    }

    /// The same database once more, page by page, and on disk.
    pub(crate) async fn copy(&self) -> Database {
        let copy = match self {
            Database::Sqlite { folder, path } => {
                let copy = path.with_extension("copy");
                std::fs::copy(path, &copy).expect("enough space");
                std::fs::File::open(&copy).and_then(|file| file.sync_all()).expect("enough space");
                Database::Sqlite { folder: Arc::clone(folder), path: copy }
            }
            Database::Postgres { server, name } => {
                Database::Postgres { server: Arc::clone(server), name: format!("{name}_copy") }
            }
        };
        // With what else is still to be written, so that it is not written while something is measured.
        let statement =
            format!("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", copy.name(), self.name());
        copy.administer(&statement).await;
        copy.administer("CHECKPOINT").await;
        copy
    }

    pub(crate) async fn remove(self) {
        match &self {
            Database::Sqlite { path, .. } => {
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{end}", path.display()));
                }
            }
            Database::Postgres { name, .. } => {
                self.administer(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
        }
    }

    /// What Django's `clearsessions` does.
    pub(crate) async fn plain_delete(&self, now: DateTime<Utc>) -> u64 {
        match self {
            Database::Sqlite { path, .. } => {
                let (path, now) = (path.clone(), sqlite_time(now));
                let delete = move || {
                    let connection = rusqlite::Connection::open(path)?;
                    connection.busy_timeout(Duration::from_secs(60))?;
                    connection.execute("DELETE FROM django_session WHERE expire_date < ?1", [now])
                };
                tokio::task::spawn_blocking(delete).await.expect("no panic").expect("SQLite does it") as u64
            }
            Database::Postgres { .. } => {
                let client = postgres::client(&self.url()).await;
                let statement = "DELETE FROM django_session WHERE expire_date < $1";
                client.execute(statement, &[&now]).await.expect("PostgreSQL does it")
            }
        }
    }

    /// Bytes on disk.
    pub(crate) async fn size(&self) -> u64 {
        match self {
            Database::Sqlite { path, .. } => path.metadata().expect("it is there").len(),
            Database::Postgres { .. } => {
                let client = postgres::client(&self.url()).await;
                let statement = "SELECT pg_total_relation_size('django_session')";
                client.query_one(statement, &[]).await.expect("it answers").get::<_, i64>(0) as u64
            }
        }
    }
}

fn sqlite_time(time: DateTime<Utc>) -> String {
    time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Without a journal, and the expiry's index afterwards.
fn fill_sqlite(path: &Path, rows: Rows) -> rusqlite::Result<()> {
    let codec = SessionCodec::new(&settings());
    let mut connection = rusqlite::Connection::open(path)?;
    for (name, value) in [("journal_mode", "OFF"), ("synchronous", "OFF"), ("cache_size", "-1500000")] {
        connection.pragma_update(None, name, value)?;
    }
    let indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = 'django_session'";
    let (index, definition): (String, String) =
        connection.query_row(indexes, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    connection.execute_batch(&format!("DROP INDEX \"{index}\""))?;
    let transaction = connection.transaction()?;
    let mut insert = transaction.prepare("INSERT INTO django_session VALUES (?1, ?2, ?3)")?;
    for number in 0..rows.total {
        let expire_date = sqlite_time(rows.expire_date(number));
        insert.execute((rows.session_key(number).as_str(), rows.text(&codec, number), expire_date))?;
    }
    drop(insert);
    transaction.commit()?;
    connection.execute_batch(&definition)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    drop(connection);
    std::fs::File::open(path).and_then(|file| file.sync_all()).expect("enough space");
    Ok(())
}

/// COPY, and the indexes afterwards.
async fn fill_postgres(client: &Client, rows: Rows) -> Result<(), tokio_postgres::Error> {
    let codec = SessionCodec::new(&settings());
    let mut drop_and_make = (String::new(), "SET maintenance_work_mem = '512MB';".to_owned());
    let indexes = "SELECT i.indexname, i.indexdef, c.conname FROM pg_indexes AS i \
         LEFT JOIN pg_constraint AS c ON c.conname = i.indexname WHERE i.tablename = 'django_session'";
    for row in client.query(indexes, &[]).await? {
        let (name, definition): (&str, &str) = (row.get(0), row.get(1));
        match row.get::<_, Option<&str>>(2) {
            Some(constraint) => {
                drop_and_make.0 += &format!("ALTER TABLE django_session DROP CONSTRAINT {constraint};");
                drop_and_make.1 += &format!(
                    "ALTER TABLE django_session ADD CONSTRAINT {constraint} PRIMARY KEY (session_key);"
                );
            }
            None => {
                drop_and_make.0 += &format!("DROP INDEX {name};");
                drop_and_make.1 += &format!("{definition};");
            }
        }
    }
    client.batch_execute(&drop_and_make.0).await?;
    let mut copy = Box::pin(client.copy_in("COPY django_session FROM STDIN").await?);
    let mut lines = String::new();
    for number in 0..rows.total {
        let expire_date = rows.expire_date(number).to_rfc3339();
        // Neither keys nor signed texts have characters that COPY wants escaped.
        let (key, text) = (rows.session_key(number), rows.text(&codec, number));
        for part in [key.as_str(), "\t", &text, "\t", &expire_date, "\n"] {
            lines.push_str(part);
        }
        if lines.len() > 256 << 10 {
            copy.send(Bytes::from(std::mem::take(&mut lines))).await?;
        }
    }
    copy.send(Bytes::from(lines)).await?;
    copy.as_mut().finish().await?;
    client.batch_execute(&drop_and_make.1).await?;
    client.batch_execute("VACUUM ANALYZE django_session").await?;
    client.batch_execute("CHECKPOINT").await
}
