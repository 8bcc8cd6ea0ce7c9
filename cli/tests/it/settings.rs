//! Where the settings come from: options, then the environment, then the file.

use std::process::Command;

use crate::command::{Ran, cloakroom, run};

struct Place(tempfile::TempDir);

impl Place {
    fn new(toml: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret.txt"), "of-the-file").unwrap();
        std::fs::write(folder.path().join("cloakroom.toml"), toml).unwrap();
        Place(folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cloakroom(arguments);
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), b"")
    }
}

const FILE: &str =
    "store = 'sqlite:db.sqlite3'\nsecret_key_file = 'secret.txt'\ncookie_name = 'of-file'\ncookie_age = 60";

#[test]
fn options_are_before_the_environment_and_that_before_the_file() {
    let place = Place::new(FILE);
    let found = place.run(&["settings", "--json"]).json();
    assert_eq!((&found["store"], &found["cookie_name"]), (&"sqlite:db.sqlite3".into(), &"of-file".into()));
    assert_eq!((&found["secret_key"], &found["cookie_age"]), (&"given".into(), &60.into()));

    let mut command = place.command(&["settings", "--json", "--cookie-age", "70"]);
    command.env("CLOAKROOM_STORE", "redis://:hush@cache/0").env("CLOAKROOM_COOKIE_NAME", "of-environment");
    let found = run(command, b"");
    assert!(!found.stdout.contains("hush"));
    let found = found.json();
    assert_eq!(
        (&found["store"], &found["cookie_name"]),
        (&"redis://:…@cache/0".into(), &"of-environment".into())
    );
    assert_eq!(found["cookie_age"], 70);

    // Where the file lies is where its paths begin.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = place.0.path().join("cloakroom.toml");
    for by_variable in [false, true] {
        let mut command = cloakroom(&["settings", "--json"]);
        command.current_dir(elsewhere.path());
        if by_variable {
            command.env("CLOAKROOM_SETTINGS", &file);
        } else {
            command.args(["--settings", file.to_str().unwrap()]);
        }
        let found = run(command, b"").json();
        assert_eq!(found["store"], format!("sqlite:{}/db.sqlite3", place.0.path().display()));
        assert_eq!(found["secret_key"], "given");
    }
}

#[test]
fn the_file_serves_every_command() {
    let place = Place::new(FILE);
    assert_eq!(place.run(&["create-table"]).code, 0);
    for command in ["list", "count", "check", "clearsessions"] {
        let ran = place.run(&[command]);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
    }
    let encoded = run(place.command(&["encode"]), b"{}\n").stdout;
    let mut command = place.command(&["decode", "--secret-key", "of-the-file"]);
    command.current_dir("/");
    assert_eq!(run(command, encoded.as_bytes()).stdout, "{}\n");
    let mut by_path = cloakroom(&["decode"]);
    by_path.env("CLOAKROOM_SECRET_KEY_FILE", place.0.path().join("secret.txt"));
    assert_eq!(run(by_path, encoded.as_bytes()).stdout, "{}\n");
}

#[test]
fn mistakes_in_the_file_are_told_by_line_and_without_its_values() {
    for (toml, part) in [
        ("cookie_name = 'x'\nstroe = 'redis://:hush@cache'", "line 2: unknown field `stroe`"),
        ("store = redis://:hush@cache", "line 1"),
        ("naive_time_zone = 'Mars/Olympus'", "no such time zone"),
        ("cookie_age = 0", "above 0"),
        ("secret_key_file = 'nowhere.txt'", "nowhere.txt"),
    ] {
        let ran = Place::new(toml).run(&["count"]);
        assert!(ran.code == 2 && ran.stderr.contains(part), "{toml}: {ran:?}");
        assert!(!ran.stderr.contains("hush"), "{ran:?}");
    }
    let ran = run(cloakroom(&["count", "--settings", "/nowhere.toml"]), b"");
    assert!(ran.code == 2 && ran.stderr.contains("/nowhere.toml"), "{ran:?}");
}
