//! What PostgreSQL's driver tells the crate `log`, which an application may write to a file.

use std::sync::{Mutex, PoisonError};

use chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionData, SessionKey};

struct DriverLog(Mutex<String>);

static LOG: DriverLog = DriverLog(Mutex::new(String::new()));

impl log::Log for DriverLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("tokio_postgres") {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&format!("{}\n", record.args()));
        }
    }

    fn flush(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_logs_no_keys_and_no_data() {
    let store = crate::support::stores::new_postgres().await;
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let (session_key, next_key) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    let data = SessionData::from_json(r#"{"coat":"vicuna"}"#).unwrap();
    let now = Utc::now();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.create(&session_key, record).await.unwrap();
    let loaded = store.load(&session_key, now).await.unwrap().unwrap();
    store.update(&session_key, Some(&loaded.version), record).await.unwrap();
    store.rotate(&session_key, None, &next_key, record).await.unwrap();
    store.exists(&next_key, now).await.unwrap();
    store.list().unwrap().next_page(10, now).await.unwrap().unwrap();
    store.delete(&next_key).await.unwrap();
    log::set_max_level(log::LevelFilter::Off);
    let text = LOG.0.lock().unwrap().clone();
    assert!(text.contains("executing statement"), "the driver logs its statements at all: {text}");
    let stored = String::from_utf8(loaded.version.as_bytes().unwrap().to_vec()).unwrap();
    for secret in [session_key.as_str(), next_key.as_str(), &stored[..10]] {
        assert!(!text.contains(secret), "the log holds a session key or a session's data");
    }
}
