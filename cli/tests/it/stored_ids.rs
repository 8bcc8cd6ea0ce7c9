//! Sites that put `user.pk` into the session have a number there, and Django serves the user all the same. Whom Django
//! serves, the commands find.

use serde_json::json;

use crate::support::command::{Ran, cloakroom, run, with_secret};
use crate::support::project::Project;
use crate::support::servers;
use crate::support::sessions::{create, open, sqlite};

/// What Django's own JSON carries, and what only a pickle does.
const IN_JSON: &str = "[7, '7', 7.0]";
const IN_PICKLES: &str = "[7, '7', 7.0, b'7', bytearray(b'7'), Decimal('7'), Decimal('7.0'), mark_safe('7')]";
/// What else is in the session: nothing, and for pickles an object that only Python can read.
const WITH_NOTHING: &str = "";
const WITH_AN_OBJECT: &str = "'share': Fraction(1, 3)";

/// Django makes a session for each of these ids, says that it serves user 7 in each, and the commands agree.
fn are_found_and_revoked(settings: &str, ids: &str, index: Option<&str>) {
    let project = Project::new(settings);
    let with = if ids == IN_PICKLES { WITH_AN_OBJECT } else { WITH_NOTHING };
    let code = format!(
        "from decimal import Decimal\n\
         from fractions import Fraction\n\
         from importlib import import_module\n\
         from django.conf import settings\n\
         from django.contrib import auth\n\
         from django.contrib.auth.models import User\n\
         from django.http import HttpRequest\n\
         from django.utils.safestring import mark_safe\n\
         user = User.objects.create_user('ada', password='pw', pk=7)\n\
         request = HttpRequest()\n\
         for id in {ids}:\n    \
             session = import_module(settings.SESSION_ENGINE).SessionStore()\n    \
             session.update({{'_auth_user_id': id, '_auth_user_hash': user.get_session_auth_hash(),\n        \
                 '_auth_user_backend': 'django.contrib.auth.backends.ModelBackend', {with}}})\n    \
             session.save()\n    \
             request.session = type(session)(session.session_key)\n    \
             print('serves', auth.get_user(request).pk)\n\
         session = import_module(settings.SESSION_ENGINE).SessionStore()\n\
         session['_auth_user_id'] = 77\n\
         session.save()"
    );
    let printed = project.manage(&["shell", "-c", &code]);
    let served = printed.lines().filter(|line| *line == "serves 7").count();
    assert!(served >= 3 && !printed.contains("None"), "{printed}");

    let ask = |arguments: &[&str]| -> Ran {
        run(cloakroom(&[arguments, &["--from-django", &project.manage_py()]].concat()), b"")
    };
    let listed = ask(&["list", "--user", "7", "--json"]);
    assert_eq!((listed.code, listed.lines().len()), (0, served), "{listed:?}");
    assert!(listed.lines().iter().all(|line| line.contains(r#""user":"7""#)), "{listed:?}");
    if let Some(index) = index {
        let with_index: &[&str] = if index.is_empty() { &[] } else { &["--index", index] };
        let rebuilt = ask(&[&["user-sessions", "rebuild", "--json"], with_index].concat());
        assert_eq!((rebuilt.code, &rebuilt.json()["logged_in"]), (0, &json!(served + 1)), "{rebuilt:?}");
        let listed = ask(&[&["user-sessions", "list", "--user", "7"], with_index].concat());
        assert_eq!((listed.code, listed.lines().len()), (0, served), "{listed:?}");
    }
    let revoked = ask(&["revoke", "--user", "7"]);
    assert_eq!((revoked.code, revoked.stdout), (0, format!("{served} sessions of user 7 revoked\n")));
    let left = ask(&["list", "--json"]);
    assert_eq!((left.lines().len(), &left.json()["user"]), (1, &json!("77")), "{left:?}");
    println!("{served} sessions in which Django serves user 7 were listed and revoked");
}

#[test]
fn ids_of_a_database_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    are_found_and_revoked("", IN_JSON, Some(&url));
}

#[test]
fn ids_of_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let settings =
        format!("SESSION_ENGINE = 'django.contrib.sessions.backends.file'\nSESSION_FILE_PATH = '{path}'");
    are_found_and_revoked(&settings, IN_JSON, None);
}

fn cache(engine: &str, cache: &str) -> String {
    format!(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'\nCACHES = {{'default': {{{cache}}}}}"
    )
}

async fn redis(backend: &str, options: &str) -> String {
    let url = servers::redis::url().await;
    let (address, prefix) = url.split_once("?key_prefix=").unwrap();
    format!(
        "'BACKEND': '{backend}', 'LOCATION': '{address}/0', 'KEY_PREFIX': '{prefix}', 'OPTIONS': {{{options}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_djangos_redis_cache_are_found() {
    let redis = redis("django.core.cache.backends.redis.RedisCache", "").await;
    are_found_and_revoked(&cache("cache", &redis), IN_PICKLES, Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_django_redis_in_json_are_found() {
    let json = "'SERIALIZER': 'django_redis.serializers.json.JSONSerializer'";
    let redis = redis("django_redis.cache.RedisCache", json).await;
    are_found_and_revoked(&cache("cache", &redis), IN_JSON, Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_django_redis_in_pickles_are_found() {
    let redis = redis("django_redis.cache.RedisCache", "").await;
    are_found_and_revoked(&cache("cache", &redis), IN_PICKLES, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_cached_db_are_found() {
    let redis = redis("django.core.cache.backends.redis.RedisCache", "").await;
    are_found_and_revoked(&cache("cached_db", &redis), IN_JSON, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_memcached_are_found() {
    let url = servers::memcached::url().await;
    let (address, prefix) = url.strip_prefix("memcached://").unwrap().split_once("?key_prefix=").unwrap();
    let memcached = "django.core.cache.backends.memcached.PyMemcacheCache";
    let entries = format!("'BACKEND': '{memcached}', 'LOCATION': '{address}', 'KEY_PREFIX': '{prefix}'");
    are_found_and_revoked(&cache("cache", &entries), IN_PICKLES, None);
}

/// Django's `int()` makes user 7 of any object that says so; here nobody calls it.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_only_python_can_read_is_told() {
    let redis = redis("django.core.cache.backends.redis.RedisCache", "").await;
    let project = Project::new(&cache("cache", &redis));
    let code = "from fractions import Fraction\n\
         from django.contrib.sessions.backends.cache import SessionStore\n\
         session = SessionStore()\n\
         session['_auth_user_id'] = Fraction(7)\n\
         session.save()";
    project.manage(&["shell", "-c", code]);
    for command in ["list", "revoke"] {
        let ran = run(cloakroom(&[command, "--user", "7", "--from-django", &project.manage_py()]), b"");
        assert!(ran.code == 3 && ran.stderr.contains("1 sessions could not be read"), "{ran:?}");
    }
}

/// Whose a session is that nobody can tell, the commands do not guess; they say that they may have missed it.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_missed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    let store = open(&url).await;
    create(&*store, r#"{"_auth_user_id":7}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":true}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":[7]}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":null}"#, 5).await;
    // What has expired is nobody's any more.
    create(&*store, r#"{"_auth_user_id":7.5}"#, -5).await;
    let missed = "2 sessions could not be read, and may be ";

    let listed = with_secret(&["list", "--user", "7", "--store", &url], "");
    assert_eq!((listed.code, listed.lines().len()), (3, 1), "{listed:?}");
    assert!(listed.stderr.contains(missed), "{listed:?}");
    let all = with_secret(&["list", "--store", &url], "");
    assert_eq!((all.code, all.stdout.matches("user ?").count()), (0, 2), "{all:?}");
    let all = with_secret(&["list", "--json", "--store", &url], "");
    assert_eq!(all.stdout.matches("cannot be read as a user's id").count(), 2, "{all:?}");

    let rebuilt = with_secret(&["user-sessions", "rebuild", "--json", "--store", &url], "");
    assert_eq!((rebuilt.code, &rebuilt.json()["unread"]), (3, &json!(2)), "{rebuilt:?}");
    assert!(rebuilt.stderr.contains(missed), "{rebuilt:?}");

    // By the index they were another's, or with another secret nobody's.
    let other = ["--secret-key", "another", "--store", &url];
    for command in [&["user-sessions", "list", "--user", "7"], &["user-sessions", "revoke", "--user", "7"]] {
        let ran = with_secret(&[command.as_slice(), &other].concat(), "");
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("1 sessions of this user in the index are not signed"), "{ran:?}");
    }
    let listed = with_secret(&[&["list", "--user", "7"], other.as_slice()].concat(), "");
    assert!(listed.code == 3 && listed.stderr.contains("4 sessions could not be read"), "{listed:?}");

    let revoked = with_secret(&["revoke", "--user", "7", "--json", "--store", &url], "");
    assert_eq!((revoked.code, revoked.json()), (3, json!({ "revoked": 1, "found": 1, "unread": 2 })));
    assert!(revoked.stderr.contains(missed), "{revoked:?}");
}

/// Django serves a session of any size; a service here has a limit, and the commands find it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_too_large_to_be_served_here_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    assert_eq!(with_secret(&["create-table", "--user-sessions", "--store", &url], "").code, 0);
    let mut settings = cloakroom::Settings::new(crate::support::command::SECRET);
    settings.max_decompressed_bytes = 64 << 20;
    let store = cloakroom::connect(&url, &settings).await.unwrap();
    let large = format!(r#"{{"_auth_user_id":7,"text":"{}"}}"#, "a".repeat(17_000_000));
    create(&*store, &large, 5).await;
    let checked = with_secret(&["check", "--json", "--store", &url], "");
    assert_eq!((checked.code, &checked.json()["unreadable"]), (3, &json!(1)), "a service cannot serve it");
    let listed = with_secret(&["list", "--user", "7", "--store", &url], "");
    assert_eq!((listed.code, listed.lines().len()), (0, 1), "{listed:?}");
    let rebuilt = with_secret(&["user-sessions", "rebuild", "--json", "--store", &url], "");
    assert_eq!((rebuilt.code, &rebuilt.json()["logged_in"]), (0, &json!(1)), "{rebuilt:?}");
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url], "");
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "1 session of user 7 revoked\n"), "{revoked:?}");
}
