//! A Django whose cache names its entries by a `KEY_FUNCTION` of its own, and this library beside it.

use std::sync::Arc;

use cloakroom::store::cache::CacheFormat;
use cloakroom::store::cache::KeyFunction;
use cloakroom::{SessionStore, Settings};
use serde_json::{Value, json};

use crate::support::axum_site::{Users, start_on};
use crate::support::browser::Browser;
use crate::support::django::{Django, Project, SECRET};

/// What `cache_keys.make_key` does.
fn key_function() -> Option<KeyFunction> {
    Some(KeyFunction::new(|key, key_prefix, version| format!("site|{key_prefix}|v{version}|{key}")))
}

async fn both_sides_find_the_entries(cache: Value, store: Arc<dyn SessionStore>) {
    let folder = tempfile::tempdir().unwrap();
    let mut project = Project::with_user(Django::V5_2, &folder.path().join("db.sqlite3"));
    project.variables.push(("SITE_SESSION_ENGINE", "cache".to_owned()));
    project.variables.push(("SITE_CACHE", cache.to_string()));
    let django = project.serve();
    let user = Browser::new().get(format!("{}/account", django.address)).await.json();
    let users = Users::One(serde_json::from_value(user).unwrap());
    let axum = start_on(Arc::clone(&store), users, Settings::new(SECRET)).await;
    for (writer, reader) in [(&django.address, &axum), (&axum, &django.address)] {
        let mut browser = Browser::new();
        browser.post(format!("{writer}/login"), crate::support::django::credentials()).await.ok();
        let key = browser.session_key().unwrap().to_owned();
        let seen = browser.get(format!("{reader}/whoami")).await.json();
        assert_eq!(seen["user"], "ada", "{reader} does not find what {writer} wrote: {seen}");
        assert_eq!(browser.session_key(), Some(key.as_str()));
        let page = store.list().unwrap().next_page(1_000, chrono::Utc::now()).await.unwrap().unwrap();
        assert!(page.iter().any(|listed| listed.session_key.as_str() == key), "it is listed under its key");
        browser.get(format!("{reader}/logout")).await.ok();
    }
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let url = crate::support::servers::redis::url().await;
    let (address, prefix) = url.split_once("?key_prefix=").unwrap();
    let mut options = cloakroom::RedisStore::options(&url).unwrap();
    options.format.key_function = key_function();
    let store = Arc::new(options.open(&Settings::new(SECRET)).await.unwrap());
    let cache = json!({
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": address, "KEY_PREFIX": prefix, "KEY_FUNCTION": "cache_keys.make_key",
    });
    both_sides_find_the_entries(cache, store).await;
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    let server = crate::support::servers::memcached::start().await;
    let address = format!("127.0.0.1:{}", server.port);
    let mut options = cloakroom::MemcachedStore::at([&address]);
    options.format.key_function = key_function();
    let store = Arc::new(options.open(&Settings::new(SECRET)).await.unwrap());
    let cache = json!({
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": address, "KEY_FUNCTION": "cache_keys.make_key",
    });
    both_sides_find_the_entries(cache, store).await;
}

/// A name from which no key can be told makes no listing that looks empty.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn names_without_the_key_at_their_end_are_not_listed() {
    let mut options = cloakroom::RedisStore::options(&crate::support::servers::redis::url().await).unwrap();
    let mut format = CacheFormat::default();
    format.key_function = Some(KeyFunction::new(|key, _, _| format!("{key}:session")));
    options.format = format;
    let store = options.open(&Settings::new(SECRET)).await.unwrap();
    let error = store.list().unwrap().next_page(10, chrono::Utc::now()).await.unwrap_err();
    assert_eq!(error.kind(), cloakroom::StoreErrorKind::Unsupported);
    assert!(error.to_string().contains("KEY_FUNCTION"), "{error}");
}
