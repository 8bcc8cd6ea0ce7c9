//! A Django project whose secret is changed.

use serde_json::Value;

use crate::support::project::{Project, SECRET, python};
use crate::support::servers;

pub(super) const NEW: &str = "the new secret of the project's tests";

pub(super) struct Site {
    pub(super) project: Project,
    settings: String,
}

/// Prints JSON after this.
const MARK: &str = "found ";

const ARRIVE: &str = "
import json
from django.contrib.auth import get_user_model
from django.test import Client
User = get_user_model()
keys = []
for name in ('ann', 'bob', 'carol'):
    user = User.objects.create_user(name, password='correct-horse')
    client = Client()
    client.force_login(user, 'django.contrib.auth.backends.ModelBackend')
    session = client.session
    session['visits'] = 1
    session.save()
    keys.append(session.session_key)
user.set_password('another')
user.save()
client = Client()
session = client.session
session['visits'] = 1
session.save()
keys.append(session.session_key)
print('\\nfound', json.dumps(keys))
";

const LOOK: &str = "
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
found = []
for key in KEYS:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    found.append([request.session.session_key == key, [user.pk if user.pk is None else str(user.pk) if not isinstance(user.pk, int) else user.pk, request.session.get('visits', 0)]])
print('\\nfound', json.dumps(found))
";

impl Site {
    pub(super) fn new(settings: &str) -> Site {
        Site::of(Project::new(settings))
    }

    pub(super) fn of(project: Project) -> Site {
        let settings = std::fs::read_to_string(project.path().join("mysite/settings.py")).unwrap();
        Site { project, settings }
    }

    pub(super) fn unmigrated(settings: &str) -> Site {
        Site::of(Project::unmigrated(python(), settings))
    }

    /// Deploys these secrets.
    pub(super) fn secrets(&self, secret: &str, fallbacks: &[&str]) {
        let path = self.project.path().join("mysite/settings.py");
        let settings = &self.settings;
        std::fs::write(
            path,
            format!("{settings}\nSECRET_KEY = {secret:?}\nSECRET_KEY_FALLBACKS = {fallbacks:?}\n"),
        )
        .unwrap();
    }

    pub(super) fn project_options(&self) -> [&'static str; 2] {
        // The tests run many; that is little to leave behind.
        ["--from-django", self.project.manage_py().leak()]
    }

    /// The files of the new secret and of the old one.
    pub(super) fn secret_files(&self) -> [String; 2] {
        [("new.txt", NEW), ("old.txt", SECRET)].map(|(name, secret)| {
            let path = self.project.path().join(name);
            std::fs::write(&path, secret).unwrap();
            path.to_str().unwrap().to_owned()
        })
    }

    pub(super) fn python(&self, code: &str) -> Value {
        let printed = self.project.manage(&["shell", "-c", code]);
        serde_json::from_str(printed.lines().find_map(|line| line.strip_prefix(MARK)).unwrap()).unwrap()
    }

    /// Ann, Bob and Carol log in, Carol's password changes, and somebody comes without a login; their keys.
    pub(super) fn arrive(&self) -> Vec<String> {
        serde_json::from_value(self.python(ARRIVE)).unwrap()
    }

    /// For each key: whether the session is still under it, and whom Django sees and how many visits.
    pub(super) fn look(&self, keys: &[String]) -> (Vec<bool>, Vec<Value>) {
        let found = self.python(&LOOK.replace("KEYS", &format!("{keys:?}")));
        let found: Vec<(bool, Value)> = serde_json::from_value(found).unwrap();
        found.into_iter().unzip()
    }

    /// When the sessions end, as Django has it, to the minute; of a cache, in minutes from now.
    pub(super) fn expiries(&self, keys: &[String]) -> Value {
        self.python(&format!(
            "
import json, os
from importlib import import_module
from django.conf import settings
found = []
for key in {keys:?}:
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    if settings.SESSION_ENGINE.endswith('.cache'):
        redis = session._cache._cache.get_client()
        name = session._cache.make_key(session.cache_key_prefix + key)
        found.append((redis.ttl(name) + 60) // 600)
    elif settings.SESSION_ENGINE.endswith('.file'):
        found.append(os.stat(session._key_to_file()).st_mtime // 5)
    else:
        row = session.get_model_class().objects.get(session_key=key) if session.get_model_class().objects.filter(session_key=key) else None
        found.append(row and row.expire_date.isoformat())
print('\\nfound', json.dumps(found))
"
        ))
    }

    /// The password field of this user.
    pub(super) fn password(&self, id: u64) -> String {
        let code = format!(
            "import json\nfrom django.contrib.auth import get_user_model\n\
             print('\\nfound', json.dumps(get_user_model().objects.get(pk={id}).password))"
        );
        self.python(&code).as_str().unwrap().to_owned()
    }
}

fn place(url: &str) -> (String, String) {
    let (_, place) = url.split_once('@').unwrap();
    let (host, name) = place.split_once('/').unwrap();
    (host.rsplit(':').next().unwrap().to_owned(), name.to_owned())
}

pub(super) fn postgres(url: &str) -> String {
    let ((port, name), user, password) = (place(url), servers::postgres::USER, servers::postgres::PASSWORD);
    format!(
        "DATABASES = {{'default': {{'ENGINE': 'django.db.backends.postgresql', 'NAME': '{name}', 'USER': '{user}',\n\
         'PASSWORD': '{password}', 'HOST': '127.0.0.1', 'PORT': {port}}}}}"
    )
}

pub(super) fn mariadb(url: &str) -> String {
    let ((port, name), user, password) = (place(url), servers::mariadb::USER, servers::mariadb::PASSWORD);
    format!(
        "import pymysql\npymysql.version_info = (2, 2, 7, 'final', 0)\npymysql.install_as_MySQLdb()\n\
         DATABASES = {{'default': {{'ENGINE': 'django.db.backends.mysql', 'NAME': '{name}', 'USER': '{user}',\n\
         'PASSWORD': '{password}', 'HOST': '127.0.0.1', 'PORT': {port}}}}}"
    )
}

pub(super) fn redis(url: &str, engine: &str) -> String {
    let (address, query) = url.split_once('?').unwrap();
    let prefix = query.strip_prefix("key_prefix=").unwrap();
    format!(
        "SESSION_ENGINE = 'django.contrib.sessions.backends.{engine}'\n\
         CACHES = {{'default': {{'BACKEND': 'django.core.cache.backends.redis.RedisCache', 'LOCATION': '{address}/0',\n\
         'KEY_PREFIX': '{prefix}'}}}}"
    )
}
