//! What an operator sees: the warning of a wrong secret, and the metrics.

use std::sync::Arc;

use chrono::TimeDelta;
use cloakroom::store::Record;
use cloakroom::{
    ManualClock, SessionData, SessionKey, SessionMiddleware, SessionStore, Settings, SqliteStore,
};

use crate::support::log::Log;

#[allow(dead_code, reason = "its main is not called")]
#[cfg(feature = "metrics")]
#[path = "../../examples/metrics.rs"]
mod example;

#[tokio::test]
async fn of_sessions_that_are_not_genuine_it_warns_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let other = options.clone().open(&Settings::new("another secret")).await.unwrap();
    let session_key = SessionKey::random().unwrap();
    let (data, now) = (SessionData::new(), cloakroom::Clock::now(&*clock));
    let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
    other.create(&session_key, record).await.unwrap();

    let store = Arc::new(options.open(&Settings::new("secret")).await.unwrap());
    let middleware =
        SessionMiddleware::new(store, Settings::new("secret")).unwrap().with_clock(Arc::clone(&clock) as _);
    let cookie = format!("sessionid={}", session_key.as_str());
    let log = Log::start();
    let mut warnings = Vec::new();
    for (seconds, requests) in [(0, 1), (0, 5), (59, 5), (1, 1), (60, 1)] {
        clock.advance(TimeDelta::seconds(seconds));
        for _ in 0..requests {
            middleware.begin([cookie.as_bytes()]).load().await.unwrap();
        }
        warnings.push(log.lines().iter().filter(|line| line.contains("SECRET_KEY")).count());
    }
    assert_eq!(warnings, [1, 1, 1, 2, 3]);
    let suppressed: Vec<_> = log.lines().into_iter().filter(|line| line.contains("suppressed=10")).collect();
    assert_eq!(suppressed.len(), 1, "{:#?}", log.lines());
    assert!(!log.lines().concat().contains(session_key.as_str()));
}

#[cfg(feature = "metrics")]
mod metrics {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use cloakroom::spawn_cleaner;
    use cloakroom::{ConcurrentChanges, Error, MemoryStore, Session, StoreErrorKind, telemetry};
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
    use tower::ServiceExt;

    use super::*;
    use crate::support::watched_store::{Hold, WatchedStore};

    /// Each series by its name and labels.
    fn series(prometheus: &PrometheusHandle) -> BTreeMap<String, f64> {
        let text = prometheus.render();
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// On one thread, as the recorder is this thread's own.
    #[tokio::test(start_paused = true)]
    async fn what_happens_to_sessions_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let prometheus = recorder.handle();
        let _guard = ::metrics::set_default_local_recorder(&recorder);
        telemetry::describe();

        let store = WatchedStore::new(Arc::new(MemoryStore::new()));
        let mut settings = Settings::new("secret");
        let new = || Session::new(Arc::clone(&store) as _, Settings::new("secret"));
        let first = new();
        first.set("a", 1).unwrap();
        first.save().await.unwrap();
        let session_key = first.session_key().unwrap();
        let open = |settings: &Settings| {
            Session::open(Arc::clone(&store) as _, settings.clone(), session_key.clone())
        };

        // Three writers of one version: two of them meet another's change.
        let mut writers = Vec::new();
        for number in 0..3 {
            let session = open(&settings).await.unwrap();
            session.set(&format!("writer {number}"), number).unwrap();
            writers.push(session);
        }
        for writer in &writers {
            writer.save().await.unwrap();
        }
        settings.concurrent_changes = ConcurrentChanges::Reject;
        let (mine, theirs) = (open(&settings).await.unwrap(), open(&settings).await.unwrap());
        theirs.set("b", 1).unwrap();
        theirs.save().await.unwrap();
        mine.set("b", 2).unwrap();
        assert!(matches!(mine.save().await, Err(Error::Conflict { .. })));

        let (late, logout) = (open(&settings).await.unwrap(), open(&settings).await.unwrap());
        logout.cycle_key().unwrap();
        logout.save().await.unwrap();
        logout.exists(&session_key).await.unwrap();
        logout.flush().await.unwrap();
        late.set("late", 1).unwrap();
        assert!(matches!(late.save().await, Err(Error::Interrupted)));
        assert!(open(&settings).await.unwrap().is_empty());

        store.fail(Some(("create", StoreErrorKind::Unavailable)));
        let failing = new();
        failing.set("a", 1).unwrap();
        failing.save().await.unwrap_err();
        store.fail(None);

        let clock = Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
        let (data, now) = (SessionData::new(), cloakroom::Clock::now(&*clock));
        for _ in 0..3 {
            let record = Record { data: &data, expire_date: now - TimeDelta::days(1), now };
            store.create(&SessionKey::random().unwrap(), record).await.unwrap();
        }
        let cleaner = spawn_cleaner(Arc::clone(&store) as _, clock, Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(61)).await;
        cleaner.stop().await;

        let series = series(&prometheus);
        let expected = [
            ("cloakroom_loads_total{outcome=\"found\"}", 3.0 + 2.0 + 2.0 + 2.0),
            ("cloakroom_loads_total{outcome=\"absent\"}", 1.0),
            ("cloakroom_saves_total{outcome=\"created\"}", 1.0),
            ("cloakroom_saves_total{outcome=\"updated\"}", 4.0),
            ("cloakroom_saves_total{outcome=\"rotated\"}", 1.0),
            ("cloakroom_saves_total{outcome=\"changed\"}", 3.0),
            ("cloakroom_saves_total{outcome=\"missing\"}", 1.0),
            ("cloakroom_conflicts_total{result=\"merged\"}", 2.0),
            ("cloakroom_conflicts_total{result=\"refused\"}", 1.0),
            ("cloakroom_retries_total", 2.0),
            ("cloakroom_interrupted_total", 1.0),
            ("cloakroom_deletes_total{outcome=\"deleted\"}", 1.0),
            ("cloakroom_cleared_total", 3.0),
            (r#"cloakroom_store_errors_total{operation="save",store="watched",kind="unavailable"}"#, 1.0),
            ("cloakroom_store_duration_seconds_count{operation=\"load\"}", 10.0),
            ("cloakroom_store_duration_seconds_count{operation=\"save\"}", 11.0),
            ("cloakroom_store_duration_seconds_count{operation=\"delete\"}", 1.0),
            ("cloakroom_store_duration_seconds_count{operation=\"exists\"}", 1.0),
        ];
        for (name, value) in expected {
            assert_eq!(series.get(name), Some(&value), "{name} in {series:#?}");
        }
        let text = prometheus.render();
        assert!(text.contains("# HELP cloakroom_retries_total"), "{text}");
        assert!(!text.contains(session_key.as_str()), "no key is a label");
        println!("metrics: {0} of {0} series count what happened", expected.len());
    }

    /// The example as it is, in front of a store that answers in its own time, on this thread.
    #[tokio::test]
    async fn the_example_serves_them_to_prometheus() {
        let recorder = example::prometheus().unwrap().build_recorder();
        let _guard = ::metrics::set_default_local_recorder(&recorder);
        telemetry::describe();
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteStore::at(folder.path().join("db.sqlite3"));
        options.create_table(Default::default()).await.unwrap();
        let sqlite = options.open(&Settings::new("the site's SECRET_KEY")).await.unwrap();
        let store = WatchedStore::new(Arc::new(sqlite));
        let site = example::site(Arc::clone(&store) as _, recorder.handle()).unwrap();
        let ask = async |path: &str, cookie: &str| {
            let request = axum::http::Request::get(path).header("cookie", cookie);
            let request = request.body(axum::body::Body::empty()).unwrap();
            let response = site.clone().oneshot(request).await.unwrap();
            let cookie =
                response.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (cookie, String::from_utf8(body.to_vec()).unwrap())
        };
        let (cookie, _) = ask("/", "").await;
        let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
        // Those that save at the same time share writes.
        let hold = Hold::before("update");
        store.hold(Some(hold.clone()));
        let all = futures_util::future::join_all((0..20).map(|_| ask("/", &cookie)));
        // Each has loaded the session when the first one writes.
        let first_waits = async {
            hold.reached().await;
            store.hold(None);
            hold.release();
        };
        let (all, ()) = tokio::join!(all, first_waits);
        assert!(all.iter().all(|(_, body)| body.starts_with("visit")), "{all:?}");
        store.fail(Some(("load", StoreErrorKind::Unavailable)));
        ask("/", &cookie).await;
        store.fail(None);
        let (data, now) = (SessionData::new(), chrono::Utc::now());
        let record = Record { data: &data, expire_date: now - TimeDelta::days(1), now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
        // An interval of nothing: the first round is at once.
        let clock = Arc::new(cloakroom::SystemClock);
        let cleaner = spawn_cleaner(Arc::clone(&store) as _, clock, Duration::from_millis(1));
        tokio::time::timeout(Duration::from_secs(60), async {
            while !recorder.handle().render().contains("cloakroom_cleared_total 1") {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .unwrap();
        cleaner.stop().await;

        let (_, text) = ask("/metrics", "").await;
        let value = |series: &str| -> f64 {
            let line =
                text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
            line.unwrap_or_else(|| panic!("no {series} in {text}"))
                .rsplit_once(' ')
                .unwrap()
                .1
                .parse()
                .unwrap()
        };
        let updates = value("cloakroom_saves_total{outcome=\"updated\"}");
        assert!((1.0..=10.0).contains(&updates), "{updates}");
        assert_eq!(value("cloakroom_saves_total{outcome=\"created\"}"), 1.0);
        assert_eq!(value("cloakroom_loads_total{outcome=\"found\"}"), 20.0);
        assert!(value("cloakroom_conflicts_total{result=\"merged\"}") >= 10.0);
        assert_eq!(
            value(r#"cloakroom_store_errors_total{operation="load",store="watched",kind="unavailable"}"#),
            1.0
        );
        let loads = value("cloakroom_store_duration_seconds_count{operation=\"load\"}");
        assert_eq!(loads, 20.0 + 1.0);
        let within = value("cloakroom_store_duration_seconds_bucket{operation=\"load\",le=\"+Inf\"}");
        assert_eq!(within, loads);
        assert_eq!(value("cloakroom_cleared_total"), 1.0);
    }
}
