//! Python's `datetime.isoformat` and `datetime.fromisoformat` (of 3.11).

use std::fmt::Write;

use chrono::{
    FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Weekday,
};

use super::Moment;

pub(super) fn write(moment: &Moment) -> String {
    let (wall_clock, offset) = match moment {
        Moment::Aware(moment) => (moment.naive_local(), Some(moment.offset().fix().local_minus_utc())),
        Moment::Naive(wall_clock) => (*wall_clock, None),
    };
    let mut text = wall_clock.format("%Y-%m-%dT%H:%M:%S").to_string();
    let microseconds = wall_clock.nanosecond() / 1_000;
    // Writing to a String cannot fail.
    if microseconds > 0 {
        let _ = write!(text, ".{microseconds:06}");
    }
    if let Some(offset) = offset {
        let sign = if offset < 0 { '-' } else { '+' };
        let seconds = offset.abs();
        let _ = write!(text, "{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60);
        if seconds % 60 > 0 {
            let _ = write!(text, ":{:02}", seconds % 60);
        }
    }
    text
}

pub(super) fn parse(text: &str) -> Option<Moment> {
    let (date, rest) = parse_date(text)?;
    if rest.is_empty() {
        return Some(Moment::Naive(date.and_time(NaiveTime::MIN)));
    }
    // Any one character may stand between date and time.
    let mut characters = rest.chars();
    characters.next();
    let rest = characters.as_str();
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let (hour_to_second, microseconds) = parse_time(time)?;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(
        u32::try_from(hour_to_second.num_seconds()).ok()?,
        microseconds * 1_000,
    )?;
    let wall_clock = date.and_time(time);
    match zone {
        "" => Some(Moment::Naive(wall_clock)),
        "Z" => aware(wall_clock, 0),
        _ => {
            let (offset, _) = parse_time(zone.get(1..)?)?;
            let seconds = i32::try_from(offset.num_seconds()).ok()?;
            aware(wall_clock, if zone.starts_with('-') { -seconds } else { seconds })
        }
    }
}

fn aware(wall_clock: NaiveDateTime, offset: i32) -> Option<Moment> {
    FixedOffset::east_opt(offset)?.from_local_datetime(&wall_clock).single().map(Moment::Aware)
}

/// `YYYY-MM-DD`, `YYYYMMDD`, `YYYY-Www[-D]` or `YYYYWww[D]`.
fn parse_date(text: &str) -> Option<(NaiveDate, &str)> {
    let year = i32::try_from(number(text.get(..4)?, 4)?).ok().filter(|year| *year >= 1)?;
    let extended = text.as_bytes().get(4) == Some(&b'-');
    let rest = text.get(4 + usize::from(extended)..)?;
    if let Some(week) = rest.strip_prefix('W') {
        let number_of_week = number(week.get(..2)?, 2)?;
        let rest = week.get(2..)?;
        let day = if extended { rest.strip_prefix('-').unwrap_or("") } else { rest };
        let (day, rest) = match day.as_bytes().first() {
            Some(digit @ b'1'..=b'7') => (digit - b'1', day.get(1..)?),
            _ => (0, rest),
        };
        let date = NaiveDate::from_isoywd_opt(year, number_of_week, Weekday::try_from(day).ok()?)?;
        return Some((date, rest));
    }
    let month = number(rest.get(..2)?, 2)?;
    let rest = rest.get(2..)?;
    let rest = if extended { rest.strip_prefix('-')? } else { rest };
    let day = number(rest.get(..2)?, 2)?;
    Some((NaiveDate::from_ymd_opt(year, month, day)?, rest.get(2..)?))
}

/// `HH[:MM[:SS[.ffffff]]]` or the same without colons, as a duration and microseconds.
fn parse_time(text: &str) -> Option<(TimeDelta, u32)> {
    let (clock, fraction) = match text.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let extended = clock.contains(':');
    let parts: Vec<&str> = if extended {
        clock.split(':').collect()
    } else {
        clock.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default()).collect()
    };
    if parts.is_empty() || parts.len() > 3 || (fraction.is_some() && parts.len() < 3) {
        return None;
    }
    let mut units = [0u32; 3];
    for (unit, part) in units.iter_mut().zip(&parts) {
        *unit = number(part, 2)?;
    }
    let [hours, minutes, seconds] = units;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let microseconds = match fraction {
        None => 0,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Digits beyond the sixth are cut off.
            format!("{digits:0<6}").get(..6)?.parse().ok()?
        }
        Some(_) => return None,
    };
    Some((TimeDelta::seconds(i64::from(hours * 3_600 + minutes * 60 + seconds)), microseconds))
}

fn number(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
