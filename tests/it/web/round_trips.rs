//! What each kind of request costs the store, and the server behind it by its own count.

use cloakroom::LazySession;

use super::*;

on_every_adapter!(
    each_kind_of_request_makes_these_calls_and_no_others,
    saving_every_request_costs_one_update_more,
    a_request_that_lost_the_race_loads_and_saves_once_more,
);
#[cfg(all(feature = "postgres", feature = "redis"))]
on_every_adapter!(postgres_counts_the_same, redis_counts_the_same);

async fn each_kind_of_request_makes_these_calls_and_no_others(on: Adapter) {
    let twice = |lazy: LazySession, _, _| async move { visit(lazy.load().await?).await };
    let saved = |session: Session, _| async move {
        session.set("visits", 1)?;
        session.save().await
    };
    let clear = |session: Session, _| async move {
        session.clear();
        Ok(())
    };
    let more = pages()
        .page("/lazy", lazy(|_, _| async { Ok(()) }))
        .page("/twice", both(twice))
        .page("/saved", loaded(saved))
        .page("/clear", loaded(clear))
        .page("/cycle_key", loaded(|session, _| async move { session.cycle_key() }));
    let site = Site::start(on, more).await;

    let known: [(&str, &[&str]); 9] = [
        ("/untouched", &[]),
        ("/lazy", &[]),
        ("/read", &["load"]),
        ("/visit", &["load", "update"]),
        ("/twice", &["load", "update"]),
        ("/saved", &["load", "update"]),
        ("/clear", &["load", "update"]),
        ("/login", &["load", "rotate"]),
        ("/logout", &["load", "delete"]),
    ];
    for (path, calls) in known {
        let mut browser = site.visitor().await;
        browser.get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} with a session");
    }

    let new: [(&str, &[&str]); 9] = [
        ("/untouched", &[]),
        ("/lazy", &[]),
        ("/read", &[]),
        ("/visit", &["create"]),
        ("/twice", &["create"]),
        ("/saved", &["create"]),
        ("/cycle_key", &["create"]),
        ("/login", &["create"]),
        ("/logout", &[]),
    ];
    for (path, calls) in new {
        Browser::new().get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} without a session");
    }

    let unknown: [(&str, &[&str]); 5] = [
        ("/untouched", &[]),
        ("/read", &["load"]),
        ("/visit", &["load", "create"]),
        ("/login", &["load", "create"]),
        ("/logout", &["load"]),
    ];
    for (path, calls) in unknown {
        let mut browser = Browser::with_session("unknown0unknown0unknown0unknown0");
        browser.get(site.url(path)).await.ok();
        assert_eq!(site.store.calls(), calls, "{path} with an unknown key");
        assert_ne!(
            browser.session_key(),
            Some("unknown0unknown0unknown0unknown0").filter(|_| path != "/untouched")
        );
    }
    println!(
        "{0} of {0} kinds of request cost the store what they should",
        known.len() + new.len() + unknown.len()
    );
}

async fn saving_every_request_costs_one_update_more(on: Adapter) {
    let mut settings = Settings::new("secret");
    settings.save_every_request = true;
    let site = Site::start_with(on, pages(), settings).await;
    let mut browser = site.visitor().await;
    for path in ["/untouched", "/read", "/visit"] {
        let reply = browser.get(site.url(path)).await.ok();
        assert_eq!((site.store.calls(), reply.set_cookies().len()), (vec!["load", "update"], 1), "{path}");
    }
    Browser::new().get(site.url("/untouched")).await.ok();
    assert_eq!(site.store.calls(), [""; 0]);
}

async fn a_request_that_lost_the_race_loads_and_saves_once_more(on: Adapter) {
    let (page, gate) = slow(|session| session.set("slow", true));
    let site = Site::start(on, pages().page("/slow", page)).await;
    let mut browser = site.visitor().await;
    assert_eq!(slow_while(&site, &gate, &mut browser, "/visit").await.status, 200);
    assert_eq!(site.store.calls(), ["load", "load", "update", "update", "load", "update"]);
    assert_eq!(browser.get(site.url("/read")).await.body, "2", "the other change is there still");
}

/// By `pg_stat_statements`, which counts each execution.
#[cfg(all(feature = "postgres", feature = "redis"))]
async fn postgres_counts_the_same(on: Adapter) {
    use crate::support::servers::postgres;
    let server = postgres::start_counting().await;
    let url = postgres::url(&server, "postgres");
    let options = cloakroom::PostgresStore::options(&url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    // What asks is in another database.
    let client = postgres::client(&postgres::url(&server, "template1")).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let count = async || {
        let sql = "SELECT sum(calls)::bigint FROM pg_stat_statements JOIN pg_database ON oid = dbid \
                   WHERE datname = 'postgres'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    the_server_counts_the_same(on, "PostgreSQL", Arc::new(store), count).await;
}

/// By how often Redis read from a connection: commands that came together count once.
#[cfg(all(feature = "postgres", feature = "redis"))]
async fn redis_counts_the_same(on: Adapter) {
    use crate::support::servers::redis;
    let server = redis::start().await;
    let url = redis::url_of(&server);
    let store = cloakroom::RedisStore::open(&url, &Settings::new("secret")).await.unwrap();
    let mut client = redis::client(&url).await;
    let mut asked = 0;
    let count = async || {
        let info: String = ::redis::cmd("INFO").arg("stats").query_async(&mut client).await.unwrap();
        let reads = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        asked += 1;
        reads.unwrap().parse::<i64>().unwrap() - asked
    };
    the_server_counts_the_same(on, "Redis", Arc::new(store), count).await;
}

#[cfg(all(feature = "postgres", feature = "redis"))]
async fn the_server_counts_the_same(
    on: Adapter,
    server: &str,
    store: Arc<dyn SessionStore>,
    mut count: impl AsyncFnMut() -> i64,
) {
    let site = Site::start_on(on, Arc::clone(&store), pages(), Settings::new("secret")).await;
    // The first of each kind prepares its statement, or tells the server the script.
    for path in ["/read", "/visit", "/login", "/logout"] {
        site.visitor().await.get(site.url(path)).await.ok();
    }
    let cases = [("/untouched", 0), ("/read", 1), ("/visit", 2), ("/login", 2), ("/logout", 2), ("/new", 1)];
    for (path, round_trips) in cases {
        let (mut browser, path) = match path {
            "/new" => (Browser::new(), "/visit"),
            path => (site.visitor().await, path),
        };
        let before = count().await;
        browser.get(site.url(path)).await.ok();
        assert_eq!(count().await - before, round_trips, "{path}");
    }
    // What waits at the same time shares them.
    let keys: Vec<_> = (0..200).map(|_| cloakroom::SessionKey::random().unwrap()).collect();
    let before = count().await;
    let loads = keys.iter().map(|key| store.load(key, chrono::Utc::now()));
    assert!(futures_util::future::join_all(loads).await.into_iter().all(|loaded| loaded.unwrap().is_none()));
    let shared = count().await - before;
    assert!((1..=100).contains(&shared), "{shared} for 200 at once");
    println!(
        "{server} counts {} kinds of request as they should be, and {shared} for 200 reads at once",
        cases.len()
    );
}
