//! Runs `cloakroom` and collects what it says.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The command, in an environment that says nothing about secrets and stores.
pub(crate) fn cloakroom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command
        .args(arguments)
        .env_remove("CLOAKROOM_SECRET_KEY")
        .env_remove("CLOAKROOM_STORE")
        .env_remove("RUST_LOG");
    command
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// Runs it to the end with this on its standard input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // In a thread: the child may wait for us to read before it reads on. It may also not read at all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: status.code().expect("not ended by a signal"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
