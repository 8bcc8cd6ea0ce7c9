//! The processes that are started here. All end with this program, however it ends.

use std::ffi::OsString;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::error::Result;

pub(crate) struct Process {
    child: Child,
    pub(crate) port: u16,
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where a program is: on the search path, or where Debian hides PostgreSQL's.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let hidden = (13..=20).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let mut candidates = std::env::split_paths(&path).chain(hidden).map(|folder| folder.join(name));
    let found = candidates.find(|candidate| candidate.is_file());
    found.ok_or_else(|| format!("{name} is not installed: run scripts/install-test-servers").into())
}

/// The processors of all programs but this one.
static OTHERS: OnceLock<String> = OnceLock::new();

/// The clients have the first processor for themselves, and all other programs share the rest: real clients have machines
/// of their own. On a processor that they share, each answer would interrupt the program that gives it.
pub(crate) fn keep_to_the_first_processor() -> Result<()> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let _ = OTHERS.set(format!("{}-{last}", last.min(1)));
    let id = std::process::id().to_string();
    let done = Command::new("taskset").args(["--cpu-list", "--pid", "0", &id]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err("taskset could not give the clients the first processor".into()) }
}

/// The command, run as `user` when this is root, and killed when this program ends.
pub(crate) fn command(user: Option<&str>, program: impl Into<OsString>) -> Command {
    let mut command = Command::new("taskset");
    let processors = OTHERS.get().map_or("0", String::as_str);
    command.args(["--cpu-list", processors, "setpriv", "--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| is_root()) {
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    }
    command.arg(program.into());
    command
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|folder| std::os::unix::fs::MetadataExt::uid(&folder) == 0)
}

impl Process {
    /// Starts it and waits until its port answers. What it prints goes to `log`.
    pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Process> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = Process { child: command.spawn()?, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = process.child.try_wait()?.is_some();
            if ended || start.elapsed() > Duration::from_secs(60) {
                let told = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{command:?} does not answer; it says:\n{told}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
