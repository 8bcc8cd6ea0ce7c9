//! The number of expired rows that one transaction removes.

use std::time::Duration;

/// The size of the first batch, before anything is known about the machine.
const FIRST: u32 = 100;

/// Smaller batches would make more commits, each with a fixed cost.
const LEAST: u32 = 50;

/// Adapts the batch size to a target duration. On a slow disk a fixed size would keep others waiting; on a
/// fast one it would spend its time on commits.
pub(in crate::store) struct BatchSize {
    meant: Duration,
    rows: u32,
    most: u32,
}

impl BatchSize {
    /// Creates a size that never exceeds `most`.
    pub(in crate::store) fn up_to(most: u32, meant: Duration) -> BatchSize {
        let most = most.max(1);
        BatchSize { meant, rows: FIRST.min(most), most }
    }

    pub(in crate::store) fn rows(&self) -> u32 {
        self.rows
    }

    /// Learns from the duration of a full batch. One unusual batch changes little: at most by a
    /// factor of two.
    pub(in crate::store) fn took(&mut self, time: Duration) {
        let factor = self.meant.as_secs_f64() / time.as_secs_f64().max(1e-6);
        let rows = (f64::from(self.rows) * factor.clamp(0.5, 2.0)) as u32;
        self.rows = rows.clamp(LEAST.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANT: Duration = Duration::from_millis(20);

    /// The batch size after a hundred batches on a machine with this time per row.
    fn settles(microseconds: u64, most: u32) -> u32 {
        let mut size = BatchSize::up_to(most, MEANT);
        for _ in 0..100 {
            size.took(Duration::from_micros(microseconds) * size.rows());
        }
        size.rows()
    }

    #[test]
    fn follows_the_machine() {
        assert!((490..=510).contains(&settles(40, 1_000)));
        assert!((98..=102).contains(&settles(200, 1_000)));
        assert_eq!(settles(1, 1_000), 1_000, "as many as are allowed");
        assert_eq!(settles(100_000, 1_000), 50, "fewer would be commits for nothing");
        assert_eq!((settles(20, 2), settles(100_000, 2), settles(20, 0)), (2, 2, 1));
    }

    #[test]
    fn one_slow_or_fast_batch_changes_little() {
        let mut size = BatchSize::up_to(1_000, MEANT);
        for (time, rows) in [(0, 200), (0, 400), (60, 200), (60, 100), (60, 50), (60, 50)] {
            size.took(Duration::from_secs(time));
            assert_eq!(size.rows(), rows);
        }
    }
}
