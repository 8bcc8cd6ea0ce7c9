//! The processor's time of a program and of all its processes.

use std::collections::HashMap;
use std::fs;

use crate::error::Result;

/// Nanoseconds on a processor so far, of each thread.
pub(crate) struct Snapshot(HashMap<u32, u64>);

impl Snapshot {
    /// Of a process and all below it.
    pub(crate) fn of(process: u32) -> Result<Snapshot> {
        let mut threads = HashMap::new();
        for process in tree(process)? {
            let Ok(folder) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for thread in folder.flatten() {
                // A thread that has just ended has no file any more.
                let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
                let number = thread.file_name().to_string_lossy().parse()?;
                let time = text.split(' ').next().unwrap_or_default().parse()?;
                threads.insert(number, time);
            }
        }
        Ok(Snapshot(threads))
    }

    /// Seconds since an earlier snapshot. Threads that ended in between are not counted: in what is measured, none
    /// do but those that had nothing to do.
    pub(crate) fn since(&self, earlier: &Snapshot) -> f64 {
        let spent =
            |(thread, time): (&u32, &u64)| time - earlier.0.get(thread).copied().unwrap_or(0).min(*time);
        self.0.iter().map(spent).sum::<u64>() as f64 / 1e9
    }
}

fn tree(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold spaces; the state and the parent follow.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(process);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}
