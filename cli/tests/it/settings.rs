//! Where the settings come from: options, then the environment, then the file.

use std::process::Command;

use crate::support::command::{Ran, cloakroom, run};

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

/// Wherever in the file a path stands, it counts from the file's folder; in an option and in the environment from the
/// working folder.
#[test]
fn paths_count_from_where_they_are_written() {
    for (store, expected) in [
        ("sqlite:a b%3F.db?mode=rw", "sqlite:FOLDER/a b%3F.db?mode=rw"),
        ("sqlite:///db.sqlite3", "sqlite:FOLDER/db.sqlite3"),
        ("sqlite:////db.sqlite3", "sqlite:////db.sqlite3"),
        ("file:sessions", "file:FOLDER/sessions"),
        ("file:///srv/sessions", "file:///srv/sessions"),
        ("file:", "file:"),
        ("cached_db:sqlite:db.sqlite3|redis://cache/1", "cached_db:sqlite:FOLDER/db.sqlite3|redis://cache/1"),
        ("cached_db:sqlite:db.sqlite3|file:copies", "cached_db:sqlite:FOLDER/db.sqlite3|file:FOLDER/copies"),
    ] {
        let place = Place::new(&format!("store = '{store}'\nsecret_key_file = 'secret.txt'"));
        let file = place.0.path().join("cloakroom.toml");
        let elsewhere = tempfile::tempdir().unwrap();
        let mut by_file = cloakroom(&["settings", "--json", "--settings", file.to_str().unwrap()]);
        by_file.current_dir(elsewhere.path());
        let folder = place.0.path().to_str().unwrap();
        assert_eq!(run(by_file, b"").json()["store"], expected.replace("FOLDER", folder), "{store}");
        for by_option in [false, true] {
            let mut command = cloakroom(&["settings", "--json"]);
            command.current_dir(elsewhere.path()).env("CLOAKROOM_SECRET_KEY", "x");
            if by_option {
                command.args(["--store", store])
            } else {
                command.env("CLOAKROOM_STORE", store)
            };
            assert_eq!(run(command, b"").json()["store"], store);
        }
    }
}

/// A command opens the same file, whichever of the two named it.
#[test]
fn the_file_behind_a_cache_is_that_of_the_settings_folder() {
    let place =
        Place::new("store = 'cached_db:sqlite:db.sqlite3|file:copies'\nsecret_key_file = 'secret.txt'");
    std::fs::create_dir(place.0.path().join("copies")).unwrap();
    let file = place.0.path().join("cloakroom.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    for command in ["create-table", "count"] {
        let mut command = cloakroom(&[command, "--settings", file.to_str().unwrap()]);
        command.current_dir(elsewhere.path());
        let ran = run(command, b"");
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert!(place.0.path().join("db.sqlite3").exists());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// `sqlite:///` and a path is relative, as in Django. Who meant the absolute one is told, and nothing is made.
#[test]
fn three_slashes_are_read_as_django_does() {
    let place = Place::new("");
    let path = place.0.path().join("db.sqlite3");
    let (three, four) = (format!("sqlite://{}", path.display()), format!("sqlite:///{}", path.display()));
    for command in ["create-table", "count"] {
        let ran = place.run(&[command, "--store", &three]);
        assert!(ran.code == 2 && ran.stderr.contains(&format!("`{four}`")), "{command}: {ran:?}");
    }
    assert_eq!(place.run(&["create-table", "--store", &four]).code, 0);
    assert!(path.exists());
    let relative = place.run(&["create-table", "--store", "sqlite:///inside.sqlite3?mode=rwc"]);
    assert!(relative.code == 0 && place.0.path().join("inside.sqlite3").exists(), "{relative:?}");
    for (url, part) in [
        ("sqlite:db.sqlite3?cache=shared", "`cache` has no such value; write `private`"),
        ("sqlite::memory:", "use `memory:`"),
        ("cached_db:sqlite:db.sqlite3?vfs=unix-none|memory:", "parameter `vfs` is not known; there are mode"),
    ] {
        let ran = place.run(&["create-table", "--store", url]);
        assert!(ran.code == 2 && ran.stderr.contains(part), "{url}: {ran:?}");
    }
    let not_made = place.run(&["create-table", "--store", "sqlite:missing.sqlite3?mode=rw"]);
    assert!(not_made.code == 1 && not_made.stderr.contains("no such file"), "{not_made:?}");
    assert!(!place.0.path().join("missing.sqlite3").exists());
}

#[test]
fn the_file_serves_every_command() {
    let place = Place::new(FILE);
    assert_eq!(place.run(&["create-table"]).code, 0);
    for command in ["list", "count", "check", "clearsessions"] {
        let ran = place.run(&[command]);
        // There is nothing to be checked.
        assert_eq!(ran.code, if command == "check" { 3 } else { 0 }, "{command}: {ran:?}");
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
