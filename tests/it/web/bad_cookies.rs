//! Cookies that no browser of ours would send: they cost no row, no time and nobody's session.

use std::time::{Duration, Instant};

use cloakroom::SqliteStore;
use http::HeaderMap;

use super::*;

on_every_adapter!(
    bad_cookies_read_as_no_session_and_write_nothing,
    a_session_signed_with_another_secret_is_left_alone,
    a_key_from_a_bad_cookie_is_never_adopted,
    of_ten_thousand_pairs_the_last_of_the_name_counts,
    ten_thousand_requests_without_a_session_make_no_row,
    an_expired_session_reads_as_none_and_its_key_is_not_taken_up,
    a_cookie_whose_name_stands_behind_odd_blanks_is_another_cookie,
);

/// What Python strips from a cookie's name, and browsers do not: a page over plain HTTP may set such a cookie, and
/// none whose name begins with `__Host-`.
const ODD_BLANKS: [char; 24] = [
    '\u{1c}', '\u{1d}', '\u{1e}', '\u{1f}', '\u{85}', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}',
    '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}',
    '\u{200a}', '\u{2028}', '\u{2029}', '\u{202f}', '\u{205f}', '\u{3000}', '\u{feff}',
];

/// A site on SQLite, asked with cookies as they are.
struct Direct {
    site: Site,
    client: reqwest::Client,
    database: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Direct {
    async fn new(on: Adapter) -> Direct {
        Direct::with(on, Settings::new("secret")).await
    }

    async fn with(on: Adapter, settings: Settings) -> Direct {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db.sqlite3");
        let options = SqliteStore::at(&database);
        options.create_table(Default::default()).await.unwrap();
        let sqlite = options.open(&settings).await.unwrap();
        let site = Site::start_on(on, Arc::new(sqlite), pages(), settings).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Direct { site, client, database, _folder: folder }
    }

    fn calls(&self) -> Vec<&'static str> {
        self.site.store.calls()
    }

    async fn get(&self, path: &str, cookie: Option<&[u8]>) -> (u16, HeaderMap) {
        let mut request = self.client.get(self.site.url(path));
        if let Some(cookie) = cookie {
            request = request.header("cookie", http::HeaderValue::from_bytes(cookie).unwrap());
        }
        let response = request.send().await.unwrap();
        let answer = (response.status().as_u16(), response.headers().clone());
        // Read to its end, the connection serves the next request.
        response.bytes().await.unwrap();
        answer
    }

    /// The data and the end of a session, as they stand in the file.
    fn row(&self, session_key: &str) -> (String, String) {
        let connection = rusqlite::Connection::open(&self.database).unwrap();
        let sql = "SELECT session_data, expire_date FROM django_session WHERE session_key = ?1";
        connection.query_row(sql, [session_key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    fn rows(&self) -> u32 {
        let connection = rusqlite::Connection::open(&self.database).unwrap();
        connection.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0)).unwrap()
    }
}

/// What may stand in the cookie, and whether it may be a key, which the store is then asked for.
fn bad_values() -> Vec<(&'static str, Vec<u8>, bool)> {
    let value = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty", value(""), false),
        ("empty quotes", value("\"\""), false),
        ("short", value("abc1234"), false),
        ("upper case", value("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"), false),
        ("accents", value("àbcdefghijklmnopqrstuvwxyz012345"), false),
        ("a space inside", value("abcdefgh ijklmnopqrstuvwxyz012345"), false),
        ("a quoted space at the end", value(r#""abcdefghijklmnopqrstuvwxyz012345\040""#), false),
        ("a quoted NUL", value(r#""abcdefghijklmnopqrstuvwxyz012345\000""#), false),
        ("a quoted line end", value(r#""abcdefgh\015\012delete everything""#), false),
        ("no UTF-8", b"abcdefgh\xff\xfe\xc3".to_vec(), false),
        ("a path", value("../../../../etc/passwd"), false),
        ("SQL", value("' OR '1'='1"), false),
        ("41 characters", value(&"k".repeat(41)), false),
        ("5 kB", value(&"k".repeat(5_000)), false),
        ("80 kB of backslashes", value(&format!("\"{}\"", "\\".repeat(80_000))), false),
        ("80 kB of octal escapes", value(&format!("\"{}\"", "\\141".repeat(20_000))), false),
        ("an unknown key", value("unknown0unknown0unknown0unknown0"), true),
        ("an unknown key in quotes", value("\"unknown0unknown0unknown0unknown0\""), true),
    ]
}

fn cookie(value: &[u8]) -> Vec<u8> {
    [b"sessionid=".as_slice(), value].concat()
}

async fn bad_cookies_read_as_no_session_and_write_nothing(on: Adapter) {
    let site = Direct::new(on).await;
    let values = bad_values();
    for (name, value, is_key) in &values {
        for path in ["/untouched", "/read", "/logout"] {
            let started = Instant::now();
            let (status, _) = site.get(path, Some(&cookie(value))).await;
            assert_eq!(status, 200, "{name} {path}");
            assert!(started.elapsed() < Duration::from_secs(5), "{name} {path}: {:?}", started.elapsed());
            let asked = *is_key && path != "/untouched";
            assert_eq!(site.calls(), if asked { vec!["load"] } else { vec![] }, "{name} {path}");
        }
    }
    assert_eq!(site.rows(), 0);
    println!("{0} of {0} bad cookies read as no session", values.len());
}

async fn a_session_signed_with_another_secret_is_left_alone(on: Adapter) {
    for save_every_request in [false, true] {
        let mut settings = Settings::new("secret");
        settings.save_every_request = save_every_request;
        let site = Direct::with(on, settings).await;
        let others = Settings::new("another secret");
        let store = Arc::new(SqliteStore::at(&site.database).open(&others).await.unwrap());
        let session = Session::new(store, others);
        session.set("visits", 41).unwrap();
        session.save().await.unwrap();
        let key = session.session_key().unwrap().as_str().to_owned();
        let row = site.row(&key);

        let unlooked: &[&str] = if save_every_request { &["load"] } else { &[] };
        let requests: [(&str, &[&str]); 5] = [
            ("/untouched", unlooked),
            ("/read", &["load"]),
            ("/visit", &["load", "create"]),
            ("/login", &["load", "create"]),
            ("/logout", &["load"]),
        ];
        for (path, calls) in requests {
            let (status, headers) = site.get(path, Some(&cookie(key.as_bytes()))).await;
            assert_eq!((status, site.calls().as_slice()), (200, calls), "{path}");
            assert_eq!(site.row(&key), row, "{path}: byte for byte");
            let changes_cookie = ["/visit", "/login", "/logout"].contains(&path);
            assert_eq!(headers.contains_key("set-cookie"), changes_cookie, "{path}");
        }
    }
}

async fn a_key_from_a_bad_cookie_is_never_adopted(on: Adapter) {
    let site = Direct::new(on).await;
    let values = bad_values();
    for (name, value, _) in &values {
        for path in ["/visit", "/login"] {
            let (status, headers) = site.get(path, Some(&cookie(value))).await;
            assert_eq!(status, 200, "{name} {path}");
            let set_cookie = headers["set-cookie"].to_str().unwrap();
            let key = set_cookie.strip_prefix("sessionid=").unwrap().split(';').next().unwrap();
            assert_eq!(key.len(), 32, "{name} {path}");
            assert!(site.site.store.has(key).await && !value.starts_with(key.as_bytes()), "{name} {path}");
        }
    }
    assert_eq!(site.rows() as usize, values.len() * 2);
}

async fn of_ten_thousand_pairs_the_last_of_the_name_counts(on: Adapter) {
    let site = Direct::new(on).await;
    let (_, headers) = site.get("/visit", None).await;
    let pair = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let many = |last: &str| {
        let pairs: String =
            (0..10_000).map(|number| if number % 10 == 0 { "sessionid=no;" } else { "a=b;" }).collect();
        format!("{pairs}{last}").into_bytes()
    };
    site.calls();
    let started = Instant::now();
    let (_, read) = site.get("/read", Some(&many(&pair))).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((site.calls(), read.get("set-cookie")), (vec!["load"], None));
    site.get("/read", Some(&many(""))).await;
    assert_eq!(site.calls(), [""; 0], "a later cookie of the name takes the place of a good one");
}

async fn ten_thousand_requests_without_a_session_make_no_row(on: Adapter) {
    const REQUESTS: usize = 10_000;
    let site = Direct::new(on).await;
    let values = bad_values();
    let short: Vec<_> = values.iter().filter(|(_, value, _)| value.len() < 100).collect();
    let before = std::fs::read(&site.database).unwrap();
    for number in 0..REQUESTS {
        let path = ["/untouched", "/read", "/logout"][number % 3];
        let (status, _) = match number % 4 {
            0 => site.get(path, None).await,
            1 => site.get(path, Some(format!("sessionid=unknown{number:025}").as_bytes())).await,
            _ => site.get(path, Some(&cookie(&short[number % short.len()].1))).await,
        };
        assert_eq!(status, 200);
    }
    assert!(site.calls().iter().all(|call| *call == "load"), "the store is only read");
    assert_eq!((site.rows(), std::fs::read(&site.database).unwrap() == before), (0, true));
    println!("{REQUESTS} of {REQUESTS} requests without a session wrote nothing");
}

async fn an_expired_session_reads_as_none_and_its_key_is_not_taken_up(on: Adapter) {
    let site = Site::start(on, pages()).await;
    let mut browser = site.visitor().await;
    let expired = browser.clone();
    site.clock.advance(chrono::TimeDelta::weeks(2));
    assert_eq!(browser.get(site.url("/read")).await.body, "none");
    assert_eq!(
        (site.store.calls(), browser.session_key()),
        (vec!["load"], None),
        "the cookie goes, as in Django"
    );

    let mut browser = expired.clone();
    browser.get(site.url("/visit")).await.ok();
    assert_ne!(browser.session_key(), expired.session_key());
    assert_eq!(site.store.calls(), ["load", "create"]);
}

async fn a_cookie_whose_name_stands_behind_odd_blanks_is_another_cookie(on: Adapter) {
    for settings in [Settings::new("secret"), Settings::hardened("secret")] {
        let name = settings.cookie_name.clone();
        let site = Direct::with(on, settings).await;
        let key_of = |headers: &HeaderMap| {
            let pair = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
            pair.split_once('=').unwrap().1.to_owned()
        };
        let planted = key_of(&site.get("/visit", None).await.1);
        let own = key_of(&site.get("/visit", None).await.1);
        site.get("/visit", Some(format!("{name}={own}").as_bytes())).await;
        let read = async |cookies: String| {
            let request = site.client.get(site.site.url("/read"));
            let request =
                request.header("cookie", http::HeaderValue::from_bytes(cookies.as_bytes()).unwrap());
            request.send().await.unwrap().text().await.unwrap()
        };
        assert_eq!(read(format!("\t {name} \t= {own} ")).await, "2", "spaces and tabs are no part of a name");
        // HTTP carries no control characters.
        for blank in ODD_BLANKS.into_iter().filter(|blank| !blank.is_ascii_control()) {
            for odd in [format!("{blank}{name}"), format!("{name}{blank}"), format!(" {blank} {name}")] {
                let pair = format!("{odd}={planted}");
                assert_eq!(read(pair.clone()).await, "none", "{pair:?} alone");
                assert_eq!(
                    read(format!("{name}={own}; {pair}")).await,
                    "2",
                    "{pair:?} behind the user's own"
                );
                assert_eq!(
                    read(format!("{pair}; {name}={own}")).await,
                    "2",
                    "{pair:?} before the user's own"
                );
            }
        }
        for blank in ODD_BLANKS {
            let header = format!("{blank}{name}={planted}");
            assert_eq!(cloakroom::middleware::find_cookie([header.as_bytes()], &name), None, "{header:?}");
        }
        // What a browser makes of a cookie without a name.
        for nameless in [format!("={name}={planted}"), format!("\u{a0}={name}={planted}")] {
            assert_eq!(read(nameless).await, "none");
        }
    }
}
