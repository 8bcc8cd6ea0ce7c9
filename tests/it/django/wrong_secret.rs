//! A wrong SECRET_KEY reads as no session, says so once, and costs nobody a session.

use super::*;
use crate::log::Log;

#[tokio::test]
async fn a_wrong_secret_overwrites_nothing_and_is_logged_once() {
    let sites = Sites::start().await;
    let wrong = axum_site::start(&sites.database, Settings::new("another secret")).await;
    let mut browser = Browser::new();
    browser.post(sites.django("/login"), credentials()).await.ok();
    browser.post(sites.django("/put"), r#"{"cart":[1,2]}"#).await.ok();
    let mut of_django = browser.clone();
    let key = browser.session_key().unwrap().to_owned();
    let row = sites.row(&key).unwrap();

    let log = Log::start();
    assert_eq!(whoami(&mut browser, format!("{wrong}/whoami")).await, (None, "{}".into()));
    assert_eq!(browser.session_key(), Some(key.as_str()), "looking at a page loses no cookie");
    let warnings = log.lines();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("SECRET_KEY"), "{warnings:#?}");

    browser.post(format!("{wrong}/put"), r#"{"cart":[3]}"#).await.ok();
    assert_eq!(sites.row(&key), Some(row.clone()), "byte for byte");
    assert_ne!(browser.session_key(), Some(key.as_str()));
    assert_eq!(whoami(&mut browser, format!("{wrong}/whoami")).await, (None, r#"{"cart":[3]}"#.into()));

    browser = of_django.clone();
    for path in ["/cycle_key", "/logout"] {
        browser.get(format!("{wrong}{path}")).await.ok();
        assert_eq!(sites.row(&key), Some(row.clone()), "{path} leaves the row as it is");
    }
    let told = log.lines().concat();
    assert!(!told.contains(&key) && !told.contains(SECRET), "neither keys nor secrets are logged");

    assert_eq!(
        whoami(&mut of_django, sites.django("/whoami")).await,
        (Some(USERNAME.into()), r#"{"cart":[1,2]}"#.into())
    );
}
