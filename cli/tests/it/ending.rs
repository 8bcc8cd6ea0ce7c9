//! Ending sessions: by public id, on trial, behind a cache from which Django answers, and when it is stopped.

use std::process::{Command, Stdio};

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionData, SessionKey, SessionStore};
use serde_json::json;

use crate::support::command::{Ran, SECRET, cloakroom, run, with_secret};
use crate::support::project::Project;
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

/// A session under a key whose public id begins with these digits.
async fn with_id(store: &dyn SessionStore, digits: &str) -> SessionKey {
    let key = (0_u64..)
        .map(|number| SessionKey::from_trusted(format!("searched{number:024}")))
        .find(|key| key.public_id().starts_with(digits))
        .unwrap();
    let (data, now) = (SessionData::from_json(r#"{"_auth_user_id":"7"}"#).unwrap(), Utc::now());
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.create(&key, record).await.unwrap();
    key
}

async fn is_named_by_its_id(url: &str) {
    let store = open(url).await;
    let cloakroom = |arguments: &[&str]| with_secret(&[arguments, &["--store", url]].concat(), "");
    let (one, other) = (with_id(&*store, "abc").await, create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await);
    let (of_one, of_other) = (one.public_id(), other.public_id());
    for digits in [&of_one[..], &of_one[..5], &of_one.to_uppercase()] {
        let shown = cloakroom(&["show", "--id", digits, "--json"]);
        assert_eq!((shown.code, shown.json()["id"].as_str()), (0, Some(&of_one[..])), "{digits}: {shown:?}");
        assert_eq!(cloakroom(&["list", "--id", digits]).lines().len(), 1);
    }
    for command in ["delete", "revoke"] {
        let dry = cloakroom(&[command, "--id", &of_one, "--dry-run"]);
        assert!(dry.code == 0 && dry.stdout.starts_with("1 found, 0 not there; nothing was "), "{dry:?}");
        let short = cloakroom(&[command, "--id", "abc"]);
        assert!(short.code == 2 && short.stderr.contains("such as 3f9a0c61b2d4"), "{short:?}");
        let none = cloakroom(&[command, "--id", "0123456789ab"]);
        assert!(none.code == 1 && none.stderr.contains("no session has the id 0123456789ab"), "{none:?}");
        assert_eq!(cloakroom(&["count", "--json"]).json()["live"], 2);
    }
    let deleted = cloakroom(&["delete", "--id", &of_one[..6], "--json"]);
    assert_eq!((deleted.code, deleted.json()), (0, json!({ "deleted": 1, "found": 1, "missing": 0 })));
    let both = cloakroom(&["revoke", "--id", &of_other, "--id", &of_one]);
    assert_eq!((both.code, both.stdout.as_str()), (1, "1 revoked, 1 not there\n"), "{both:?}");
    assert!(!format!("{both:?}{deleted:?}").contains(other.as_str()));
    assert_eq!(cloakroom(&["count", "--json"]).json()["live"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_named_by_its_id_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    is_named_by_its_id(&sqlite(folder.path())).await;
    is_named_by_its_id(&postgres().await).await;
    is_named_by_its_id(&servers::redis::url().await).await;
    let files = tempfile::tempdir().unwrap();
    is_named_by_its_id(&format!("file:{}", files.path().display())).await;
}

/// Digits that two sessions share end neither.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_two_sessions_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    let one = with_id(&*store, "5eed").await;
    // The next of them.
    let other = (1_u64..)
        .map(|number| SessionKey::from_trusted(format!("anothers{number:024}")))
        .find(|key| key.public_id().starts_with("5eed"))
        .unwrap();
    let (data, now) = (SessionData::from_json(r#"{"_auth_user_id":"7"}"#).unwrap(), Utc::now());
    store.create(&other, Record { data: &data, expire_date: now + TimeDelta::hours(1), now }).await.unwrap();
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    assert_eq!(with_secret(&["user-sessions", "rebuild", "--store", &url], "").code, 0);
    for command in [&["delete"][..], &["revoke"], &["user-sessions", "revoke", "--user", "7"]] {
        let refused = with_secret(&[command, &["--id", "5eed", "--store", &url]].concat(), "");
        assert_eq!(refused.code, 2, "{refused:?}");
        for id in [one.public_id(), other.public_id()] {
            assert!(refused.stderr.contains(&id), "{refused:?}");
        }
    }
    // What the index shows is what the others take.
    let listed = with_secret(&["user-sessions", "list", "--user", "7", "--store", &url], "");
    assert!(listed.stdout.contains(&format!("{}  ", one.public_id())), "{listed:?}");
    let dry = with_secret(&["user-sessions", "revoke", "--user", "7", "--dry-run", "--store", &url], "");
    assert_eq!((dry.code, dry.stdout.as_str()), (0, "2 sessions of user 7 found; nothing was revoked\n"));
    let id = one.public_id();
    let revoked = with_secret(&["user-sessions", "revoke", "--user", "7", "--id", &id, "--store", &url], "");
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert_eq!(with_secret(&["list", "--store", &url], "").lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    let key = create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    create(&*store, "{}", -5).await;
    let input = format!("{}\nnosuchkey0\n", key.as_str());
    let deleted = with_secret(&["delete", "-", "--dry-run", "--store", &url], &input);
    assert_eq!((deleted.code, deleted.stdout.as_str()), (1, "1 found, 1 not there; nothing was deleted\n"));
    let cleared = with_secret(&["clearsessions", "--dry-run", "--store", &url], "");
    assert_eq!(
        (cleared.code, cleared.stdout.as_str()),
        (0, "1 expired session found; nothing was removed\n")
    );
    let count = with_secret(&["count", "--json", "--store", &url], "").json();
    assert_eq!(count, json!({ "live": 1, "expired": 1, "unreadable": 0 }));
}

/// A Django site with `cached_db`, and a user who is logged in there: the key, and who Django thinks it is.
struct CachedSite {
    project: Project,
    url: String,
    key: String,
}

impl CachedSite {
    async fn new(cache: &str) -> CachedSite {
        let (settings, address) = match cache {
            "redis" => {
                let url = servers::redis::url().await;
                let (address, query) = url.split_once('?').unwrap();
                let prefix = query.strip_prefix("key_prefix=").unwrap().to_owned();
                let backend = "django.core.cache.backends.redis.RedisCache";
                (format!("'BACKEND': '{backend}', 'LOCATION': '{address}', 'KEY_PREFIX': '{prefix}'"), url)
            }
            _ => {
                let url = servers::memcached::url().await;
                let (address, query) = url.split_once('?').unwrap();
                let address = address.strip_prefix("memcached://").unwrap();
                let prefix = query.strip_prefix("key_prefix=").unwrap().to_owned();
                let backend = "django.core.cache.backends.memcached.PyMemcacheCache";
                (format!("'BACKEND': '{backend}', 'LOCATION': '{address}', 'KEY_PREFIX': '{prefix}'"), url)
            }
        };
        let project = Project::new(&format!(
            "SESSION_ENGINE = 'django.contrib.sessions.backends.cached_db'\nCACHES = {{'default': {{{settings}}}}}"
        ));
        let key = project.create_session();
        let url = format!("cached_db:sqlite:{}|{address}", project.path().join("db.sqlite3").display());
        CachedSite { project, url, key }
    }

    /// The user whom Django's next request finds.
    fn user(&self) -> String {
        let code = format!(
            "from importlib import import_module\nfrom django.conf import settings\n\
             print('user', import_module(settings.SESSION_ENGINE).SessionStore({:?}).get('_auth_user_id'))",
            self.key
        );
        let printed = self.project.manage(&["shell", "-c", &code]);
        printed.lines().find_map(|line| line.strip_prefix("user ")).unwrap().to_owned()
    }

    fn sql(&self, sql: &str) {
        let path = self.project.path().join("db.sqlite3");
        assert_eq!(rusqlite::Connection::open(path).unwrap().execute(sql, ()).unwrap(), 1, "{sql}");
    }

    fn cloakroom(&self, arguments: &[&str], input: &str) -> Ran {
        let secret = ["--secret-key", crate::support::project::SECRET, "--store", &self.url];
        run(cloakroom(&[arguments, &secret].concat()), input.as_bytes())
    }
}

/// Django answers from its cache without asking the database. After each of these commands it finds nobody.
#[tokio::test(flavor = "multi_thread")]
async fn django_answers_no_more_from_its_cache() {
    for cache in ["redis", "memcached"] {
        let site = CachedSite::new(cache).await;
        assert_eq!(site.user(), "7");
        let revoked = site.cloakroom(&["revoke", "--user", "7"], "");
        assert_eq!((revoked.code, site.user().as_str()), (0, "None"), "{cache}: {revoked:?}");

        let site = CachedSite::new(cache).await;
        let deleted = site.cloakroom(&["delete", "-"], &site.key);
        assert_eq!((deleted.code, site.user().as_str()), (0, "None"), "{cache}: {deleted:?}");

        // An administrator who ends everything by SQL, and the nightly cleaning.
        let site = CachedSite::new(cache).await;
        site.sql("UPDATE django_session SET expire_date = '2001-01-01 00:00:00'");
        assert_eq!(site.user(), "7", "Django has not noticed");
        let cleared = site.cloakroom(&["clearsessions"], "");
        assert_eq!(cleared.stdout, "1 expired session removed\n", "{cache}: {cleared:?}");
        assert_eq!((cleared.code, site.user().as_str()), (0, "None"), "{cache}: {cleared:?}");

        // The row is gone, by SQL or since a request under way put its copy back after a logout.
        let site = CachedSite::new(cache).await;
        site.sql("DELETE FROM django_session");
        assert_eq!(site.user(), "7", "Django has not noticed");
        let dry = site.cloakroom(&["revoke", "--user", "7", "--dry-run"], "");
        assert_eq!(dry.stdout, "1 session of user 7 found\n", "{cache}: {dry:?}");
        let revoked = site.cloakroom(&["revoke", "--user", "7"], "");
        assert_eq!(revoked.stdout, "1 session of user 7 revoked\n", "{cache}: {revoked:?}");
        assert_eq!((revoked.code, site.user().as_str()), (0, "None"), "{cache}: {revoked:?}");
    }
}

/// Given the database alone, the command cannot know what is in front of it, and says what that would leave.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_alone_is_told_to_be_alone() {
    let site = CachedSite::new("redis").await;
    let database = site.url.strip_prefix("cached_db:").unwrap().rsplit_once('|').unwrap().0;
    let secret = ["--secret-key", crate::support::project::SECRET];
    let revoke = ["revoke", "--user", "7", "--store", database];
    let revoked = run(cloakroom(&[&revoke[..], &secret].concat()), b"");
    assert!(revoked.code == 0 && revoked.stderr.contains("cached_db:DATABASE|CACHE"), "{revoked:?}");
    assert_eq!(site.user(), "7", "as it says");
    // Nothing was ended: nothing is left.
    let nothing = run(cloakroom(&[&revoke[..], &secret].concat()), b"");
    assert_eq!((nothing.code, nothing.stderr.as_str()), (0, ""), "{nothing:?}");
    // As it says, too.
    assert_eq!(site.cloakroom(&["revoke", "--user", "7"], "").code, 0);
    assert_eq!(site.user(), "None");
    let known = run(cloakroom(&["revoke", "--user", "7", "--from-django", &site.project.manage_py()]), b"");
    assert_eq!((known.code, known.stderr.as_str()), (0, ""), "the project knows its engine: {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_gets_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    for (command, code) in [("count", 0), ("list", 0)] {
        let ran = with_secret(&[command, "--store", &url], "");
        assert!(ran.code == code && ran.stderr.contains("if there should be sessions: "), "{ran:?}");
    }
}

/// Ctrl-C in the middle of each: the summary says what was done, and the exit code is 130.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_until_ctrl_c_is_told() {
    for command in [&["revoke", "--user", "7"][..], &["clearsessions"]] {
        let folder = tempfile::tempdir().unwrap();
        let url = sqlite(folder.path());
        let text = with_secret(&["encode"], "{\"_auth_user_id\":\"7\"}\n").stdout;
        let expiry = if command[0] == "revoke" { "2099-01-01" } else { "2001-01-01" };
        let fill = format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 200000) \
             INSERT INTO django_session SELECT printf('sessionkey%022d', n), ?1, '{expiry} 00:00:00' FROM n"
        );
        let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
        connection.execute(&fill, [text.trim()]).unwrap();
        let left = || -> i64 {
            connection.query_row("SELECT count(*) FROM django_session", [], |row| row.get(0)).unwrap()
        };
        let mut running = cloakroom(&[command, &["--store", &url]].concat());
        running.env("CLOAKROOM_SECRET_KEY", SECRET).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = running.spawn().unwrap();
        while left() == 200_000 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{told}");
        let gone = 200_000 - left();
        assert!(gone > 0 && gone < 200_000, "{command:?}: stopped in the middle, after {gone}");
        assert!(
            told.starts_with(&format!("{gone} ")) && told.contains("before it ended in the middle"),
            "{gone}: {told}"
        );
    }
}
