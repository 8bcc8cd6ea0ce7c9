//! The documents, and a place where their commands run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::project;
use crate::support::servers;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The fenced blocks of a language, but for those whose reason not to be run stands above them.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    const REASON: &str = "<!-- not run in the test: ";
    let (mut blocks, mut lines, mut above) = (Vec::new(), text.lines(), "");
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let is_left_out =
                above.strip_prefix(REASON).is_some_and(|reason| reason.len() > " -->".len() + 10);
            if found.split(',').next() == Some(language) && !is_left_out {
                blocks.push(block.join("\n"));
            }
        }
        above = line;
    }
    blocks
}

/// A folder in which the commands of a document run.
pub(crate) struct Place {
    folder: PathBuf,
    pub(crate) bin: tempfile::TempDir,
    path: String,
    /// What the document says, and what it is here.
    pub(crate) here: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) async fn new(folder: &Path) -> Place {
        let bin = tempfile::tempdir().unwrap();
        let link = |target: PathBuf, name: &str| {
            std::os::unix::fs::symlink(target, bin.path().join(name)).unwrap();
        };
        link(env!("CARGO_BIN_EXE_cloakroom").into(), "cloakroom");
        // A link would not find the environment's packages.
        let python = format!("#!/bin/sh\nexec {} \"$@\"\n", project::python().display());
        executable(&bin.path().join("python"), &python);
        let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
        let redis = servers::redis::url().await.replace('?', "/1?");
        let here = vec![
            ("postgres://site:password@db.example/site", servers::postgres::database().await),
            ("redis://cache.example/1?key_prefix=site", redis.clone()),
            ("redis://cache.example/1", redis),
        ];
        Place { folder: folder.to_owned(), bin, path, here }
    }

    fn here(&self, script: &str) -> String {
        self.here.iter().fold(script.to_owned(), |script, (there, here)| script.replace(there, here))
    }

    /// Runs all of it in one shell, which stops at the first command that fails and takes what it started with it.
    pub(crate) fn run(&self, script: &str) -> Output {
        let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", self.here(script));
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CLOAKROOM_") {
                command.env_remove(name);
            }
        }
        command
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("VIRTUAL_ENV")
            .env_remove("DJANGO_SETTINGS_MODULE");
        command.output().unwrap()
    }

    /// Runs the commands of a document, of which none may fail; gives what they print.
    pub(crate) fn follow(&self, text: &str) -> String {
        let blocks = blocks(text, "sh");
        assert!(!blocks.is_empty(), "the document has commands");
        let ran = self.run(&blocks.join("\n"));
        let output = String::from_utf8_lossy(&ran.stdout).into_owned();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success(),
            "{}\nprinted:\n{output}\nand said:\n{errors}",
            self.here(&blocks.join("\n"))
        );
        output
    }
}

pub(crate) fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
