//! The options of `decode` and `encode`: format, salt and time.

use clap::{Args, ValueEnum};
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::{Clock, SessionCodec, Settings, SystemClock, TextFormat};

use crate::site::SettingsOptions;

/// The options of both commands.
#[derive(Args)]
pub(crate) struct SignedTextOptions {
    /// The format: modern (Django 3.1 and later), legacy (before), or auto, which reads both and writes
    /// modern
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,
    /// The complete salt of the signing key, needed only for sessions of a site's own class
    ///
    /// Django's are django.contrib.sessions.SessionStore for modern text and, without the dot,
    /// django.contrib.sessionsSessionStore for legacy text. For cookies of signed_cookies:
    /// django.contrib.sessions.backends.signed_cookies. With --format auto, either of a class's two salts
    /// stands for both.
    #[arg(long, value_name = "SALT")]
    key_salt: Option<String>,
    /// Use this as the current time, in Unix seconds; fractions are allowed
    #[arg(long, value_name = "UNIX_SECONDS", value_parser = unix_time, allow_negative_numbers = true)]
    now: Option<DateTime<Utc>>,
    #[command(flatten)]
    settings: SettingsOptions,
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
    /// The only format to read, unless both are allowed.
    pub(crate) fn only(self) -> Option<TextFormat> {
        match self {
            Format::Auto => None,
            Format::Modern => Some(TextFormat::Modern),
            Format::Legacy => Some(TextFormat::Legacy),
        }
    }
}

impl SignedTextOptions {
    /// The codec for these options; `adjust` makes the final changes to its settings.
    pub(crate) fn codec(&self, adjust: impl FnOnce(&mut Settings)) -> anyhow::Result<SessionCodec> {
        let mut settings = self.settings.read(None)?.settings()?.clone();
        settings.text_format = self.format.only().unwrap_or(settings.text_format);
        adjust(&mut settings);
        Ok(match &self.key_salt {
            None => SessionCodec::new(&settings),
            Some(salt) => {
                let (modern, legacy) = match self.format {
                    Format::Auto => both_salts(salt),
                    Format::Modern | Format::Legacy => (salt.clone(), salt.clone()),
                };
                SessionCodec::with_salt(&settings, &modern).with_legacy_salt(&settings, &legacy)
            }
        })
    }

    /// The current time, or its replacement from the option.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(|| SystemClock.now())
    }
}

/// The modern and the legacy salt of a session class, derived from either of them. A legacy salt has only the
/// class's own name, without a dot in front. A salt that does not follow Django's rule is used for both.
fn both_salts(salt: &str) -> (String, String) {
    const PREFIX: &str = "django.contrib.sessions";
    match salt.strip_prefix(PREFIX) {
        None => (salt.to_owned(), salt.to_owned()),
        Some(class) => match class.strip_prefix('.') {
            Some(class) => {
                (salt.to_owned(), format!("{PREFIX}{}", class.rsplit('.').next().unwrap_or_default()))
            }
            None => (format!("{PREFIX}.{class}"), salt.to_owned()),
        },
    }
}

/// Parses Unix seconds with up to nine digits after the point; further digits are dropped.
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
    use super::{both_salts, unix_time};

    #[test]
    fn either_salt_tells_the_other() {
        let modern = "django.contrib.sessions.Outer.Store";
        assert_eq!(both_salts(modern), (modern.to_owned(), "django.contrib.sessionsStore".to_owned()));
        let legacy = "django.contrib.sessionsStore";
        assert_eq!(both_salts(legacy), ("django.contrib.sessions.Store".to_owned(), legacy.to_owned()));
        assert_eq!(both_salts("own"), ("own".to_owned(), "own".to_owned()));
    }

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
