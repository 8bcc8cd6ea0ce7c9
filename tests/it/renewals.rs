//! Sliding expiry without a write for each request: `Settings::renew_after`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use cloakroom::middleware::Finished;
use cloakroom::store::{Record, Touched};
use cloakroom::{
    Error, Expiry, LazySession, ManualClock, MemoryStore, SessionData, SessionKey, SessionMiddleware,
    SessionStore, Settings, SignedCookieStore, StoreErrorKind, auth,
};

use crate::support::log::Log;
use crate::support::stores;
use crate::support::watched_store::WatchedStore;

const IDLE: TimeDelta = TimeDelta::minutes(30);
const AFTER: TimeDelta = TimeDelta::minutes(5);

struct Site {
    middleware: SessionMiddleware,
    store: Arc<WatchedStore>,
    clock: Arc<ManualClock>,
    cookie: String,
}

/// A site with these settings and one session of a browser.
async fn site(store: Arc<dyn SessionStore>, change: impl FnOnce(&mut Settings)) -> Site {
    let mut settings = Settings::new("secret").with_idle_timeout(IDLE).with_renew_after(AFTER);
    change(&mut settings);
    let (store, clock) = (WatchedStore::new(store), Arc::new(ManualClock::new(Utc::now())));
    let middleware = SessionMiddleware::new(Arc::clone(&store), settings).unwrap();
    let middleware = middleware.with_clock(Arc::clone(&clock) as _);
    let mut site = Site { middleware, store, clock, cookie: String::new() };
    let (_, finished) = site.request(|lazy| async move { lazy.load().await?.set("visits", 1) }).await;
    assert!(finished.unwrap().set_cookie.is_some());
    site.store.calls();
    site
}

impl Site {
    /// A request of the browser, which takes over the cookie of the response.
    async fn request<F: Future<Output = Result<(), Error>>>(
        &mut self,
        handler: impl FnOnce(LazySession) -> F,
    ) -> (LazySession, Result<Finished, Error>) {
        let lazy = self.middleware.begin([self.cookie.as_bytes()]);
        handler(lazy.clone()).await.unwrap();
        let finished = self.middleware.finish(&lazy, 200).await;
        if let Ok(Finished { set_cookie: Some(cookie), .. }) = &finished {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        (lazy, finished)
    }

    /// A page that looks at the session, and the calls of the store.
    async fn look(&mut self) -> (bool, Vec<&'static str>) {
        let (_, finished) = self
            .request(|lazy| async move {
                assert_eq!(lazy.load().await?.get("visits")?, Some(1));
                Ok(())
            })
            .await;
        let finished = finished.unwrap();
        assert_eq!(finished.vary.as_deref(), Some("Cookie"));
        (finished.set_cookie.is_some(), self.store.calls())
    }

    fn advance(&self, minutes: i64) {
        self.clock.advance(TimeDelta::minutes(minutes));
    }
}

fn memory() -> Arc<dyn SessionStore> {
    Arc::new(MemoryStore::new())
}

#[tokio::test]
async fn a_session_that_is_used_is_written_once_in_a_while() {
    let mut site = site(memory(), |_| {}).await;
    for _ in 0..20 {
        site.advance(4);
        assert_eq!(site.look().await, (false, vec!["load"]));
        site.advance(1);
        assert_eq!(site.look().await, (true, vec!["load", "touch"]));
        assert_eq!(site.look().await, (false, vec!["load"]));
    }
    // A changed session is saved, and the renewal is counted from there.
    site.advance(5);
    let (_, finished) = site.request(|lazy| async move { lazy.load().await?.set("visits", 1) }).await;
    assert!(finished.unwrap().set_cookie.is_some());
    assert_eq!(site.store.calls(), ["load", "update"]);
    site.advance(4);
    assert_eq!(site.look().await, (false, vec!["load"]));
    // Whoever does not use it neither loads nor extends it.
    site.advance(20);
    let (_, finished) = site.request(|_| async { Ok(()) }).await;
    assert_eq!((finished.unwrap(), site.store.calls()), (Finished::default(), vec![]));
    site.advance(6);
    let (lazy, _) = site.request(|lazy| async move { lazy.load().await.map(drop) }).await;
    assert!(lazy.is_empty(), "it has ended");
}

#[tokio::test]
async fn with_save_every_request_each_request_counts_and_few_write() {
    let mut site = site(memory(), |settings| settings.save_every_request = true).await;
    for (minutes, calls) in [(4, vec!["load"]), (1, vec!["load", "touch"]), (4, vec!["load"])] {
        site.advance(minutes);
        let (_, finished) = site.request(|_| async { Ok(()) }).await;
        assert_eq!(finished.unwrap().set_cookie.is_some(), calls.len() == 2);
        assert_eq!(site.store.calls(), calls);
    }
    // The page is finished: neither a load nor a touch that fails takes it away.
    let log = Log::start();
    for failing in ["load", "touch"] {
        site.advance(5);
        site.store.fail(Some((failing, StoreErrorKind::Unavailable)));
        let (_, finished) = site.request(|_| async { Ok(()) }).await;
        assert_eq!(finished.unwrap(), Finished::default(), "{failing}");
        let warned = log.lines().iter().filter(|line| line.contains("was not extended")).count();
        assert_eq!(warned, if failing == "load" { 1 } else { 2 }, "{:?}", log.lines());
    }
}

#[tokio::test]
async fn a_renewal_that_fails_is_a_warning() {
    let mut site = site(memory(), |_| {}).await;
    let log = Log::start();
    site.store.fail(Some(("touch", StoreErrorKind::Unavailable)));
    for _ in 0..2 {
        site.advance(6);
        assert_eq!(site.look().await, (false, vec!["load", "touch"]));
    }
    let lines = log.lines();
    let warned: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
    assert!(warned.len() == 2 && warned[0].contains("it is down"), "{lines:?}");
    assert!(!lines.concat().contains(site.cookie.split('=').nth(1).unwrap()), "{lines:?}");
    site.store.fail(None);
    assert_eq!(site.look().await, (true, vec!["load", "touch"]), "tried again");
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_stays_ended() {
    let mut site = site(memory(), |_| {}).await;
    site.advance(6);
    let (_, finished) = site
        .request({
            let store = Arc::clone(&site.store);
            |lazy| async move {
                let session_key = lazy.load().await?.session_key().unwrap();
                assert!(store.delete(&session_key).await.unwrap());
                Ok(())
            }
        })
        .await;
    assert_eq!(finished.unwrap().set_cookie, None);
    assert_eq!(site.store.calls(), ["load", "delete", "touch"]);
    assert_eq!(site.store.count(Utc::now()).await.map(|count| count.live).unwrap_or(0), 0);
    let (lazy, _) = site.request(|lazy| async move { lazy.load().await.map(drop) }).await;
    assert!(lazy.is_empty());
}

#[tokio::test]
async fn a_fixed_end_and_an_absolute_lifetime_do_not_move() {
    let mut fixed = site(memory(), |_| {}).await;
    let end = Expiry::fixed(Duration::from_secs(20 * 60));
    fixed.request(|lazy| async move { lazy.load().await?.set_expiry(end) }).await.1.unwrap();
    fixed.store.calls();
    for _ in 0..3 {
        fixed.advance(6);
        assert_eq!(fixed.look().await, (false, vec!["load"]));
    }
    let lifetime = |settings: &mut Settings| settings.absolute_lifetime = Some(TimeDelta::minutes(40));
    let mut site = site(memory(), lifetime).await;
    for (minutes, is_renewed) in [(6, true), (6, false), (18, false), (3, true), (6, false)] {
        site.advance(minutes);
        assert_eq!(site.look().await.0, is_renewed);
    }
    site.advance(1);
    let (lazy, _) = site.request(|lazy| async move { lazy.load().await.map(drop) }).await;
    assert!(lazy.is_empty(), "over");
}

#[tokio::test]
async fn a_shorter_idle_timeout_of_its_own_slides_too() {
    let mut site = site(memory(), |_| {}).await;
    let expiry = Expiry::sliding(Duration::from_secs(4 * 60));
    site.request(|lazy| async move { lazy.load().await?.set_expiry(expiry) }).await.1.unwrap();
    site.store.calls();
    for _ in 0..5 {
        site.advance(1);
        assert_eq!(site.look().await, (false, vec!["load"]));
        site.advance(2);
        assert_eq!(site.look().await, (true, vec!["load", "touch"]));
    }
}

/// Redis and memcached do not say when an entry ends, and a signed cookie is one in each browser.
#[tokio::test]
async fn a_store_that_knows_no_expiry_is_asked_once_by_each_process() {
    let cookies = Arc::new(SignedCookieStore::new(&Settings::new("secret").with_idle_timeout(IDLE)));
    let mut on_cookies = site(cookies, |_| {}).await;
    for (minutes, calls) in [(4, vec!["load"]), (1, vec!["load", "update"]), (1, vec!["load"])] {
        on_cookies.advance(minutes);
        assert_eq!(on_cookies.look().await, (calls.len() == 2, calls));
    }
    #[cfg(feature = "redis")]
    {
        let mut on_redis = site(stores::new_redis("").await, |_| {}).await;
        for (minutes, calls) in [(4, vec!["load"]), (1, vec!["load", "touch"]), (1, vec!["load"])] {
            on_redis.advance(minutes);
            assert_eq!(on_redis.look().await, (calls.len() == 2, calls));
        }
    }
}

#[tokio::test]
async fn a_touch_writes_no_data() {
    for (name, store, _keep) in stores::all().await {
        let (session_key, now) = (SessionKey::random().unwrap(), Utc::now());
        let data = SessionData::from_json(r#"{"visits":1}"#).unwrap();
        let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
        store.create(&session_key, record).await.unwrap();
        let before = store.load(&session_key, now).await.unwrap().unwrap();
        // A signed text has its time in it: written again it would be another one.
        let later = now + TimeDelta::seconds(5);
        let record = Record { expire_date: now + TimeDelta::hours(2), now: later, ..record };
        let touched = store.touch(&session_key, &before.version, record).await.unwrap();
        assert_eq!(touched, Touched::Extended, "{name}");
        let after = store.load(&session_key, now).await.unwrap().unwrap();
        // The expiry of Django's FileBasedCache is in the file.
        if name != "filecache" {
            assert!(after.version == before.version, "{name}");
        }
    }
}

#[tokio::test]
async fn who_was_authenticated_lately_is_known_as_long_as_the_login_lasts() {
    let mut site = site(memory(), |_| {}).await;
    let clock = Arc::clone(&site.clock);
    let handler = |lazy: LazySession| async move {
        let session = lazy.load().await?;
        let within = |minutes: u64| session.authenticated_within(Duration::from_secs(minutes * 60));
        let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
        auth::login(&session, user).await?;
        assert!(!within(5), "a login that nobody marks");
        session.mark_authenticated()?;
        assert!(within(5));
        clock.advance(Duration::from_secs(5 * 60));
        assert!(within(5));
        clock.advance(Duration::from_secs(2));
        assert!(!within(5) && within(6));
        // The clock of the server that marked it was ahead, by a little or by much.
        clock.advance(TimeDelta::seconds(-330));
        assert!(within(5));
        clock.advance(TimeDelta::seconds(-60));
        assert!(!within(5));
        for odd in ["\"now\"", "null", "1e300", "9223372036854775807"] {
            session.set_value(auth::AUTHENTICATED_KEY, cloakroom::Value::from_json(odd).unwrap());
            assert!(!within(5), "{odd}");
        }
        session.mark_authenticated()?;
        assert!(within(5));
        auth::login(&session, auth::User { id: "8", ..user }).await?;
        assert!(!within(5), "of another user");
        session.mark_authenticated()?;
        auth::logout(&session).await?;
        assert!(!within(5));
        Ok(())
    };
    site.request(handler).await.1.unwrap();
}
