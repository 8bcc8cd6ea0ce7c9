//! Durations: numbers of seconds.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// The longest duration that is taken, in seconds: a day.
const LONGEST: f64 = 86_400.0;

/// A duration that may be zero.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err(D::Error::custom("a number of seconds between 0 and 86400 is needed here"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A duration above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = seconds(deserializer)?;
    if duration.is_zero() {
        return Err(D::Error::custom("a number of seconds above 0 is needed here"));
    }
    Ok(duration)
}
