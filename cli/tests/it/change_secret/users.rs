//! Where the users come from: a model of the project's own, a table of another name, and none at all.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::project::{NEW, Site};
use super::{DONE, change, numbers, ran};
use crate::support::command::cloakroom;
use crate::support::project::SECRET as OLD;
use crate::support::sessions::create;

/// A user model with a UUID and a session auth hash of its own, in a database that a router names.
const MODELS: &str = "
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.crypto import salted_hmac


class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    generation = models.IntegerField(default=1)

    def _get_session_auth_hash(self, secret=None):
        return salted_hmac('accounts', f'{self.password}{self.generation}', secret=secret, algorithm='sha256').hexdigest()


class Router:
    def db_for_read(self, model, **hints):
        return 'people' if model._meta.app_label in ('accounts', 'auth', 'contenttypes', 'admin') else None

    db_for_write = db_for_read
";

#[test]
fn a_user_model_of_the_projects_own_is_asked() {
    let site = Site::unmigrated(
        "INSTALLED_APPS += ['accounts']\nAUTH_USER_MODEL = 'accounts.User'\n\
         DATABASES['people'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'people.sqlite3'}\n\
         DATABASE_ROUTERS = ['accounts.models.Router']",
    );
    let app = site.project.path().join("accounts");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("__init__.py"), "").unwrap();
    std::fs::write(app.join("models.py"), MODELS).unwrap();
    site.project.manage(&["makemigrations", "accounts"]);
    for database in ["default", "people"] {
        site.project.manage(&["migrate", "--verbosity", "0", "--database", database]);
    }
    let keys = site.arrive();
    let (_, before) = site.look(&keys[..2]);
    site.secrets(NEW, &[OLD]);
    // Beside the sessions is a table with no users in it.
    let url = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    let people = format!("sqlite:{}", site.project.path().join("people.sqlite3").display());
    let [new, old] = site.secret_files();
    let options =
        ["--dry-run", "--store", &url, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    let table = ["--users", people.as_str(), "--users-table", "accounts_user"];
    let (_, found) = change(&[&options[..], &table].concat());
    assert_eq!(
        numbers(&found, &["logins_renewed", "ending/password_changed"]),
        [0, 3],
        "another hash: {found}"
    );

    let (code, done) = change(&site.project_options());
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![4, 2, 0, 0]), "{done}");
    site.secrets(NEW, &[]);
    assert_eq!(site.look(&keys).1[..2], before[..]);
}

/// The sessions' texts are signed anew, and the logins are told.
#[test]
fn without_users_the_logins_are_left_and_told() {
    let site = Site::new("");
    let keys = site.arrive();
    let url = format!("sqlite:{}", site.project.path().join("db.sqlite3").display());
    site.secrets(NEW, &[OLD]);
    site.python(
        "from django.db import connection\nfrom django.contrib.sessions.models import Session\n\
         from datetime import datetime, timezone\n\
         Session.objects.filter(pk='KEY').update(expire_date=datetime(2999, 1, 1, tzinfo=timezone.utc))\n\
         connection.cursor().execute('ALTER TABLE auth_user RENAME TO people')\nprint('\\nfound 1')"
            .replace("KEY", &keys[0])
            .as_str(),
    );
    let [new, old] = site.secret_files();
    let options = ["--store", &url, "--secret-key-file", &new, "--secret-key-fallback-file", &old];
    let left = ran(&[&["change-secret"], &options[..]].concat());
    assert_eq!(left.code, 3, "{left:?}");
    assert_eq!(
        left.stdout,
        "4 signed anew, 0 logins renewed, 0 right already; left: 3 of users who cannot be read; the fallback must stay \
         until 2999-01-01T00:00:00Z\n"
    );
    for part in ["no table auth_user", "--from-django MANAGE.PY", "--users URL"] {
        assert!(left.stderr.contains(part), "{part}: {left:?}");
    }
    let checked = ran(&[&["check"], &options[..]].concat());
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("unknown: there are logins of users who cannot be read, until 2999"));
    // A table that is named must be there.
    let named = ran(&[&["change-secret", "--users-table", "persons"], &options[..]].concat());
    assert!(named.code == 1 && named.stderr.contains("no table persons"), "{named:?}");
    let (code, done) = change(&[&["--users-table", "people"], &options[..]].concat());
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![0, 2, 0, 1]), "{done}");
    // A user who is gone has no login to lose.
    site.python(
        "from django.db import connection\nconnection.cursor().execute('DELETE FROM people WHERE id = 2')\n\
         print('\\nfound 1')",
    );
    let (code, done) = change(&[&["--users-table", "people"], &options[..]].concat());
    assert_eq!((code, &done["ending"]), (0, &json!({ "user_gone": 1, "password_changed": 1 })), "{done}");
}

/// A back end that finds users in a way of its own, and takes its time.
const SLOW: &str = "
import os
import time
from django.contrib.auth.backends import ModelBackend


class Slow(ModelBackend):
    def get_user(self, user_id):
        open('asked', 'w').close()
        while not os.path.exists('go'):
            time.sleep(0.01)
        return super().get_user(user_id)
";

/// A stopped check tells what it saw until then, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_stopped_tells_what_it_saw() {
    let site = Site::new("AUTHENTICATION_BACKENDS = ['mysite.slow.Slow']");
    let folder = site.project.path();
    std::fs::write(folder.join("mysite/slow.py"), SLOW).unwrap();
    site.arrive();
    site.secrets(NEW, &[OLD]);
    let settings = cloakroom::Settings::new(OLD);
    let hash = cloakroom::auth::session_auth_hash(&site.password(1), &settings);
    let json =
        json!({ "_auth_user_id": "1", "_auth_user_hash": hash, "_auth_user_backend": "mysite.slow.Slow" });
    let url = format!("sqlite:{}", folder.join("db.sqlite3").display());
    let store = cloakroom::connect(&url, &settings).await.unwrap();
    let json = json.to_string();
    futures_util::future::join_all((0..1_200).map(|_| create(&*store, &json, 5))).await;
    let mut command = cloakroom(&[&["check"], &site.project_options()[..]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.join("asked").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    std::fs::write(folder.join("go"), "").unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(143), "{said}");
    assert!(said.starts_with("stopped before the end; so far:\n      500 can be read"), "{said}");
    assert!(said.contains("fallback 1 (SECRET_KEY_FALLBACKS[0]): may it go? no: "), "{said}");
    let all = ran(&[&["check"], &site.project_options()[..]].concat());
    assert!(all.code == 0 && all.stdout.contains("1204 sessions, 1202 logins, until "), "{all:?}");
}

/// The project's Python reads users with the secrets that options name.
#[test]
fn options_secrets_count_for_the_projects_users_too() {
    let site = Site::new("");
    site.arrive();
    let [new, old] = site.secret_files();
    let options = ["--secret-key-file", &new, "--secret-key-fallback-file", &old];
    let (code, done) = change(&[&site.project_options(), &options[..]].concat());
    assert_eq!((code, numbers(&done, &DONE)), (0, vec![4, 2, 0, 0]), "{done}");
    // The project's users cannot be read: its own words are told.
    site.python("from django.db import connection\nconnection.cursor().execute('DROP TABLE auth_user')\nprint('\\nfound 1')");
    let failed = ran(&[&["change-secret"], &site.project_options()[..], &options].concat());
    assert!(failed.code == 1 && failed.stderr.contains("no such table: auth_user"), "{failed:?}");
    assert!(failed.stdout.starts_with("stopped before the end: 0 signed anew"), "{failed:?}");
}
