//! `--from-django`, on real Django projects.

use serde_json::json;

use crate::support::command::{Ran, cloakroom, run};
use crate::support::project::{Project, SECRET, python};
use crate::support::servers;

fn from_django(project: &Project, arguments: &[&str]) -> Ran {
    let ran = run(cloakroom(&[arguments, &["--from-django", &project.manage_py()]].concat()), b"");
    assert!(!format!("{ran:?}").contains(SECRET), "the secret is shown");
    ran
}

/// Django makes a session; the command finds it, and ends it for Django.
fn is_read_and_ended(settings: &str, url: &str) {
    project_is_read_and_ended(&Project::new(settings), url);
}

fn project_is_read_and_ended(project: &Project, url: &str) {
    let key = project.create_session();
    let printed = from_django(project, &["settings", "--json"]).json();
    assert_eq!(printed["store"], url.replace("PROJECT", project.path().to_str().unwrap()));
    let listed = from_django(project, &["list", "--keys", "--json", "--user", "7"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert_eq!(listed.json()["session_key"], json!(key), "{listed:?}");
    let checked = from_django(project, &["check", "--json"]);
    assert_eq!((checked.code, &checked.json()["live"]), (0, &json!(1)), "{checked:?}");
    assert_eq!(from_django(project, &["revoke", "--user", "7"]).code, 0);
    assert_eq!(user_in_django(project, &key), "None");
}

/// The user whom Django finds logged in in this session.
fn user_in_django(project: &Project, key: &str) -> String {
    let code = format!(
        "from importlib import import_module\nfrom django.conf import settings\n\
         print('user', import_module(settings.SESSION_ENGINE).SessionStore({key:?}).get('_auth_user_id'))"
    );
    let printed = project.manage(&["shell", "-c", &code]);
    printed.lines().find_map(|line| line.strip_prefix("user ")).unwrap().to_owned()
}

#[test]
fn a_new_project_on_sqlite() {
    is_read_and_ended("", "sqlite:PROJECT/db.sqlite3");
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let settings =
        format!("SESSION_ENGINE = 'django.contrib.sessions.backends.file'\nSESSION_FILE_PATH = '{path}'");
    is_read_and_ended(&settings, &format!("file:{path}"));
}

fn file_based_cache(engine: &str, folder: &std::path::Path, rest: &str) -> String {
    format!(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'\n\
         CACHES = {{'default': {{'BACKEND': 'django.core.cache.backends.filebased.FileBasedCache',\n\
         'LOCATION': '{}', {rest}}}}}",
        folder.display()
    )
}

/// A file's name tells no session key: a session is found by its key alone, and all else is an error that says so.
#[test]
fn sessions_in_a_file_based_cache() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("50% cache");
    let project = Project::new(&file_based_cache("cache", &place, "'KEY_PREFIX': 'a&b', 'VERSION': 2"));
    let key = project.create_session();
    let url = format!("filecache:{}?key_prefix=a%26b&version=2", place.to_str().unwrap().replace('%', "%25"));
    let printed = from_django(&project, &["settings", "--json"]);
    assert_eq!(printed.json()["store"], url);
    let warned = "more than 300; set CACHES['default']['OPTIONS']['MAX_ENTRIES']";
    assert!(printed.stderr.contains(warned), "{printed:?}");
    assert_eq!(from_django(&project, &["ping"]).code, 0);
    let shown = from_django(&project, &["show", "--json", &key]);
    assert_eq!((shown.code, &shown.json()["user"]), (0, &json!("7")), "{shown:?}");

    let database = format!("sqlite:{}", project.path().join("db.sqlite3").display());
    let moving = format!("moving:{url}|{database}");
    for command in [
        &["list"][..],
        &["count"],
        &["check"],
        &["revoke", "--user", "7"],
        &["copy", "--to", &database],
        &["move", "--store", &moving],
    ] {
        let ran = from_django(&project, command);
        let reason = "sessions in Django's FileBasedCache cannot be listed or counted";
        assert!(ran.code == 1 && ran.stderr.contains(reason), "{command:?}: {ran:?}");
        assert!(!ran.stderr.contains(&key), "{command:?}: {ran:?}");
    }
    let cleared = from_django(&project, &["clearsessions"]);
    assert!(cleared.code == 0 && !cleared.stderr.contains("error"), "{cleared:?}");
    assert_eq!(from_django(&project, &["delete", &key]).code, 0);
    let gone = from_django(&project, &["show", &key]);
    assert!(gone.code == 1, "{gone:?}");
}

/// The copies in front of a database: rows are listed, and a copy is ended by its row's key.
#[test]
fn cached_db_on_a_file_based_cache() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::new(&file_based_cache("cached_db", folder.path(), "'KEY_PREFIX': 'a'"));
    let key = project.create_session();
    let place = folder.path().display();
    let url =
        format!("cached_db:sqlite:{}/db.sqlite3|filecache:{place}?key_prefix=a", project.path().display());
    let printed = from_django(&project, &["settings", "--json"]);
    assert_eq!(printed.json()["store"], url);
    assert!(!printed.stderr.contains("MAX_ENTRIES"), "the rows have all sessions: {printed:?}");
    let listed = from_django(&project, &["list", "--keys", "--json", "--user", "7"]);
    assert_eq!(listed.json()["session_key"], json!(key), "{listed:?}");
    assert_eq!(from_django(&project, &["check", "--json"]).code, 0);
    let copies = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(copies(), 1);
    // A copy whose row is gone cannot be found.
    let told = "the cache cannot list its copies";
    let tried = from_django(&project, &["revoke", "--user", "7", "--dry-run"]);
    assert!(tried.code == 3 && tried.stderr.contains(told), "{tried:?}");
    assert!(tried.stdout.contains("1 session of user 7 found"), "{tried:?}");
    assert_eq!((copies(), &*user_in_django(&project, &key)), (1, "7"));
    let revoked = from_django(&project, &["revoke", "--user", "7"]);
    assert!(revoked.code == 3 && revoked.stderr.contains(told), "{revoked:?}");
    assert!(revoked.stdout.contains("1 session of user 7 revoked"), "{revoked:?}");
    assert_eq!(user_in_django(&project, &key), "None");
    assert_eq!(from_django(&project, &["count"]).code, 0);
}

/// A class of the project's own is taken if it writes the same files.
#[test]
fn a_file_based_cache_of_the_projects_own() {
    let folder = tempfile::tempdir().unwrap();
    let settings = file_based_cache("cache", folder.path(), "");
    let settings =
        settings.replace("django.core.cache.backends.filebased.FileBasedCache", "mysite.caches.Ours");
    let project = Project::unmigrated(python(), &settings);
    let class =
        "from django.core.cache.backends.filebased import FileBasedCache\nclass Ours(FileBasedCache):\n";
    let module = project.path().join("mysite/caches.py");
    std::fs::write(&module, format!("{class}    def clear(self):\n        raise RuntimeError\n")).unwrap();
    let found = from_django(&project, &["settings", "--json"]);
    assert_eq!(found.json()["store"], format!("filecache:{}", folder.path().display()), "{found:?}");
    std::fs::write(&module, format!("{class}    cache_suffix = '.ours'\n")).unwrap();
    let refused = from_django(&project, &["settings", "--json"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("['BACKEND'] = mysite.caches.Ours"), "{refused:?}");
}

/// As with other caches, a `KEY_FUNCTION` that puts something before the key.
#[test]
fn a_file_based_cache_with_a_key_function() {
    let folder = tempfile::tempdir().unwrap();
    let function = "def make_key(key, key_prefix, version): return f'{key_prefix}|{version}|{key}'";
    let settings = file_based_cache("cache", folder.path(), "'KEY_PREFIX': 'a', 'KEY_FUNCTION': make_key");
    let project = Project::new(&format!("{function}\n{settings}"));
    let key = project.create_session();
    let shown = from_django(&project, &["show", "--json", &key]);
    assert_eq!((shown.code, &shown.json()["user"]), (0, &json!("7")), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let url = servers::postgres::database().await;
    let (_, place) = url.split_once('@').unwrap();
    let (host, name) = place.split_once('/').unwrap();
    let port = host.rsplit(':').next().unwrap();
    let (user, password) = (servers::postgres::USER, servers::postgres::PASSWORD);
    let settings = format!(
        "DATABASES = {{'default': {{'ENGINE': 'django.db.backends.postgresql', 'NAME': '{name}', 'USER': '{user}',\n\
         'PASSWORD': '{password}', 'HOST': '127.0.0.1', 'PORT': {port}}}}}"
    );
    let shown = format!("postgres://{user}:…@127.0.0.1:{port}/{name}");
    is_read_and_ended(&settings, &shown);
}

async fn redis_settings(engine: &str) -> (String, String) {
    let url = servers::redis::url().await;
    let (address, query) = url.split_once('?').unwrap();
    let prefix = query.strip_prefix("key_prefix=").unwrap();
    let settings = format!(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'\n\
         CACHES = {{'default': {{'BACKEND': 'django.core.cache.backends.redis.RedisCache', 'LOCATION': '{address}/0',\n\
         'KEY_PREFIX': '{prefix}'}}}}"
    );
    let shown = format!("redis://:…@{}/0?key_prefix={prefix}", address.rsplit('@').next().unwrap());
    (settings, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let (settings, url) = redis_settings("cache").await;
    is_read_and_ended(&settings, &url);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_a_key_function() {
    let (settings, url) = redis_settings("cache").await;
    let function =
        "CACHES['default']['KEY_FUNCTION'] = lambda key, prefix, version: f'{prefix}-{version}-{key}'";
    let url = url.replace("key_prefix", "entry_prefix") + "-1-";
    is_read_and_ended(&format!("{settings}\n{function}"), &url);
    let reversed = "CACHES['default']['KEY_FUNCTION'] = lambda key, prefix, version: prefix + key[::-1]";
    let listed = from_django(&Project::new(&format!("{settings}\n{reversed}")), &["list"]);
    assert!(listed.code == 2 && listed.stderr.contains("CACHES['default']['KEY_FUNCTION']"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db() {
    let (settings, url) = redis_settings("cached_db").await;
    let url = format!("cached_db:sqlite:PROJECT/db.sqlite3|{url}");
    is_read_and_ended(&settings, &url);
}

#[test]
fn signed_cookies() {
    let project = Project::new("SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'");
    assert_eq!(from_django(&project, &["settings", "--json"]).json()["store"], "cookie:");
    let listed = from_django(&project, &["list"]);
    assert!(listed.code == 2 && listed.stderr.contains("in the browsers"), "{listed:?}");
    // The secret and the class serve `decode`.
    let cookie = project.create_session();
    let salt = "django.contrib.sessions.backends.signed_cookies";
    let decode = ["decode", "--key-salt", salt, "--from-django", &project.manage_py()];
    assert_eq!(run(cloakroom(&decode), cookie.as_bytes()).stdout, "{\"_auth_user_id\":\"7\"}\n");
}

/// What the project's Django writes, and not what a setting says that its release leaves alone.
#[test]
fn the_text_format_is_what_django_writes() {
    let project = Project::new("");
    let module = "import base64\nfrom django.contrib.sessions.backends.db import SessionStore as Base\n\
        class SessionStore(Base):\n\
        \x20   def encode(self, data):  # As Django 3.1 and 3.2 with SHA-1, and all before.\n\
        \x20       return base64.b64encode(b'hash:' + self.serializer().dumps(data)).decode('ascii')\n";
    std::fs::write(project.path().join("mysite/old_sessions.py"), module).unwrap();
    let path = project.path().join("mysite/settings.py");
    let before = std::fs::read_to_string(&path).unwrap();
    for (settings, format) in [
        ("", "modern"),
        ("DEFAULT_HASHING_ALGORITHM = 'sha1'", "modern"),
        (
            "DEFAULT_HASHING_ALGORITHM = 'sha1'\nSESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'",
            "modern",
        ),
        ("SESSION_ENGINE = 'mysite.old_sessions'", "legacy"),
    ] {
        std::fs::write(&path, format!("{before}\n{settings}\n")).unwrap();
        let found = from_django(&project, &["settings", "--json"]);
        assert_eq!((found.code, &found.json()["text_format"]), (0, &json!(format)), "{settings}: {found:?}");
    }
}

#[test]
fn every_setting_arrives() {
    let project = Project::new(
        "SECRET_KEY_FALLBACKS = ['one', 'two']\nSESSION_COOKIE_NAME = 'ticket'\nSESSION_COOKIE_AGE = 3600\n\
         SESSION_COOKIE_SAMESITE = 'Strict'\nSESSION_COOKIE_SECURE = True\nSESSION_COOKIE_DOMAIN = 'example.com'\n\
         SESSION_SAVE_EVERY_REQUEST = True\nUSE_TZ = False\nTIME_ZONE = 'America/Chicago'\n",
    );
    let mut found = from_django(&project, &["settings", "--json"]).json();
    found["store"].take();
    assert_eq!(
        found,
        json!({ "store": null, "cookie_name": "ticket", "cookie_age": 3600, "naive_time_zone": "America/Chicago",
            "session_class": "SessionStore", "secret_key": "given", "secret_key_fallbacks": 2,
            "cookie_domain": "example.com", "cookie_path": "/", "cookie_secure": true, "cookie_httponly": true,
            "cookie_samesite": "Strict", "save_every_request": true, "expire_at_browser_close": false,
            "text_format": "modern" })
    );
    // What the project says is before the environment, and options are before the project.
    let mut command =
        cloakroom(&["settings", "--json", "--cookie-name", "mine", "--from-django", &project.manage_py()]);
    command.env("CLOAKROOM_STORE", "sqlite:/elsewhere").env("CLOAKROOM_COOKIE_NAME", "another");
    let found = run(command, b"").json();
    assert!(
        found["store"].as_str().unwrap().ends_with("/db.sqlite3") && found["cookie_name"] == "mine",
        "{found}"
    );
}

#[test]
fn what_has_no_counterpart_is_named() {
    let project = Project::new("");
    for (settings, part) in [
        (
            "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'",
            "each process of Django keeps its own sessions",
        ),
        (
            "DATABASES['default']['TIME_ZONE'] = 'Europe/Paris'",
            "DATABASES['default']['TIME_ZONE'] = Europe/Paris",
        ),
        (
            "DATABASES['default']['OPTIONS'] = {'factory': object}",
            "DATABASES['default']['OPTIONS']['factory']",
        ),
        ("SESSION_SERIALIZER = 'django.core.signing.Signer'", "SESSION_SERIALIZER"),
        ("DATABASES['default']['ENGINE'] = 'django.db.backends.dummy'", "DATABASES['default']['ENGINE']"),
    ] {
        let path = project.path().join("mysite/settings.py");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{before}\n{settings}\n")).unwrap();
        let ran = from_django(&project, &["list"]);
        assert!(ran.code == 2 && ran.stderr.contains(part), "{part}: {ran:?}");
        std::fs::write(path, before).unwrap();
    }
    let path = project.path().join("mysite/settings.py");
    std::fs::write(path, "import no_such_module").unwrap();
    let broken = from_django(&project, &["list"]);
    assert!(broken.code == 1 && broken.stderr.contains("No module named 'no_such_module'"), "{broken:?}");
    let missing = run(cloakroom(&["list", "--from-django", "/nowhere/manage.py"]), b"");
    assert!(missing.code == 2 && missing.stderr.contains("/nowhere/manage.py"), "{missing:?}");
}

/// The connection that Django would really use decides, not how the settings read.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_that_django_made_counts() {
    let (settings, shown) = redis_settings("cache").await;
    // redis-py: the URL's database is before that of OPTIONS.
    is_read_and_ended(&format!("{settings}\nCACHES['default']['OPTIONS'] = {{'db': 1}}"), &shown);
    // django-redis: the pool's arguments are before the URL's only where it has none.
    let django_redis =
        settings.replace("django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache");
    let of_pool = "CACHES['default']['LOCATION'] = CACHES['default']['LOCATION'].removesuffix('/0')\n\
        CACHES['default']['OPTIONS'] = {'CONNECTION_POOL_KWARGS': {'db': 2, 'socket_timeout': 3}}";
    is_read_and_ended(&format!("{django_redis}\n{of_pool}"), &shown.replace("/0?", "/2?"));
    // The engine `cache` asks no serializer of sessions: the cache pickles.
    is_read_and_ended(&format!("{settings}\nSESSION_SERIALIZER = 'pickle.Pickler'"), &shown);
}

/// Of a `cached_db` on the caches of a new project, the rows suffice.
#[test]
fn copies_in_djangos_memory_are_told() {
    let engine = "SESSION_ENGINE = 'django.contrib.sessions.backends.cached_db'";
    is_read_and_ended(engine, "sqlite:PROJECT/db.sqlite3");
    let listed = from_django(&Project::new(engine), &["list"]);
    assert!(listed.code == 0 && listed.stderr.contains("(LocMemCache)"), "{listed:?}");
    let empty = "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.dummy.DummyCache'}}";
    let listed = from_django(&Project::new(&format!("{engine}\n{empty}")), &["list"]);
    assert!(listed.code == 0 && !listed.stderr.contains("LocMem"), "{listed:?}");
}

/// The settings of a `DatabaseCache` under the sessions.
const DATABASE_CACHE: &str = "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'\n\
    CACHES = {'default': {'BACKEND': 'django.core.cache.backends.db.DatabaseCache', 'LOCATION': 'my_cache_table',\n\
    'KEY_PREFIX': 'shop', 'VERSION': 3}}";

#[test]
fn database_cache() {
    let project = Project::new(DATABASE_CACHE);
    project.manage(&["createcachetable"]);
    let url = "sqlite:PROJECT/db.sqlite3?cache_table=my_cache_table&key_prefix=shop&version=3";
    project_is_read_and_ended(&project, url);
    let counted = from_django(&project, &["count"]);
    let told = "more than 300; set CACHES['default']['OPTIONS']['MAX_ENTRIES']";
    assert!(counted.code == 0 && counted.stderr.contains(told), "{counted:?}");

    let path = project.path().join("mysite/settings.py");
    let settings = std::fs::read_to_string(&path).unwrap();
    let with = |more: &str| std::fs::write(&path, format!("{settings}\n{more}\n")).unwrap();
    with("CACHES['default']['OPTIONS'] = {'MAX_ENTRIES': 100_000}");
    let counted = from_django(&project, &["count"]);
    assert!(counted.code == 0 && !counted.stderr.contains("MAX_ENTRIES"), "{counted:?}");
    with("SESSION_ENGINE = 'django.contrib.sessions.backends.cached_db'");
    let url = "cached_db:sqlite:PROJECT/db.sqlite3|sqlite:PROJECT/db.sqlite3?cache_table=my_cache_table&key_prefix=shop&version=3";
    project_is_read_and_ended(&project, url);
    let module = "from django.core.cache.backends import db\nclass Cache(db.DatabaseCache):\n    pass\n";
    std::fs::write(project.path().join("mysite/caches.py"), module).unwrap();
    with("CACHES['default']['BACKEND'] = 'mysite.caches.Cache'");
    let other = from_django(&project, &["count"]);
    let told = "CACHES['default']['BACKEND'] = mysite.caches.Cache";
    assert!(other.code == 2 && other.stderr.contains(told), "{other:?}");
    with("CACHES['default']['BACKEND'] = 'django.core.cache.backends.dummy.DummyCache'");
    let empty = from_django(&project, &["count"]);
    assert!(empty.code == 2 && empty.stderr.contains("it keeps nothing"), "{empty:?}");
}

/// Each command on the sessions of a whole store, beside other entries in the table.
#[test]
fn every_command_on_a_database_cache() {
    let project = Project::new(DATABASE_CACHE);
    project.manage(&["createcachetable"]);
    let code = "from django.core.cache import cache\n[cache.set(name, name) for name in ('page', 'other')]";
    project.manage(&["shell", "-c", code]);
    let keys: Vec<String> = (0..3).map(|_| project.create_session()).collect();
    let is_there = || {
        let code =
            "from django.core.cache import cache\nprint('others', cache.get('page'), cache.get('other'))";
        assert!(project.manage(&["shell", "-c", code]).contains("others page other"));
    };
    assert_eq!(from_django(&project, &["count", "--json"]).json()["live"], 3);
    let listed = from_django(&project, &["list", "--keys"]);
    assert!(
        keys.iter().all(|key| listed.stdout.contains(key)) && listed.stdout.lines().count() == 3,
        "{listed:?}"
    );
    let shown = from_django(&project, &["show", &keys[0], "--json"]);
    assert!(shown.code == 0 && shown.stdout.contains("\"cache\""), "{shown:?}");
    let checked = from_django(&project, &["check", "--json"]);
    assert_eq!((checked.code, &checked.json()["live"]), (0, &json!(3)), "{checked:?}");
    let created = from_django(&project, &["create-table", "--user-sessions"]);
    assert_eq!(created.code, 0, "{created:?}");
    let rebuilt = from_django(&project, &["user-sessions", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let of_user = from_django(&project, &["user-sessions", "list", "--user", "7"]);
    assert!(of_user.code == 0 && of_user.stdout.lines().count() >= 3, "{of_user:?}");
    // Into a session table, and back into another cache table.
    let store = from_django(&project, &["settings", "--json"]).json()["store"].as_str().unwrap().to_owned();
    let file = project.path().join("copied.sqlite3");
    let copies = format!("sqlite:{}", file.display());
    let table = format!("{copies}?cache_table=my_cache_table");
    for (url, name) in [(&copies, "django_session"), (&table, "my_cache_table")] {
        let created = run(cloakroom(&["create-table", "--store", url]), b"");
        assert!(
            created.code == 0 && created.stdout.contains(&format!("made the table {name}\n")),
            "{created:?}"
        );
    }
    let both = format!("cached_db:{copies}|{copies}?cache_table=copies");
    let created = run(cloakroom(&["create-table", "--store", &both]), b"");
    let told = "made the table django_session and the cache table copies";
    assert!(created.code == 0 && created.stdout.contains(told), "{created:?}");
    assert_eq!(run(cloakroom(&["count", "--store", &both]), b"").code, 0);
    for [from, to] in [[&store, &copies], [&copies, &table]] {
        let copied = run(cloakroom(&["copy", "--from", from, "--to", to, "--secret-key", SECRET]), b"");
        assert_eq!(copied.code, 0, "{copied:?}");
    }
    let listed = run(cloakroom(&["list", "--keys", "--store", &table]), b"");
    assert!(keys.iter().all(|key| listed.stdout.contains(key)), "{listed:?}");
    assert_eq!(from_django(&project, &["delete", &keys[0]]).code, 0);
    assert_eq!(from_django(&project, &["clearsessions"]).code, 0);
    is_there();
    assert_eq!(from_django(&project, &["revoke", "--user", "7"]).code, 0);
    assert_eq!(from_django(&project, &["count", "--json"]).json()["live"], 0);
    is_there();
}

/// A session model of the project's own has a table of its own.
#[test]
fn a_model_of_the_projects_own_on_sqlite() {
    let project = Project::new("");
    let files = [
        (
            "models.py",
            "from django.contrib.sessions.base_session import AbstractBaseSession\n\
             class ShopSession(AbstractBaseSession):\n    class Meta:\n        db_table = 'shop_session'\n",
        ),
        (
            "sessions.py",
            "from django.contrib.sessions.backends import db\nclass SessionStore(db.SessionStore):\n    @classmethod\n\
             \x20   def get_model_class(cls):\n        from mysite.models import ShopSession\n        return ShopSession\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(project.path().join("mysite").join(name), text).unwrap();
    }
    let path = project.path().join("mysite/settings.py");
    let before = std::fs::read_to_string(&path).unwrap();
    let settings = "INSTALLED_APPS = [*INSTALLED_APPS, 'mysite']\nSESSION_ENGINE = 'mysite.sessions'\n";
    std::fs::write(&path, format!("{before}\n{settings}")).unwrap();
    project.manage(&["migrate", "--run-syncdb"]);
    let key = project.create_session();
    let url = format!("sqlite:{}?table=shop_session", project.path().join("db.sqlite3").display());
    assert_eq!(from_django(&project, &["settings", "--json"]).json()["store"], url);
    let counted = run(cloakroom(&["count", "--json", "--store", &url]), b"");
    assert_eq!((counted.code, &counted.json()["live"]), (0, &json!(1)), "{counted:?}");
    let listed = from_django(&project, &["list", "--keys", "--json"]);
    assert_eq!(listed.json()["session_key"], json!(key), "{listed:?}");
}

/// Connections of every kind, as the objects of Django and of the drivers have them. None is opened.
#[test]
fn connections_become_urls() {
    let project = Project::unmigrated(python(), "");
    let path = project.path().join("mysite/settings.py");
    let before = std::fs::read_to_string(&path).unwrap();
    let cache = |cache: &str| {
        format!(
            "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'\nCACHES = {{'default': {{{cache}}}}}"
        )
    };
    let django =
        |rest: &str| cache(&format!("'BACKEND': 'django.core.cache.backends.redis.RedisCache', {rest}"));
    let django_redis = |rest: &str| cache(&format!("'BACKEND': 'django_redis.cache.RedisCache', {rest}"));
    let memcached = |rest: &str| {
        cache(&format!("'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache', {rest}"))
    };
    let postgres = |rest: &str| {
        format!(
            "DATABASES = {{'default': {{'ENGINE': 'django.db.backends.postgresql', 'NAME': 'site', {rest}}}}}"
        )
    };
    let cases = [
        (django("'LOCATION': ['redis://a', 'redis://b:6380'], 'VERSION': 2"), "redis://a:6379?version=2"),
        (
            django(
                "'LOCATION': 'rediss://a:6380/1?ssl_ca_certs=/srv/ca.pem', 'OPTIONS': {'ssl_cert_reqs': None}",
            ),
            "rediss://a:6380/1?ssl_ca_certs=%2Fsrv%2Fca.pem",
        ),
        (
            django(
                "'LOCATION': 'rediss://a', 'OPTIONS': {'ssl_cert_reqs': 'none', 'ssl_check_hostname': False}",
            ),
            "rediss://a:6379?ssl_cert_reqs=none&ssl_check_hostname=false",
        ),
        (django("'LOCATION': 'unix:///run/redis.sock?db=3'"), "unix:///run/redis.sock?db=3"),
        (
            django_redis(
                "'LOCATION': 'redis://a/1', 'OPTIONS': {'SERIALIZER': 'django_redis.serializers.json.JSONSerializer'}",
            ),
            "redis://a:6379/1?serializer=json",
        ),
        (
            django_redis(
                "'LOCATION': 'redis://primary/3', 'OPTIONS': {'CLIENT_CLASS': 'django_redis.client.SentinelClient',\n\
                 'SENTINELS': [('a', 26379), ('b', 26380)], 'SENTINEL_KWARGS': {'password': 'hunter2'}, 'PASSWORD': 'p@ss',\n\
                 'CONNECTION_POOL_CLASS': 'redis.sentinel.SentinelConnectionPool',\n\
                 'CONNECTION_FACTORY': 'django_redis.pool.SentinelConnectionFactory'}",
            ),
            "redis+sentinel://:…@a:26379,b:26380/primary/3?sentinel_password=…",
        ),
        (
            django_redis(
                "'LOCATION': ['redis://a:7000/0', 'redis://b:7001/0'], 'KEY_PREFIX': 's',\n\
                 'OPTIONS': {'REDIS_CLIENT_CLASS': 'redis.cluster.RedisCluster', 'PASSWORD': 'p'}",
            ),
            "redis+cluster://:…@a:7000,b:7001/0?key_prefix=s",
        ),
        (
            postgres("'HOST': 'a', 'USER': 'ann', 'PASSWORD': 'p', 'OPTIONS': {'sslmode': 'require'}")
                + "\n"
                + &cache(
                    "'BACKEND': 'django.core.cache.backends.db.DatabaseCache', 'LOCATION': 'shop\".\"cache',\n\
                     'KEY_FUNCTION': lambda key, prefix, version: 'k-' + key",
                ),
            "postgres://ann:…@a:5432/site?schema=shop&cache_table=cache&entry_prefix=k-&sslmode=require",
        ),
        (memcached("'LOCATION': 'a:11211;b:11212'"), "memcached://a:11211,b:11212"),
        (
            postgres(
                "'HOST': 'a,b', 'PORT': '1,2', 'USER': 'ann', 'PASSWORD': 'p',\n\
                 'OPTIONS': {'sslmode': 'verify-full', 'sslrootcert': 'system', 'pool': False}",
            ),
            "postgres://ann:…@/site?sslmode=verify-full&sslrootcert=system&host=a%2Cb&port=1%2C2",
        ),
    ];
    for (settings, url) in cases {
        std::fs::write(&path, format!("{before}\n{settings}\n")).unwrap();
        let found = from_django(&project, &["settings", "--json"]);
        assert_eq!(found.code, 0, "{settings}: {found:?}");
        assert_eq!(found.json()["store"], url, "{settings}");
    }
    // libpq reads them too.
    std::fs::write(&path, format!("{before}\n{}\n", postgres("'HOST': 'a'"))).unwrap();
    let mut command = cloakroom(&["settings", "--json", "--from-django", &project.manage_py()]);
    command.env("PGSSLMODE", "require").env("PGUSER", "ann");
    assert_eq!(run(command, b"").json()["store"], "postgres://ann@a:5432/site?sslmode=require");
    for (settings, named) in [
        (
            django_redis(
                "'LOCATION': 'redis://a', 'OPTIONS': {'CLIENT_CLASS': 'django_redis.client.HerdClient'}",
            ),
            "CLIENT_CLASS",
        ),
        (postgres("'HOST': 'a', 'OPTIONS': {'service': 'site'}"), "service"),
        (postgres("'HOST': 'a', 'OPTIONS': {'assume_role': 'other'}"), "assume_role"),
    ] {
        std::fs::write(&path, format!("{before}\n{settings}\n")).unwrap();
        let refused = from_django(&project, &["list"]);
        assert!(
            refused.code == 2 && refused.stderr.contains(&format!("['OPTIONS']['{named}']")),
            "{refused:?}"
        );
    }
}
