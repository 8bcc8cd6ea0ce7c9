//! The memory of a process, as the kernel counts it.

/// A line of `/proc/PID/status`, in bytes.
fn status(process: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has that line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// What is in memory of this process.
pub(crate) fn resident() -> u64 {
    status("self", "VmRSS")
}

pub(crate) fn resident_of(process: u64) -> u64 {
    status(&process.to_string(), "VmRSS")
}

/// Forgets the highest mark so far.
pub(crate) fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

/// The most that was in memory since [`reset_peak`].
pub(crate) fn peak() -> u64 {
    status("self", "VmHWM")
}
