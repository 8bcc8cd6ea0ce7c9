//! What `decode` and `encode` share: which format, which salt, what time.

use clap::{Args, ValueEnum};
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::{Clock, SessionCodec, Settings, SystemClock, TextFormat};

use crate::secrets::SecretOptions;

/// The options of both commands.
#[derive(Args)]
pub(crate) struct SignedTextOptions {
    /// The format: modern (Django 3.1 and later), legacy (before), or auto: reads either, writes modern
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
    /// The whole salt that goes into the signing key. Only sessions of a class of the site's own need it
    ///
    /// Django's are django.contrib.sessions.SessionStore for modern text and, without the dot,
    /// django.contrib.sessionsSessionStore for legacy text. For cookies of signed_cookies:
    /// django.contrib.sessions.backends.signed_cookies. What is given here counts for both formats.
    #[arg(long, value_name = "SALT")]
    key_salt: Option<String>,
    /// Take this for the time now, in Unix seconds, instead of the clock's. Fractions are allowed
    #[arg(long, value_name = "UNIX_SECONDS", value_parser = unix_time, allow_negative_numbers = true)]
    now: Option<DateTime<Utc>>,
    #[command(flatten)]
    secrets: SecretOptions,
}

/// A format of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub(crate) enum Format {
    Auto,
    Modern,
    Legacy,
}

impl Format {
    /// The only format to read, unless either will do.
    pub(crate) fn only(self) -> Option<TextFormat> {
        match self {
            Format::Auto => None,
            Format::Modern => Some(TextFormat::Modern),
            Format::Legacy => Some(TextFormat::Legacy),
        }
    }
}

impl SignedTextOptions {
    /// The codec for these options; `adjust` has the last word on its settings.
    pub(crate) fn codec(&self, adjust: impl FnOnce(&mut Settings)) -> anyhow::Result<SessionCodec> {
        let mut settings = self.secrets.settings()?;
        settings.text_format = self.format.only().unwrap_or_default();
        adjust(&mut settings);
        Ok(match &self.key_salt {
            None => SessionCodec::new(&settings),
            Some(salt) => SessionCodec::with_salt(&settings, salt).with_legacy_salt(&settings, salt),
        })
    }

    /// The time now, or the one to take for it.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(|| SystemClock.now())
    }
}

/// Unix seconds with up to nine digits after the point; more are dropped.
fn unix_time(text: &str) -> Result<DateTime<Utc>, String> {
    let wrong = || "not a Unix time; write seconds since 1970 such as 1700000000 or 1700000000.5".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = whole.parse::<i64>().map_err(|_| wrong())?;
    let nanoseconds = format!("{fraction:0<9}")[..9].parse::<i64>().map_err(|_| wrong())?;
    let nanoseconds = TimeDelta::nanoseconds(if whole.starts_with('-') { -nanoseconds } else { nanoseconds });
    DateTime::from_timestamp(seconds, 0)
        .and_then(|time| time.checked_add_signed(nanoseconds))
        .ok_or_else(|| "outside of the years that a date can have".to_owned())
}

#[cfg(test)]
mod tests {
    use super::unix_time;

    #[test]
    fn unix_times() {
        let nanoseconds = |text| unix_time(text).ok().and_then(|time| time.timestamp_nanos_opt());
        assert_eq!(nanoseconds("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanoseconds("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(nanoseconds("-0.25"), Some(-250_000_000));
        assert_eq!(nanoseconds("0.1234567899"), Some(123_456_789));
        for wrong in ["", "now", "1.", "1.-5", "1e9", "99999999999999999999", "999999999999999"] {
            assert!(unix_time(wrong).is_err(), "{wrong}");
        }
    }
}
