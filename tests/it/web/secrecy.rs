//! What is logged, panics and is shown with `Debug` holds no session key, cookie, secret or value.

use std::process::Command;

use cloakroom::{LazySession, StoreErrorKind};

use super::*;

/// Says to the test program run once more that it is to make the requests and log all it can.
const CHILD: &str = "CLOAKROOM_TEST_SECRECY";
const SECRET: &str = "the-secret-that-nobody-logs";
const VALUE: &str = "the-value-that-nobody-logs";
/// Stands before a key that the child made, on a line that the parent takes out.
const KEY: &str = "made the key ";

/// Every log of every crate at the finest level, to standard error.
struct ToStandardError;

impl log::Log for ToStandardError {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("log {} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

#[test]
fn no_log_panic_or_debug_output_shows_a_key_a_cookie_a_secret_or_a_value() {
    for (adapter, test) in [("axum", "requests::axum"), ("actix", "requests::actix")] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("web::secrecy::{test}"), "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{adapter}: {text}");
        let (told, said): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(KEY));
        let keys: Vec<&str> = told.iter().map(|line| &line[KEY.len()..]).collect();
        assert!(keys.len() >= 6, "{adapter}: {keys:?}");
        for needed in ["session not saved", "session error", "on purpose", "Debug of", "TRACE"] {
            assert!(said.iter().any(|line| line.contains(needed)), "{adapter}: nothing of {needed:?}");
        }
        for line in &said {
            for hidden in keys.iter().copied().chain([SECRET, VALUE]) {
                assert!(!line.contains(hidden), "{adapter}: {line}");
            }
        }
        println!("t45: {} lines of {adapter}'s output show none of {} keys", said.len(), keys.len());
    }
}

on_every_adapter!(requests);

/// All that a site does with sessions, with all that can be logged.
async fn requests(on: Adapter) {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    log::set_logger(&ToStandardError).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();

    let shown = both(|lazy: LazySession, session: Session, _| async move {
        session.set("value", VALUE)?;
        eprintln!("Debug of {lazy:?} {session:?} {:?} {:?}", session.settings(), session.session_key());
        visit(session).await
    });
    let panics = loaded(|session, call| async move {
        session.set("value", VALUE)?;
        assert_ne!(call.path, "/panics", "on purpose: {session:?}");
        Ok(())
    });
    let wrong = loaded(|session, _| async move { session.get::<Vec<u8>>("value").map(drop) });
    let (page, gate) = slow(|session| session.set("value", VALUE));
    let folder = tempfile::tempdir().unwrap();
    let options = cloakroom::SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    for hardened in [false, true] {
        let settings = if hardened { Settings::hardened(SECRET) } else { Settings::new(SECRET) };
        eprintln!("Debug of {settings:?}");
        let name = settings.cookie_name.clone();
        let store = Arc::new(options.clone().open(&settings).await.unwrap());
        let pages = pages().page("/shown", shown.clone()).page("/panics", panics.clone());
        let pages = pages.page("/wrong", wrong.clone()).page("/slow", page.clone());
        let site = Site::start_on(on, store, pages, settings).await;
        let mut browser = Browser::new();
        for path in ["/visit", "/shown", "/login", "/shown", "/read", "/wrong"] {
            browser.get(site.url(path)).await;
            println!("\n{KEY}{}", browser.cookies[&name]);
        }
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let cookie = format!("{name}={}", browser.cookies[&name]);
        assert!(client.get(site.url("/panics")).header("cookie", &cookie).send().await.is_err());
        let twice = format!("{cookie}; {cookie}");
        client.get(site.url("/shown")).header("cookie", &twice).send().await.unwrap();
        for (path, call) in [("/read", "load"), ("/visit", "update"), ("/logout", "delete")] {
            site.store.fail(Some((call, StoreErrorKind::Unavailable)));
            assert_eq!(browser.get(site.url(path)).await.status, 503);
            site.store.fail(None);
        }
        assert_eq!(slow_while(&site, &gate, &mut browser.clone(), "/logout").await.status, 400);
    }
}
