//! The user who makes a request: the gate says what Django says, and changes nothing.

mod models;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::support::command::cloakroom;
use crate::support::project::{Project, SECRET};
use crate::support::servers;

/// The sessions of users whom Django has logged in.
const PEOPLE: &str = "
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
group = Group.objects.create(name='Éditeurs, chief')
group.permissions.set(Permission.objects.filter(codename='view_user'))
for name in ['ada', 'grace', 'zoë']:
    user = User.objects.create_user(name, f'{name}@example.com', 'secret', is_staff=name == 'grace')
    if name == 'ada':
        user.groups.add(group)
    client = Client()
    client.force_login(user, 'django.contrib.auth.backends.ModelBackend')
    print('key', name, client.cookies['sessionid'].value)
";

const RULES: &str = "[[rule]]\nhost = 'wiki.example.com'\npath = '/view'\nallow = {any = [{permission = 'auth.view_user'}, {permission = 'people.view_member'}]}\n\
                     [[rule]]\nhost = 'wiki.example.com'\nallow = 'login'\n";

fn people(project: &Project) -> BTreeMap<String, String> {
    let printed = project.manage(&["shell", "-c", PEOPLE]);
    let words = printed.lines().filter_map(|line| line.strip_prefix("key ")?.split_once(' '));
    words.map(|(name, key)| (name.to_owned(), key.to_owned())).collect()
}

/// A running gate.
struct Gate {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Gate {
    fn start(project: &Project, config: &str) -> Gate {
        Gate::start_with(cloakroom(&["gate", "--from-django", &project.manage_py()]), config)
    }

    fn start_with(mut command: Command, config: &str) -> Gate {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.toml");
        std::fs::write(&path, format!("listen = '127.0.0.1:0'\n{config}\n{RULES}")).unwrap();
        command.arg("--config").arg(&path).env_remove("STATE_DIRECTORY").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting = lines.next().expect("it starts").unwrap();
        let url =
            greeting.strip_prefix("Cloakroom gate: ").map(|address| format!("http://{address}")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Gate { child, url, _folder: folder }
    }

    /// The status, and the user's id, name, e-mail address, groups and whether staff.
    fn ask(&self, path: &str, cookie: &str) -> (u16, String) {
        let agent =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let question = agent
            .get(format!("{}/auth/nginx", self.url))
            .header("X-Original-Method", "GET")
            .header("X-Original-Host", "wiki.example.com")
            .header("X-Original-URI", path)
            .header("Cookie", cookie);
        let answer = question.call().unwrap();
        let header = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let names = ["x-user-id", "x-user-name", "x-user-email", "x-user-groups", "x-user-staff"];
        (answer.status().as_u16(), names.map(header).join(" "))
    }

    fn status(&self, key: &str) -> u16 {
        self.ask("/", &format!("sessionid={key}")).0
    }

    /// Where a page leads whose user is not logged in.
    fn location(&self) -> String {
        let question = ureq::get(format!("{}/auth/nginx", self.url))
            .config()
            .http_status_as_error(false)
            .build()
            .header("Accept", "text/html")
            .header("X-Original-Method", "GET")
            .header("X-Original-Host", "wiki.example.com")
            .header("X-Original-URI", "/page?a=1");
        question.call().unwrap().headers()["x-login-location"].to_str().unwrap().to_owned()
    }

    fn is_ready(&self) -> bool {
        ureq::get(format!("{}/health/ready", self.url)).call().is_ok()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Rows(Connection);

impl Rows {
    fn of(project: &Project) -> Rows {
        let connection = Connection::open(project.path().join("db.sqlite3")).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        Rows(connection)
    }

    fn change(&self, sql: &str) {
        assert!(self.0.execute(sql, []).unwrap() > 0, "{sql}");
    }

    /// All sessions as they are.
    fn sessions(&self) -> Vec<(String, String, String)> {
        let sql = "SELECT session_key, session_data, CAST(expire_date AS TEXT) FROM django_session";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn each_end_of_a_login_counts_at_once_and_nothing_is_written() {
    let project = Project::new("");
    let (keys, rows) = (people(&project), Rows::of(&project));
    let gate = Gate::start(&project, "");
    assert!(gate.is_ready());
    let [ada, grace] = ["ada", "grace"].map(|name| &*keys[name]);
    let stored = rows.sessions();
    let cookie = |key: &str| format!("sessionid={key}");
    let said = "1 ada ada@example.com %C3%89diteurs%2C chief false";
    assert_eq!(gate.ask("/", &cookie(ada)), (200, said.to_owned()));
    assert_eq!(gate.ask("/", &cookie(grace)), (200, "2 grace grace@example.com  true".to_owned()));
    assert!(gate.ask("/", &cookie(&keys["zoë"])).1.starts_with("3 zo%C3%AB zo%C3%AB@example.com"));
    assert_eq!((gate.ask("/view/x", &cookie(ada)).0, gate.ask("/view/x", &cookie(grace)).0), (200, 403));

    // As Django's parser has it: the last cookie of the name.
    for (sent, status) in [
        (format!("a=b; sessionid=x; sessionid={ada}"), 200),
        (format!("sessionid={ada}; sessionid=nobody"), 401),
        (format!("sessionid=\"{ada}\""), 200),
        (format!("sessionid2={ada}; SESSIONID={ada}"), 401),
        ("sessionid=".to_owned(), 401),
        ("sessionid=0123456789abcdefghijklmnopqrstuv".to_owned(), 401),
    ] {
        assert_eq!(gate.ask("/", &sent).0, status, "{sent}");
    }

    for (change, undo) in [
        (
            "UPDATE auth_user SET is_active = 0 WHERE id = 1",
            "UPDATE auth_user SET is_active = 1 WHERE id = 1",
        ),
        (
            "UPDATE auth_user SET password = 'x' || password WHERE id = 1",
            "UPDATE auth_user SET password = substr(password, 2) WHERE id = 1",
        ),
        ("UPDATE auth_user SET id = 77 WHERE id = 1", "UPDATE auth_user SET id = 1 WHERE id = 77"),
    ] {
        rows.change(change);
        assert_eq!((gate.status(ada), gate.status(grace)), (401, 200), "{change}");
        assert_eq!(rows.sessions(), stored, "{change}");
        rows.change(undo);
        assert_eq!(gate.status(ada), 200, "{undo}");
    }
    // A back end that the project does not have, and a user's id that only a bug can have written.
    for code in ["s['_auth_user_backend'] = 'shop.Other'", "s['_auth_user_id'] = '1 OR 1=1'", "s.clear()"] {
        let code = format!(
            "from django.contrib.sessions.backends.db import SessionStore\ns = SessionStore('{grace}')\n{code}\ns.save()"
        );
        project.manage(&["shell", "-c", &code]);
        assert_eq!(gate.status(grace), 401, "{code}");
    }
    rows.change("UPDATE django_session SET expire_date = '2020-01-01 00:00:00'");
    assert_eq!(gate.status(ada), 401);
    rows.change("UPDATE django_session SET expire_date = '2099-01-01 00:00:00'");
    assert_eq!(gate.status(ada), 200);
    // Logged out.
    rows.change(&format!("DELETE FROM django_session WHERE session_key = '{ada}'"));
    assert_eq!(gate.status(ada), 401);
}

#[test]
fn a_fallback_secret_counts_and_is_not_renewed() {
    let project = Project::new("");
    let (keys, rows) = (people(&project), Rows::of(&project));
    let stored = rows.sessions();
    let path = project.path().join("mysite/settings.py");
    let before = std::fs::read_to_string(&path).unwrap();
    for (fallbacks, status) in [(format!("[{SECRET:?}]"), 200), ("[]".to_owned(), 401)] {
        let settings = format!("{before}\nSECRET_KEY = 'another'\nSECRET_KEY_FALLBACKS = {fallbacks}\n");
        std::fs::write(&path, settings).unwrap();
        let gate = Gate::start(&project, "");
        assert_eq!((gate.status(&keys["ada"]), gate.status(&keys["ada"])), (status, status), "{fallbacks}");
        assert_eq!(rows.sessions(), stored);
    }
}

#[test]
fn with_a_cache_an_end_counts_within_its_seconds_and_a_login_at_once() {
    let project = Project::new("");
    let (keys, rows) = (people(&project), Rows::of(&project));
    rows.change("UPDATE auth_user SET is_active = 0 WHERE username = 'grace'");
    let gate = Gate::start(&project, "cache = 2");
    assert_eq!((gate.status(&keys["ada"]), gate.status(&keys["grace"])), (200, 401));
    rows.change("UPDATE auth_user SET is_active = username = 'grace'");
    assert_eq!(gate.status(&keys["grace"]), 200, "nobody is not remembered");
    assert_eq!(gate.status(&keys["ada"]), 200);
    let start = Instant::now();
    while gate.status(&keys["ada"]) == 200 {
        assert!(start.elapsed() < Duration::from_secs(3), "it is remembered too long");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(gate.status(&keys["grace"]), 200);
}

/// Without a project: the options name the store and the secret, and the configuration the users.
#[test]
fn the_configuration_names_the_users() {
    let project = Project::new("");
    let (keys, rows) = (people(&project), Rows::of(&project));
    rows.0.execute_batch("ALTER TABLE auth_user RENAME COLUMN email TO mail").unwrap();
    let store = format!("sqlite:{}", project.path().join("db.sqlite3").display());
    let command = |arguments: &[&str]| {
        let mut command = cloakroom(&[&["gate"], arguments].concat());
        command.env("CLOAKROOM_SECRET_KEY", SECRET);
        command
    };
    let config = "[users]\ntable = 'auth_user'\nemail = 'mail'\n";
    let gate = Gate::start_with(command(&["--store", &store]), config);
    let said = "1 ada ada@example.com %C3%89diteurs%2C chief false";
    assert_eq!(gate.ask("/view", &format!("sessionid={}", keys["ada"])), (200, said.to_owned()));
    assert_eq!(gate.ask("/view", &format!("sessionid={}", keys["grace"])).0, 403);
}

async fn postgres(url: &str) -> Project {
    let (_, rest) = url.split_once("127.0.0.1:").unwrap();
    let (port, name) = rest.split_once('/').unwrap();
    let (user, password) = (servers::postgres::USER, servers::postgres::PASSWORD);
    let settings = format!(
        "DATABASES = {{'default': {{'ENGINE': 'django.db.backends.postgresql', 'NAME': '{name}', 'USER': '{user}',\n\
         'PASSWORD': '{password}', 'HOST': '127.0.0.1', 'PORT': '{port}'}}}}"
    );
    tokio::task::spawn_blocking(move || Project::new(&settings)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_delays_nobody_and_a_database_that_hangs_or_stops_gives_503_in_time() {
    let server = servers::postgres::start().await;
    let url = servers::postgres::url(&server, "postgres");
    let project = postgres(&url).await;
    let keys = people(&project);
    let gate = Gate::start(&project, "time_limit = 1");
    assert_eq!(gate.status(&keys["ada"]), 200);

    let mut client = servers::postgres::client(&url).await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("SELECT 1 FROM auth_user FOR UPDATE; SELECT 1 FROM django_session FOR UPDATE")
        .await
        .unwrap();
    let start = Instant::now();
    assert_eq!(gate.status(&keys["ada"]), 200);
    assert!(start.elapsed() < Duration::from_millis(500), "a locked row: {:?}", start.elapsed());
    transaction.rollback().await.unwrap();

    for table in ["auth_user", "django_session"] {
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await.unwrap();
        let start = Instant::now();
        assert_eq!((gate.status(&keys["ada"]), gate.is_ready()), (503, false), "{table}");
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2_500), "{table}: {took:?} for two questions");
        assert_eq!(gate.ask("/", "a=b").0, 401, "who has no session waits for nothing");
        transaction.rollback().await.unwrap();
        let start = Instant::now();
        while gate.status(&keys["ada"]) != 200 {
            assert!(start.elapsed() < Duration::from_secs(10), "{table}: the gate does not recover");
        }
    }
    drop(server);
    let start = Instant::now();
    assert_eq!((gate.status(&keys["ada"]), gate.is_ready()), (503, false));
    assert!(start.elapsed() < Duration::from_millis(2_500), "a stopped server");
}
