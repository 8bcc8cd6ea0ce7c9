//! Session files under attack, beside other programs, and on a machine that fails.

mod crashes;
mod django;
mod failures;
mod large;
mod names;
mod races;
mod restarted;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record, Version};
use cloakroom::{FileStore, SessionData, SessionKey, SessionStore, Settings};

use crate::support::records::{data, now, record};

fn settings() -> Settings {
    Settings::new("secret")
}

async fn open(folder: &Path) -> Arc<dyn SessionStore> {
    Arc::new(FileStore::at(folder).open(&settings()).await.unwrap())
}

fn session_key() -> SessionKey {
    SessionKey::from_trusted("abcdefgh12345678abcdefgh12345678")
}

fn path(folder: &Path, session_key: &SessionKey) -> PathBuf {
    folder.join(format!("sessionid{}", session_key.as_str()))
}

async fn create(store: &Arc<dyn SessionStore>, session_key: &SessionKey, json: &str) -> Version {
    match store.create(session_key, record(&data(json))).await.unwrap() {
        Created::Created(version) => version,
        Created::KeyTaken => panic!("the key is taken"),
    }
}

async fn load(store: &Arc<dyn SessionStore>, session_key: &SessionKey) -> Option<String> {
    store.load(session_key, now()).await.unwrap().map(|loaded| {
        assert!(loaded.is_genuine());
        loaded.data().unwrap().to_json()
    })
}

/// What is in the folder besides sessions.
fn leftovers(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| !name.to_string_lossy().starts_with("sessionid")).count()
}
