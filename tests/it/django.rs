//! A real Django and a real axum site on one SQLite file: one browser goes to both.

mod cookie_methods;
#[cfg(feature = "encryption")]
mod encrypted;
mod everywhere;
mod expiry;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod key_function;
mod login;
mod login_example;
mod parallel;
mod soak;
mod table;
mod users;
mod wrong_secret;

use std::path::PathBuf;

use cloakroom::{Settings, TimeZone};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::support::axum_site;
use crate::support::browser::Browser;
use crate::support::django::{Django, PASSWORD, Project, SECRET, Server, USERNAME, credentials};

/// Both sites, and the file between them.
struct Sites {
    django: Server,
    axum: String,
    database: PathBuf,
    _folder: tempfile::TempDir,
}

impl Sites {
    async fn start() -> Sites {
        Sites::start_in("", TimeZone::Aware).await
    }

    async fn start_in(time_zone_name: &'static str, time_zone: TimeZone) -> Sites {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db.sqlite3");
        let project = Project { time_zone: time_zone_name, ..Project::with_user(Django::V5_2, &database) };
        let mut settings = Settings::new(SECRET);
        settings.time_zone = time_zone;
        let axum = axum_site::start(&database, settings).await;
        Sites { django: project.serve(), axum, database, _folder: folder }
    }

    fn django(&self, path: &str) -> String {
        format!("{}{path}", self.django.address)
    }

    fn axum(&self, path: &str) -> String {
        format!("{}{path}", self.axum)
    }

    fn connection(&self) -> Connection {
        Connection::open(&self.database).unwrap()
    }

    fn row(&self, session_key: &str) -> Option<(String, String)> {
        let sql = "SELECT session_data, expire_date FROM django_session WHERE session_key = ?1";
        self.connection()
            .query_row(sql, [session_key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .unwrap()
    }

    fn rows(&self) -> u32 {
        self.connection().query_row("SELECT count(*) FROM django_session", [], |row| row.get(0)).unwrap()
    }
}

/// Who a site takes the browser for, and what it sees in the session besides the login.
async fn whoami(browser: &mut Browser, url: String) -> (Option<String>, String) {
    let reply = browser.get(url).await.json();
    let session = cloakroom::SessionData::from_json(reply["session"].as_str().unwrap()).unwrap();
    let mut others = cloakroom::SessionData::new();
    for (key, value) in session.iter().filter(|(key, _)| !key.starts_with("_auth_user_")) {
        others.insert(&key, value.clone());
    }
    (reply["user"].as_str().map(str::to_owned), others.to_json())
}
