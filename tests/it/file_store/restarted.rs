//! The test program run again in another process, under a limit or a tracer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tells the other process the folder it works in.
const FOLDER: &str = "CLOAKROOM_TEST_FILE_FOLDER";

/// The folder, in the process that a test has started again; none in the first one.
pub(super) fn folder_given() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// The test of this name, to run again with these words in front: `strace`, `sh` and the like.
pub(super) fn again(in_front: &[&str], test: &str, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words = in_front.iter();
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    };
    let name = format!("file_store::{test}");
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command
}

/// Runs the test again to its end; it must succeed.
pub(super) fn run(in_front: &[&str], test: &str, folder: &Path) -> Output {
    let output = again(in_front, test, folder)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/install-test-servers installs it", in_front[0]));
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{in_front:?}:\n{told}{error}");
    output
}
