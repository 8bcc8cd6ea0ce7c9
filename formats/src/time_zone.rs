//! Django's `USE_TZ` and `TIME_ZONE`.

#[cfg(feature = "time-zones")]
use chrono::TimeDelta;
use chrono::{DateTime, NaiveDateTime, Utc};

/// How the Django site writes times: its `USE_TZ` and `TIME_ZONE`.
///
/// With `USE_TZ = True`, Django's default since 5.0, all times are UTC and `TIME_ZONE` does not affect
/// sessions. With `USE_TZ = False`, rows hold the local time of `TIME_ZONE` without an offset.
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
    Naive(NamedTimeZone),
}

/// A time zone by its IANA name, as in Django's `TIME_ZONE`.
///
/// ```
/// use cloakroom::{NamedTimeZone, TimeZone};
///
/// let zurich: NamedTimeZone = "Europe/Zurich".parse()?;
/// assert_eq!(zurich.name(), "Europe/Zurich");
/// assert!(!TimeZone::Naive(zurich).is_aware());
/// assert!("Europe/Nowhere".parse::<NamedTimeZone>().is_err());
/// # Ok::<(), cloakroom::UnknownTimeZone>(())
/// ```
#[cfg(feature = "time-zones")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedTimeZone(chrono_tz::Tz);

/// No time zone has this name.
#[cfg(feature = "time-zones")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such time zone; write it as in Django's TIME_ZONE, such as Europe/Zurich")]
#[non_exhaustive]
pub struct UnknownTimeZone;

#[cfg(feature = "time-zones")]
impl NamedTimeZone {
    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

#[cfg(feature = "time-zones")]
impl std::str::FromStr for NamedTimeZone {
    type Err = UnknownTimeZone;

    fn from_str(name: &str) -> Result<Self, UnknownTimeZone> {
        name.parse().map(NamedTimeZone).map_err(|_| UnknownTimeZone)
    }
}

impl TimeZone {
    /// Converts an instant to the wall clock of the site's zone, which a row without a zone holds.
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
            TimeZone::Naive(NamedTimeZone(zone)) => instant.with_timezone(&zone).naive_local(),
        }
    }

    /// Converts a wall clock time of the site's zone to an instant.
    ///
    /// When clocks go back, an hour occurs twice: the first is taken. When clocks go forward, an hour is
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
            TimeZone::Naive(NamedTimeZone(zone)) => {
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
    #[inline]
    pub fn is_aware(self) -> bool {
        self == TimeZone::Aware
    }
}

#[cfg(all(test, feature = "time-zones"))]
mod tests {
    use super::*;

    #[test]
    fn wall_clocks_around_a_clock_change() {
        let chicago = TimeZone::Naive("America/Chicago".parse().unwrap());
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
