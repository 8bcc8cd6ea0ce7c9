//! Sessions in the table of Django's `DatabaseCache`, which other entries share.

use std::path::Path;
use std::sync::Arc;

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::table::{MigrationRecord, TableCreation};
use cloakroom::store::{Created, Record, Updated};
use cloakroom::{SessionKey, SessionStore, Settings, StoreErrorKind, TimeZone};
use serde_json::{Value, json};

use crate::support::back_end::{mariadb_database, postgres_database};
use crate::support::browser::Browser;
use crate::support::django::{Django, Project, SECRET};
use crate::support::raw_database::{Kind, Raw};
use crate::support::records::data;

const TABLE: &str = "my_cache_table";

/// A database of its own for one test.
struct Place {
    /// `DATABASES["default"]`.
    database: Value,
    url: String,
    raw: Rows,
    _folder: tempfile::TempDir,
}

enum Rows {
    Sqlite(rusqlite::Connection),
    Server(Box<Raw>),
}

impl Place {
    async fn all() -> [Place; 3] {
        [Place::sqlite().await, Place::server(Kind::Postgres).await, Place::server(Kind::Mariadb).await]
    }

    async fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite3");
        Place {
            database: json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": &path }),
            url: format!("sqlite:{}", path.display()),
            raw: Rows::Sqlite(rusqlite::Connection::open(path).unwrap()),
            _folder: folder,
        }
    }

    async fn server(kind: Kind) -> Place {
        let url = Raw::database(kind).await;
        let database = match kind {
            Kind::Postgres => postgres_database(&url),
            Kind::Mariadb => mariadb_database(&url),
        };
        let raw = Rows::Server(Box::new(Raw::new(kind, &url).await));
        Place { database, url, raw, _folder: tempfile::tempdir().unwrap() }
    }

    /// The URL of a cache table.
    fn table(&self, name: &str, query: &str) -> String {
        format!("{}?cache_table={name}{query}", self.url)
    }

    /// A Django site whose sessions are in the cache table.
    fn project(&self) -> Project {
        let mut project = Project::on(Django::V5_2, self.database.clone());
        let cache = json!({ "BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": TABLE });
        project.variables.push(("SITE_CACHE", cache.to_string()));
        project.variables.push(("SITE_SESSION_ENGINE", "cache".to_owned()));
        project
    }

    async fn open(&self, query: &str) -> Arc<dyn SessionStore> {
        cloakroom::connect(&self.table(TABLE, query), &Settings::new("secret")).await.unwrap()
    }

    /// A store on a new table.
    async fn new_store(&self) -> Arc<dyn SessionStore> {
        let url = self.table(TABLE, "");
        cloakroom::store::create_table(&url, MigrationRecord::IfDjango).await.unwrap();
        self.open("").await
    }

    /// The rows as texts, each with its columns behind each other.
    async fn rows(&mut self, sql: &str) -> Vec<String> {
        match &mut self.raw {
            Rows::Server(raw) => raw.rows(sql).await.into_iter().map(|row| row.join(" ")).collect(),
            Rows::Sqlite(connection) => {
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let rows = statement.query_map((), |row| {
                    let texts = (0..columns).map(|column| {
                        row.get_ref(column).map(|value| match value {
                            rusqlite::types::ValueRef::Text(text) => {
                                String::from_utf8_lossy(text).into_owned()
                            }
                            other => format!("{other:?}"),
                        })
                    });
                    Ok(texts.collect::<rusqlite::Result<Vec<_>>>()?.join(" "))
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
        }
    }

    /// The table as the database describes it.
    async fn definition(&mut self, table: &str) -> String {
        let sql = match &self.raw {
            Rows::Sqlite(_) => {
                vec![format!("SELECT sql FROM sqlite_master WHERE tbl_name = '{table}' AND sql IS NOT NULL")]
            }
            Rows::Server(raw) if raw.kind == Kind::Mariadb => vec![format!("SHOW CREATE TABLE {table}")],
            Rows::Server(_) => vec![
                format!(
                    "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
                     WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
                ),
                format!("SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' ORDER BY indexname"),
            ],
        };
        let mut lines = Vec::new();
        for sql in sql {
            lines.extend(self.rows(&sql).await);
        }
        let text = lines.join("\n").split_whitespace().collect::<Vec<_>>().join(" ");
        text.replace("( ", "(").replace(" )", ")").replace(table, "TABLE")
    }

    /// Puts an entry as another program leaves it.
    async fn insert(&mut self, key: &str, value: &str, expires: &str) {
        let sql = format!(
            "INSERT INTO {TABLE} (cache_key, value, expires) VALUES ('{key}', '{value}', '{expires}')"
        );
        self.rows(&sql).await;
    }

    async fn keys(&mut self) -> Vec<String> {
        let mut keys = self.rows(&format!("SELECT cache_key FROM {TABLE}")).await;
        keys.sort_unstable();
        keys
    }
}

async fn create(store: &dyn SessionStore, json: &str, lives: TimeDelta) -> SessionKey {
    let session_key = SessionKey::random().unwrap();
    create_as(store, &session_key, json, lives).await;
    session_key
}

async fn create_as(store: &dyn SessionStore, session_key: &SessionKey, json: &str, lives: TimeDelta) {
    let (data, now) = (data(json), Utc::now());
    // So that what has expired can be made.
    let record =
        Record { data: &data, expire_date: now + lives, now: now.min(now + lives) - TimeDelta::hours(1) };
    assert!(matches!(store.create(session_key, record).await.unwrap(), Created::Created(_)));
}

async fn load(store: &dyn SessionStore, session_key: &SessionKey) -> Option<String> {
    store.load(session_key, Utc::now()).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
}

async fn listed(store: &dyn SessionStore) -> Vec<String> {
    let (mut listing, mut keys) = (store.list().unwrap(), Vec::new());
    while let Some(page) = listing.next_page(2, Utc::now()).await.unwrap() {
        keys.extend(page.iter().map(|listed| listed.session_key.as_str().to_owned()));
    }
    keys.sort_unstable();
    keys
}

/// `create_table` makes what Django's `createcachetable` makes.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_djangos() {
    for mut place in Place::all().await {
        let url = place.table("ours", "");
        let error = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        assert!(error.to_string().contains("no cache table ours; make it with"), "{error}");
        let create = || cloakroom::store::create_table(&url, MigrationRecord::Always);
        assert_eq!(create().await.unwrap(), TableCreation::Created);
        assert_eq!(create().await.unwrap(), TableCreation::AlreadyThere);
        place.project().manage(&["createcachetable"]);
        let (ours, of_django) = (place.definition("ours").await, place.definition(TABLE).await);
        assert_eq!(ours, of_django);
        assert!(ours.contains("varchar(255)") || ours.contains("character varying(255)"), "{ours}");
        if let Rows::Sqlite(_) = &place.raw {
            // It is no migration, which would be recorded.
            let tables = place.rows("SELECT name FROM sqlite_master WHERE name = 'django_migrations'").await;
            assert!(tables.is_empty(), "{tables:?}");
        }
        let other = cloakroom::connect(&place.url, &Settings::new("secret")).await.unwrap_err();
        assert!(other.to_string().contains("no table django_session"), "{other}");
    }
}

/// Entries of others are never counted, listed or removed, however near their names come.
#[tokio::test(flavor = "multi_thread")]
async fn other_entries_stay() {
    for mut place in Place::all().await {
        let store = place.new_store().await;
        let of_others = [
            ":1:page",
            ":1:django.contrib.sessions.cached_dbabcdefgh12345678",
            ":1:DJANGO.contrib.sessions.cacheabcdefgh12345678",
            ":1:djangoXcontrib.sessions.cacheabcdefgh12345678",
            ":2:django.contrib.sessions.cacheabcdefgh12345678",
            "a:1:django.contrib.sessions.cacheabcdefgh12345678",
            ":1:django.contrib.sessions.cachf",
            ":1:django.contrib.sessions.cach",
        ];
        for (index, key) in of_others.iter().enumerate() {
            let expires = if index % 2 == 0 { "2001-01-01 00:00:00" } else { "2999-01-01 00:00:00" };
            place.insert(key, "gAWVBQAAAAAAAACMAWGULg==", expires).await;
        }
        let others = place.keys().await;
        let mut alive = Vec::new();
        for _ in 0..5 {
            alive.push(create(&*store, r#"{"a":1}"#, TimeDelta::hours(1)).await.as_str().to_owned());
            create(&*store, "{}", -TimeDelta::hours(1)).await;
        }
        alive.sort_unstable();
        let counted = store.count(Utc::now()).await.unwrap();
        assert_eq!((counted.live, counted.expired), (5, 5), "{}", place.url);
        assert_eq!(listed(&*store).await.len(), 10);
        assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 5);
        assert_eq!(listed(&*store).await, alive);
        for session_key in alive {
            assert!(store.delete(&SessionKey::from_trusted(session_key)).await.unwrap());
        }
        assert_eq!(place.keys().await, others, "{}", place.url);
    }
}

/// Prefix, version and engine each make another entry of the same session key.
#[tokio::test(flavor = "multi_thread")]
async fn prefix_and_version_keep_sessions_apart() {
    let queries = [
        "",
        "&version=2",
        "&key_prefix=a",
        "&key_prefix=A",
        "&key_prefix=%25_|%27%5C",
        "&key_prefix=%C3%A9",
        "&engine=cached_db",
        "&entry_prefix=site-2-",
    ];
    for mut place in Place::all().await {
        place.new_store().await;
        let session_key = SessionKey::random().unwrap();
        // What the usual collation of MariaDB takes for the same key cannot be there twice.
        let is_mariadb = place.url.starts_with("mysql:");
        let queries: Vec<&str> =
            queries.into_iter().filter(|query| !is_mariadb || *query != "&key_prefix=A").collect();
        for (number, query) in queries.iter().enumerate() {
            let store = place.open(query).await;
            create_as(&*store, &session_key, &format!(r#"{{"number":{number}}}"#), TimeDelta::hours(1)).await;
        }
        for (number, query) in queries.iter().enumerate() {
            let store = place.open(query).await;
            assert_eq!(
                load(&*store, &session_key).await,
                Some(format!(r#"{{"number":{number}}}"#)),
                "{query}"
            );
            assert_eq!(listed(&*store).await, [session_key.as_str()], "{query} {}", place.url);
            assert_eq!(store.count(Utc::now()).await.unwrap().live, 1, "{query} {}", place.url);
        }
        let keys = place.keys().await;
        let head = keys.iter().find(|key| key.starts_with("site-2-")).unwrap();
        assert_eq!(*head, format!("site-2-django.contrib.sessions.cache{}", session_key.as_str()));
    }
}

/// Without `USE_TZ` Django stores the wall clock of its `TIME_ZONE`, which SQLite and MariaDB keep as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_time_zones() {
    let zone = "America/Chicago";
    for mut place in Place::all().await {
        let mut project = place.project();
        project.time_zone = zone;
        project.migrate();
        project.manage(&["createcachetable"]);
        let server = project.serve();
        let mut settings = Settings::new(SECRET);
        settings.time_zone = TimeZone::Naive(zone.parse().unwrap());
        let store = cloakroom::connect(&place.table(TABLE, ""), &settings).await.unwrap();
        let mut browser = Browser::new();
        browser.post(format!("{}/put", server.address), r#"{"a":1}"#).await.ok();
        let of_django = SessionKey::from_trusted(browser.session_key().unwrap());
        let loaded = store.load(&of_django, Utc::now()).await.unwrap().unwrap();
        let off = loaded.expire_date.unwrap() - Utc::now() - settings.cookie_age;
        assert!(off.abs() < TimeDelta::seconds(60), "{}: off by {off}", place.url);
        // Ours is written as Django writes it.
        let now = Utc::now();
        let record = Record { data: loaded.data().unwrap(), expire_date: loaded.expire_date.unwrap(), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
        let rows = place.rows(&format!("SELECT expires FROM {TABLE}")).await;
        assert!(rows.len() == 2 && rows[0] == rows[1], "{}: {rows:?}", place.url);
    }
}

/// A table whose character set is not the connection's.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_mariadb_in_latin1() {
    let mut place = Place::server(Kind::Mariadb).await;
    place.new_store().await;
    place.rows(&format!("ALTER TABLE {TABLE} CONVERT TO CHARACTER SET latin1")).await;
    for query in ["", "&key_prefix=%C3%A9"] {
        let store = place.open(query).await;
        let session_key = create(&*store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
        create(&*store, "{}", -TimeDelta::hours(1)).await;
        assert_eq!(load(&*store, &session_key).await.as_deref(), Some(r#"{"a":1}"#), "{query}");
        assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 1, "{query}");
        assert_eq!(listed(&*store).await, [session_key.as_str()], "{query}");
        assert!(store.delete(&session_key).await.unwrap(), "{query}");
    }
}

/// Many expired entries of others before and between the sessions' are passed over, and none is removed.
#[tokio::test(flavor = "multi_thread")]
async fn clearing_passes_over_the_entries_of_others() {
    for mut place in Place::all().await {
        let store = place.new_store().await;
        for index in 0..400 {
            place.insert(&format!(":1:page{index}"), "gAWVBQAAAAAAAACMAWGULg==", "2001-01-01 00:00:00").await;
        }
        let start = DateTime::from_timestamp(978_307_200, 0).unwrap();
        for index in 0..250 {
            // Some before those of others, some at the same time, some after.
            let expire_date = start + TimeDelta::seconds(index % 3 - 1);
            let (data, now) = (data("{}"), start - TimeDelta::days(1));
            let record = Record { data: &data, expire_date, now };
            store.create(&SessionKey::random().unwrap(), record).await.unwrap();
        }
        let alive = create(&*store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
        assert_eq!(store.clear_expired(Utc::now()).await.unwrap(), 250, "{}", place.url);
        assert_eq!(listed(&*store).await, [alive.as_str()], "{}", place.url);
        assert_eq!(place.keys().await.len(), 401, "{}", place.url);
    }
}

/// Django removes entries of a full cache. Such a session is absent, and no save brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_culled_session_is_absent() {
    for mut place in Place::all().await {
        let store = place.new_store().await;
        let session_key = create(&*store, r#"{"a":1}"#, TimeDelta::hours(1)).await;
        let loaded = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
        place.rows(&format!("DELETE FROM {TABLE} WHERE cache_key <> ''")).await;
        assert_eq!(load(&*store, &session_key).await, None);
        let (now, changed) = (Utc::now(), data(r#"{"a":2}"#));
        let record = Record { data: &changed, expire_date: now + TimeDelta::hours(1), now };
        let updated = store.update(&session_key, Some(&loaded.version), record).await.unwrap();
        assert!(matches!(updated, Updated::Missing), "{updated:?}");
        assert!(place.keys().await.is_empty());
    }
}

/// A new session takes the place of an expired entry, as in Django's cache, and never of a live one.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_entry_is_replaced() {
    for place in Place::all().await {
        let store = place.new_store().await;
        let session_key = create(&*store, r#"{"a":1}"#, -TimeDelta::seconds(1)).await;
        let (now, fresh) = (Utc::now(), data(r#"{"a":2}"#));
        let record = || Record { data: &fresh, expire_date: now + TimeDelta::hours(1), now };
        let created = store.create(&session_key, record()).await.unwrap();
        assert!(matches!(created, Created::Created(_)), "{}: {created:?}", place.url);
        assert_eq!(load(&*store, &session_key).await.as_deref(), Some(r#"{"a":2}"#));
        let again = store.create(&session_key, record()).await.unwrap();
        assert!(matches!(again, Created::KeyTaken), "{}: {again:?}", place.url);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_values_are_carried() {
    for place in Place::all().await {
        crate::caches::carried(place.new_store().await).await;
    }
}

/// A row that is no session is an error, and is left as it is; a pickled `None` is no session, as in Django.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_no_sessions() {
    for mut place in Place::all().await {
        let store = place.new_store().await;
        let name = |key: &str| format!(":1:django.contrib.sessions.cache{key}");
        // The text `a`, no base64, no pickle, and `None`.
        let values = ["gAWVBQAAAAAAAACMAWGULg==", "gAWVB", "e30=", "gAVOLg=="];
        for (index, value) in values.iter().enumerate() {
            place.insert(&name(&format!("abcdefgh{index}")), value, "2999-01-01 00:00:00").await;
        }
        for index in 0..3 {
            let error = store.load(&SessionKey::from_trusted(format!("abcdefgh{index}")), Utc::now()).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
            assert!(error.to_string().contains("it was left as it is"), "{error}");
        }
        assert_eq!(load(&*store, &SessionKey::from_trusted("abcdefgh3")).await, None);
        let listed = listed(&*store).await;
        assert_eq!(listed, ["abcdefgh0", "abcdefgh1", "abcdefgh2"], "{}", place.url);
        assert_eq!(place.keys().await.len(), 4);
    }
}

#[test]
fn parameters_that_do_not_fit_are_named() {
    let path = Path::new("/nowhere");
    let sqlite = |query: &str| format!("sqlite:{}?{query}", path.display());
    let error = |url: &str| {
        let told = match url.split(':').next().unwrap() {
            "sqlite" => cloakroom::SqliteStore::options(url).map(drop),
            "postgres" => cloakroom::PostgresStore::options(url).map(drop),
            _ => cloakroom::MysqlStore::options(url).map(drop),
        };
        told.unwrap_err().to_string()
    };
    for address in [sqlite(""), "postgres://db/site?".to_owned(), "mysql://db/site?".to_owned()] {
        for (query, part) in [
            ("cache_table=", "`cache_table` is not a name; write a name without quotes"),
            ("cache_table=a&table=b", "`table` says what `cache_table` says too"),
            ("cache_table=a&serializer=json", "`serializer` is not one of Django's DatabaseCache"),
            ("cache_table=a&compressor=zlib", "`compressor` is not one of Django's DatabaseCache"),
            ("cache_table=a&version=x", "`version` has no such value"),
            ("key_prefix=a", "parameter `key_prefix` is not known"),
        ] {
            let told = error(&format!("{address}{query}"));
            assert!(told.contains(part), "{address}{query}: {told}");
        }
    }
}
