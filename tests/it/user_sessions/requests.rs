//! What the index costs a request, and what happens when it fails.

use std::sync::{Arc, Mutex};

use cloakroom::store::Listing;
use cloakroom::user_sessions::{Entry, UserSessionIndex, UserSessions};
use cloakroom::{MemoryStore, SessionKey, StoreError, StoreErrorKind, async_trait, auth};

use super::{Site, user};
use crate::support::watched_store::WatchedStore;

/// Tells which calls reach it, and fails when told to.
#[derive(Debug, Default)]
struct WatchedIndex {
    inner: MemoryStore,
    calls: Mutex<Vec<&'static str>>,
    is_down: Mutex<bool>,
}

impl WatchedIndex {
    fn called(&self, name: &'static str) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(name);
        if *self.is_down.lock().unwrap() {
            return Err(StoreError::new("watched", StoreErrorKind::Unavailable, "it is down"));
        }
        Ok(())
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl UserSessionIndex for WatchedIndex {
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn put(&self, entry: &Entry, moved_from: Option<&SessionKey>) -> Result<(), StoreError> {
        self.called("put")?;
        self.inner.put(entry, moved_from).await
    }

    async fn fill(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.called("fill")?;
        self.inner.fill(entries).await
    }

    async fn of_user(&self, user_id: &str) -> Result<Vec<Entry>, StoreError> {
        self.called("of_user")?;
        self.inner.of_user(user_id).await
    }

    async fn remove(&self, entries: &[(&str, &SessionKey)]) -> Result<(), StoreError> {
        self.called("remove")?;
        self.inner.remove(entries).await
    }

    fn entries(&self) -> Box<dyn Listing<Entry> + '_> {
        self.inner.entries()
    }
}

async fn watched() -> (Site, Arc<WatchedStore>, Arc<WatchedIndex>) {
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let index = Arc::new(WatchedIndex::default());
    let user_sessions = UserSessions::new(Arc::clone(&store) as _, Arc::clone(&index) as _).await.unwrap();
    (Site::on(user_sessions), store, index)
}

#[tokio::test]
async fn a_login_costs_one_call_more_and_other_requests_none() {
    let (site, store, index) = watched().await;
    let mut costs = Vec::new();
    let mut note = |what| costs.push((what, store.calls(), index.calls()));

    let anonymous = site.request(None, async |session| session.set("cart", 1)).await.unwrap().unwrap();
    note("anonymous");
    let log_in = async |session| auth::login(&session, user("7")).await;
    let key = site.request(Some(&anonymous), log_in).await.unwrap().unwrap();
    note("login");
    site.visit(&key).await;
    note("read");
    site.request(Some(&key), async |session| session.set("cart", 2)).await.unwrap();
    note("change");
    site.request(Some(&key), log_in).await.unwrap();
    note("the same login again");
    let key = site.request(Some(&key), async |session| session.cycle_key()).await.unwrap().unwrap();
    note("a change of key");
    site.request(Some(&key), async |session| auth::login(&session, user("8")).await).await.unwrap();
    note("another's login");
    let key = site.log_in("7").await;
    note("login without a session");
    site.advance(300);
    site.visit(&key).await;
    note("read after the interval");
    site.request(Some(&key), async |session| auth::logout(&session).await).await.unwrap();
    note("logout");
    site.request(Some(&key), async |_| Ok(())).await.unwrap();
    note("unknown");

    let expected: [(&str, &[&str], &[&str]); 11] = [
        ("anonymous", &["create"], &[]),
        ("login", &["load", "rotate"], &["put"]),
        ("read", &["load"], &[]),
        ("change", &["load", "update"], &[]),
        ("the same login again", &["load", "update"], &[]),
        ("a change of key", &["load", "rotate"], &["put", "remove"]),
        ("another's login", &["load", "delete", "create"], &["put"]),
        ("login without a session", &["create"], &["put"]),
        ("read after the interval", &["load"], &["put"]),
        ("logout", &["load", "delete"], &["remove"]),
        ("unknown", &["load"], &[]),
    ];
    for ((what, of_store, of_index), expected) in costs.iter().zip(expected) {
        assert_eq!((*what, of_store.as_slice(), of_index.as_slice()), expected);
    }
}

/// Also under a key that the session had before: the request may not live to its end.
#[tokio::test]
async fn a_login_is_noted_before_it_is_saved() {
    let (site, store, index) = watched().await;
    let anonymous = site.request(None, async |session| session.set("cart", 1)).await.unwrap().unwrap();
    site.request(Some(&anonymous), async |session| {
        store.calls();
        index.calls();
        session.set(auth::USER_ID_KEY, "7")?;
        session.save().await?;
        assert_eq!((store.calls().as_slice(), index.calls().as_slice()), (&["update"][..], &["put"][..]));
        Ok(())
    })
    .await
    .unwrap();
}

/// The entry comes first: without it there is no login, and the session is what it was.
#[tokio::test]
async fn a_login_that_cannot_be_noted_fails_and_changes_nothing() {
    let (site, store, index) = watched().await;
    let anonymous = site.request(None, async |session| session.set("cart", 1)).await.unwrap().unwrap();
    store.calls();
    *index.is_down.lock().unwrap() = true;
    let log_in = async |session| auth::login(&session, user("7")).await;
    assert!(site.request(Some(&anonymous), log_in).await.is_err());
    assert_eq!(store.calls(), ["load"], "nothing was written");
    assert!(site.request(None, log_in).await.is_err());
    assert_eq!(store.calls(), [""; 0]);

    *index.is_down.lock().unwrap() = false;
    assert!(site.request(Some(&anonymous), log_in).await.unwrap().is_some());
}

/// Who is logged in already is served, and ends the session, whatever the index does.
#[tokio::test]
async fn a_failing_index_keeps_nobody_from_reading_writing_and_logging_out() {
    let (site, store, index) = watched().await;
    let key = site.log_in("7").await;
    site.advance(400);
    *index.is_down.lock().unwrap() = true;
    assert_eq!(site.visit(&key).await.as_deref(), Some("7"));
    site.request(Some(&key), async |session| session.set("cart", 2)).await.unwrap();
    site.request(Some(&key), async |session| auth::logout(&session).await).await.unwrap();
    assert!(!store.has(key.as_str()).await);
    assert!(site.user_sessions.list("7").await.is_err(), "an error is not an empty list");
    assert!(site.user_sessions.revoke_all("7").await.is_err());

    *index.is_down.lock().unwrap() = false;
    assert_eq!(site.ids("7").await, [""; 0]);
}

/// A store that fails while sessions are looked up: nothing is forgotten.
#[tokio::test]
async fn a_failing_store_empties_no_list() {
    let (site, store, _) = watched().await;
    let key = site.log_in("7").await;
    site.advance(400);
    store.fail(Some(("load", StoreErrorKind::Unavailable)));
    assert!(site.user_sessions.list("7").await.is_err());
    store.fail(None);
    assert_eq!(site.ids("7").await.len(), 1);
    store.fail(Some(("delete", StoreErrorKind::Unavailable)));
    assert!(site.user_sessions.revoke_all("7").await.is_err());
    store.fail(None);
    assert!(site.lives(&key).await);
    assert_eq!(site.user_sessions.revoke_all("7").await.unwrap(), 1);
}

/// A logout that comes too late for its key finds the session under the next: in this process as it saw the moves, in
/// another by the index, which has one.
#[tokio::test]
async fn a_logout_follows_a_session_that_another_request_has_moved() {
    for one_process in [true, false] {
        let (site, store, _) = watched().await;
        let elsewhere = Site::on(site.user_sessions.clone());
        let key = site.log_in("7").await;
        let other_device = {
            site.advance(1);
            site.log_in("7").await
        };
        let logs_out = if one_process { &site } else { &elsewhere };
        let cookie = format!("sessionid={}", key.as_str());
        let logout = logs_out.middleware.begin([cookie.as_bytes()]).load().await.unwrap();
        let mut keys = vec![key];
        for moved in 0..if one_process { 3 } else { 1 } {
            let next = site.request(Some(&keys[moved]), async |session| session.cycle_key()).await;
            keys.push(next.unwrap().unwrap());
        }
        assert!(store.has(keys[keys.len() - 1].as_str()).await);
        assert!(logout.delete().await.unwrap(), "it was there, one process: {one_process}");
        for ended in keys {
            assert!(!store.has(ended.as_str()).await, "one process: {one_process}");
        }
        assert!(store.has(other_device.as_str()).await, "the user's other session stays");
        assert!(!logout.delete().await.unwrap(), "it is gone already");
        assert_eq!(site.ids("7").await.len(), 1);
    }
}
