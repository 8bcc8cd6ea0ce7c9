//! Runs the command with a terminal as its standard error, and watches its memory.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What came of a run.
pub(crate) struct OnTerminal {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// What the terminal was sent.
    pub(crate) shown: String,
    /// The most memory that was in use, in KiB.
    pub(crate) peak: u64,
}

pub(crate) fn run(command: Command) -> OnTerminal {
    run_with_columns(command, 100)
}

/// On a terminal of this width.
pub(crate) fn run_with_columns(mut command: Command, columns: u16) -> OnTerminal {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    // Ours is the only end left, so that reading ends with the child.
    drop(command);
    let mut stdout = child.stdout.take().unwrap();
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let terminal = std::thread::spawn(move || {
        let (mut shown, mut ours) = (Vec::new(), std::fs::File::from(ours));
        // At its end a terminal gives an error and not an end.
        let _ = ours.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_memory(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (stdout, shown) = (output.join().unwrap(), terminal.join().unwrap());
    OnTerminal { code: status.code().unwrap(), stdout, shown, peak }
}

/// The kernel's own account of the most that a process has had in memory.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
