use std::path::Path;

#[cfg(feature = "file")]
use super::StoreUrlParts;
use super::{StoreScheme, StoreUrl, divide};
#[cfg(feature = "file")]
use crate::store::file::url::cache;
#[cfg(all(feature = "sqlite", feature = "file"))]
use crate::store::{file::url::folder, sqlite::Mode, sqlite::SqliteOptions, sqlite::SqliteStore};

#[cfg(all(feature = "sqlite", feature = "file"))]
fn sqlite_options(url: &str) -> Result<SqliteOptions, crate::StoreError> {
    SqliteStore::options(url)
}

#[test]
fn what_is_no_secret_is_shown() {
    for url in [
        "memory:",
        "cookie:",
        "sqlite:a@b:c",
        "sqlite:///srv/site/a:b@c/db.sqlite3",
        "sqlite:what?.sqlite3",
        "file:/var/lib/sessions",
        "postgres://db/site",
        "postgres://ann@db.example:5432/site?sslmode=require&application_name=site",
        "postgres://ann@/site?host=%2Frun%2Fpg&port=6432",
        "mysql://ann@[::1]:3306/site",
        "redis://cache/0?key_prefix=site&version=2&engine=cached_db&serializer=json&compressor=zlib",
        "redis+cluster://one:7000,two:7001",
        "redis+sentinel://one,two:26379/service/0",
        "memcached://one:11211,two:11211?entry_prefix=site-2-",
        "cached_db:sqlite:/srv/a|b.sqlite3|redis://cache/1",
        "host=db user=ann dbname='a b'",
        "/srv/site/db.sqlite3",
    ] {
        assert_eq!(StoreUrl::from(url).to_string(), url);
    }
}

#[test]
fn what_may_be_a_secret_is_hidden() {
    for (url, shown) in [
        ("postgres://ann:s3cret@db/site", "postgres://ann:…@db/site"),
        ("POSTGRES://ann:s3cret@db/site", "POSTGRES://ann:…@db/site"),
        ("postgres://ann:s3/cr?e#t@db/site", "postgres://ann:…@db/site"),
        ("postgres://ann:s3@cr@et@db/site", "postgres://ann:…@db/site"),
        ("postgres://ann%3As3cret@db/site", "postgres://…@db/site"),
        ("postgres://db/site?user=ann&password=s3cret", "postgres://db/site?user=ann&password=…"),
        ("postgres://db/site?user=ann&%70assword=s3cret", "postgres://db/site?user=ann&%70assword=…"),
        ("postgres://db/site?PASSWORD=s3cret", "postgres://db/site?PASSWORD=…"),
        ("postgres://db/site?password=s3cret&x=@y", "postgres://…@y"),
        ("postgres://db/site;password=s3cret#passwd=s3cret", "postgres://db/site;password=…#passwd=…"),
        ("postgres://db/site?options=-c%20own.token=s3cret", "postgres://db/site?options=…"),
        ("mysql://ann:s3cret", "mysql://ann:…"),
        ("redis://s3cret@cache", "redis://…@cache"),
        ("redis://:s3@cret@cache", "redis://:…@cache"),
        ("redis://cache/0?password=s3cret&db=1", "redis://cache/0?password=…&db=1"),
        ("redis://cache/0?s3cret", "redis://cache/0?…"),
        ("redis+cluster://:s3cret@one,:s3cret@two:7001", "redis+cluster://:…@two:7001"),
        ("carrier://ann:s3cret@pigeon", "carrier://ann:…@pigeon"),
        ("postgres:ann:s3cret", "postgres:…"),
        ("ann:s3cret@db/site", "ann:…@db/site"),
        ("ann:s3:cret@db/site", "ann:…@db/site"),
        ("postgres://s3cret@x:y@db/site", "postgres://…@db/site"),
        ("s3cret@db/site", "…@db/site"),
        ("sqlite://ann:s3cret@db/site", "sqlite://ann:…@db/site"),
        ("sqlite:db.sqlite3?mode=ro&key=s3cret", "sqlite:db.sqlite3?mode=ro&key=…"),
        ("filecache:/a/b?key_prefix=c&key=s3cret", "filecache:/a/b?key_prefix=c&key=…"),
        ("host=db password=s3cret user = ann", "host=db password=… user=ann"),
        (r"host=db password='s3 cr\' et' user=ann", "host=db password=… user=ann"),
        ("password=two words host=db", "password=… …"),
        (
            "cached_db:postgres://ann:s3|cret@db/site|redis://:s3|cret@cache/1?password=s3cret",
            "cached_db:postgres://ann:…@db/site|redis://:…@cache/1?password=…",
        ),
        ("CACHED_DB:sqlite:x|redis://:s3|x:cret@cache", "CACHED_DB:sqlite:x|redis://:…@cache"),
        ("cached_db:postgres://ann:s3|x:cret@db/site|memory:", "cached_db:postgres://ann:…@db/site|memory:"),
    ] {
        assert_eq!(StoreUrl::from(url).to_string(), shown, "{url}");
    }
}

#[test]
fn two_stores_are_told_apart_or_refused() {
    for (rest, two) in [
        ("sqlite:a|redis://b/1", Some(("sqlite:a", "redis://b/1"))),
        ("sqlite:a||redis://b/1", Some(("sqlite:a", "redis://b/1"))),
        ("sqlite:a|b.sqlite3|redis://b/1", Some(("sqlite:a|b.sqlite3", "redis://b/1"))),
        (
            "cached_db:sqlite:a|redis://b||postgres://c/d",
            Some(("cached_db:sqlite:a|redis://b", "postgres://c/d")),
        ),
        (
            "cached_db:sqlite:a|redis://b||cached_db:postgres://c/d|redis://e",
            Some(("cached_db:sqlite:a|redis://b", "cached_db:postgres://c/d|redis://e")),
        ),
        ("cached_db:sqlite:a|redis://b|postgres://c/d", None),
        ("sqlite:a|cached_db:sqlite:b|redis://c", None),
        ("sqlite:a|cached_db:sqlite:b", None),
        ("sqlite:a|redis://b|memory:", None),
        ("sqlite:a||redis://b||memory:", None),
        ("sqlite:a", None),
        ("sqlite:a|", None),
        ("", None),
    ] {
        assert_eq!(divide::moving(rest), two, "{rest}");
    }
}

#[test]
fn secrets_are_hidden_and_paths_count_from_the_folder() {
    for (url, shown) in [
        (
            "moving:postgres://ann:s3cret@db/site|redis://:s3cret@cache",
            "moving:postgres://ann:…@db/site|redis://:…@cache",
        ),
        (
            "MOVING:cached_db:postgres://ann:s3cret@db/site|redis://:s3cret@cache||sqlite:new",
            "MOVING:cached_db:postgres://ann:…@db/site|redis://:…@cache||sqlite:new",
        ),
        ("moving:cached_db:sqlite:a|redis://:s3cret@b|postgres://c:s3cret@d/e", "moving:…"),
        ("moving:postgres://ann:s3cret@db/site", "moving:…"),
        ("moving:postgres://ann:s3|redis:cret@db/site|memory:", "moving:…"),
    ] {
        assert_eq!(StoreUrl::from(url).to_string(), shown);
    }
    let from = |url| StoreUrl::from(url).from_folder(Path::new("/srv/site")).expose().to_owned();
    assert_eq!(
        from("cached_db:sqlite:a|filecache:b?version=2"),
        "cached_db:sqlite:/srv/site/a|filecache:/srv/site/b?version=2"
    );
    assert_eq!(from("moving:sqlite:a|file:b"), "moving:sqlite:/srv/site/a|file:/srv/site/b");
    assert_eq!(
        from("moving:cached_db:sqlite:a|file:c||sqlite:b"),
        "moving:cached_db:sqlite:/srv/site/a|file:/srv/site/c||sqlite:/srv/site/b"
    );
}

#[cfg(all(feature = "sqlite", feature = "file"))]
#[test]
fn paths_are_those_of_django_and_of_file_urls() {
    for (url, path) in [
        ("sqlite:db.sqlite3", "db.sqlite3"),
        ("sqlite:/db.sqlite3", "/db.sqlite3"),
        ("sqlite://db.sqlite3", "db.sqlite3"),
        ("sqlite://nowhere/db.sqlite3", "nowhere/db.sqlite3"),
        ("sqlite:///db.sqlite3", "db.sqlite3"),
        ("sqlite:///./db.sqlite3", "./db.sqlite3"),
        ("sqlite:////nowhere/db.sqlite3", "/nowhere/db.sqlite3"),
        ("sqlite:a%20b%3Fc%25.sqlite3", "a b?c%.sqlite3"),
        ("sqlite:100%.sqlite3", "100%.sqlite3"),
        ("sqlite:db.sqlite3?mode=rwc", "db.sqlite3"),
    ] {
        assert_eq!(sqlite_options(url).unwrap().path, Path::new(path), "{url}");
    }
    for (url, path) in [
        ("file:", None),
        ("file://", None),
        ("file:sessions", Some("sessions")),
        ("file:/srv/sessions", Some("/srv/sessions")),
        ("file:///srv/ses%20sions", Some("/srv/ses sions")),
        ("file://localhost/srv/sessions", Some("/srv/sessions")),
    ] {
        assert_eq!(folder(url).unwrap().as_deref(), path.map(Path::new), "{url}");
    }
}

#[cfg(all(feature = "sqlite", feature = "file"))]
#[test]
fn what_stands_behind_the_question_mark_is_heeded_or_refused_by_name() {
    let options = sqlite_options("sqlite:db?mode=ro&timeout=0.5&cache=private").unwrap();
    assert_eq!((options.mode, options.timeout.as_millis()), (Mode::ReadOnly, 500));
    assert_eq!(sqlite_options("sqlite:db?mode=rw").unwrap().mode, Mode::ReadWrite);
    let options = sqlite_options("sqlite:db?table=shop%5Fsession&user_session_table=shop_devices").unwrap();
    assert_eq!((&*options.table, &*options.user_session_table), ("shop_session", "shop_devices"));
    for (url, part) in [
        ("sqlite:db?cache=shared", "`cache` has no such value; write `private`"),
        ("sqlite:db?mode=rwx", "`mode` has no such value; write `ro`, `rw` or `rwc`"),
        ("sqlite:db?mode=ro&mode=rw", "`mode` is there twice"),
        ("sqlite:db?key=hunter2", "parameter `key` is not known; there are mode, timeout, table"),
        ("sqlite:what?.sqlite3", "`%3F`"),
        ("sqlite:db?timeout=-1", "`timeout` is not a number of seconds"),
        ("sqlite:db?table=", "`table` is not a name; write a name without quotes"),
        ("sqlite:db?mode=memory", "use `memory:`"),
        ("sqlite::memory:", "use `memory:`"),
        ("sqlite:///:memory:", "use `memory:`"),
        ("sqlite://", "lacks its file"),
        ("file:db", "begins with `sqlite:`"),
    ] {
        let message = sqlite_options(url).unwrap_err().to_string();
        assert!(message.contains(part), "{url}: {message}");
    }
    assert!(folder("file:sessions?mode=ro").unwrap_err().to_string().contains("%3F"));
    let message = folder("file://srv/sessions").unwrap_err().to_string();
    assert!(message.contains("`file:srv/sessions`, or `file:///srv/sessions`"), "{message}");
}

/// Nothing is created or opened where the other reading of three slashes was meant.
#[cfg(all(feature = "sqlite", feature = "file"))]
#[test]
fn three_slashes_before_an_absolute_path_are_explained() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("db.sqlite3");
    let url = format!("sqlite://{}", path.display());
    for exists in [false, true] {
        let message = sqlite_options(&url).unwrap_err().to_string();
        let both = format!("write `sqlite:///{0}` or `sqlite:{0}`", path.display());
        assert!(message.contains(&both), "{message}");
        assert_eq!(StoreUrl::from(&*url).from_folder(Path::new("/nowhere")).expose(), url);
        assert_eq!(path.exists(), exists);
        std::fs::write(&path, "").unwrap();
    }
    for right in [format!("sqlite:///{}", path.display()), format!("sqlite:{}", path.display())] {
        assert_eq!(sqlite_options(&right).unwrap().path, path);
    }
}

#[cfg(all(feature = "sqlite", feature = "file"))]
#[test]
fn any_path_comes_back_from_its_url() {
    use std::os::unix::ffi::OsStrExt;

    for name in [&b"db.sqlite3"[..], b"/a/b", b"a|b?c%41", b"100%", b"\xff\xfe", "\u{e4}".as_bytes(), b"//a"]
    {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        let url = StoreUrl::of_path(StoreScheme::Sqlite, path).expose().to_owned();
        assert_eq!(sqlite_options(&url).unwrap().path, path, "{url}");
        assert_eq!(
            folder(StoreUrl::of_path(StoreScheme::File, path).expose()).unwrap().as_deref(),
            Some(path)
        );
        let url = StoreUrl::of_path(StoreScheme::FileCache, path).expose().to_owned() + "?version=2";
        let (found, format) = cache(&url).unwrap().unwrap();
        assert_eq!((&*found, format.version), (path, 2), "{url}");
    }
}

/// A copy in front of a database is an entry of the engine `cached_db`.
#[cfg(feature = "file")]
#[test]
fn a_file_based_cache_is_a_cache() {
    let url = StoreUrl::from("cached_db:memory:|filecache:/srv/cache?key_prefix=a");
    let Ok(StoreUrlParts::CachedDb { cache: url, .. }) = url.parts() else { panic!("it has two parts") };
    assert_eq!(url.expose(), "filecache:/srv/cache?key_prefix=a&engine=cached_db");
    let (_, format) = cache(url.expose()).unwrap().unwrap();
    assert_eq!(format.engine, crate::store::cache::CacheEngine::CachedDb);
}
