//! A new project with the programs of a page, built as a reader does it.

use std::path::Path;
use std::process::Command;

use crate::support::documents::{blocks, root};

/// A new project with the page's `Cargo.toml` and `src/main.rs`, built.
pub(crate) struct Pasted {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) program: std::path::PathBuf,
}

impl Pasted {
    /// Builds what the first block of TOML and the first block of Rust say, in a project of this name.
    pub(crate) fn build(text: &str, name: &str) -> Pasted {
        let folder = tempfile::tempdir().unwrap();
        let [dependencies, code] = ["toml", "rust"].map(|language| blocks(text, language).remove(0));
        let package = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n");
        std::fs::write(folder.path().join("Cargo.toml"), package + &dependencies).unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/main.rs"), code).unwrap();
        // Cargo finds the library here as it will find it in the registry, and builds nothing twice that the tests built.
        let path = root().display();
        let config = format!(
            "[patch.crates-io]\ncloakroom = {{ path = \"{path}\" }}\n\
             [profile.dev]\ndebug = \"line-tables-only\"\n\
             [profile.dev.package.\"*\"]\ndebug = false\n\
             [profile.dev.package.libsqlite3-sys]\nopt-level = 2\n\
             [profile.dev.package.libdeflate-sys]\nopt-level = 2\n\
             [profile.dev.package.sha2]\nopt-level = 2\n"
        );
        std::fs::create_dir(folder.path().join(".cargo")).unwrap();
        std::fs::write(folder.path().join(".cargo/config.toml"), config).unwrap();
        std::fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
        let target = Path::new(env!("CARGO_BIN_EXE_cloakroom")).ancestors().nth(2).unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline"])
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", target)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success() && !errors.contains("warning: unused"), "{errors}");
        Pasted { program: target.join("debug").join(name), folder }
    }

    /// The program, as `cargo run` starts it in the project's folder, with nothing in the environment that it reads.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).current_dir(self.folder.path());
        for name in ["SECRET_KEY", "STORE", "LISTEN", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end; gives what it says on both outputs.
    pub(crate) fn fails(&self, environment: &[(&str, &str)]) -> String {
        let ran = self.command().envs(environment.iter().copied()).output().unwrap();
        assert!(!ran.status.success(), "{ran:?}");
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    }
}
