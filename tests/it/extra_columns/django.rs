//! A real Django with the documented session model, on each database: either side finds an account's sessions by
//! its column, whoever wrote them.

use std::collections::BTreeSet;

use cloakroom::Settings;
use cloakroom::store::table::{ColumnValue, Columns};
use serde_json::{Value, json};

use super::database::Database;
use super::{TABLE, account_id};
use crate::support::axum_site::{Users, start_on};
use crate::support::browser::Browser;
use crate::support::django::credentials;
use crate::support::django::{Django, Project, SECRET};

impl Database {
    /// Django's `DATABASES["default"]`.
    fn for_django(&self) -> Value {
        match self {
            Database::Sqlite(path, _) => json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": path }),
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => crate::support::back_end::postgres_database(url),
            #[cfg(feature = "mysql")]
            Database::Mariadb(url) => crate::support::back_end::mariadb_database(url),
        }
    }
}

async fn accounts_are_found_by_either_side(database: Database) {
    let mut project = Project::on(Django::V5_2, database.for_django());
    project.variables.push(("SITE_SESSION_ENGINE", "custom_sessions.engine".to_owned()));
    project.migrate();
    let django = project.serve();
    let user = Browser::new().get(format!("{}/account", django.address)).await.json();
    let account: i64 = user["id"].as_str().unwrap().parse().unwrap();
    let store = database.open(TABLE, Columns::default(), vec![account_id()]).await.unwrap();
    let users = Users::One(serde_json::from_value(user).unwrap());
    let axum = start_on(store, users, Settings::new(SECRET)).await;
    let mut exchanges = 0;
    let mut filtered = async |account: Value| -> BTreeSet<String> {
        exchanges += 1;
        let url = format!("{}/sessions_of?account={account}", django.address);
        let keys = Browser::new().get(url).await.json();
        serde_json::from_value(keys["session_keys"].clone()).unwrap()
    };
    let key_of = |browser: &Browser| browser.session_key().unwrap().to_owned();

    // Each side writes anonymous sessions, logs one in, and changes one of the other.
    let mut browsers = Vec::new();
    for site in [&django.address, &axum] {
        for login in [&django.address, &axum] {
            let mut browser = Browser::new();
            browser.post(format!("{site}/put"), r#"{"cart":[1]}"#).await.ok();
            let anonymous = key_of(&browser);
            assert!(filtered(json!(null)).await.contains(&anonymous), "nobody's session by {site}");
            browser.post(format!("{login}/login"), credentials()).await.ok();
            let of_account = filtered(json!(account)).await;
            assert!(of_account.contains(&key_of(&browser)), "logged in by {login}");
            assert!(!of_account.contains(&anonymous));
            let other = if login == &axum { &django.address } else { &axum };
            browser.post(format!("{other}/put"), r#"{"more":2}"#).await.ok();
            assert!(filtered(json!(account)).await.contains(&key_of(&browser)), "then changed by {other}");
            browsers.push(browser);
        }
    }
    let all: BTreeSet<String> = browsers.iter().map(key_of).collect();
    assert_eq!(filtered(json!(account)).await, all);
    // What the column says, asked for without Django.
    let sql = format!("SELECT account_id FROM {TABLE} WHERE session_key = ");
    for key in &all {
        let session_key = cloakroom::SessionKey::from_trusted(key.clone());
        assert_eq!(database.value(&sql, &session_key).await, ColumnValue::Integer(account));
    }
    for (browser, site) in browsers.iter_mut().zip([&axum, &django.address, &axum, &django.address]) {
        browser.get(format!("{site}/logout")).await.ok();
    }
    assert!(filtered(json!(account)).await.is_empty(), "all logged out");
    println!("live Django 5.2 with a session model of its own: {exchanges} filtered lists right");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    accounts_are_found_by_either_side(Database::sqlite().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    accounts_are_found_by_either_side(Database::postgres().await).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    accounts_are_found_by_either_side(Database::mariadb().await).await;
}
