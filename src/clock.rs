//! Where the time comes from, and how Django's `USE_TZ` and `TIME_ZONE` see it.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

/// Tells the time. Everything here asks a clock, so that tests need not wait.
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
    /// The time now, in whole microseconds as Python's `datetime` has it.
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
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        // From the microseconds at once: to cut them off a date is several times as dear.
        let microseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(error) => -(error.duration().as_micros() as i64),
        };
        DateTime::from_timestamp_micros(microseconds).unwrap_or_default()
    }
}

/// A clock that stands still until it is set, for tests.
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
    /// A clock that shows this time.
    pub fn new(now: DateTime<Utc>) -> Self {
        ManualClock(Mutex::new(now))
    }

    /// A clock that shows this Unix time; 1970 when it is out of range.
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
        *crate::lock(&self.0) = now;
    }

    /// Moves the time shown forwards, or backwards when `by` is negative.
    pub fn advance(&self, by: TimeDelta) {
        *crate::lock(&self.0) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *crate::lock(&self.0)
    }
}

/// How the Django site writes times: its `USE_TZ` and `TIME_ZONE`.
///
/// With `USE_TZ = True`, Django's default since 5.0, everything is UTC and `TIME_ZONE` plays no part in
/// sessions. With `USE_TZ = False`, rows hold the local time of `TIME_ZONE` without saying so.
///
/// ```
/// use cloakroom::{TimeZone, chrono::DateTime};
///
/// assert!(TimeZone::default().is_aware() && !TimeZone::NaiveUtc.is_aware());
/// let instant = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
/// let wall_clock = TimeZone::NaiveUtc.to_wall_clock(instant);
/// assert_eq!(TimeZone::NaiveUtc.from_wall_clock(wall_clock), instant);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeZone {
    /// `USE_TZ = True`.
    #[default]
    Aware,
    /// `USE_TZ = False` with `TIME_ZONE = 'UTC'`.
    NaiveUtc,
    /// `USE_TZ = False` with another `TIME_ZONE`.
    #[cfg(feature = "time-zones")]
    Naive(chrono_tz::Tz),
}

impl TimeZone {
    /// The wall clock of the site's zone at this instant: what a row without a zone holds.
    ///
    /// ```
    /// use cloakroom::{TimeZone, chrono::DateTime};
    ///
    /// let instant = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    /// assert_eq!(TimeZone::NaiveUtc.to_wall_clock(instant).to_string(), "2023-11-14 22:13:20");
    /// ```
    pub fn to_wall_clock(self, instant: DateTime<Utc>) -> NaiveDateTime {
        match self {
            TimeZone::Aware | TimeZone::NaiveUtc => instant.naive_utc(),
            #[cfg(feature = "time-zones")]
            TimeZone::Naive(zone) => instant.with_timezone(&zone).naive_local(),
        }
    }

    /// The instant that this wall clock of the site's zone shows.
    ///
    /// Where clocks go back an hour comes twice: the first is taken. Where they go forward an hour is
    /// missing: it is read as if the clocks had not changed yet.
    ///
    /// ```
    /// use cloakroom::{TimeZone, chrono::NaiveDate};
    ///
    /// let wall_clock = NaiveDate::from_ymd_opt(2030, 5, 6).unwrap().and_hms_opt(7, 8, 9).unwrap();
    /// let instant = TimeZone::NaiveUtc.from_wall_clock(wall_clock);
    /// assert_eq!(instant.to_rfc3339(), "2030-05-06T07:08:09+00:00");
    /// ```
    pub fn from_wall_clock(self, wall_clock: NaiveDateTime) -> DateTime<Utc> {
        match self {
            TimeZone::Aware | TimeZone::NaiveUtc => wall_clock.and_utc(),
            #[cfg(feature = "time-zones")]
            TimeZone::Naive(zone) => {
                use chrono::offset::LocalResult;
                use chrono::{Offset, TimeZone as _};
                match zone.from_local_datetime(&wall_clock) {
                    LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => {
                        instant.with_timezone(&Utc)
                    }
                    LocalResult::None => {
                        let before = wall_clock - TimeDelta::days(1);
                        let offset = zone.offset_from_utc_datetime(&before).fix();
                        (wall_clock - TimeDelta::seconds(i64::from(offset.local_minus_utc()))).and_utc()
                    }
                }
            }
        }
    }

    /// Whether times carry their zone: `USE_TZ`.
    pub fn is_aware(self) -> bool {
        self == TimeZone::Aware
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

    #[cfg(feature = "time-zones")]
    #[test]
    fn wall_clocks_around_a_clock_change() {
        let chicago = TimeZone::Naive(chrono_tz::America::Chicago);
        let wall = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
        let unix = |text: &str| chicago.from_wall_clock(wall(text)).timestamp();
        assert_eq!(unix("2024-11-03 01:30:00"), 1_730_615_400, "the first of the two");
        assert_eq!(unix("2024-03-10 02:30:00"), unix("2024-03-10 03:30:00"), "an hour that does not exist");
        assert_eq!(
            chicago.to_wall_clock(chicago.from_wall_clock(wall("2031-07-03 04:05:06"))),
            wall("2031-07-03 04:05:06")
        );
    }
}
