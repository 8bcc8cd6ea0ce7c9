//! No password of a store's URL is shown: by all schemes, in all places of a URL, in all commands, also where the
//! arguments are wrong.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use crate::support::command::{Ran, SECRET, cloakroom, run};
use crate::support::servers;

const PASSWORD: &str = "hunter2";

const SCHEMES: [&str; 11] = [
    "postgres",
    "postgresql",
    "POSTGRES",
    "mysql",
    "mariadb",
    "redis",
    "rediss",
    "redis+cluster",
    "redis+sentinel",
    "memcached",
    "carrier",
];

/// Nobody listens at port 1.
const PLACES: [&str; 12] = [
    "ann:hunter2@127.0.0.1:1/site",
    "ann:p?hunter2@127.0.0.1:1/site",
    "ann:p/hunter2@127.0.0.1:1/site",
    "ann:p@hunter2@127.0.0.1:1/site",
    "ann:hunter2?p@127.0.0.1:1/site",
    "ann:1/hunter2@127.0.0.1:1/site",
    ":hunter2@127.0.0.1:1/0",
    "127.0.0.1:1/site?user=ann&password=hunter2",
    "127.0.0.1:1/0?%70assword=hunter2",
    "127.0.0.1:1/site?sslpassword=hunter2&passwd=hunter2",
    "127.0.0.1:1/site#token=hunter2",
    "ann:hunter2",
];

fn urls() -> Vec<String> {
    let mut urls: Vec<String> =
        SCHEMES.iter().flat_map(|scheme| PLACES.map(|place| format!("{scheme}://{place}"))).collect();
    let other_forms = [
        "host=127.0.0.1 port=1 password=hunter2 user=ann",
        "host=127.0.0.1 port=1 password='hunter2 and more' user=ann",
        "postgres:ann:hunter2@127.0.0.1:1/site",
        "redis:hunter2",
        "ann:hunter2@127.0.0.1:1/site",
        "sqlite:db.sqlite3?mode=ro&key=hunter2",
        "file:/nowhere?password=hunter2",
    ];
    urls.extend(other_forms.map(str::to_owned));
    let halves = urls.clone();
    urls.extend(halves.iter().map(|half| format!("cached_db:{half}|memory:")));
    urls.extend(halves.iter().map(|half| format!("cached_db:sqlite:nowhere.sqlite3|{half}")));
    urls.extend(halves.iter().map(|half| format!("moving:{half}|sqlite:nowhere.sqlite3")));
    urls
}

/// What each command does with a store that cannot be opened, and what is said of a URL where none belongs.
fn commands(url: &str) -> Vec<Vec<&str>> {
    let with_store = [
        ["list"].as_slice(),
        &["show", "abcdefgh12345678"],
        &["check"],
        &["change-secret", "--secret-key-fallback", "old"],
        &["change-secret", "--secret-key-fallback", "old", "--users", url],
        &["delete", "abcdefgh12345678"],
        &["revoke", "--user", "7"],
        &["user-sessions", "list", "--user", "7"],
        &["user-sessions", "revoke", "--user", "7"],
        &["user-sessions", "rebuild"],
        &["user-sessions", "clean"],
        &["user-sessions", "clean", "--index", url],
        &["copy", "--to", url],
        &["copy", "--from", url, "--to", "file:/"],
        &["clearsessions"],
        &["move"],
        &["ping"],
        &["delete", "--id", "3f9a0c61b2d4"],
        &["create-table", "--user-sessions"],
        &["demo", "--listen", "127.0.0.1:0"],
        &["list", "--limit", url],
        &["demo", "--cookie-name", url],
        &["list", url],
    ];
    with_store.map(|arguments| [arguments, &["--store", url]].concat()).to_vec()
}

fn short_commands(url: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["settings", "--store", url],
        vec!["settings", "--json", "--store", url],
        vec!["create-table", "--store", url],
        vec!["count", "--store", url],
        vec!["list", "--stroe", url],
        vec![url],
        vec!["user-sessions", url],
        vec!["man", url],
    ]
}

/// Runs the demo, which serves from the database where only the cache is down; then it is stopped.
fn run_until_it_serves(mut command: Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut stdout = String::new();
    while output.read_line(&mut stdout).unwrap() > 0 {
        if stdout.ends_with("Stop with Ctrl-C.\n") {
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        }
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    Ran { code: status.code().unwrap(), stdout, stderr: String::from_utf8(stderr).unwrap() }
}

#[test]
fn passwords_are_shown_nowhere() {
    let urls = urls();
    let of_each_scheme = urls.iter().filter(|url| url.contains("p?hunter2@") || url.contains("&password="));
    let runs: Vec<Vec<&str>> = urls
        .iter()
        .flat_map(|url| short_commands(url))
        .chain(of_each_scheme.flat_map(|url| commands(url)))
        .collect();
    let (queue, count) = (Mutex::new(runs.iter()), runs.len());
    let folder = tempfile::tempdir().unwrap();
    // Those of Redis wait between their attempts to connect.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let Some(arguments) = queue.lock().unwrap().next() else { return };
                    let mut command = cloakroom(arguments);
                    command.env("CLOAKROOM_SECRET_KEY", SECRET).env("RUST_LOG", "debug");
                    command.current_dir(folder.path());
                    let ran =
                        if arguments[0] == "demo" { run_until_it_serves(command) } else { run(command, b"") };
                    assert!(!format!("{ran:?}").contains(PASSWORD), "{arguments:?}: {ran:?}");
                    // An empty database, whose cache is down, is nothing that was checked.
                    let is_empty = ran.code == 3 && ran.stdout == "no sessions found\n";
                    assert!(ran.code < 3 || is_empty, "no panic: {arguments:?}: {ran:?}");
                }
            });
        }
    });
    println!("{count} runs, {} URLs", urls.len());
    assert!(count > 3_000, "{count}");
}

/// A server quotes the user and the database that it does not know, and a driver takes for them what stands there.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_quote_names_show_no_password() {
    let postgres = servers::postgres::database().await;
    let mysql = servers::mariadb::database().await;
    let other_user = postgres.replace(&format!("{}:", servers::postgres::USER), "ann%3Ahunter2:");
    assert_ne!(other_user, postgres);
    for url in [format!("{postgres}#token=hunter2"), format!("{postgres}&password=hunter2"), other_user] {
        is_refused_without_password(&url);
    }
    is_refused_without_password(&format!("{mysql};password=hunter2"));
    // Nor does what a driver logs of a connection that works.
    let redis = servers::redis::url().await;
    for url in [postgres, mysql, redis, servers::redis::cluster_url().await] {
        let mut command = cloakroom(&["create-table", "--user-sessions", "--store", &url]);
        command.env("RUST_LOG", "trace");
        let ran = run(command, b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        for password in [servers::postgres::PASSWORD, servers::redis::PASSWORD] {
            assert!(!format!("{ran:?}").contains(password), "{url}: {ran:?}");
        }
    }
}

fn is_refused_without_password(url: &str) {
    for command in [["count"].as_slice(), &["create-table"], &["demo", "--listen", "127.0.0.1:0"]] {
        let ran = run(cloakroom(&[command, &["--store", url]].concat()), b"");
        assert!(ran.code == 1 && ran.stderr.contains("session store"), "{url}: {ran:?}");
        assert!(!format!("{ran:?}").contains(PASSWORD), "{url}: {ran:?}");
    }
}

/// What clap does not take it repeats: a secret with spaces that was not quoted, for example.
#[test]
fn words_that_no_option_takes_are_not_repeated() {
    for arguments in [
        ["decode", "--secret-key", "django-insecure-it's", "hunter2"].as_slice(),
        &["list", "hunter2"],
        &["copy", "--to", "redis://cache", "hunter2"],
    ] {
        let ran = run(cloakroom(arguments), b"");
        assert!(ran.code == 2 && ran.stderr.contains("unexpected argument"), "{ran:?}");
        assert!(!ran.stderr.contains(PASSWORD), "{ran:?}");
    }
    let ran = run(cloakroom(&["list", "--al"]), b"");
    assert!(ran.stderr.contains("'--al'") && ran.stderr.contains("--all"), "options still are: {ran:?}");
    let ran = run(cloakroom(&["lsit"]), b"");
    assert!(ran.stderr.contains("'lsit'") && ran.stderr.contains("'list'"), "and commands: {ran:?}");
}

/// A traceback of the project's may quote a URL.
#[cfg(unix)]
#[test]
fn what_python_says_is_shown_without_passwords() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manage.py"), "").unwrap();
    let python = crate::support::command::script(
        folder.path(),
        "echo \"ValueError: no port in 'postgres://ann:hunter2@db/site', DATABASE_URL=redis://:hunter2@cache\" >&2; exit 1",
    );
    let manage_py = folder.path().join("manage.py");
    let arguments = ["list", "--from-django", manage_py.to_str().unwrap(), "--python", &python];
    let ran = run(cloakroom(&arguments), b"");
    assert!(ran.code == 1 && ran.stderr.contains("ValueError: no port in"), "{ran:?}");
    assert!(!ran.stderr.contains(PASSWORD), "{ran:?}");
}
