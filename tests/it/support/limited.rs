//! How much memory and time something takes, on a machine that others use too.

use std::process::Command;
use std::time::Duration;

/// Runs this test again in a process of its own that may have so many mebibytes; an allocation beyond aborts it. True in
/// that process, where the test is to do its work; else the work has been done.
pub(crate) fn memory(test: &str, mebibytes: u64) -> bool {
    const VARIABLE: &str = "CLOAKROOM_TEST_IN_LIMITED_MEMORY";
    if std::env::var_os(VARIABLE).is_some_and(|name| name == test) {
        return true;
    }
    let output = Command::new("prlimit")
        .arg(format!("--data={}", mebibytes << 20))
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, test)
        .output()
        .expect("prlimit, of util-linux, starts");
    let shown = [output.stdout, output.stderr].concat();
    let shown = String::from_utf8_lossy(&shown);
    assert!(output.status.success() && shown.contains("1 passed"), "with {mebibytes} MiB: {shown}");
    false
}

/// For how long this thread has had a processor. Linux counts it from one tick to the next, a few milliseconds.
pub(crate) fn processor_time() -> Duration {
    let statistics =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long it ran");
    let nanoseconds = statistics.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number is the time"))
}
