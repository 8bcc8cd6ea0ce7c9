//! Every store, against the one suite. A store is one line.

use std::sync::Arc;

use chrono::TimeDelta;
use cloakroom::store::Record;
use cloakroom::{
    CachedDbStore, Error, FileStore, KeyGenerator, MemoryStore, Session, SessionData, SessionKey,
    SessionMiddleware, SessionStore, Settings, SignedCookieStore, SqliteStore, conformance,
};

use crate::support::stores;

pub(crate) async fn conforms(name: &str, store: Arc<dyn SessionStore>) {
    conforms_but_for(name, store, &[]).await;
}

/// Passes every check but those declared, each with its reason.
pub(crate) async fn conforms_but_for(name: &str, store: Arc<dyn SessionStore>, differences: &[(&str, &str)]) {
    match conformance::run(&store, differences).await {
        Ok(summary) => println!("{name}: {summary}"),
        Err(nonconforming) => panic!("{name}:\n{nonconforming}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conforms("memory", Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    conforms("sqlite", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::at(folder.path()).open(&Settings::new("secret")).await.unwrap();
    conforms("file", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_based_cache() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("filecache:{}?key_prefix=site1", folder.path().display());
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    conforms("filecache", store).await;
    // As the copies in front of a database.
    let database = folder.path().join("db.sqlite3");
    SqliteStore::at(&database).create_table(Default::default()).await.unwrap();
    let url = format!("cached_db:sqlite:{}|{url}", database.display());
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    conforms("cached_db of sqlite and filecache", store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db() {
    let folder = tempfile::tempdir().unwrap();
    conforms("cached_db", stores::new_cached_db(folder.path()).await).await;
}

#[cfg(all(feature = "postgres", feature = "redis"))]
#[tokio::test(flavor = "multi_thread")]
async fn cached_db_of_postgres_and_redis() {
    let store =
        CachedDbStore::new(stores::new_postgres().await, stores::new_redis("&engine=cached_db").await)
            .unwrap();
    conforms("cached_db of postgres and redis", Arc::new(store)).await;
}

const BY_COOKIE: &str = "a session is found by its cookie, never by the key it was created under";
const NEVER_TAKEN: &str = "keys play no part, so none is ever taken";
const NEVER_ABSENT: &str = "the server does not know which sessions there are, so none is missing";
const NOTHING_TO_COMPARE: &str = "the server keeps nothing to compare with: the last cookie wins";
const NOTHING_TO_REMOVE: &str = "the server keeps nothing to remove; the middleware deletes the cookie";
pub(crate) const OF_COOKIES: [(&str, &str); 22] = [
    ("what_was_created_is_loaded", BY_COOKIE),
    ("data_comes_back_letter_for_letter", BY_COOKIE),
    ("creating_under_a_taken_key_writes_nothing", NEVER_TAKEN),
    ("updating_replaces_data_and_expiry", BY_COOKIE),
    ("updating_an_absent_session_creates_nothing", NEVER_ABSENT),
    ("updating_what_changed_meanwhile_writes_nothing", NOTHING_TO_COMPARE),
    ("updating_without_expectation_overwrites", BY_COOKIE),
    ("touching_extends_the_session_and_keeps_its_data", BY_COOKIE),
    ("touching_what_changed_or_is_absent_writes_nothing", NOTHING_TO_COMPARE),
    ("rotating_moves_the_session", BY_COOKIE),
    ("rotating_an_absent_session_creates_nothing", NEVER_ABSENT),
    ("rotating_what_changed_meanwhile_writes_nothing", NOTHING_TO_COMPARE),
    ("rotating_to_a_taken_key_writes_nothing", NEVER_TAKEN),
    ("deleting_removes_for_good", NOTHING_TO_REMOVE),
    ("an_expired_session_is_absent", BY_COOKIE),
    ("expiry_counts_to_the_microsecond", BY_COOKIE),
    ("clearing_removes_expired_sessions_only", BY_COOKIE),
    ("of_many_creators_of_one_key_one_succeeds", NEVER_TAKEN),
    ("of_many_updates_of_one_version_one_succeeds", NOTHING_TO_COMPARE),
    ("of_many_rotations_of_one_session_one_succeeds", NOTHING_TO_COMPARE),
    ("no_update_survives_a_deletion", NOTHING_TO_REMOVE),
    ("keys_do_not_alias", BY_COOKIE),
];

/// The cookie is the session and the server keeps nothing: there is no key to look under, nothing to compare
/// with and nothing to take away. So it is with Django's back end of this name.
#[tokio::test(flavor = "multi_thread")]
async fn signed_cookies() {
    let store = Arc::new(SignedCookieStore::new(&Settings::new("secret")));
    conforms_but_for("signed_cookies", store, &OF_COOKIES).await;
}

struct NoKeys;

impl KeyGenerator for NoKeys {
    fn generate(&self) -> Result<SessionKey, Error> {
        Err(Error::Random("none".to_owned()))
    }
}

#[tokio::test]
async fn a_new_signed_cookie_needs_no_random_key() {
    let settings = Settings::new("secret");
    let store = Arc::new(SignedCookieStore::new(&settings));
    let middleware = SessionMiddleware::new(store, settings).unwrap().with_key_generator(Arc::new(NoKeys));
    let session = middleware.begin([b"".as_slice()]).load().await.unwrap();
    session.set("a", 1).unwrap();
    session.save().await.unwrap();
    assert!(session.session_key().unwrap().as_str().starts_with("eyJhIjoxfQ:"));
}

#[tokio::test]
async fn a_difference_that_is_none_or_unknown_is_told() {
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let declared = [("keys_do_not_alias", "declared by mistake"), ("no_such_check", "misspelled")];
    let told = conformance::run(&store, &declared).await.unwrap_err().to_string();
    assert_eq!(
        told,
        "no_such_check: declared, but no check\n\
         keys_do_not_alias: passed, though it is declared as a difference"
    );
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    conforms("postgres", stores::new_postgres().await).await;
}

/// The tables of Django's `DatabaseCache`.
#[tokio::test(flavor = "multi_thread")]
async fn cache_table_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?cache_table=my_cache_table", folder.path().join("db.sqlite3").display());
    conforms("cache table of sqlite", stores::new_table(&url).await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn cache_table_of_postgres() {
    let url = crate::support::servers::postgres::database().await + "?cache_table=my_cache_table";
    conforms("cache table of postgres", stores::new_table(&url).await).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn cache_table_of_mariadb() {
    let url = crate::support::servers::mariadb::database().await + "?cache_table=my_cache_table";
    conforms("cache table of mariadb", stores::new_table(&url).await).await;
}

/// Copies in a table of the database itself, as a site has them whose `cached_db` uses `DatabaseCache`.
#[tokio::test(flavor = "multi_thread")]
async fn cached_db_of_two_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let url = format!("cached_db:sqlite:{0}|sqlite:{0}?cache_table=my_cache_table", path.display());
    let store = cloakroom::connect_or_create(&url, &Settings::new("secret")).await.unwrap();
    conforms("cached_db of two tables of sqlite", store).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    conforms("mariadb", stores::new_mariadb().await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    conforms("redis", stores::new_redis("").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_with_json_and_zlib() {
    conforms("redis with json and zlib", stores::new_redis("&serializer=json&compressor=zlib").await).await;
}

#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster() {
    conforms("redis cluster", stores::new_redis_cluster().await).await;
}

#[cfg(feature = "redis-sentinel")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_sentinel() {
    let watched = crate::support::servers::redis::start_watched().await;
    let store = cloakroom::connect(&watched.url, &Settings::new("secret")).await.unwrap();
    conforms("redis sentinel", store).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    conforms("memcached", stores::new_memcached().await).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn three_memcached_servers() {
    use crate::support::servers::memcached::start;
    let servers = [start().await, start().await, start().await];
    let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
    let store = cloakroom::MemcachedStore::at(addresses).open(&Settings::new("secret")).await.unwrap();
    conforms("three memcached servers", Arc::new(store)).await;
}

/// glibc's allocator answers up to this size from the thread's own cache. Beyond, a call of a store costs a search, and
/// at times the tidying of what was freed.
const QUICKLY_ALLOCATED: usize = 1_032;

#[tokio::test(flavor = "multi_thread")]
async fn no_frequent_call_has_a_large_future() {
    let (now, data) = (chrono::Utc::now(), SessionData::from_json(r#"{"a":1}"#).unwrap());
    let (key, new_key) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    let mut large = Vec::new();
    for (name, store, _folder) in stores::all().await {
        let sizes = [
            ("load", size_of_val(&*store.load(&key, now))),
            ("create", size_of_val(&*store.create(&key, record))),
            ("update", size_of_val(&*store.update(&key, None, record))),
            ("rotate", size_of_val(&*store.rotate(&key, None, &new_key, record))),
            ("delete", size_of_val(&*store.delete(&key))),
        ];
        println!("{name}: {sizes:?}");
        large
            .extend(sizes.into_iter().filter(|(_, size)| *size > QUICKLY_ALLOCATED).map(|call| (name, call)));
    }
    assert!(large.is_empty(), "{large:?}");
    let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    // The layer's own state comes on top.
    let size = size_of_val(&session.save());
    println!("save: {size}");
    assert!(size <= QUICKLY_ALLOCATED - 400, "{size}");
}
