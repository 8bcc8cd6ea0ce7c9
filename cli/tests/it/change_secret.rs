//! `change-secret`: afterwards Django knows everybody with the new secret alone, and nothing else has changed.

mod at_work;
mod bad_input;
mod project;
mod users;

use serde_json::{Value, json};

use self::project::{NEW, Site};
use crate::support::command::{Ran, cloakroom, run};
use crate::support::project::SECRET as OLD;
use crate::support::servers;
use crate::support::sessions::{create, open, open_with};

/// Runs `change-secret` as JSON; gives the exit code and the object, without what does not matter to most tests.
fn change(arguments: &[&str]) -> (i32, Value) {
    let ran = ran(&[&["change-secret", "--json"], arguments].concat());
    (ran.code, ran.json())
}

/// Runs the command, which never says a secret.
fn ran(arguments: &[&str]) -> Ran {
    let ran = run(cloakroom(arguments), b"");
    for secret in [OLD, NEW, servers::postgres::PASSWORD] {
        assert!(!format!("{ran:?}").contains(secret), "a secret is shown");
    }
    ran
}

/// Expects these numbers, and no others.
fn numbers(report: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| report.pointer(&format!("/{name}")).unwrap().as_u64().unwrap()).collect()
}

const DONE: [&str; 4] = ["signed_anew", "logins_renewed", "copies_renewed", "right_already"];

/// Two users and an anonymous visitor, a login that ends anyway, and one that has ended.
fn the_secret_is_changed(site: &Site, arguments: &[&str], signed: u64) {
    let keys = site.arrive();
    let [ann, bob, _, visitor] = &keys[..] else { panic!("{keys:?}") };
    // Not Carol's, which Django ends when it looks.
    let (_, before) = site.look(&[ann.clone(), bob.clone(), visitor.clone()]);
    assert_eq!(before, [json!([1, 1]), json!([2, 1]), json!([Value::Null, 1])]);
    site.secrets(NEW, &[OLD]);
    let expiry = site.expiries(&keys);

    let (code, found) = change(&[arguments, &["--dry-run"]].concat());
    assert_eq!(code, 3, "{found}");
    let right = u64::from(signed == 0);
    assert_eq!(numbers(&found, &DONE), [signed, 2, 0, right], "{found}");
    let until = found["until"].as_str().unwrap().to_owned();
    let checked = ran(&[&["check", "--json"], arguments].concat()).json();
    let old = &checked["secrets"][1];
    let all_of_old = json!([signed, 2, until, false]);
    assert_eq!(json!([old["sessions"], old["logins"], old["until"], old["may_go"]]), all_of_old, "{checked}");
    assert_eq!((&checked["secrets"][0]["sessions"], &checked["logins_ending"]), (&json!(0), &json!(1)));

    let (code, done) = change(arguments);
    assert_eq!((code, &done["old_secret_may_go"]), (0, &json!(true)), "{done}");
    assert_eq!(numbers(&done, &DONE), [signed, 2, 0, right], "{done}");
    assert_eq!(numbers(&done, &["ending/password_changed", "ending/user_gone"]), [1, 0], "{done}");
    assert_eq!((&done["until"], &done["passes"]), (&Value::Null, &json!(2)), "{done}");
    let again = change(arguments);
    assert_eq!((again.0, numbers(&again.1, &DONE)), (0, vec![0, 0, 0, 3]), "{again:?}");
    let checked = ran(&[&["check", "--json"], arguments].concat()).json();
    assert_eq!(
        (&checked["secrets"][1]["may_go"], &checked["secrets"][1]["until"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(checked["secrets"][0]["logins"], 2, "{checked}");

    // With the new secret alone everybody is known, under the same key, with what was in the session, for as long.
    site.secrets(NEW, &[]);
    assert_eq!(site.expiries(&keys), expiry);
    let (kept, after) = site.look(&keys);
    assert_eq!((&after[..2], &after[2], &after[3]), (&before[..2], &json!([Value::Null, 0]), &before[2]));
    assert_eq!(kept, [true, true, false, true], "the keys");
}

#[test]
fn django_knows_everybody_on_sqlite() {
    let site = Site::new("");
    the_secret_is_changed(&site, &site.project_options(), 4);
}

#[test]
fn django_knows_everybody_whose_sessions_are_files() {
    let site = Site::new(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.file'\nSESSION_FILE_PATH = BASE_DIR / 'sessions'\n\
         import os\nos.makedirs(SESSION_FILE_PATH, exist_ok=True)",
    );
    the_secret_is_changed(&site, &site.project_options(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn django_knows_everybody_on_postgres() {
    let url = servers::postgres::database().await;
    let site = Site::new(&project::postgres(&url));
    // Users beside the sessions, and the secrets as options.
    let [new, old] = site.secret_files();
    let options = ["--store", &url, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    the_secret_is_changed(&site, &options, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn django_knows_everybody_on_mariadb() {
    let url = servers::mariadb::database().await;
    let site = Site::new(&project::mariadb(&url));
    let [new, old] = site.secret_files();
    let options = ["--store", &url, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    the_secret_is_changed(&site, &options, 4);
}

/// Entries of a cache carry no signature: there the hash alone counts. The users are in the project's SQLite file.
#[tokio::test(flavor = "multi_thread")]
async fn django_knows_everybody_in_redis() {
    let url = servers::redis::url().await;
    let site = Site::new(&project::redis(&url, "cache"));
    let [new, old] = site.secret_files();
    let users = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    let options =
        ["--store", &url, "--users", &users, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    the_secret_is_changed(&site, &options, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn django_knows_everybody_with_cached_db() {
    let site = Site::new(&project::redis(&servers::redis::url().await, "cached_db"));
    the_secret_is_changed(&site, &site.project_options(), 4);
}

/// A copy that Django put into the cache, and that a command which was killed left behind: the row is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_before_is_replaced() {
    let url = servers::redis::url().await;
    let site = Site::new(&project::redis(&url, "cached_db"));
    let keys = site.arrive();
    site.secrets(NEW, &[OLD]);
    // As if the cache had not been written.
    let database = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    let [new, old] = site.secret_files();
    let secrets = ["--secret-key-file", new.as_str(), "--secret-key-fallback-file", &old];
    let alone = change(&[&["--store", database.as_str()][..], &secrets].concat());
    assert_eq!((alone.0, numbers(&alone.1, &DONE)), (0, vec![4, 2, 0, 0]), "{alone:?}");
    let both = change(&site.project_options());
    assert_eq!((both.0, numbers(&both.1, &DONE)), (0, vec![0, 0, 2, 1]), "{both:?}");
    site.secrets(NEW, &[]);
    assert_eq!(site.look(&keys).1[..2], [json!([1, 1]), json!([2, 1])]);
}

/// The page's former recipe: Django ends the logins.
#[tokio::test(flavor = "multi_thread")]
async fn signing_the_text_anew_is_not_enough() {
    let site = Site::new("");
    let keys = site.arrive();
    let [new, old] = site.secret_files();
    let url = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    let copied = ran(&[
        "copy",
        "--from",
        &url,
        "--to",
        &url,
        "--secret-key-file",
        &old,
        "--to-secret-key-file",
        &new,
        "--overwrite",
    ]);
    assert_eq!(copied.code, 0, "{copied:?}");
    site.secrets(NEW, &[]);
    let (kept, after) = site.look(&keys);
    assert_eq!(after[0], json!([Value::Null, 0]), "Django ends the login");
    assert_eq!(kept, [false, false, false, true], "and the visitor alone stays");
}

/// Older formats are right with the new secret, and so are those who did not log in.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_text_and_an_old_hash_are_renewed() {
    let site = Site::new("");
    site.arrive();
    let [new, old] = site.secret_files();
    let url = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    let mut settings = cloakroom::Settings::new(OLD);
    settings.text_format = cloakroom::TextFormat::Legacy;
    settings.auth_hash_algorithm = cloakroom::signing::Algorithm::Sha1;
    let hash = cloakroom::auth::session_auth_hash(&site.password(1), &settings);
    let store = cloakroom::connect(&url, &settings).await.unwrap();
    let json = json!({ "_auth_user_id": "1", "_auth_user_hash": hash, "_auth_user_backend": "x" });
    let key = create(&*store, &json.to_string(), 5).await;
    let options = ["--store", &url, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    let (code, done) = change(&options);
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![5, 3, 0, 0]), "{done}");
    let loaded = open_with(&url, NEW).await.load(&key, cloakroom::chrono::Utc::now()).await.unwrap().unwrap();
    let hash = loaded.data().unwrap().read::<String>("_auth_user_hash").unwrap().unwrap();
    let settings = cloakroom::Settings::new(NEW);
    assert!(cloakroom::auth::verify_session_auth_hash(&hash, &site.password(1), &settings));
    assert!(!open(&url).await.load(&key, cloakroom::chrono::Utc::now()).await.unwrap().unwrap().is_genuine());
}
