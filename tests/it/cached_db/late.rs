//! Whoever comes late puts nothing over what happened meanwhile. Each order is forced.

use cloakroom::store::Updated;

use super::*;

/// A reader that missed the cache has the row in its hands while a logout runs to its end.
#[tokio::test]
async fn a_late_refill_does_not_bring_back_a_logged_out_session() {
    let site = Site::with_session().await;
    site.forget_copy().await;
    let store = Arc::clone(&site.store);
    let reader = up_to_the_gate(&site.database, "load", Side::After, async move { load(&store).await }).await;
    assert!(site.process().delete(&key()).await.unwrap());
    site.database.go_on.notify_one();
    assert_eq!(reader.await.unwrap().as_deref(), Some(r#"{"a":1}"#), "it read before the logout");
    for store in [Arc::clone(&site.store), site.process()] {
        assert_eq!(load(&store).await, None);
    }
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"), "what Django reads is an empty session");
    // When the tombstone is gone, so is the session.
    assert_eq!(load_at(&site.store, now() + TimeDelta::minutes(2)).await, None);
}

/// A reader that is about to replace Django's copy by one that ends.
#[tokio::test]
async fn a_late_replacement_of_djangos_copy_brings_nobody_back() {
    let site = Site::with_session().await;
    site.django_caches(r#"{"a":1}"#).await;
    let store = Arc::clone(&site.store);
    let reader = up_to_the_gate(&site.cache, "update", Side::Before, async move { load(&store).await }).await;
    assert!(site.process().delete(&key()).await.unwrap());
    site.cache.go_on.notify_one();
    reader.await.unwrap();
    assert_eq!(load(&site.store).await, None);
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"));
}

/// Django's own refill overwrites the tombstone; this library does not believe it.
#[tokio::test]
async fn a_late_refill_of_djangos_is_refused_and_buried() {
    let site = Site::with_session().await;
    assert!(site.store.delete(&key()).await.unwrap());
    site.django_caches(r#"{"a":1}"#).await;
    for store in [Arc::clone(&site.store), site.process()] {
        assert_eq!(load(&store).await, None);
        assert_eq!(site.cached_json().await.as_deref(), Some("{}"), "and Django reads an empty session");
    }
}

/// A writer has written the row, and comes to the cache after the logout.
#[tokio::test]
async fn a_late_copy_of_a_saved_session_does_not_bring_it_back() {
    for call in ["update", "create"] {
        let site = Site::with_session().await;
        if call == "create" {
            site.forget_copy().await;
        }
        let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
        if call == "create" {
            site.forget_copy().await;
        }
        // The version knows the copy, or else the writer looks: then there is none.
        let expected = (call == "update").then_some(loaded.version);
        let store = Arc::clone(&site.store);
        let writer = up_to_the_gate(&site.cache, call, Side::Before, async move {
            store.update(&key(), expected.as_ref(), record(&data(r#"{"a":2}"#))).await.unwrap()
        })
        .await;
        assert!(site.process().delete(&key()).await.unwrap());
        site.cache.go_on.notify_one();
        assert!(matches!(writer.await.unwrap(), Updated::Updated(_)), "it was in time for the row");
        assert_eq!(load(&site.store).await, None, "{call}");
        assert_eq!(load(&site.process()).await, None, "{call}");
        assert_eq!(site.cached_json().await.as_deref(), Some("{}"), "{call}");
    }
}

/// A session that is empty in the cache: nobody can tell its copy from a tombstone.
#[tokio::test]
async fn a_late_copy_of_an_empty_session_brings_nobody_back() {
    let site = Site::new().await;
    site.store.create(&key(), record(&data("{}"))).await.unwrap();
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"));
    let loaded = site.store.load(&key(), now()).await.unwrap().unwrap();
    let store = Arc::clone(&site.store);
    let writer = up_to_the_gate(&site.cache, "create", Side::Before, async move {
        store.update(&key(), Some(&loaded.version), record(&data(r#"{"a":2}"#))).await.unwrap()
    })
    .await;
    assert!(site.process().delete(&key()).await.unwrap());
    site.cache.go_on.notify_one();
    assert!(matches!(writer.await.unwrap(), Updated::Updated(_)));
    assert_eq!(load(&site.store).await, None);
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"));
}

/// The writer removes what may be a tombstone, finds no row, and puts one back.
#[tokio::test]
async fn a_tombstone_outlives_a_writer_that_finds_no_row() {
    let site = Site::with_session().await;
    site.store.delete(&key()).await.unwrap();
    let outcome = site.store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap();
    assert_eq!(outcome, Updated::Missing);
    assert_eq!(site.cached_json().await.as_deref(), Some("{}"));
}

/// Two writers: the first one to write the row is the last one to come to the cache.
#[tokio::test]
async fn a_late_copy_does_not_hide_a_later_save() {
    for seen in ["the same copy", "nothing"] {
        let site = Site::with_session().await;
        if seen == "nothing" {
            site.forget_copy().await;
        }
        let call = if seen == "nothing" { "create" } else { "update" };
        let store = Arc::clone(&site.store);
        let first = up_to_the_gate(&site.cache, call, Side::Before, async move {
            store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap()
        })
        .await;
        let outcome = site.process().update(&key(), None, record(&data(r#"{"a":3}"#))).await.unwrap();
        assert!(matches!(outcome, Updated::Updated(_)));
        site.cache.go_on.notify_one();
        first.await.unwrap();
        assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":3}"#), "{seen}");
        assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":3}"#), "{seen}: Django's too");
    }
}

/// Two writers, both late: the last one to write the row finds the first one's copy.
#[tokio::test]
async fn of_two_late_copies_that_of_the_later_save_stays() {
    let site = Site::with_session().await;
    let other = Gated::new(Arc::clone(&site.cache) as _);
    let second = process(&site.database, &other);
    let store = Arc::clone(&site.store);
    let first = up_to_the_gate(&site.cache, "update", Side::Before, async move {
        store.update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap()
    })
    .await;
    let later = up_to_the_gate(&other, "update", Side::Before, async move {
        second.update(&key(), None, record(&data(r#"{"a":3}"#))).await.unwrap()
    })
    .await;
    site.cache.go_on.notify_one();
    first.await.unwrap();
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":2}"#));
    other.go_on.notify_one();
    later.await.unwrap();
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":3}"#));
}

/// A reader has the old row in its hands while another request saves.
#[tokio::test]
async fn a_late_refill_does_not_hide_a_save() {
    let site = Site::with_session().await;
    site.forget_copy().await;
    let store = Arc::clone(&site.store);
    let reader = up_to_the_gate(&site.database, "load", Side::After, async move { load(&store).await }).await;
    site.process().update(&key(), None, record(&data(r#"{"a":2}"#))).await.unwrap();
    site.database.go_on.notify_one();
    reader.await.unwrap();
    assert_eq!(load(&site.store).await.as_deref(), Some(r#"{"a":2}"#));
    assert_eq!(site.cached_json().await.as_deref(), Some(r#"{"a":2}"#));
}

/// Clearing leaves an empty session, which is no copy to believe: a late reader's old one must not stand.
#[tokio::test]
async fn a_late_refill_does_not_fill_a_session_that_was_emptied() {
    let site = Site::with_session().await;
    site.forget_copy().await;
    let store = Arc::clone(&site.store);
    let reader = up_to_the_gate(&site.database, "load", Side::After, async move { load(&store).await }).await;
    site.process().update(&key(), None, record(&data("{}"))).await.unwrap();
    site.database.go_on.notify_one();
    reader.await.unwrap();
    assert_eq!(load(&site.store).await.as_deref(), Some("{}"));
}

/// A key that was cycled away is as dead as one that was logged out.
#[tokio::test]
async fn a_late_refill_does_not_bring_back_a_cycled_key() {
    let site = Site::with_session().await;
    site.forget_copy().await;
    let store = Arc::clone(&site.store);
    let reader = up_to_the_gate(&site.database, "load", Side::After, async move { load(&store).await }).await;
    let new_key = SessionKey::from_trusted("newkey00000000000000000000000001");
    let rotated = site.process().rotate(&key(), None, &new_key, record(&data(r#"{"a":2}"#))).await.unwrap();
    assert!(matches!(rotated, cloakroom::store::Rotated::Rotated(_)));
    site.database.go_on.notify_one();
    reader.await.unwrap();
    assert_eq!(load(&site.store).await, None);
    let moved = site.store.load(&new_key, now()).await.unwrap().unwrap();
    assert_eq!(moved.data().unwrap().to_json(), r#"{"a":2}"#);
}

/// A reader that the database kept waiting for longer than half a tombstone's life fills nothing.
#[tokio::test]
async fn a_refill_that_comes_too_late_is_left_out() {
    let site = Site::with_session().await;
    site.forget_copy().await;
    let mut options = CachedDbStore::options(Arc::clone(&site.database) as _, Arc::clone(&site.cache) as _);
    options.tombstone_age = std::time::Duration::ZERO;
    let store = Arc::new(options.build().unwrap());
    assert_eq!(load(&store).await.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(site.cached_json().await, None);
}
