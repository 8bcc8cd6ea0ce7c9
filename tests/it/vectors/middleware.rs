//! Whole requests over HTTP through each adapter, against what Django's handler did with the same actions.

mod actions;
mod differences;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::signing::Compression;
use cloakroom::store::Record;
use cloakroom::{
    CachedDbStore, Error, FileStore, KeyGenerator, ManualClock, MemoryStore, SameSite, SessionData,
    SessionKey, SessionMiddleware, SessionStore, Settings, SignedCookieStore, SqliteStore,
};
use http::header;
use serde_json::{Value as Json, json};

use self::actions::View;
use super::file_sessions::files_in;
use super::{Reproduced, Vectors, block_on, settings, text, time};
use crate::support::web::{Adapter, Pages, lazy};

#[test]
fn middleware_on_axum() {
    Vectors::read("middleware").run(&differences::rules(), |case| block_on(scenario(Adapter::Axum, case)));
}

#[test]
fn middleware_on_actix() {
    Vectors::read("middleware").run(&differences::rules(), |case| block_on(scenario(Adapter::Actix, case)));
}

/// `newkey` and a counter, as when the vectors were made.
struct CountedKeys(AtomicU32);

impl KeyGenerator for CountedKeys {
    fn generate(&self) -> Result<SessionKey, Error> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(SessionKey::from_trusted(format!("newkey{number:026}")))
    }
}

/// The store of a scenario, which can be filled and looked into.
struct Stage {
    store: Arc<dyn SessionStore>,
    /// The database file, for the engines that keep rows.
    rows: Option<rusqlite::Connection>,
    /// The cache of `cached_db`.
    copies: Option<Arc<MemoryStore>>,
    /// The folder of `file`.
    files: Option<PathBuf>,
    /// Keys that may be in a store which cannot list them.
    known_keys: Vec<SessionKey>,
    _folder: tempfile::TempDir,
}

async fn scenario(on: Adapter, case: &Json) -> Reproduced {
    let declared = differences::declared(case);
    if let Some(refused) = declared.refused_setting {
        assert_eq!(scenario_settings(case).validate().unwrap_err().setting(), refused);
    }
    let case = &declared.case;
    let settings = scenario_settings(case);
    let clock = Arc::new(ManualClock::at_unix_seconds(0));
    let mut stage = Stage::set(case, &settings).await;
    if case["requests"] == json!([]) {
        return Reproduced::Differently;
    }
    let middleware = SessionMiddleware::new(Arc::clone(&stage.store), settings)
        .unwrap()
        .with_clock(Arc::clone(&clock) as _)
        .with_key_generator(Arc::new(CountedKeys(AtomicU32::new(0))));
    for request in case["requests"].as_array().unwrap() {
        clock.set(time(&request["time"]));
        perform(on, request, &middleware, &mut stage).await;
    }
    if declared.reasons.is_empty() { Reproduced::Exactly } else { Reproduced::Differently }
}

async fn perform(on: Adapter, request: &Json, middleware: &SessionMiddleware, stage: &mut Stage) {
    let view = Arc::new(View::new(request["actions"].as_array().unwrap().clone(), Arc::clone(&stage.store)));
    let handler = Arc::clone(&view);
    let page = lazy(move |session, _| {
        let view = Arc::clone(&handler);
        async move { Ok(view.respond(session).await) }
    });
    let site = on.serve(Pages::new().page("/page", page).layer(middleware.clone())).await;
    let mut builder = reqwest::Client::builder().no_proxy().build().unwrap().get(site.url("/page"));
    if let Some(cookie) = request["cookie_header"].as_str() {
        builder = builder.header(header::COOKIE, cookie);
    }
    let response = builder.send().await.unwrap();
    view.after_the_response().await;

    assert_eq!(json!(*view.results()), request["action_results"], "action results");
    assert_eq!(response.status().as_u16(), request["status"], "status");
    let headers = |name| {
        let values = response.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(json!(headers(header::SET_COOKIE)), request["set_cookie"], "Set-Cookie");
    assert_eq!(json!(headers(header::VARY).first()), request["vary"], "Vary");
    if let (Some(expected), Some(lazy)) = (request["session_after"].as_object(), view.session()) {
        let key = lazy.session_key().map(|key| key.as_str().to_owned());
        let after = json!({
            "session_key": key, "accessed": lazy.accessed(), "modified": lazy.modified(), "is_empty": lazy.is_empty(),
        });
        assert_eq!(&after, &Json::Object(expected.clone()), "session after");
    }
    if let Some(expected) = request["store_after"].as_array() {
        let now = time(&request["time"]);
        stage.compare(expected, now).await;
    }
}

fn scenario_settings(case: &Json) -> Settings {
    let mut settings = settings(case);
    settings.compression = Compression::Always;
    for (name, value) in case["settings"].as_object().unwrap() {
        let string = || value.as_str().unwrap().to_owned();
        match name.as_str() {
            "SESSION_COOKIE_NAME" => settings.cookie_name = string(),
            "SESSION_COOKIE_AGE" => settings.cookie_age = TimeDelta::seconds(value.as_i64().unwrap()),
            "SESSION_COOKIE_DOMAIN" => settings.cookie_domain = Some(string()),
            "SESSION_COOKIE_PATH" => settings.cookie_path = string(),
            "SESSION_COOKIE_SECURE" => settings.cookie_secure = value.as_bool().unwrap(),
            "SESSION_COOKIE_HTTPONLY" => settings.cookie_httponly = value.as_bool().unwrap(),
            "SESSION_COOKIE_SAMESITE" => {
                settings.cookie_samesite = match value.as_str() {
                    Some("Strict") => Some(SameSite::Strict),
                    Some("Lax") => Some(SameSite::Lax),
                    Some("None") => Some(SameSite::None),
                    Some(other) => panic!("SameSite={other}"),
                    None => None,
                }
            }
            "SESSION_SAVE_EVERY_REQUEST" => settings.save_every_request = value.as_bool().unwrap(),
            "SESSION_EXPIRE_AT_BROWSER_CLOSE" => settings.expire_at_browser_close = value.as_bool().unwrap(),
            other => panic!("setting {other}"),
        }
    }
    settings
}

impl Stage {
    async fn set(case: &Json, settings: &Settings) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let before = case["store_before"].as_array().unwrap();
        let (mut rows, mut copies, mut files) = (None, None, None);
        let store: Arc<dyn SessionStore> = match text(case, "engine") {
            engine @ ("db" | "cached_db") => {
                let options = SqliteStore::at(folder.path().join("db.sqlite3"));
                options.create_table(Default::default()).await.unwrap();
                rows = Some(rusqlite::Connection::open(&options.path).unwrap());
                let database = Arc::new(options.open(settings).await.unwrap());
                if engine == "db" {
                    database
                } else {
                    let cache = copies.insert(Arc::new(MemoryStore::new()));
                    Arc::new(CachedDbStore::new(database, Arc::clone(cache) as _).unwrap())
                }
            }
            "file" => {
                let path = files.insert(folder.path().to_owned());
                Arc::new(FileStore::at(path).open(settings).await.unwrap())
            }
            "signed_cookies" => Arc::new(SignedCookieStore::new(settings)),
            // What it does beyond its formats, which have vectors of their own.
            "cache" => Arc::new(MemoryStore::new()),
            other => panic!("engine {other}"),
        };
        let mut stage = Stage { store, rows, copies, files, known_keys: Vec::new(), _folder: folder };
        for entry in before {
            stage.put(entry).await;
        }
        stage
    }

    async fn put(&mut self, entry: &Json) {
        let session_key = key_of(entry);
        if let Some(files) = &self.files {
            let path = files.join(text(entry, "file_name"));
            return std::fs::write(path, text(entry, "content")).unwrap();
        }
        if entry["cache_key"].is_null()
            && let Some(rows) = &self.rows
        {
            let expire_date = expire_date_of(entry).unwrap().format("%Y-%m-%d %H:%M:%S").to_string();
            let row = (session_key.as_str(), text(entry, "session_data"), expire_date);
            rows.execute("INSERT INTO django_session VALUES (?1, ?2, ?3)", row).unwrap();
            return;
        }
        let data = data_of(entry);
        let expire_date = expire_date_of(entry).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let record = Record { data: &data, expire_date, now: Utc::now() };
        match &self.copies {
            Some(copies) => copies.create(&session_key, record).await.unwrap(),
            None => self.store.create(&session_key, record).await.unwrap(),
        };
        if !self.known_keys.contains(&session_key) {
            self.known_keys.push(session_key);
        }
    }

    async fn compare(&self, expected: &[Json], now: DateTime<Utc>) {
        if self.store.keeps_data_in_cookie() {
            return assert!(expected.is_empty());
        }
        if let Some(files) = &self.files {
            let without_decoded =
                |file: &Json| json!({"file_name": file["file_name"], "content": file["content"]});
            let expected: Json = expected.iter().map(without_decoded).collect();
            return assert_eq!(files_in(files), expected, "files");
        }
        if let Some(rows) = &self.rows {
            let expected = expected.iter().filter(|entry| entry["cache_key"].is_null());
            let mut statement = rows.prepare("SELECT * FROM django_session ORDER BY session_key").unwrap();
            let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let found: Vec<(String, String, String)> =
                statement.query_map([], columns).unwrap().collect::<Result<_, _>>().unwrap();
            let expected: Vec<_> = expected
                .map(|row| {
                    let expire_date =
                        expire_date_of(row).unwrap().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
                    let expire_date =
                        expire_date.strip_suffix(".000000").map_or(expire_date.clone(), str::to_owned);
                    (key_of(row).as_str().to_owned(), text(row, "session_data").to_owned(), expire_date)
                })
                .collect();
            assert_eq!(found, expected, "rows");
        }
        let entries: Arc<dyn SessionStore> = match &self.copies {
            Some(copies) => Arc::clone(copies) as _,
            None if self.rows.is_some() => return,
            None => Arc::clone(&self.store),
        };
        let mut keys: Vec<SessionKey> = self.known_keys.clone();
        keys.push(SessionKey::from_trusted(format!("newkey{:026}", 1)));
        keys.push(SessionKey::from_trusted(format!("newkey{:026}", 2)));
        let mut found = Vec::new();
        for session_key in keys {
            // A tombstone reads as an empty session, which no scenario has.
            let loaded = entries.load(&session_key, now).await.unwrap();
            if let Some(loaded) = loaded.filter(|loaded| !loaded.data().unwrap().is_empty()) {
                found.push((session_key, loaded.data().unwrap().to_json()));
            }
        }
        let expected = expected.iter().filter(|entry| !entry["cache_key"].is_null());
        let expected: Vec<_> = expected.map(|entry| (key_of(entry), data_of(entry).to_json())).collect();
        assert_eq!(found, expected, "entries of the cache");
    }
}

/// The session key of a row, a cache key or a file name.
fn key_of(entry: &Json) -> SessionKey {
    if let Some(key) = entry["session_key"].as_str() {
        return SessionKey::from_trusted(key);
    }
    let name = entry["cache_key"].as_str().or(entry["file_name"].as_str()).unwrap();
    SessionKey::from_trusted(&name[name.len() - 32..])
}

fn expire_date_of(entry: &Json) -> Option<DateTime<Utc>> {
    if let Some(text) = entry["expire_date"].as_str() {
        return Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
    }
    (!entry["expires_at"].is_null()).then(|| time(&entry["expires_at"]))
}

fn data_of(entry: &Json) -> SessionData {
    let mut data = SessionData::new();
    for (key, value) in entry["decoded"].as_object().unwrap() {
        data.write(key, value).unwrap();
    }
    data
}
