//! A real Django project, as `django-admin startproject` makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Project {
    pub(crate) folder: tempfile::TempDir,
    /// The Python that runs it.
    pub(crate) python: PathBuf,
}

pub(crate) const SECRET: &str = "django-insecure-it's a secret with spaces & signs";

impl Project {
    /// A migrated project with this added to its settings.
    pub(crate) fn new(settings: &str) -> Project {
        let project = Project::unmigrated(python(), settings);
        project.manage(&["migrate", "--verbosity", "0"]);
        project
    }

    /// A project of the Django that this Python has, without tables.
    pub(crate) fn unmigrated(python: PathBuf, settings: &str) -> Project {
        let project = Project { folder: tempfile::tempdir().unwrap(), python };
        let mut made = Command::new(&project.python);
        succeed(made.args(["-m", "django", "startproject", "mysite", "."]).current_dir(project.path()));
        let path = project.path().join("mysite/settings.py");
        let made = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{made}\nSECRET_KEY = {SECRET:?}\n{settings}\n")).unwrap();
        // As people have it, and where --from-django looks.
        std::os::unix::fs::symlink(
            project.python.parent().unwrap().parent().unwrap(),
            project.path().join(".venv"),
        )
        .unwrap();
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn manage_py(&self) -> String {
        self.path().join("manage.py").to_str().unwrap().to_owned()
    }

    /// Runs a command of the project; gives what it prints.
    pub(crate) fn manage(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        succeed(command.arg("manage.py").args(arguments).current_dir(self.path()))
    }

    /// Lets Django make a session in which user 7 is logged in; gives its key.
    pub(crate) fn create_session(&self) -> String {
        let code = "from importlib import import_module\n\
            from django.conf import settings\n\
            session = import_module(settings.SESSION_ENGINE).SessionStore()\n\
            session['_auth_user_id'] = '7'\nsession.save()\nprint('key', session.session_key)";
        let printed = self.manage(&["shell", "-c", code]);
        printed.lines().find_map(|line| line.strip_prefix("key ")).unwrap().to_owned()
    }
}

/// The tests' Django.
pub(crate) fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/bin/python");
    assert!(python.exists(), "no Django for this test: .venv is missing; run scripts/test, which makes it");
    python
}

/// Each Django whose sites are live in the tests of the recipes: 5.2, and 6.1 where scripts/test could install it, which
/// needs Python 3.12 or later.
pub(crate) fn pythons() -> Vec<PathBuf> {
    let newer = python().to_str().unwrap().replace("/.venv/", "/.venv-6.1/");
    std::iter::once(python()).chain(Some(PathBuf::from(newer)).filter(|newer| newer.exists())).collect()
}

fn succeed(command: &mut Command) -> String {
    let command = command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("DJANGO_SETTINGS_MODULE")
        .env_remove("PYTHONPATH");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
