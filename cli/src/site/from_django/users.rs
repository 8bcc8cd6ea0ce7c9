//! The session auth hashes of users, computed by the project's own Python, with its user model, its routers
//! and its authentication back ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::Context;
use cloakroom::signing::SecretKey;
use serde_json::json;

use super::{located, usual_python, without_passwords};

const SCRIPT: &str = include_str!("users.py");
const MARK: &str = "cloakroom-users ";
/// How much of its standard error is kept.
const SAID: usize = 64 << 10;

/// The hashes for each of a user's secrets, the one to write first; empty for a user whose model creates
/// none.
pub(crate) type Hashes = Vec<Vec<String>>;

/// A process of the project's Python that answers for users.
pub(crate) struct DjangoUsers {
    python: PathBuf,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: Option<JoinHandle<String>>,
}

impl DjangoUsers {
    /// Starts the process. It receives the secrets through a pipe.
    pub(crate) fn start(
        manage_py: &Path,
        python: Option<&Path>,
        secrets: &[SecretKey],
    ) -> anyhow::Result<DjangoUsers> {
        let (manage_py, folder) = located(manage_py)?;
        let python = python.map_or_else(|| usual_python(&folder), Path::to_owned);
        let mut command = Command::new(&python);
        command
            .arg(&manage_py)
            .args(["shell", "-c", SCRIPT])
            .current_dir(&folder)
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C must stop only this program; the process ends with its input.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process =
            command.spawn().with_context(|| format!("cannot run {} to ask for users", python.display()))?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            anyhow::bail!("no pipes to the project's Python")
        };
        let errors = std::thread::spawn(move || last_of(errors));
        let output = BufReader::new(output);
        let mut users = DjangoUsers { python, process, input, output, errors: Some(errors) };
        let hex = |secret: &SecretKey| {
            secret.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        users.send(&json!(secrets.iter().map(hex).collect::<Vec<_>>()))?;
        Ok(users)
    }

    /// Returns the hashes of each of these users, by id and authentication back end; `None` for a user who
    /// does not exist.
    pub(crate) fn hashes(&mut self, users: &[(String, String)]) -> anyhow::Result<Vec<Option<Hashes>>> {
        self.send(&json!(users))?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).context("cannot read what the project's Python says")? == 0 {
                return Err(self.ended());
            }
            if let Some(answer) = line.strip_prefix(MARK) {
                let answers: Vec<Option<Hashes>> =
                    serde_json::from_str(answer).context("the project's Python gave an unexpected answer")?;
                anyhow::ensure!(answers.len() == users.len(), "the project's Python answers for other users");
                return Ok(answers);
            }
        }
    }

    fn send(&mut self, line: &serde_json::Value) -> anyhow::Result<()> {
        let sent = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        sent.map_err(|_| self.ended())
    }

    /// The error with which the process ended, from its last lines.
    fn ended(&mut self) -> anyhow::Error {
        let _ = self.process.wait();
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last =
            last.into_iter().rev().map(|line| format!("\n{}", without_passwords(line))).collect::<String>();
        anyhow::anyhow!("{} could not read the project's users. It said last:{last}", self.python.display())
    }
}

impl Drop for DjangoUsers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last part of its output. All of it is read, so that the process never blocks on a full pipe.
fn last_of(mut errors: impl Read) -> String {
    let (mut said, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = errors.read(&mut part) {
        said.extend_from_slice(&part[..length]);
        if said.len() > 2 * SAID {
            said.drain(..said.len() - SAID);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}
