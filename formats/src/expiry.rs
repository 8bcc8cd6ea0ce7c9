//! When a session expires: Django's `_session_expiry`, in all its stored forms.

mod isoformat;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, TimeDelta, Utc};

use crate::time_zone::TimeZone;
use crate::value::{Kind, Value};

/// The session key that holds the session's own expiry, if it has one.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{EXPIRY_KEY, MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set_expiry(300)?;
/// assert_eq!(session.get::<u32>(EXPIRY_KEY)?, Some(300));
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub const EXPIRY_KEY: &str = "_session_expiry";

/// The argument of [`Session::set_expiry`], Django's `set_expiry(value)`.
///
/// [`Session::set_expiry`]: https://docs.rs/cloakroom/latest/cloakroom/struct.Session.html#method.set_expiry
///
/// ```
/// use std::time::Duration;
/// use chrono::TimeDelta;
/// use cloakroom::Expiry;
///
/// // An idle timeout: each save extends it. A fixed end: none does.
/// assert_eq!(Expiry::sliding(Duration::from_secs(300)), Expiry::Seconds(300));
/// assert_eq!(Expiry::fixed(Duration::from_secs(300)), Expiry::After(TimeDelta::minutes(5)));
/// // As in Django, a number is an idle timeout, and a duration a fixed end.
/// assert_eq!(Expiry::from(300), Expiry::Seconds(300));
/// assert_eq!(Expiry::from(TimeDelta::days(1)), Expiry::After(TimeDelta::days(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expiry {
    /// `set_expiry(None)`: the settings decide.
    Default,
    /// `set_expiry(0)`: the cookie ends with the browser; the stored session expires after the usual age.
    AtBrowserClose,
    /// `set_expiry(300)`: an idle timeout in seconds, counted from each save. A negative value has already
    /// expired.
    Seconds(i64),
    /// `set_expiry(1.5)`: an idle timeout with a fraction of a second.
    FractionalSeconds(f64),
    /// `set_expiry(datetime)`: a fixed moment, which later saves do not move.
    At(DateTime<FixedOffset>),
    /// `set_expiry(datetime)` without a zone, for sites with `USE_TZ = False`.
    AtWallClock(NaiveDateTime),
    /// `set_expiry(timedelta)`: a fixed moment, this long after the call.
    After(TimeDelta),
}

impl Expiry {
    /// An idle timeout: the session ends this long after its last save. A whole number of seconds is stored
    /// as Django's `set_expiry(300)`. A duration of zero or less has already expired.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::Expiry;
    ///
    /// assert_eq!(Expiry::sliding(Duration::from_secs(1_800)), Expiry::Seconds(1_800));
    /// assert_eq!(Expiry::sliding(Duration::from_millis(1_500)), Expiry::FractionalSeconds(1.5));
    /// ```
    pub fn sliding(timeout: impl IntoTimeDelta) -> Expiry {
        let timeout = timeout.into_time_delta();
        // A stored zero means the end of the browser's session.
        if timeout.is_zero() {
            return Expiry::Seconds(-1);
        }
        match timeout.subsec_nanos() {
            0 => Expiry::Seconds(timeout.num_seconds()),
            nanoseconds => {
                Expiry::FractionalSeconds(timeout.num_seconds() as f64 + f64::from(nanoseconds) / 1e9)
            }
        }
    }

    /// A fixed end, this long after the call of `set_expiry`, which later saves do not move.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cloakroom::{Expiry, chrono::TimeDelta};
    ///
    /// assert_eq!(Expiry::fixed(Duration::from_secs(60)), Expiry::After(TimeDelta::minutes(1)));
    /// ```
    pub fn fixed(lifetime: impl IntoTimeDelta) -> Expiry {
        Expiry::After(lifetime.into_time_delta())
    }
}

/// A length of time: chrono's `TimeDelta`, or the standard library's `Duration`.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::{IntoTimeDelta, chrono::TimeDelta};
///
/// assert_eq!(Duration::from_secs(90).into_time_delta(), TimeDelta::seconds(90));
/// assert_eq!(TimeDelta::days(-1).into_time_delta(), TimeDelta::days(-1));
/// assert_eq!(Duration::MAX.into_time_delta(), TimeDelta::MAX);
/// ```
pub trait IntoTimeDelta {
    /// Returns the length as a `TimeDelta`; the longest one for a `Duration` beyond it.
    fn into_time_delta(self) -> TimeDelta;
}

impl IntoTimeDelta for TimeDelta {
    fn into_time_delta(self) -> TimeDelta {
        self
    }
}

impl IntoTimeDelta for Duration {
    fn into_time_delta(self) -> TimeDelta {
        TimeDelta::from_std(self).unwrap_or(TimeDelta::MAX)
    }
}

impl From<i64> for Expiry {
    fn from(seconds: i64) -> Self {
        if seconds == 0 { Expiry::AtBrowserClose } else { Expiry::Seconds(seconds) }
    }
}

impl From<f64> for Expiry {
    fn from(seconds: f64) -> Self {
        Expiry::FractionalSeconds(seconds)
    }
}

impl From<TimeDelta> for Expiry {
    fn from(delta: TimeDelta) -> Self {
        Expiry::After(delta)
    }
}

impl From<Duration> for Expiry {
    fn from(duration: Duration) -> Self {
        Expiry::fixed(duration)
    }
}

impl From<DateTime<FixedOffset>> for Expiry {
    fn from(moment: DateTime<FixedOffset>) -> Self {
        Expiry::At(moment)
    }
}

impl From<DateTime<Utc>> for Expiry {
    fn from(moment: DateTime<Utc>) -> Self {
        Expiry::At(moment.fixed_offset())
    }
}

/// Why a stored expiry gives no age or date. Django raises `TypeError`, `ValueError` or `OverflowError` in
/// these places.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{EXPIRY_KEY, ExpiryError, Kind, MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set(EXPIRY_KEY, [1])?;
/// assert_eq!(session.get_expiry_date(), Err(ExpiryError::WrongType(Kind::List)));
/// session.set_expiry(300)?;
/// assert!(session.get_expiry_date().is_ok());
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpiryError {
    /// Neither a number nor text.
    #[error("the session's _session_expiry holds {0}; it must be a number of seconds or an ISO 8601 date")]
    WrongType(Kind),
    /// Text that Python's `datetime.fromisoformat` does not read.
    #[error("the session's _session_expiry is not a date in ISO 8601 format")]
    NotADate,
    /// A date without a zone on a site whose times have one, or the reverse.
    #[error(
        "the session's _session_expiry {}, but the site's USE_TZ says otherwise",
        if *naive { "has no time zone" } else { "has a time zone" }
    )]
    ZoneMismatch {
        /// Whether the stored date lacks a zone.
        naive: bool,
    },
    /// Before the year 1 or after the year 9999, or not finite.
    #[error("the session's expiry lies outside of the years 1 to 9999")]
    OutOfRange,
}

/// A date and time as Python's `datetime` has it: with a zone or without.
///
/// ```
/// use cloakroom::Moment;
///
/// let aware = Moment::from_isoformat("2030-05-06T07:08:09Z").unwrap();
/// assert!(matches!(aware, Moment::Aware(_)));
/// let naive = Moment::from_isoformat("2030-05-06T07:08:09").unwrap();
/// assert!(matches!(naive, Moment::Naive(_)));
/// assert_eq!(naive.to_string(), "2030-05-06T07:08:09");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a datetime of Python's has a zone or none")]
pub enum Moment {
    /// With an offset from UTC.
    Aware(DateTime<FixedOffset>),
    /// A wall clock time without its zone.
    Naive(NaiveDateTime),
}

impl Moment {
    /// Reads what Python 3.11's `datetime.fromisoformat` reads: also `Z`, the basic format and week dates.
    ///
    /// ```
    /// use cloakroom::Moment;
    ///
    /// let moment = Moment::from_isoformat("2030-05-06T07:08:09-03:30:15").unwrap();
    /// assert_eq!(moment.isoformat(), "2030-05-06T07:08:09-03:30:15");
    /// assert!(Moment::from_isoformat("tomorrow").is_none());
    /// ```
    pub fn from_isoformat(text: &str) -> Option<Moment> {
        isoformat::parse(text)
    }

    /// The text that Python's `datetime.isoformat` writes.
    ///
    /// ```
    /// use cloakroom::Moment;
    ///
    /// let moment = Moment::from_isoformat("20300506T070809Z").unwrap();
    /// assert_eq!(moment.isoformat(), "2030-05-06T07:08:09+00:00");
    /// ```
    pub fn isoformat(&self) -> String {
        isoformat::write(self)
    }

    /// Returns the instant in UTC.
    ///
    /// ```
    /// use cloakroom::{ExpiryError, Moment, TimeZone};
    ///
    /// let moment = Moment::from_isoformat("2030-05-06T07:08:09+02:00").unwrap();
    /// assert_eq!(moment.to_utc(TimeZone::Aware)?.to_rfc3339(), "2030-05-06T05:08:09+00:00");
    /// assert_eq!(moment.to_utc(TimeZone::NaiveUtc), Err(ExpiryError::ZoneMismatch { naive: false }));
    /// # Ok::<(), ExpiryError>(())
    /// ```
    ///
    /// # Errors
    /// [`ExpiryError::ZoneMismatch`] for a moment without zone on a site with `USE_TZ`, or the reverse.
    /// [`ExpiryError::OutOfRange`] when it is in the years 1 to 9999 in its own zone alone; Python's
    /// `astimezone` fails then.
    pub fn to_utc(self, time_zone: TimeZone) -> Result<DateTime<Utc>, ExpiryError> {
        let moment = match self {
            Moment::Aware(moment) if time_zone.is_aware() => moment.to_utc(),
            Moment::Naive(wall_clock) if !time_zone.is_aware() => time_zone.from_wall_clock(wall_clock),
            Moment::Aware(_) => return Err(ExpiryError::ZoneMismatch { naive: false }),
            Moment::Naive(_) => return Err(ExpiryError::ZoneMismatch { naive: true }),
        };
        if (1..=9999).contains(&moment.year()) { Ok(moment) } else { Err(ExpiryError::OutOfRange) }
    }

    /// Returns this instant in the form that a site with these settings writes.
    ///
    /// ```
    /// use cloakroom::{Moment, TimeZone, chrono::DateTime};
    ///
    /// let instant = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    /// assert_eq!(Moment::at(instant, TimeZone::Aware).isoformat(), "2023-11-14T22:13:20+00:00");
    /// assert_eq!(Moment::at(instant, TimeZone::NaiveUtc).isoformat(), "2023-11-14T22:13:20");
    /// ```
    pub fn at(instant: DateTime<Utc>, time_zone: TimeZone) -> Moment {
        if time_zone.is_aware() {
            Moment::Aware(instant.fixed_offset())
        } else {
            Moment::Naive(time_zone.to_wall_clock(instant))
        }
    }

    fn checked_add(self, delta: TimeDelta) -> Option<Moment> {
        let in_range = |year: i32| (1..=9999).contains(&year);
        match self {
            Moment::Aware(moment) => moment
                .checked_add_signed(delta)
                .filter(|moment| in_range(moment.naive_local().year()))
                .map(Moment::Aware),
            Moment::Naive(wall_clock) => wall_clock
                .checked_add_signed(delta)
                .filter(|moment| in_range(moment.year()))
                .map(Moment::Naive),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.isoformat())
    }
}

/// How long a session lives: usually whole seconds, with a fraction when a fraction was stored.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set_expiry(1.5)?;
/// let age = session.get_expiry_age()?;
/// assert_eq!((age.seconds(), age.whole_seconds()), (1.5, 1));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct ExpiryAge(f64);

impl ExpiryAge {
    /// The time from `now` to `end`, in whole seconds.
    #[doc(hidden)]
    pub fn between(now: DateTime<Utc>, end: DateTime<Utc>) -> ExpiryAge {
        ExpiryAge((end - now).num_seconds() as f64)
    }

    /// The age in seconds; negative when the session has expired.
    pub fn seconds(self) -> f64 {
        self.0
    }

    /// The age in whole seconds, cut towards zero as in the cookie's `Max-Age`.
    pub fn whole_seconds(self) -> i64 {
        self.0 as i64
    }
}

/// A parsed `_session_expiry`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "private")]
pub enum StoredExpiry {
    /// Absent, or `None`.
    Absent,
    /// `0`, `0.0` or `False`: the usual age, and the cookie ends with the browser.
    Zero,
    /// An idle timeout: seconds after the last save.
    Seconds(f64),
    /// A fixed moment.
    At(Moment),
    /// `""`: counts as no age, but is not a date either.
    EmptyText,
    /// `[]` or `{}`, which are false in Python.
    EmptyContainer,
    /// A value that is neither a number nor a date.
    WrongType(Kind),
    /// Text that is not a date.
    NotADate,
}

impl StoredExpiry {
    /// Parses the value under [`EXPIRY_KEY`].
    pub fn read(value: Option<&Value>) -> StoredExpiry {
        let Some(value) = value else { return StoredExpiry::Absent };
        match value.kind() {
            Kind::None => StoredExpiry::Absent,
            Kind::Bool => {
                if value.json() == "true" {
                    StoredExpiry::Seconds(1.0)
                } else {
                    StoredExpiry::Zero
                }
            }
            Kind::Int | Kind::Float => match value.deserialize::<f64>() {
                Ok(0.0) => StoredExpiry::Zero,
                Ok(seconds) => StoredExpiry::Seconds(seconds),
                Err(_) => StoredExpiry::WrongType(value.kind()),
            },
            // Django before 4.1 pickles the date object itself.
            Kind::Str | Kind::DateTime => match value.deserialize::<String>() {
                Ok(text) if text.is_empty() => StoredExpiry::EmptyText,
                Ok(text) => Moment::from_isoformat(&text).map_or(StoredExpiry::NotADate, StoredExpiry::At),
                Err(_) => StoredExpiry::NotADate,
            },
            Kind::List | Kind::Dict if is_empty(value.json()) => StoredExpiry::EmptyContainer,
            kind => StoredExpiry::WrongType(kind),
        }
    }

    /// Computes the seconds from `modification` to the session's expiry; Django's `get_expiry_age`.
    ///
    /// Counts elapsed time. Python subtracts wall clocks when both times name one zone, and is then an hour
    /// off across a clock change.
    pub fn age(self, modification: Moment, cookie_age: TimeDelta) -> Result<ExpiryAge, ExpiryError> {
        match self {
            StoredExpiry::Absent
            | StoredExpiry::Zero
            | StoredExpiry::EmptyText
            | StoredExpiry::EmptyContainer => Ok(ExpiryAge(cookie_age.num_seconds() as f64)),
            StoredExpiry::Seconds(seconds) if seconds.is_finite() => Ok(ExpiryAge(seconds)),
            StoredExpiry::Seconds(_) => Err(ExpiryError::OutOfRange),
            StoredExpiry::At(end) => {
                let delta = match (end, modification) {
                    (Moment::Aware(end), Moment::Aware(start)) => end.signed_duration_since(start),
                    (Moment::Naive(end), Moment::Naive(start)) => end.signed_duration_since(start),
                    (Moment::Naive(_), Moment::Aware(_)) => {
                        return Err(ExpiryError::ZoneMismatch { naive: true });
                    }
                    (Moment::Aware(_), Moment::Naive(_)) => {
                        return Err(ExpiryError::ZoneMismatch { naive: false });
                    }
                };
                // Rounded down: a microsecond ago is -1.
                let floor = delta.num_seconds() - i64::from(delta.subsec_nanos() < 0);
                Ok(ExpiryAge(floor as f64))
            }
            StoredExpiry::WrongType(kind) => Err(ExpiryError::WrongType(kind)),
            StoredExpiry::NotADate => Err(ExpiryError::NotADate),
        }
    }

    /// Computes the expiry of a session last changed at `modification`; Django's `get_expiry_date`.
    pub fn date(self, modification: Moment, cookie_age: TimeDelta) -> Result<Moment, ExpiryError> {
        let age = match self {
            StoredExpiry::At(end) => return Ok(end),
            StoredExpiry::EmptyText => return Err(ExpiryError::NotADate),
            StoredExpiry::Absent | StoredExpiry::Zero | StoredExpiry::EmptyContainer => cookie_age,
            StoredExpiry::Seconds(seconds) => delta(seconds).ok_or(ExpiryError::OutOfRange)?,
            StoredExpiry::WrongType(kind) => return Err(ExpiryError::WrongType(kind)),
            StoredExpiry::NotADate => return Err(ExpiryError::NotADate),
        };
        modification.checked_add(age).ok_or(ExpiryError::OutOfRange)
    }

    /// Django's `get_expire_at_browser_close`.
    pub fn at_browser_close(self, expire_at_browser_close: bool) -> bool {
        match self {
            StoredExpiry::Absent => expire_at_browser_close,
            other => other == StoredExpiry::Zero,
        }
    }
}

/// Whether this JSON list or dictionary is empty apart from white space.
fn is_empty(json: &str) -> bool {
    json.get(1..json.len() - 1).is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// `timedelta(seconds=…)`, in whole microseconds. As in Python, only the fraction is rounded: rounding the
/// whole product with a million gives other results.
fn delta(seconds: f64) -> Option<TimeDelta> {
    // The years 1 to 9999 span fewer seconds than this.
    (seconds.abs() < 4e11).then(|| {
        let fraction = (seconds.fract() * 1e6).round_ties_even();
        TimeDelta::microseconds(seconds as i64 * 1_000_000 + fraction as i64)
    })
}

impl Expiry {
    /// Returns the value to store under [`EXPIRY_KEY`]; `None` removes the key.
    #[doc(hidden)]
    pub fn to_stored(self, now: DateTime<Utc>, time_zone: TimeZone) -> Result<Option<Value>, ExpiryError> {
        let moment = match self {
            Expiry::Default => return Ok(None),
            Expiry::AtBrowserClose => return number(&0),
            Expiry::Seconds(seconds) => return number(&seconds),
            Expiry::FractionalSeconds(seconds) => return number(&seconds),
            Expiry::At(moment) => Moment::Aware(moment),
            Expiry::AtWallClock(wall_clock) => Moment::Naive(wall_clock),
            Expiry::After(delta) => {
                Moment::at(now, time_zone).checked_add(delta).ok_or(ExpiryError::OutOfRange)?
            }
        };
        number(&moment.isoformat())
    }
}

fn number<T: serde::Serialize>(value: &T) -> Result<Option<Value>, ExpiryError> {
    // Numbers and dates always serialize.
    Value::serialize(value).map(Some).map_err(|_| ExpiryError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_seconds_the_fraction_alone_is_rounded() {
        // The expected values are Python's `timedelta(seconds=…) // timedelta(microseconds=1)`.
        for (seconds, microseconds) in [
            (202.000_001_5, 202_000_001),
            (-202.000_001_5, -202_000_001),
            (0.000_000_5, 0),
            (0.000_001_5, 2),
            (1e11, 100_000_000_000_000_000),
        ] {
            assert_eq!(delta(seconds), Some(TimeDelta::microseconds(microseconds)), "{seconds}");
        }
        for seconds in [4e11, -4e11, f64::NAN, f64::INFINITY] {
            assert_eq!(delta(seconds), None, "{seconds}");
        }
    }
}
