//! Warnings, and a progress bar that fits the terminal.

use std::os::unix::fs::PermissionsExt;

use crate::support::command::{SECRET, cloakroom, run};
use crate::support::sessions::sqlite;
use crate::support::terminal;

/// On a terminal of the usual width, and on a wider one.
#[test]
fn the_bar_fits_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let text = crate::support::command::with_secret(&["encode"], "{\"visits\":1}\n").stdout;
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    let fill = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 150000) \
         INSERT INTO django_session SELECT printf('sessionkey%022d', n), ?1, '2099-01-01 00:00:00' FROM n";
    connection.execute(fill, [text.trim()]).unwrap();
    for columns in [80, 100] {
        let mut command = cloakroom(&["check", "--store", &url]);
        command.env("CLOAKROOM_SECRET_KEY", SECRET);
        let ran = terminal::run_with_columns(command, columns);
        assert_eq!(ran.code, 0, "{}", ran.shown);
        assert!(ran.shown.contains("sessions checked") && ran.shown.contains('░'), "{}", ran.shown);
        // Each state of the bar is one line: it goes back to the line's beginning, and never down.
        for line in ran.shown.split(['\r', '\n']) {
            let shown = without_controls(line);
            assert!(
                shown.chars().count() <= usize::from(columns),
                "{columns}: {} {line:?}",
                shown.chars().count()
            );
        }
        // No colour: the bar has that of the text, on whatever background.
        assert!(!ran.shown.contains("\u{1b}[3") && !ran.shown.contains("\u{1b}[4"), "{:?}", ran.shown);
        let mut quiet = cloakroom(&["check", "--quiet", "--store", &url]);
        quiet.env("CLOAKROOM_SECRET_KEY", SECRET);
        assert_eq!(terminal::run_with_columns(quiet, columns).shown, "");
    }
}

fn without_controls(line: &str) -> String {
    let mut shown = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A secret, or a password in the settings file, that others can read.
#[test]
fn files_that_others_can_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let [secret, settings] = ["secret.txt", "cloakroom.toml"].map(|name| folder.path().join(name));
    std::fs::write(&secret, SECRET).unwrap();
    let modes = |of_secret: u32, of_settings: u32| {
        for (path, mode) in [(&secret, of_secret), (&settings, of_settings)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let at = |arguments: &[&str]| {
        let mut command = cloakroom(arguments);
        command.current_dir(folder.path());
        run(command, b"")
    };
    std::fs::write(&settings, format!("store = {url:?}\nsecret_key_file = \"secret.txt\"\n")).unwrap();
    modes(0o644, 0o644);
    let told = at(&["settings"]);
    assert_eq!(told.stderr.matches("chmod 600").count(), 1, "no password, one secret: {told:?}");
    assert!(told.stderr.contains("secret.txt holds a secret"), "{told:?}");
    assert!(!at(&["settings", "--quiet"]).stderr.contains("chmod"));
    modes(0o600, 0o644);
    assert_eq!(at(&["settings"]).stderr, "");
    let with_password = "store = \"postgres://site:open-sesame-8731@db.example/site\"\n";
    std::fs::write(&settings, with_password).unwrap();
    let told = at(&["settings"]);
    assert!(told.stderr.contains("cloakroom.toml holds a password"), "{told:?}");
    assert!(!format!("{told:?}").contains("open-sesame"), "{told:?}");
    modes(0o600, 0o600);
    assert_eq!(at(&["settings"]).stderr, "");
}
