//! When a copy stands for the row, and what each request costs.

use cloakroom::store::{Rotated, Updated, Version};
use cloakroom::{
    ConcurrentChanges, Error, Session, SignedCookieStore, StoreError, StoreErrorKind, async_trait,
};

use super::*;

#[tokio::test]
async fn a_copy_saves_the_database_the_question() {
    let site = Site::with_session().await;
    site.forget_calls();
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!((site.database.calls(), site.cache.calls()), (vec![], vec!["load"]));

    // Saving what came from the cache: the row is looked at first, as the cache does not know its version.
    let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
    site.forget_calls();
    let outcome =
        site.store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":2}"#))).await.unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["load", "update"], vec!["update"]));
    // Saving it again: now its version is known.
    let Updated::Updated(version) = outcome else { panic!("{outcome:?}") };
    site.store.update(&key(), Some(&version), record(&data(r#"{"a":3}"#))).await.unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["update"], vec!["update"]));

    site.forget_copy().await;
    site.forget_calls();
    let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["load"], vec!["load", "create"]));
    site.store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":4}"#))).await.unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["update"], vec!["update"]));
    site.store.delete(&key()).await.unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["delete"], vec!["update"]));
    site.store.create(&SessionKey::from_trusted("another0"), record(&data("{}"))).await.unwrap();
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["create"], vec!["create"]));
}

/// Nothing is made for keys that nobody has.
#[tokio::test]
async fn unknown_keys_leave_nothing_behind() {
    let site = Site::new().await;
    assert_eq!(load(&site.store).await, None);
    assert!(!site.store.delete(&key()).await.unwrap());
    assert!(!site.store.exists(&key(), now()).await.unwrap());
    assert!(site.cached().await.is_none());
}

#[tokio::test]
async fn a_copy_ends_with_its_time_or_with_the_session() {
    let site = Site::with_session().await;
    let copy = site.cached().await.unwrap();
    assert_eq!(copy.expire_date, Some(now() + TimeDelta::minutes(5)));

    let short = SessionKey::from_trusted("short000");
    let data = data(r#"{"a":1}"#);
    let record = Record { data: &data, expire_date: now() + TimeDelta::seconds(10), now: now() };
    site.store.create(&short, record).await.unwrap();
    assert!(site.store.load(&short, now() + TimeDelta::seconds(9)).await.unwrap().is_some());
    assert!(site.store.load(&short, now() + TimeDelta::seconds(10)).await.unwrap().is_none());
    assert!(!site.store.exists(&short, now() + TimeDelta::seconds(10)).await.unwrap());
}

/// The row expired or is another, and the cache has what Django put there.
#[tokio::test]
async fn djangos_copy_is_compared_with_the_row() {
    let site = Site::with_session().await;
    // The same as the row: replaced by a copy that ends, which is believed from then on.
    site.django_caches(r#"{"a":1}"#).await;
    site.forget_calls();
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!((site.database.calls(), site.cache.calls()), (vec!["load"], vec!["load", "update"]));
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!((site.database.calls(), site.cache.calls()), (vec![], vec!["load"]));

    // Older than the row.
    site.django_caches(r#"{"a":0}"#).await;
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":1}"#));

    // Of a session that has expired.
    site.django_caches(r#"{"a":1}"#).await;
    let empty = data("{}");
    let over = Record { data: &empty, expire_date: now(), now: now() - TimeDelta::days(1) };
    site.database.update(&key(), None, over).await.unwrap();
    assert_eq!(load(&site.store).await, None);
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"), "buried");
}

/// What is not as the cache says is told once, and then repaired.
#[tokio::test]
async fn a_save_on_top_of_an_old_copy_loses_nothing() {
    let site = Site::with_session().await;
    let mut settings = Settings::new("secret");
    for policy in [ConcurrentChanges::Merge, ConcurrentChanges::Reject] {
        settings.concurrent_changes = policy;
        let newer = site.database.load(&key(), now()).await.unwrap().unwrap();
        let mut changed = newer.data().unwrap().clone();
        changed.write("newer", &format!("{policy:?}")).unwrap();
        // As if another program had saved without telling the cache.
        let expire_date = Utc::now() + TimeDelta::days(14);
        let record = Record { data: &changed, expire_date, now: Utc::now() };
        site.database.update(&key(), None, record).await.unwrap();
        site.cache.delete(&key()).await.unwrap();
        let old = data(r#"{"a":"old"}"#);
        let copy = Record { data: &old, expire_date: Utc::now() + TimeDelta::minutes(1), now: Utc::now() };
        site.cache.create(&key(), copy).await.unwrap();
        for attempt in 0..2 {
            let session = Session::open(Arc::clone(&site.store) as _, settings.clone(), key()).await.unwrap();
            session.set("mine", 1).unwrap();
            match (policy, attempt, session.save().await) {
                (ConcurrentChanges::Reject, 0, Err(Error::Conflict { .. })) => continue,
                (_, _, saved) => saved.unwrap(),
            }
            let stored = site.database.load(&key(), now()).await.unwrap().unwrap();
            let expected = format!(r#"{{"a":1,"newer":"{policy:?}","mine":1}}"#);
            assert_eq!(stored.data().unwrap().to_json(), expected);
            assert_eq!(session.data().to_json(), expected);
        }
    }
}

/// An empty copy is asked about, so it must not stay where a session is not empty any more: Django believes it.
#[tokio::test]
async fn an_empty_copy_of_djangos_does_not_hide_a_save() {
    let site = Site::new().await;
    site.database.create(&key(), record(&data("{}"))).await.unwrap();
    site.django_caches("{}").await;
    let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().to_json(), "{}");
    let outcome =
        site.store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":1}"#))).await.unwrap();
    assert!(matches!(outcome, Updated::Updated(_)));
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":1}"#));
}

/// Such as a pickle with a class in it.
#[derive(Debug)]
struct CannotRead(Arc<dyn SessionStore>);

#[async_trait]
impl SessionStore for CannotRead {
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        match self.0.load(session_key, now).await? {
            Some(loaded) if loaded.data().unwrap().contains_key("class") => {
                Err(StoreError::new("cache", StoreErrorKind::Unreadable, "a class"))
            }
            other => Ok(other),
        }
    }
    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.0.create(session_key, record).await
    }
    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        self.0.update(session_key, expected, record).await
    }
    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        self.0.rotate(session_key, expected, new_session_key, record).await
    }
    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.0.delete(session_key).await
    }
    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.0.exists(session_key, now).await
    }
    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.0.clear_expired_with_progress(now, progress).await
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_sends_to_the_database_and_goes_with_the_next_save() {
    let site = Site::with_session().await;
    site.django_caches(r#"{"class":1}"#).await;
    let cache = Arc::new(CannotRead(Arc::clone(&site.cache) as _));
    let store = Arc::new(CachedDbStore::new(Arc::clone(&site.database) as _, cache).unwrap());
    let loaded = store.load(&key(), now()).await.unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().to_json(), r#"{"a":1}"#);
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"class":1}"#), "reading leaves it");
    store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":2}"#))).await.unwrap();
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":2}"#));
}

#[tokio::test]
async fn cookies_are_no_place_for_either() {
    let settings = Settings::new("secret");
    let (cookies, memory): (Arc<dyn SessionStore>, Arc<dyn SessionStore>) =
        (Arc::new(SignedCookieStore::new(&settings)), Arc::new(MemoryStore::new()));
    for (database, cache) in [(&cookies, &memory), (&memory, &cookies)] {
        let error = CachedDbStore::new(Arc::clone(database), Arc::clone(cache)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    }
}

#[tokio::test]
async fn a_url_names_both() {
    let settings = Settings::new("secret");
    let folder = tempfile::tempdir().unwrap();
    // A path may have a bar in it.
    let path = folder.path().join("a|b.sqlite3");
    SqliteStore::at(&path).create_table(Default::default()).await.unwrap();
    let url = format!("cached_db:sqlite:{}|memory:", path.display());
    let store = cloakroom::connect(&url, &settings).await.unwrap();
    store.create(&key(), record(&data(r#"{"a":1}"#))).await.unwrap();
    assert!(store.load(&key(), now()).await.unwrap().is_some());
    for bad in [
        "cached_db:",
        "cached_db:memory:",
        "cached_db:memory:|",
        "cached_db:|memory:",
        "cached_db:memory:|cookie:",
    ] {
        let error = cloakroom::connect(bad, &settings).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{bad}");
    }
}
