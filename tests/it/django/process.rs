//! A real Django, in processes of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The one secret of both sites.
pub(crate) const SECRET: &str = "django-insecure-one-secret-for-both-sites";
pub(crate) const USERNAME: &str = "ada";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A Django site that is yet to be started.
pub(crate) struct Project {
    pub(crate) database: PathBuf,
    /// `TIME_ZONE` of a site with `USE_TZ = False`; empty for one with `USE_TZ = True`.
    pub(crate) time_zone: &'static str,
}

/// A Django site that answers requests until this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Project {
    pub(crate) fn new(database: impl Into<PathBuf>) -> Project {
        Project { database: database.into(), time_zone: "" }
    }

    /// A site in this folder, on a database that Django itself migrated, with one user.
    pub(crate) fn with_user(folder: &Path) -> Project {
        let project = Project::new(folder.join("db.sqlite3"));
        std::fs::write(&project.database, migrated_database()).unwrap();
        project
    }

    fn command(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(
            python.exists(),
            "no Django for this test: .venv is missing; run scripts/test, which makes it"
        );
        let mut command = Command::new(python);
        command
            .arg(root.join("tests/it/django/manage.py"))
            .env("SITE_SECRET_KEY", SECRET)
            .env("SITE_DATABASE_NAME", &self.database)
            .env("SITE_TIME_ZONE", self.time_zone)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Python's own settings of whoever runs the test are not the test's.
            .env_remove("PYTHONPATH")
            .env_remove("DJANGO_SETTINGS_MODULE");
        command
    }

    /// Runs a command of the project to its end.
    pub(crate) fn manage(&self, arguments: &[&str]) {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes of a database made by Django: migrated once, then copied for each test.
fn migrated_database() -> &'static [u8] {
    static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(folder.path().join("db.sqlite3"));
        project.manage(&["migrate"]);
        project.manage(&["create-user", USERNAME, PASSWORD]);
        std::fs::read(&project.database).unwrap()
    })
}
