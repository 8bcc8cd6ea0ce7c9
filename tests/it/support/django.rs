//! A real Django, in processes of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The one secret of both sites.
pub(crate) const SECRET: &str = "django-insecure-one-secret-for-both-sites";
pub(crate) const USERNAME: &str = "ada";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Which Django.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Django {
    V4_2,
    V5_2,
    V6_0,
    V6_1,
}

impl Django {
    const ALL: [Django; 4] = [Django::V4_2, Django::V5_2, Django::V6_0, Django::V6_1];

    /// Each Django that scripts/test could install: 6.0 and 6.1 need a Python that not every machine has.
    pub(crate) fn installed() -> Vec<Django> {
        let is_installed =
            |django: &Django| matches!(django, Django::V4_2 | Django::V5_2) || django.python().exists();
        Django::ALL.into_iter().filter(is_installed).collect()
    }

    /// How many these are of all, for a test's counts.
    pub(crate) fn count_of(djangos: &[Django]) -> String {
        let names: Vec<_> = djangos.iter().map(|django| django.environment().1).collect();
        format!("{} of {} Djangos ({})", djangos.len(), Django::ALL.len(), names.join(", "))
    }

    /// Its environment and its version.
    fn environment(self) -> (&'static str, &'static str) {
        match self {
            Django::V4_2 => (".venv-4.2", "4.2"),
            Django::V5_2 => (".venv", "5.2"),
            Django::V6_0 => (".venv-6.0", "6.0"),
            Django::V6_1 => (".venv-6.1", "6.1"),
        }
    }

    fn python(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.environment().0).join("bin/python")
    }
}

/// A Django site that is yet to be started.
pub(crate) struct Project {
    pub(crate) django: Django,
    /// `DATABASES["default"]`.
    pub(crate) database: Value,
    /// `TIME_ZONE` of a site with `USE_TZ = False`; empty for one with `USE_TZ = True`.
    pub(crate) time_zone: &'static str,
    /// More variables for `settings.py`.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A Django site that answers requests until this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Project {
    /// A site on a file of SQLite.
    pub(crate) fn new(file: impl AsRef<Path>) -> Project {
        Project::on(Django::V5_2, json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": file.as_ref() }))
    }

    pub(crate) fn on(django: Django, database: Value) -> Project {
        Project { django, database, time_zone: "", variables: Vec::new() }
    }

    /// A site on this file of SQLite, which Django itself migrated, with one user.
    pub(crate) fn with_user(django: Django, file: &Path) -> Project {
        std::fs::write(file, migrated_database(django)).unwrap();
        Project { django, ..Project::new(file) }
    }

    /// Makes the tables and the one user.
    pub(crate) fn migrate(&self) {
        self.manage(&["migrate"]);
        self.manage(&["create-user", USERNAME, PASSWORD]);
    }

    fn command(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = self.django.python();
        let (environment, _) = self.django.environment();
        assert!(
            python.exists(),
            "no Django for this test: {environment} is missing; run scripts/test, which makes it"
        );
        let mut command = Command::new(python);
        command
            .arg(root.join("tests/it/support/django/manage.py"))
            .env("SITE_SECRET_KEY", SECRET)
            .env("SITE_DATABASE", self.database.to_string())
            .env("SITE_TIME_ZONE", self.time_zone)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Python's own settings of whoever runs the test are not the test's.
            .env_remove("PYTHONPATH")
            .env_remove("DJANGO_SETTINGS_MODULE");
        command
    }

    /// Runs a command of the project to its end.
    pub(crate) fn manage(&self, arguments: &[&str]) {
        self.output(arguments);
    }

    /// What this Python code leaves in `result`; `User` is the user model.
    pub(crate) fn evaluate(&self, code: &str) -> Value {
        serde_json::from_slice(&self.output(&["evaluate", code])).unwrap()
    }

    fn output(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Starts the site and waits for its address, which it tells once it listens.
    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command();
        let mut process = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "Django did not start; its error stands above");
        Server { process, address: address.trim().to_owned() }
    }
}

/// The password of the one user of both sites, in a form.
pub(crate) fn credentials() -> Value {
    json!({ "username": USERNAME, "password": PASSWORD })
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes of a database made by this Django: migrated once, then copied for each test.
fn migrated_database(django: Django) -> &'static [u8] {
    static DATABASES: [OnceLock<Vec<u8>>; Django::ALL.len()] = [const { OnceLock::new() }; Django::ALL.len()];
    DATABASES[django as usize].get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db.sqlite3");
        Project { django, ..Project::new(&file) }.migrate();
        std::fs::read(&file).unwrap()
    })
}
