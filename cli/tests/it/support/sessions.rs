//! Stores of tests and sessions in them.

use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SecretCheck, SessionData, SessionKey, SessionStore, Settings};

use crate::support::command::{SECRET, with_secret};
use crate::support::servers;

pub(crate) async fn open(url: &str) -> Arc<dyn SessionStore> {
    open_with(url, SECRET).await
}

/// The store with this secret, also where it is not that of the sessions in it.
pub(crate) async fn open_with(url: &str, secret: &str) -> Arc<dyn SessionStore> {
    let mut settings = Settings::new(secret);
    settings.secret_check = SecretCheck::Skip;
    cloakroom::connect(url, &settings).await.unwrap()
}

/// Makes a session that ends in so many hours.
pub(crate) async fn create(store: &dyn SessionStore, json: &str, hours: i64) -> SessionKey {
    let (session_key, now) = (SessionKey::random().unwrap(), Utc::now());
    let data = SessionData::from_json(json).unwrap();
    let expire_date = now + TimeDelta::hours(hours);
    store.create(&session_key, Record { data: &data, expire_date, now }).await.unwrap();
    session_key
}

/// The URL of a new, empty table.
pub(crate) fn sqlite(folder: &std::path::Path) -> String {
    let url = format!("sqlite:{}", folder.join("db.sqlite3").display());
    let made = with_secret(&["create-table", "--store", &url], "");
    assert_eq!(made.code, 0, "{made:?}");
    url
}

pub(crate) async fn postgres() -> String {
    let url = servers::postgres::database().await;
    let made = with_secret(&["create-table", "--store", &url], "");
    assert!(made.code == 0 && !made.stdout.contains(servers::postgres::PASSWORD), "{made:?}");
    url
}
