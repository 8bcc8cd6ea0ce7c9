//! The source of the current time.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use cloakroom_formats::IntoTimeDelta;

use super::lock::lock;

/// Tells the time. All code here asks a clock, so that tests need not wait.
///
/// ```
/// use cloakroom::{Clock, chrono::{DateTime, Utc}};
///
/// /// Stands at the beginning of 1970.
/// struct Epoch;
///
/// impl Clock for Epoch {
///     fn now(&self) -> DateTime<Utc> {
///         DateTime::UNIX_EPOCH
///     }
/// }
/// assert_eq!(Epoch.now().timestamp(), 0);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The current time, in whole microseconds as in Python's `datetime`.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
///
/// ```
/// use cloakroom::{Clock, SystemClock};
///
/// assert_eq!(SystemClock.now().timestamp_subsec_nanos() % 1_000, 0, "whole microseconds");
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        // Built from microseconds directly: truncating a date is several times slower.
        let microseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(error) => -(error.duration().as_micros() as i64),
        };
        DateTime::from_timestamp_micros(microseconds).unwrap_or_default()
    }
}

/// A clock for tests that stands still until it is set.
///
/// ```
/// use cloakroom::{Clock, ManualClock};
///
/// let clock = ManualClock::at_unix_seconds(1_700_000_000);
/// clock.advance(chrono::TimeDelta::seconds(5));
/// assert_eq!(clock.now().timestamp(), 1_700_000_005);
/// ```
#[derive(Debug)]
pub struct ManualClock(Mutex<DateTime<Utc>>);

impl ManualClock {
    /// Creates a clock that shows this time.
    pub fn new(now: DateTime<Utc>) -> Self {
        ManualClock(Mutex::new(now))
    }

    /// Creates a clock that shows this Unix time; 1970 when it is out of range.
    pub fn at_unix_seconds(seconds: i64) -> Self {
        ManualClock::new(DateTime::from_timestamp(seconds, 0).unwrap_or_default())
    }

    /// Sets the time shown.
    ///
    /// ```
    /// use cloakroom::{Clock, ManualClock, chrono::DateTime};
    ///
    /// let clock = ManualClock::at_unix_seconds(0);
    /// clock.set(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    /// assert_eq!(clock.now().timestamp(), 1_700_000_000);
    /// ```
    pub fn set(&self, now: DateTime<Utc>) {
        *lock(&self.0) = now;
    }

    /// Moves the time shown forwards, or backwards when `by` is negative.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::{Clock, ManualClock, chrono::TimeDelta};
    ///
    /// let clock = ManualClock::at_unix_seconds(100);
    /// clock.advance(Duration::from_secs(7));
    /// clock.advance(TimeDelta::seconds(-5));
    /// assert_eq!(clock.now().timestamp(), 102);
    /// ```
    pub fn advance(&self, by: impl IntoTimeDelta) {
        *lock(&self.0) += by.into_time_delta();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_has_whole_microseconds() {
        assert_eq!(SystemClock.now().timestamp_subsec_nanos() % 1_000, 0);
        assert!((Utc::now() - SystemClock.now()).num_seconds().abs() < 60);
    }
}
