//! Session files: names, contents, permissions and expiry.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::signing::Compression;
use cloakroom::store::Record;
use cloakroom::{
    Error, FileStore, ManualClock, Session, SessionCodec, SessionData, SessionKey, SessionMiddleware,
    SessionStore, Settings, StoreErrorKind,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::python::Python;
use super::{GivenKey, Reproduced, Rule, Vectors, block_on, bytes, settings, text, time};

#[test]
fn file_sessions() {
    let rules = [
        Rule::new(
            "a file that is no ASCII counts as not genuine; Django answers each request with a 500",
            |case| case["load_raises"].is_string(),
        ),
        Rule::new(
            "a number of seconds as expiry counts from the file's time; Django never ends the session",
            |case| is_load(case) && case["session_key_after"] == case["session_key"] && has_ended(case),
        ),
        Rule::new(
            "whoever comes with an expired session gets no file; Django makes a new, empty one",
            |case| {
                is_load(case)
                    && case["load_raises"].is_null()
                    && case["session_key_after"] != case["session_key"]
            },
        ),
        Rule::new("a key that cannot be one is no session's; Django raises", |case| {
            case["exists_raises"].is_string()
        }),
        Rule::new(
            "what ends exactly now is cleared a moment later, and a number of seconds ends a session, which Django \
             forgets",
            |case| {
                let now = case["frozen_time"].as_f64().unwrap();
                let mut entries = case["before"].as_array().into_iter().flatten();
                entries.any(|entry| {
                    let (end, number) = end_of(case, entry);
                    end == now || number && end < now
                })
            },
        ),
    ];
    Vectors::read("file_sessions").run(&rules, |case| {
        let has = |field: &str| case.get(field).is_some();
        block_on(async {
            let site = Site::new(case).await;
            if has("before") {
                site.clear_expired().await
            } else if has("input") {
                site.write().await
            } else if has("raises") {
                site.save_deleted().await
            } else if has("exists") || has("exists_raises") {
                site.bad_key().await
            } else if is_load(case) {
                site.load().await
            } else if has("session_key_after") {
                site.cycle().await
            } else if case["files_after"] == json!([]) {
                site.delete().await
            } else {
                site.create().await
            }
        })
    });
}

fn is_load(case: &Json) -> bool {
    !case["stored"].is_null() || !case["content_before_hex"].is_null()
}

/// When a stored session ends, and whether a positive number of seconds in it says so.
fn end_of(case: &Json, entry: &Json) -> (f64, bool) {
    let modified = entry["mtime"].as_f64().unwrap();
    let expiry = &entry["stored"]["_session_expiry"];
    if let Some(date) = expiry.as_str() {
        let date = DateTime::parse_from_rfc3339(date).unwrap();
        return (date.timestamp_micros() as f64 / 1e6, false);
    }
    // Zero is the end of the browser's session, of which the server knows nothing.
    match expiry.as_f64().filter(|seconds| *seconds != 0.0) {
        Some(seconds) => (modified + seconds, seconds > 0.0),
        None => (modified + case["settings"]["SESSION_COOKIE_AGE"].as_f64().unwrap_or(1_209_600.0), false),
    }
}

/// Whether a number of seconds in the session has ended it.
fn has_ended(case: &Json) -> bool {
    case["mtime"].is_number() && {
        let (end, by_number) = end_of(case, case);
        by_number && end <= case["frozen_time"].as_f64().unwrap()
    }
}

struct Site<'a> {
    case: &'a Json,
    folder: TempDir,
    settings: Settings,
    now: DateTime<Utc>,
    store: Arc<dyn SessionStore>,
}

impl Site<'_> {
    async fn new(case: &Json) -> Site<'_> {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(case);
        settings.compression = Compression::Always;
        for (name, value) in case["settings"].as_object().unwrap() {
            match name.as_str() {
                "SESSION_COOKIE_NAME" => settings.cookie_name = value.as_str().unwrap().to_owned(),
                "SESSION_COOKIE_AGE" => settings.cookie_age = TimeDelta::seconds(value.as_i64().unwrap()),
                other => panic!("setting {other}"),
            }
        }
        let store = Arc::new(FileStore::at(folder.path()).open(&settings).await.unwrap());
        Site { case, folder, settings, now: time(&case["frozen_time"]), store }
    }

    fn session_key(&self) -> SessionKey {
        SessionKey::from_trusted(text(self.case, "session_key"))
    }

    /// The session of a request with this cookie; new ones get `new_key`.
    async fn session(&self, cookie: Option<&str>, new_key: &str) -> Session {
        let middleware = SessionMiddleware::new(Arc::clone(&self.store), self.settings.clone())
            .unwrap()
            .with_clock(Arc::new(ManualClock::new(self.now)))
            .with_key_generator(Arc::new(GivenKey(SessionKey::from_trusted(new_key))));
        let cookie = cookie.map(|key| format!("{}={key}", self.settings.cookie_name));
        middleware.begin(cookie.iter().map(|header| header.as_bytes())).load().await.unwrap()
    }

    /// Puts a file as Django wrote it.
    fn put(&self, session_key: &str, content: &[u8], modified: &Json) {
        let path = self.folder.path().join(format!("{}{session_key}", self.settings.cookie_name));
        std::fs::write(&path, content).unwrap();
        if !modified.is_null() {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::from(time(modified))).unwrap();
        }
    }

    /// What Django stores for this dictionary.
    fn encoded(&self, stored: &Json) -> Vec<u8> {
        let data = SessionData::from_json(&stored.to_string()).unwrap();
        SessionCodec::new(&self.settings).encode(&data, self.now).unwrap().into_bytes()
    }

    fn put_input(&self) {
        let content = text(&self.case["files_after"][0], "content").as_bytes().to_vec();
        self.put(text(self.case, "session_key"), &content, &self.case["frozen_time"]);
    }

    fn files(&self) -> Json {
        files_in(self.folder.path())
    }

    async fn write(&self) -> Reproduced {
        let session = self.session(None, text(self.case, "session_key")).await;
        session.update(self.case["input"].as_object().unwrap()).unwrap();
        session.save().await.unwrap();
        assert_eq!(self.files(), self.case["files_after"]);
        let name = text(&self.case["files_after"][0], "file_name");
        let mode = std::fs::metadata(self.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(format!("0o{:o}", mode & 0o7777), text(self.case, "file_mode_octal"));
        // And saved again as an existing session.
        session.set_modified(true);
        session.save().await.unwrap();
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }

    async fn create(&self) -> Reproduced {
        let session = self.session(None, text(self.case, "session_key")).await;
        session.set("x", 1).unwrap();
        session.save().await.unwrap();
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }

    async fn load(&self) -> Reproduced {
        let session_key = text(self.case, "session_key");
        let content = match self.case["content_before_hex"].as_str() {
            Some(hex) => bytes(hex),
            None => self.encoded(&self.case["stored"]),
        };
        self.put(session_key, &content, &self.case["mtime"]);
        let before = self.files();
        let session = self.session(Some(session_key), "newkey00000000000000000000000009").await;
        let found = session.session_key().map(|key| key.as_str().to_owned());
        assert!(!session.modified(), "loading changes nothing");
        assert_eq!(self.files(), before, "loading writes nothing");
        if self.case["load_raises"].is_string() {
            assert!(!content.is_ascii(), "Django raises in another case too");
            assert!(session.data().is_empty());
            assert_eq!(found.as_deref(), Some(session_key));
            return Reproduced::Differently;
        }
        if has_ended(self.case) || text(self.case, "session_key_after") != session_key {
            assert_eq!((session.data().is_empty(), found), (true, None));
            return Reproduced::Differently;
        }
        assert_eq!(Python::from_session(&session.data()), Python::from_vector(&self.case["loaded"]));
        assert_eq!(found.as_deref(), self.case["session_key_after"].as_str());
        assert_eq!(json!(session.modified()), self.case["modified_after"]);
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }

    async fn bad_key(&self) -> Reproduced {
        let session = self.session(Some(text(self.case, "session_key")), "newkey").await;
        assert_eq!(Python::from_session(&session.data()), Python::from_vector(&self.case["loaded"]));
        assert!(session.session_key().is_none() && self.case["session_key_after"].is_null());
        let (session_key, empty) = (self.session_key(), SessionData::new());
        let record = Record { data: &empty, expire_date: self.now + TimeDelta::hours(1), now: self.now };
        assert!(self.store.load(&session_key, self.now).await.unwrap().is_none());
        let error = self.store.create(&session_key, record).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(!self.store.exists(&session_key, self.now).await.unwrap());
        assert!(!self.store.delete(&session_key).await.unwrap());
        assert_eq!(self.files(), self.case["files_after"]);
        if self.case["exists_raises"].is_string() { Reproduced::Differently } else { Reproduced::Exactly }
    }

    async fn clear_expired(&self) -> Reproduced {
        std::fs::write(self.folder.path().join("otherfile"), "x").unwrap();
        let now = self.case["frozen_time"].as_f64().unwrap();
        let mut kept = vec![("otherfile".to_owned(), "x".to_owned())];
        let entries = self.case["before"].as_array().unwrap();
        for entry in entries {
            let (session_key, content) = (text(entry, "session_key"), self.encoded(&entry["stored"]));
            self.put(session_key, &content, &entry["mtime"]);
            if end_of(self.case, entry).0 >= now {
                let name = format!("{}{session_key}", self.settings.cookie_name);
                kept.push((name, String::from_utf8(content).unwrap()));
            }
        }
        let cleared = self.store.clear_expired(self.now).await.unwrap();
        assert_eq!(cleared as usize, entries.len() + 1 - kept.len());
        kept.sort();
        let kept: Json =
            kept.into_iter().map(|(name, content)| json!({"file_name": name, "content": content})).collect();
        assert_eq!(self.files(), kept);
        if kept == self.case["files_after"] { Reproduced::Exactly } else { Reproduced::Differently }
    }

    async fn save_deleted(&self) -> Reproduced {
        let session_key = text(self.case, "session_key");
        self.put(session_key, &self.encoded(&json!({"a": 1})), &self.case["frozen_time"]);
        let session = self.session(Some(session_key), "newkey").await;
        session.set("a", 2).unwrap();
        std::fs::remove_file(self.folder.path().join(format!("sessionid{session_key}"))).unwrap();
        assert!(text(self.case, "raises").ends_with("UpdateError"));
        assert!(matches!(session.save().await, Err(Error::Interrupted)));
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }

    async fn delete(&self) -> Reproduced {
        self.put(text(self.case, "session_key"), &self.encoded(&json!({"a": 1})), &self.case["frozen_time"]);
        assert!(self.store.delete(&self.session_key()).await.unwrap());
        assert!(!self.store.delete(&self.session_key()).await.unwrap());
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }

    async fn cycle(&self) -> Reproduced {
        self.put_input();
        let session =
            self.session(Some(text(self.case, "session_key")), text(self.case, "session_key_after")).await;
        session.cycle_key().unwrap();
        session.save().await.unwrap();
        assert_eq!(session.session_key().unwrap().as_str(), text(self.case, "session_key_after"));
        assert_eq!(Python::from_session(&session.data()), Python::from_vector(&self.case["loaded"]));
        assert_eq!(self.files(), self.case["files_after"]);
        Reproduced::Exactly
    }
}

/// The folder's files in the form of the vectors, which write bytes as Latin-1.
pub(super) fn files_in(folder: &Path) -> Json {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let content = std::fs::read(entry.path()).unwrap();
            let content = content.into_iter().map(char::from).collect();
            (entry.file_name().into_string().unwrap(), content)
        })
        .collect();
    files.sort();
    files.into_iter().map(|(name, content)| json!({"file_name": name, "content": content})).collect()
}
