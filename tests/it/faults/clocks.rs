//! Clocks that are wrong. What is asserted here is what `docs/stores.md` says under "Clocks".

use cloakroom::chrono::DateTime;
use cloakroom::{ManualClock, SessionMiddleware, SignedCookieStore, SqliteStore};

use super::*;

/// The server decides when an entry of these ends, and not the clock of whoever asks.
fn server_decides(name: &str) -> bool {
    ["redis", "redis cluster", "memcached"].contains(&name)
}

async fn create_at(
    store: &dyn SessionStore,
    now: DateTime<Utc>,
    expire_date: DateTime<Utc>,
) -> Result<SessionKey, StoreError> {
    let session_key = SessionKey::random().unwrap();
    let data = data_of(&session_key, 0);
    store.create(&session_key, Record { data: &data, expire_date, now }).await?;
    Ok(session_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_a_day_off_ends_sessions_a_day_off_and_removes_none_by_reading() {
    let (hour, day) = (TimeDelta::hours(1), TimeDelta::days(1));
    for (name, store, _keep) in crate::support::stores::all().await {
        let right = Utc::now();
        let is_there = async |session_key: &SessionKey, now| {
            store.load(session_key, now).await.unwrap().is_some_and(|loaded| {
                number_of(session_key, &loaded.data().unwrap().clone());
                true
            })
        };
        // Written with a right clock, read with a wrong one, and by who has the right one again.
        let session_key = create_at(&*store, right, right + hour).await.unwrap();
        assert_eq!(is_there(&session_key, right + day).await, server_decides(name), "{name}: a day ahead");
        assert!(is_there(&session_key, right - day).await, "{name}: a day behind");
        assert!(is_there(&session_key, right).await, "{name}: reading with a wrong clock took it away");

        // Written with a wrong clock.
        let ahead = create_at(&*store, right + day, right + day + hour).await.unwrap();
        assert!(is_there(&ahead, right).await, "{name}");
        let behind = create_at(&*store, right - day, right - day + hour).await.unwrap();
        if name != "cached_db" {
            assert_eq!(is_there(&behind, right).await, server_decides(name), "{name}: written a day behind");
        }

        // A clock that goes back between reading and writing.
        let loaded = store.load(&session_key, right).await.unwrap().unwrap();
        let data = data_of(&session_key, 1);
        let earlier = right - day;
        let record = Record { data: &data, expire_date: earlier + TimeDelta::days(14), now: earlier };
        let outcome = store.update(&session_key, Some(&loaded.version), record).await.unwrap();
        assert!(matches!(outcome, Updated::Updated(_)), "{name}: {outcome:?}");
        assert!(is_there(&session_key, right).await, "{name}");

        // A cleaner with a clock that is behind removes nothing that lives; one that is ahead does.
        store.clear_expired(right - day - day).await.unwrap();
        assert!(is_there(&ahead, right).await, "{name}");
        store.clear_expired(right + day + day).await.unwrap();
        if name != "cached_db" {
            assert_eq!(is_there(&ahead, right).await, server_decides(name), "{name}: cleared a day ahead");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_counts_to_the_microsecond_between_nodes() {
    let microsecond = TimeDelta::microseconds(1);
    let mut compared = 0;
    for (name, store, _keep) in crate::support::stores::all().await {
        if server_decides(name) || name == "cached_db" {
            continue;
        }
        let now = DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap();
        let ends = now + TimeDelta::seconds(90) + microsecond;
        let session_key = create_at(&*store, now, ends).await.unwrap();
        for (at, there) in [(ends - microsecond, true), (ends, false), (ends + microsecond, false)] {
            assert_eq!(store.exists(&session_key, at).await.unwrap(), there, "{name} {at}");
            assert_eq!(store.load(&session_key, at).await.unwrap().is_some(), there, "{name} {at}");
            compared += 1;
        }
        assert_eq!(store.clear_expired(ends).await.unwrap(), 0, "{name}: what ends now is not cleared yet");
        assert_eq!(store.clear_expired(ends + microsecond).await.unwrap(), 1, "{name}");
    }
    println!("t41: {compared} of {compared} moments around an expiry told apart to the microsecond");
}

/// No time makes a store panic; what cannot be stored is an error.
#[tokio::test(flavor = "multi_thread")]
async fn no_time_whatever_makes_a_store_panic() {
    let times = [
        DateTime::<Utc>::MIN_UTC,
        DateTime::UNIX_EPOCH,
        DateTime::from_timestamp(i64::from(i32::MAX), 0).unwrap(),
        DateTime::from_timestamp(253_402_300_799, 999_999_000).unwrap(),
        DateTime::<Utc>::MAX_UTC,
    ];
    for (name, store, _keep) in crate::support::stores::all().await {
        let session_key = create(&*store).await.0;
        for now in times {
            let _ = store.load(&session_key, now).await;
            let _ = store.exists(&session_key, now).await;
            for expire_date in times {
                let _ = create_at(&*store, now, expire_date).await;
                let data = data_of(&session_key, 1);
                let record = Record { data: &data, expire_date, now };
                let _ = store.update(&session_key, None, record).await;
                let _ = store.rotate(&session_key, None, &session_key, record).await;
            }
            let _ = store.clear_expired(now).await;
        }
        let later = create(&*store).await.0;
        assert_eq!(load(&*store, &later).await.unwrap(), 0, "{name}: it does not work any more");
    }
}

/// Around both clock changes, a site with `USE_TZ = False` ends a session up to an hour early or late, as Django's own
/// comparison does, and no more.
#[tokio::test]
async fn where_clocks_change_a_session_ends_within_an_hour_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let mut settings = settings();
    settings.time_zone = cloakroom::TimeZone::Naive("America/New_York".parse().unwrap());
    let store = options.open(&settings).await.unwrap();
    let (hour, step) = (TimeDelta::hours(1), TimeDelta::minutes(10));
    let mut furthest = TimeDelta::zero();
    for change in ["2023-11-05T06:00:00Z", "2024-03-10T07:00:00Z"] {
        let change: DateTime<Utc> = change.parse().unwrap();
        for number in -12..12 {
            let ends = change + step * number;
            let session_key = create_at(&store, ends - TimeDelta::hours(8), ends).await.unwrap();
            let mut seen = ends - TimeDelta::hours(4);
            while store.exists(&session_key, seen).await.unwrap() {
                seen += step;
            }
            furthest = furthest.max((seen - ends).abs());
            assert!((seen - ends).abs() <= hour, "{ends}: it ended at {seen}");
            // And the other way from afterwards: there is no moment far from it at which it is back.
            assert!(!store.exists(&session_key, ends + hour + step).await.unwrap(), "{ends}");
        }
    }
    assert_eq!(furthest, hour, "no change of clocks was met");
}

/// Two nodes behind one site with clocks of their own: a browser is served by both.
#[tokio::test]
async fn nodes_with_clocks_apart_serve_one_browser() {
    let store: Arc<dyn SessionStore> = Arc::new(cloakroom::MemoryStore::new());
    let now = Utc::now();
    for skew in [TimeDelta::seconds(-90), TimeDelta::seconds(90), TimeDelta::days(-1), TimeDelta::days(1)] {
        let node = |now| {
            let clock = Arc::new(ManualClock::new(now));
            SessionMiddleware::new(Arc::clone(&store), settings()).unwrap().with_clock(clock)
        };
        let (here, there) = (node(now), node(now + skew));
        let mut cookie = String::new();
        for number in 0..10 {
            let node = if number % 2 == 0 { &here } else { &there };
            let lazy = node.begin([cookie.as_bytes()]);
            let session = lazy.load().await.unwrap();
            let count: usize = session.get("count").unwrap().unwrap_or(0);
            assert_eq!(count, number, "{skew}");
            session.set("count", count + 1).unwrap();
            let finished = node.finish(&lazy, 200).await.unwrap();
            let set_cookie = finished.set_cookie.expect("a save sets the cookie");
            assert!(set_cookie.contains("Max-Age=1209600"), "{set_cookie}");
            cookie = set_cookie.split(';').next().unwrap().to_owned();
        }
    }
}

/// The cookie that is the session says when it was signed. Of the future is taken, as Django does.
#[tokio::test]
async fn signed_cookies_of_another_clock() {
    let store = SignedCookieStore::new(&settings());
    let now = Utc::now();
    let data = SessionData::from_json(r#"{"a":1}"#).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::days(14), now };
    let Created::Created(version) = store.create(&SessionKey::random().unwrap(), record).await.unwrap()
    else {
        panic!("cookies are never taken");
    };
    let cookie = SessionKey::from_trusted(std::str::from_utf8(version.as_bytes().unwrap()).unwrap());
    for (days, there) in [(-10_000, true), (-1, true), (0, true), (13, true), (15, false), (10_000, false)] {
        let loaded = store.load(&cookie, now + TimeDelta::days(days)).await.unwrap();
        let is_there = loaded.is_some_and(|loaded| loaded.is_genuine() && !loaded.data().unwrap().is_empty());
        assert_eq!(is_there, there, "{days} days");
    }
    for now in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        store.load(&cookie, now).await.unwrap();
    }
}
