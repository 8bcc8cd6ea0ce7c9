//! A secret that does not fit the stored sessions is found at the start.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::{Record, create_user_session_table};
use cloakroom::{
    SecretCheck, SessionData, SessionKey, SessionStore, Settings, StoreErrorKind, UserSessions, connect,
    connect_or_create,
};

use crate::support::log::Log;
use crate::support::stores::shared_by_processes;

const RIGHT: &str = "the site's secret";
const WRONG: &str = "another secret";

fn settings(secret: &str, check: SecretCheck) -> Settings {
    let mut settings = Settings::new(secret);
    settings.secret_check = check;
    settings
}

async fn unchecked(url: &str, secret: &str) -> Arc<dyn SessionStore> {
    connect(url, &settings(secret, SecretCheck::Skip)).await.unwrap()
}

async fn fill(store: &dyn SessionStore, sessions: usize, expire_date: DateTime<Utc>) {
    let (data, now) = (SessionData::from_json(r#"{"visits":1}"#).unwrap(), Utc::now());
    for _ in 0..sessions {
        let record = Record { data: &data, expire_date, now };
        store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    }
}

fn in_an_hour() -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(1)
}

/// The file store keeps no expiry but the session's own.
fn is_signed(name: &str) -> bool {
    !matches!(name, "redis" | "redis cluster" | "memcached" | "filecache")
}

#[tokio::test(flavor = "current_thread")]
async fn on_every_store_most_sessions_of_another_secret_are_an_error_that_says_what_to_compare() {
    let folder = tempfile::tempdir().unwrap();
    for (name, url) in shared_by_processes(folder.path()).await {
        fill(&*unchecked(&url, RIGHT).await, 9, in_an_hour()).await;
        fill(&*unchecked(&url, WRONG).await, 1, in_an_hour()).await;
        connect(&url, &Settings::new(RIGHT)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let opened = connect(&url, &Settings::new(WRONG)).await;
        if !is_signed(name) {
            assert!(opened.is_ok(), "{name} signs nothing");
            continue;
        }
        let error = opened.expect_err(name);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{name}: {error}");
        let error = error.to_string();
        for text in
            ["9 of 10 stored sessions were not signed", "SECRET_KEY_FALLBACKS", "CLOAKROOM_SECRET_CHECK=warn"]
        {
            assert!(error.contains(text), "{name}: {error}");
        }
        assert!(!error.contains(WRONG) && !error.contains(RIGHT), "{name}: {error}");

        let log = Log::start();
        connect(&url, &settings(WRONG, SecretCheck::Warn)).await.unwrap();
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{name}: {lines:#?}");
        assert!(lines[0].contains("not_genuine=9") && lines[0].contains("genuine=1"), "{name}: {lines:#?}");
        unchecked(&url, WRONG).await;
        assert_eq!(log.lines().len(), 1, "{name}: nothing is read");
        let mut rotated = Settings::new(WRONG);
        rotated.secret_key_fallbacks.push(RIGHT.into());
        connect(&url, &rotated).await.unwrap_or_else(|error| panic!("{name}, with a fallback: {error}"));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn few_expired_and_unreadable_sessions_do_not_keep_a_service_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("db.sqlite3").display());
    cloakroom::store::create_table(&url, Default::default()).await.unwrap();
    let store = unchecked(&url, RIGHT).await;
    let log = Log::start();
    connect(&url, &Settings::new(WRONG)).await.unwrap();
    assert_eq!(log.lines(), [""; 0], "of an empty store there is nothing to tell");

    fill(&*store, 250, Utc::now() - TimeDelta::hours(1)).await;
    connect(&url, &Settings::new(WRONG)).await.unwrap();
    assert_eq!(log.lines(), [""; 0], "expired sessions may be of any secret");

    fill(&*store, 2, in_an_hour()).await;
    connect(&url, &Settings::new(WRONG)).await.unwrap();
    assert!(log.lines().len() == 1 && log.lines()[0].contains("WARN"), "{:#?}", log.lines());

    fill(&*store, 1, in_an_hour()).await;
    let error = connect(&url, &Settings::new(WRONG)).await.unwrap_err().to_string();
    assert!(error.contains("3 of 3"), "found behind 250 expired ones: {error}");
    assert!(connect_or_create(&url, &Settings::new(WRONG)).await.is_err());
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let live = "expire_date > datetime('now')";
    // Genuine, and no session.
    let salt = "django.contrib.sessions.SessionStore";
    let list = cloakroom::signing::dumps(&[1], &WRONG.into(), salt, Utc::now()).unwrap();
    let sql = format!("UPDATE django_session SET session_data = ?1 WHERE {live}");
    connection.execute(&sql, [list]).unwrap();
    connect(&url, &Settings::new(WRONG)).await.unwrap();

    fill(&*unchecked(&url, WRONG).await, 3, in_an_hour()).await;
    fill(&*store, 3, in_an_hour()).await;
    connect(&url, &Settings::new(WRONG)).await.unwrap();
    fill(&*store, 1, in_an_hour()).await;
    assert!(connect(&url, &Settings::new(WRONG)).await.is_err(), "4 of 7 are most");
}

#[tokio::test(flavor = "current_thread")]
async fn an_index_of_user_sessions_is_not_opened_with_a_wrong_secret_either() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("db.sqlite3").display());
    cloakroom::store::create_table(&url, Default::default()).await.unwrap();
    create_user_session_table(&url).await.unwrap();
    fill(&*unchecked(&url, RIGHT).await, 3, in_an_hour()).await;
    UserSessions::connect(&url, &Settings::new(RIGHT)).await.unwrap();
    assert!(UserSessions::connect(&url, &Settings::new(WRONG)).await.is_err());
    let files = tempfile::tempdir_in(folder.path()).unwrap();
    let files = format!("file:{}", files.path().display());
    fill(&*unchecked(&files, WRONG).await, 3, in_an_hour()).await;
    let error = UserSessions::connect_with_index(&files, &url, &Settings::new(RIGHT)).await.unwrap_err();
    assert_eq!(error.store(), "file", "{error}");
}

/// The text that a service prints when `main` returns such an error.
#[tokio::test(flavor = "current_thread")]
async fn what_keeps_a_service_from_starting_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    rusqlite::Connection::open(path("db.sqlite3")).unwrap().execute("CREATE TABLE other (a)", []).unwrap();
    let settings = Settings::new(RIGHT);
    #[cfg(feature = "postgres")]
    let postgres = crate::support::servers::postgres::database().await;
    let cases = [
        ("db.sqlite3".to_owned(), "write `sqlite:db.sqlite3`"),
        (String::new(), "sqlite:PATH"),
        ("sqlite3:db.sqlite3".to_owned(), "sqlite:PATH"),
        (
            format!("sqlite:{}", path("db.sqlite3")),
            "`cloakroom create-table` or Django's `manage.py migrate`",
        ),
        (format!("sqlite:{}", path("absent.sqlite3")), "absent.sqlite3"),
        (format!("sqlite:{}", path("absent/db.sqlite3")), "absent"),
        (format!("file:{}", path("absent")), "absent"),
        #[cfg(feature = "postgres")]
        (postgres.clone(), "`cloakroom create-table` or Django's `manage.py migrate`"),
    ];
    for (url, text) in cases {
        let error = connect(&url, &settings).await.unwrap_err();
        let printed = format!("Error: {:?}", Box::<dyn std::error::Error>::from(error));
        println!("{printed}");
        assert!(printed.contains(text), "{url}: {printed}");
        assert!(!printed.contains("StoreError {") && !printed.contains("NotPresent"), "{url}: {printed}");
    }
    let password = connect("postgre://ada:hunter2@localhost/site", &settings).await.unwrap_err();
    assert!(!format!("{password:?}").contains("hunter2"), "{password:?}");
}

/// Has this process say what its environment makes of the settings.
const ASKED: &str = "CLOAKROOM_TEST_SETTINGS";

#[test]
fn settings_from_the_environment() {
    if std::env::var_os(ASKED).is_some() {
        let settings = Settings::from_env().map(|settings| (settings.secret_key, settings.secret_check));
        // As Rust prints what `main` returns.
        match settings {
            Ok((secret, check)) => println!("\nsays: {} {check:?}", secret == RIGHT.into()),
            Err(error) => println!("\nsays: {:?}", Box::<dyn std::error::Error>::from(error)),
        }
        return;
    }
    for (variables, expected) in [
        (
            &[] as &[(&str, &str)],
            "setting `secret_key`: the environment variable SECRET_KEY is not set; set it to the",
        ),
        (
            &[("SECRET_KEY", "")],
            "setting `secret_key`: the environment variable SECRET_KEY is empty; set it to the",
        ),
        (&[("SECRET_KEY", RIGHT)], "true Refuse"),
        (&[("SECRET_KEY", RIGHT), ("CLOAKROOM_SECRET_CHECK", "refuse")], "true Refuse"),
        (&[("SECRET_KEY", RIGHT), ("CLOAKROOM_SECRET_CHECK", "warn")], "true Warn"),
        (&[("SECRET_KEY", RIGHT), ("CLOAKROOM_SECRET_CHECK", "skip")], "true Skip"),
        (
            &[("SECRET_KEY", RIGHT), ("CLOAKROOM_SECRET_CHECK", "WARN")],
            "setting `secret_check`: the environment",
        ),
    ] {
        let ran = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wrong_secret::settings_from_the_environment", "--nocapture"])
            .env_remove("SECRET_KEY")
            .env_remove("CLOAKROOM_SECRET_CHECK")
            .envs(variables.iter().copied())
            .env(ASKED, "1")
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let said = said.lines().find_map(|line| line.strip_prefix("says: ")).unwrap();
        assert!(said.starts_with(expected) && !said.contains(RIGHT), "{variables:?}: {said}");
    }
}
