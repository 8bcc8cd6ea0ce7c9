//! How long the tests run that have a short form, for `scripts/test`, and a long one, for `scripts/soak`.

use std::time::Duration;

/// What a variable says, for a long form, or this.
pub(crate) fn given(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")),
        Err(_) => otherwise,
    }
}

/// Seconds of a long form.
pub(crate) fn seconds(otherwise: u64) -> Duration {
    Duration::from_secs(given("CLOAKROOM_SOAK_SECONDS", otherwise))
}
