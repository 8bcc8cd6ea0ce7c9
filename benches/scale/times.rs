//! What many measured times say.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, other: Times) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that this part of all took at most.
    pub(crate) fn quantile(&self, part: f64) -> Milliseconds {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
        Milliseconds(sorted.get(index).copied().unwrap_or_default())
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5).0
    }

    pub(crate) fn longest(&self) -> Milliseconds {
        self.quantile(1.0)
    }
}

pub(crate) struct Milliseconds(pub(crate) Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_secs_f64() * 1_000.0;
        if milliseconds < 10.0 {
            write!(formatter, "{milliseconds:.2}")
        } else {
            write!(formatter, "{milliseconds:.0}")
        }
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
