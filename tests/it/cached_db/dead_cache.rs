//! The cache is down, and comes back with what it had.

use cloakroom::store::{Rotated, Updated};
use cloakroom::{Session, StoreErrorKind};

use super::*;

#[tokio::test]
async fn with_the_cache_dead_everything_but_logout_works() {
    let site = Site::with_session().await;
    site.cache.set_down(true);
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
    let outcome =
        site.store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":2}"#))).await.unwrap();
    let Updated::Updated(version) = outcome else { panic!("{outcome:?}") };
    let stale = site.store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":9}"#))).await.unwrap();
    assert_eq!(stale, Updated::Changed, "nothing is lost without the cache either");
    let new_key = SessionKey::from_trusted("newkey00000000000000000000000001");
    let outcome =
        site.store.rotate(&key(), Some(&version), &new_key, record(&data(r#"{"a":3}"#))).await.unwrap();
    assert!(matches!(outcome, Rotated::Rotated(_)));
    assert_eq!(load(&site.store).await, None);
    let created = site.store.create(&key(), record(&data("{}"))).await.unwrap();
    assert!(matches!(created, Created::Created(_)));
    assert!(site.store.exists(&key(), now()).await.unwrap());
    assert_eq!(site.store.clear_expired(now() + TimeDelta::days(15)).await.unwrap(), 2);

    let session = Session::new(Arc::clone(&site.store) as _, Settings::new("secret"));
    session.set("a", 1).unwrap();
    session.save().await.unwrap();
    session.set("a", 2).unwrap();
    session.save().await.unwrap();
    assert!(session.flush().await.is_err(), "whoever logs out is told");
}

/// What was saved while the cache was dead is what this process reads, whatever the cache still has.
#[tokio::test]
async fn a_copy_from_before_is_not_believed() {
    let site = Site::with_session().await;
    let other = site.process();
    site.cache.set_down(true);
    site.store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap();
    site.cache.set_down(false);
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":1}"#), "the cache has the old copy");
    let later = now() + TimeDelta::minutes(5) + TimeDelta::seconds(1);
    assert_eq!(load_at(&other, later).await.as_deref(), Some(r#"{"a":2}"#), "it has ended for everybody");

    let site = Site::with_session().await;
    site.cache.set_down(true);
    site.store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap();
    site.cache.set_down(false);
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":2}"#));
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":2}"#), "and is replaced for all");
}

#[tokio::test]
async fn logout_with_the_cache_dead_is_an_error_and_the_row_is_gone() {
    let site = Site::with_session().await;
    let other = site.process();
    site.cache.set_down(true);
    let error = site.store.delete(&key()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("gone from the database"), "{error}");
    assert!(error.to_string().contains("300 seconds"), "{error}");
    assert!(!site.database.exists(&key(), now()).await.unwrap());
    assert_eq!(load(&site.store).await, None, "still down");

    // The cache is back with the old copy. Another process believes it while it lasts, as is stated.
    site.cache.set_down(false);
    assert_eq!(load(&other).await.as_deref(), Some(r#"{"a":1}"#));
    let bound = now() + TimeDelta::minutes(5);
    assert_eq!(load_at(&other, bound).await, None, "gone within the stated bound");
    // Nobody can save it.
    let loaded = other.load(&key(), now()).await.unwrap().unwrap();
    let outcome = other.update(&key(), Some(&loaded.version), record(&data(r#"{"a":2}"#))).await.unwrap();
    assert_eq!(outcome, Updated::Missing);
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"), "and whoever tries buries it");
}

#[tokio::test]
async fn this_process_refuses_the_copy_at_once_and_buries_it() {
    let site = Site::with_session().await;
    site.cache.set_down(true);
    site.store.delete(&key()).await.unwrap_err();
    site.cache.set_down(false);
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(load(&site.store).await, None);
    assert_eq!(load(&site.process()).await, None, "by now for everybody");
}

#[tokio::test]
async fn logging_out_again_ends_it_for_everybody() {
    let site = Site::with_session().await;
    let other = site.process();
    site.cache.set_down(true);
    site.store.delete(&key()).await.unwrap_err();
    site.store.delete(&key()).await.unwrap_err();
    site.cache.set_down(false);
    assert!(!site.store.delete(&key()).await.unwrap(), "the row was gone before");
    assert_eq!(load(&other).await, None);
}

/// Django's copies last as long as the session, so the database is asked about them.
#[tokio::test]
async fn a_copy_of_djangos_is_refused_by_every_process() {
    let site = Site::with_session().await;
    site.django_caches(r#"{"a":1}"#).await;
    let other = site.process();
    site.cache.set_down(true);
    site.store.delete(&key()).await.unwrap_err();
    site.cache.set_down(false);
    assert_eq!(load(&other).await, None);
}

#[tokio::test]
async fn with_the_database_down_copies_are_read_and_nothing_is_taken_for_absent() {
    let site = Site::with_session().await;
    site.database.set_down(true);
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":1}"#));
    site.cache.calls();
    let error = site.store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    site.store.delete(&key()).await.unwrap_err();
    assert_eq!(site.cache.calls(), ["load"], "the cache is not written");
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":1}"#));
    site.forget_copy().await;
    site.store.load(&key(), now()).await.unwrap_err();
}
