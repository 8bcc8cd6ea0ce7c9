//! A wrong SECRET_KEY reads as no session, says so once, and costs nobody a session.

use super::*;
use crate::support::log::Log;

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

/// Django with the right secret beside a Rust service with a wrong one, until that is restarted with the right one.
#[tokio::test(flavor = "multi_thread")]
async fn on_every_back_end_users_are_logged_in_again_when_the_right_secret_is_back() {
    use crate::support::back_end::BackEnd;
    use crate::support::django::Django;
    use cloakroom::{SecretCheck, connect};

    let folder = tempfile::tempdir().unwrap();
    let mut back_ends = vec![BackEnd::sqlite(folder.path()).await, BackEnd::files(folder.path()).await];
    #[cfg(feature = "postgres")]
    back_ends.push(BackEnd::postgres(folder.path()).await);
    for back_end in back_ends {
        let project = back_end.project(Django::V5_2, folder.path());
        let django = project.serve();
        let start = async |secret: &str| {
            let mut settings = Settings::new(secret);
            settings.secret_check = SecretCheck::Skip;
            let store = connect(&back_end.url, &settings).await.unwrap();
            // The user's row is Django's to read; here its id is enough.
            axum_site::start_on(store, axum_site::Users::One(axum_site::UserRow::nobody()), settings).await
        };
        let (wrong, right) = (start("another secret").await, start(SECRET).await);
        let mut people = [Browser::new(), Browser::new(), Browser::new()];
        for browser in &mut people {
            browser.post(format!("{}/login", django.address), credentials()).await.ok();
            browser.post(format!("{}/put", django.address), r#"{"cart":[1,2]}"#).await.ok();
            let before = browser.cookies.clone();
            for _ in 0..3 {
                let seen = whoami(browser, format!("{wrong}/whoami")).await;
                assert_eq!(seen, (None, "{}".into()), "{}", back_end.name);
                assert_eq!(browser.cookies, before, "{}", back_end.name);
            }
            let (_, session) = whoami(browser, format!("{right}/whoami")).await;
            assert_eq!(session, r#"{"cart":[1,2]}"#, "{}", back_end.name);
            let by_django = whoami(browser, format!("{}/whoami", django.address)).await;
            assert_eq!(by_django, (Some(USERNAME.into()), r#"{"cart":[1,2]}"#.into()), "{}", back_end.name);
        }
        let refused = connect(&back_end.url, &Settings::new("another secret")).await.unwrap_err();
        assert!(refused.to_string().contains("3 of 3 stored sessions"), "{}: {refused}", back_end.name);
        connect(&back_end.url, &Settings::new(SECRET)).await.unwrap();
    }
}
