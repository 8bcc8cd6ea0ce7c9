//! Sessions go from either site to the other and back: with the oldest and the newest Django, on every back
//! end. Both sites are real ones, as are the servers between them.

use std::fmt::Debug;
use std::path::Path;

use super::*;
use crate::support::axum_site::Users;
use crate::support::back_end::BackEnd;

/// What Django puts into the session: spelled as Python spells it.
const PYTHON_VALUES: &str = concat!(
    r#"{"text":"Zo\u00eb \ud83e\udde5","large":1e+16,"tenth":0.1,"#,
    r#""odd":[NaN,-Infinity,-0.0],"nothing":null,"yes":true,"#,
    r#""nested":{"b":[true,null,[{"c":-1}]],"a":{}}}"#
);

/// Values that Python's MessagePack cannot write, in the same spelling.
const BEYOND_MESSAGE_PACK: &str = r#"{"big":123456789012345678901234567890,"half":"\ud800"}"#;

/// What was compared, and what was found to differ.
struct Exchanges {
    of: String,
    all: u32,
    failed: Vec<String>,
}

impl Exchanges {
    fn check<T: PartialEq + Debug>(&mut self, what: &str, found: &T, expected: &T) {
        self.all += 1;
        if found != expected {
            self.failed.push(format!("{}: {what}:\n  found    {found:?}\n  expected {expected:?}", self.of));
        }
    }
}

/// One Django and one axum site on one back end.
struct Pair<'a> {
    django: Server,
    axum: String,
    back_end: &'a BackEnd,
}

type Who = (Option<String>, String);

fn nobody() -> Who {
    (None, "{}".to_owned())
}

fn ada(session: impl Into<String>) -> Who {
    (Some(USERNAME.to_owned()), session.into())
}

/// Both objects in one, in JSON.
fn joined(left: &str, right: &str) -> String {
    format!("{},{}", left.strip_suffix('}').unwrap(), right.strip_prefix('{').unwrap())
}

impl Pair<'_> {
    fn django(&self, path: &str) -> String {
        format!("{}{path}", self.django.address)
    }

    fn axum(&self, path: &str) -> String {
        format!("{}{path}", self.axum)
    }

    /// Whom and what each site sees.
    async fn check_both(&self, exchanges: &mut Exchanges, what: &str, browser: &Browser, expected: &Who) {
        for (site, url) in [("Django", self.django("/whoami")), ("axum", self.axum("/whoami"))] {
            let (user, session) = whoami(&mut browser.clone(), url).await;
            // django-redis' JSON has spaces, which stay inside of values; no text of these tests has any such.
            let found = (user, session.replace(", ", ",").replace(": ", ":"));
            exchanges.check(&format!("{what}, {site} sees"), &found, expected);
        }
    }

    /// A session cookie from before a change of key: a key is worth nothing, a session in a cookie still is
    /// what it was.
    async fn check_old(
        &self,
        exchanges: &mut Exchanges,
        what: &str,
        old: &Browser,
        new: &Browser,
        was: &Who,
    ) {
        let in_cookie = self.back_end.engine == "signed_cookies";
        // A cookie with the same session, signed in the same second, is the same.
        if !in_cookie {
            exchanges.check(&format!("{what}: the cookie changes"), &(old.cookies == new.cookies), &false);
        }
        let expected = if in_cookie { was.clone() } else { nobody() };
        self.check_both(exchanges, &format!("{what}: with the old cookie"), old, &expected).await;
    }

    async fn django_first(&self, exchanges: &mut Exchanges) {
        let mut browser = Browser::new();
        browser.post(self.django("/login"), credentials()).await.ok();
        browser.post(self.django("/put"), PYTHON_VALUES).await.ok();
        if !self.back_end.is_message_pack {
            browser.post(self.django("/put"), BEYOND_MESSAGE_PACK).await.ok();
        }
        if self.back_end.pickles {
            browser.get(self.django("/put_python_objects")).await.ok();
        }
        let values = browser.get(self.django("/python_values")).await.json();
        let of_django = whoami(&mut browser, self.django("/whoami")).await;
        exchanges.check("Django's own login", &of_django.0.as_deref(), &Some(USERNAME));
        self.check_both(exchanges, "Django's session", &browser, &of_django).await;

        let added = r#"{"from":"axum","list":[1,{"deep":null}]}"#;
        browser.post(self.axum("/put"), added).await.ok();
        let (old, was) = (browser.clone(), ada(joined(&of_django.1, added)));
        browser.get(self.axum("/cycle_key")).await.ok();
        self.check_old(exchanges, "axum changes the key", &old, &browser, &was).await;
        self.check_both(exchanges, "after axum's change", &browser, &was).await;
        let mut now = browser.get(self.django("/python_values")).await.json();
        for key in ["from", "list"] {
            exchanges.check("what axum added is in Django", &now[key].is_string(), &true);
            now.as_object_mut().unwrap().shift_remove(key);
        }
        exchanges.check("Django's own values in Django", &now, &values);

        browser.post(self.django("/put"), r#"{"from":"Django again"}"#).await.ok();
        let expected = ada(was.1.replace(r#""from":"axum""#, r#""from":"Django again""#));
        self.check_both(exchanges, "after Django's second change", &browser, &expected).await;
    }

    async fn axum_first(&self, exchanges: &mut Exchanges) {
        let mut of_rust = format!("{{{}}}", axum_site::RUST_VALUES);
        if self.back_end.is_message_pack {
            of_rust = of_rust.replace(axum_site::RUST_BIG_INTEGER, "");
        }
        for login in [self.axum("/login"), self.django("/login")] {
            let mut browser = Browser::new();
            if self.back_end.is_message_pack {
                browser.post(self.axum("/put"), &of_rust).await.ok();
            } else {
                browser.get(self.axum("/put_rust_values")).await.ok();
            }
            let (anonymous, was) = (browser.clone(), (None, of_rust.clone()));
            self.check_both(exchanges, "axum's session", &browser, &was).await;

            browser.post(&login, credentials()).await.ok();
            self.check_old(exchanges, "login", &anonymous, &browser, &was).await;
            let was = ada(of_rust.clone());
            self.check_both(exchanges, "after the login", &browser, &was).await;

            let old = browser.clone();
            browser.get(self.django("/cycle_key")).await.ok();
            self.check_old(exchanges, "Django changes the key", &old, &browser, &was).await;
            browser.post(self.django("/put"), r#"{"tenth":0.2,"from":"Django"}"#).await.ok();
            let both = joined(&of_rust.replace("0.1", "0.2"), r#"{"from":"Django"}"#);
            self.check_both(exchanges, "after Django's change", &browser, &ada(both)).await;
        }
    }

    async fn logout(&self, exchanges: &mut Exchanges) {
        for login in [self.django("/login"), self.axum("/login")] {
            for logout in [self.django("/logout"), self.axum("/logout")] {
                let mut browser = Browser::new();
                browser.post(&login, credentials()).await.ok();
                browser.post(self.axum("/put"), r#"{"cart":[1]}"#).await.ok();
                let stolen = browser.clone();
                self.check_both(exchanges, "before the logout", &browser, &ada(r#"{"cart":[1]}"#)).await;
                browser.get(logout).await.ok();
                self.check_both(exchanges, "after the logout", &browser, &nobody()).await;
                self.check_old(exchanges, "logout", &stolen, &browser, &ada(r#"{"cart":[1]}"#)).await;
            }
        }
    }

    async fn expiry(&self, exchanges: &mut Exchanges) {
        for (kind, value) in [
            ("seconds", json!(300)),
            ("seconds", json!(0)),
            ("timedelta", json!(86_400)),
            // Django's entries in memcached end with 2038 at the latest.
            ("datetime", json!("2037-12-31T23:59:58.765432+00:00")),
        ] {
            for site in [self.django("/set_expiry"), self.axum("/set_expiry")] {
                let mut browser = Browser::new();
                browser.post(self.django("/login"), credentials()).await.ok();
                browser.post(site, json!({ "kind": kind, "value": value })).await.ok();
                let of_django = whoami(&mut browser, self.django("/whoami")).await;
                let told = of_django.0.is_some() && of_django.1.contains("_session_expiry");
                exchanges.check("an expiry is in the session", &told, &true);
                self.check_both(exchanges, "a session's expiry", &browser, &of_django).await;
            }
        }
    }
}

/// Every exchange, with each Django, on the back end that `back_end` makes.
async fn exchange(back_end: impl AsyncFn(&Path) -> BackEnd) {
    exchange_with(&Django::installed(), back_end).await;
}

async fn exchange_with(djangos: &[Django], back_end: impl AsyncFn(&Path) -> BackEnd) {
    let (mut all, mut failed, mut name) = (0, Vec::new(), "");
    for &django in djangos {
        let folder = tempfile::tempdir().unwrap();
        let back_end = back_end(folder.path()).await;
        name = back_end.name;
        let server = back_end.project(django, folder.path()).serve();
        let user = Browser::new().get(format!("{}/account", server.address)).await.json();
        let users = Users::One(serde_json::from_value(user).unwrap());
        let settings = Settings::new(SECRET);
        let store = cloakroom::connect(&back_end.url, &settings).await.unwrap();
        let axum = axum_site::start_on(store, users, settings).await;
        let pair = Pair { django: server, axum, back_end: &back_end };
        let mut exchanges = Exchanges { of: format!("{django:?} on {name}"), all: 0, failed: Vec::new() };
        pair.django_first(&mut exchanges).await;
        pair.axum_first(&mut exchanges).await;
        pair.logout(&mut exchanges).await;
        pair.expiry(&mut exchanges).await;
        all += exchanges.all;
        failed.append(&mut exchanges.failed);
    }
    let right = all as usize - failed.len();
    println!("live Django on {name}: {right} of {all} exchanges with {}", Django::count_of(djangos));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    exchange(BackEnd::sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files() {
    exchange(BackEnd::files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_based_cache() {
    exchange(BackEnd::file_based_cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_cookies() {
    exchange(BackEnd::signed_cookies).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    exchange(BackEnd::postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn database_cache_of_sqlite() {
    exchange(async |folder: &Path| BackEnd::sqlite(folder).await.in_cache_table("DatabaseCache of SQLite"))
        .await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn database_cache_of_postgres() {
    let name = "DatabaseCache of PostgreSQL";
    exchange(async |folder: &Path| BackEnd::postgres(folder).await.in_cache_table(name)).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn database_cache_of_mariadb() {
    let name = "DatabaseCache of MariaDB";
    exchange(async |folder: &Path| BackEnd::mariadb(folder).await.in_cache_table(name)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn cached_db_of_database_cache() {
    let name = "PostgreSQL and its DatabaseCache";
    exchange(async |folder: &Path| BackEnd::postgres(folder).await.behind_cache_table(name)).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    exchange(BackEnd::mariadb).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    exchange(BackEnd::redis).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn django_redis() {
    exchange(async |_: &Path| BackEnd::django_redis("django-redis", json!({}), "").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn django_redis_with_json() {
    let options = json!({ "SERIALIZER": "django_redis.serializers.json.JSONSerializer" });
    let name = "django-redis with JSON";
    exchange(async |_: &Path| BackEnd::django_redis(name, options.clone(), "&serializer=json").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn django_redis_with_zlib() {
    let options = json!({ "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor" });
    let name = "django-redis with zlib";
    exchange(async |_: &Path| BackEnd::django_redis(name, options.clone(), "&compressor=zlib").await).await;
}

/// The compressors that need libraries of their own, on both sides. Django itself has no part in them, so that one
/// release is enough.
#[cfg(feature = "redis-formats")]
#[tokio::test(flavor = "multi_thread")]
async fn django_redis_with_other_compressors() {
    let installed = Django::installed();
    let newest = &installed[installed.len() - 1..];
    for (class, word) in
        [("gzip.Gzip", "gzip"), ("lz4.Lz4", "lz4"), ("lzma.Lzma", "lzma"), ("zstd.ZStd", "zstd")]
    {
        let options = json!({ "COMPRESSOR": format!("django_redis.compressors.{class}Compressor") });
        let query = format!("&compressor={word}");
        let name = "django-redis with another compressor";
        exchange_with(newest, async |_: &Path| BackEnd::django_redis(name, options.clone(), &query).await)
            .await;
    }
}

#[cfg(feature = "redis-formats")]
#[tokio::test(flavor = "multi_thread")]
async fn django_redis_with_message_pack() {
    let options = json!({ "SERIALIZER": "django_redis.serializers.msgpack.MSGPackSerializer" });
    let name = "django-redis with MessagePack";
    exchange(async |_: &Path| BackEnd::django_redis(name, options.clone(), "&serializer=msgpack").await)
        .await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn django_valkey() {
    exchange(async |_: &Path| BackEnd::django_valkey("django-valkey", json!({}), "").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn django_valkey_with_json_and_zlib() {
    let options = json!({
        "SERIALIZER": "django_valkey.serializers.json.JSONSerializer",
        "COMPRESSOR": "django_valkey.compressors.zlib.ZlibCompressor",
    });
    let (name, query) = ("django-valkey with JSON and zlib", "&serializer=json&compressor=zlib");
    exchange(async |_: &Path| BackEnd::django_valkey(name, options.clone(), query).await).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    exchange(BackEnd::memcached).await;
}

#[cfg(all(feature = "postgres", feature = "redis"))]
#[tokio::test(flavor = "multi_thread")]
async fn cached_db() {
    exchange(BackEnd::cached_db).await;
}

#[cfg(all(feature = "mysql", feature = "redis"))]
#[tokio::test(flavor = "multi_thread")]
async fn cached_db_of_mariadb() {
    exchange(BackEnd::cached_db_of_mariadb).await;
}
