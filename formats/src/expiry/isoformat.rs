//! Python's `datetime.isoformat` and `datetime.fromisoformat` (of 3.11).

use std::fmt::Write;

use chrono::{
    Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Weekday,
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

/// Follows CPython's own steps in its order: the accepted forms and ignored characters follow from them
/// alone.
pub(super) fn parse(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    let separator = separator(bytes)?;
    let date = parse_date(bytes, separator)?;
    if bytes.len() <= separator {
        return Some(Moment::Naive(date.and_time(NaiveTime::MIN)));
    }
    // Any single character may stand between date and time.
    let rest = text.get(separator..)?;
    let rest = rest.get(rest.chars().next()?.len_utf8()..)?.as_bytes();
    let zone_at = rest.iter().position(|byte| matches!(byte, b'Z' | b'+' | b'-')).unwrap_or(rest.len());
    let (([hours, minutes, seconds], microseconds), ends) = parse_clock(rest, zone_at)?;
    let time = NaiveTime::from_hms_micro_opt(hours, minutes, seconds, microseconds)?;
    let wall_clock = date.and_time(time);
    match rest.get(zone_at) {
        None => ends.then_some(Moment::Naive(wall_clock)),
        Some(b'Z') => aware(wall_clock, 0).filter(|_| at(rest, zone_at + 1) == 0),
        Some(sign) => {
            let zone = &rest[zone_at + 1..];
            let (([hours, minutes, seconds], _), ends) = parse_clock(zone, zone.len())?;
            let seconds = (hours * 3_600 + minutes * 60 + seconds) as i32;
            // Offsets are whole seconds here, so a fraction is dropped.
            aware(wall_clock, if *sign == b'-' { -seconds } else { seconds }).filter(|_| ends)
        }
    }
}

fn aware(wall_clock: NaiveDateTime, offset: i32) -> Option<Moment> {
    FixedOffset::east_opt(offset)?.from_local_datetime(&wall_clock).single().map(Moment::Aware)
}

/// Finds the end of the date; `_find_isoformat_datetime_separator`.
fn separator(text: &[u8]) -> Option<usize> {
    let is_digit = |place| at(text, place).is_ascii_digit();
    Some(match (text.len(), at(text, 4), at(text, 5)) {
        (..7, ..) => return None,
        (7, ..) => 7,
        (9, b'-', b'W') if text[8] == b'-' => return None,
        // A day of the week or an hour? Two digits are an hour.
        (10.., b'-', b'W') if text[8] == b'-' && !is_digit(10) => 10,
        (_, b'-', b'W') => 8,
        (_, b'-', _) => 10,
        (length, b'W', _) => {
            let end = (7..length).find(|place| !is_digit(*place)).unwrap_or(length);
            // After the date come one character and pairs of digits: a weekday digit makes the count odd.
            if end < 9 { end } else { 7 + end % 2 }
        }
        _ => 8,
    })
}

/// `YYYY-MM-DD`, `YYYYMMDD`, `YYYY-Www[-D]` or `YYYYWww[D]`, which ends at `length`.
fn parse_date(text: &[u8], length: usize) -> Option<NaiveDate> {
    let year = i32::try_from(digits(text, 0, 4)?).ok().filter(|year| *year >= 1)?;
    let dash = usize::from(at(text, 4) == b'-');
    let is_dash = |place| dash == 0 || at(text, place) == b'-';
    let place = 4 + dash;
    if at(text, place) == b'W' {
        let (week, end) = (digits(text, place + 1, 2)?, place + 3);
        let day = match length {
            _ if end >= length => 1,
            _ if !is_dash(end) => return None,
            _ => digits(text, end + dash, 1)?,
        };
        let day = Weekday::try_from(u8::try_from(day).ok()?.checked_sub(1)?).ok()?;
        return NaiveDate::from_isoywd_opt(year, week, day).filter(|date| (1..=9999).contains(&date.year()));
    }
    let month = digits(text, place, 2)?;
    let day = digits(text, place + 2 + dash, 2).filter(|_| is_dash(place + 2))?;
    NaiveDate::from_ymd_opt(year, month, day).filter(|_| place + 4 + dash >= length)
}

/// Hours, minutes and seconds, and microseconds.
type Clock = ([u32; 3], u32);

/// `HH[:MM[:SS[.ffffff]]]` or the same without colons, up to `end`; also returns whether the whole text ends
/// there. Follows `parse_hh_mm_ss_ff`, whose fraction may also follow the hours or the minutes, or come
/// without its point.
fn parse_clock(text: &[u8], end: usize) -> Option<(Clock, bool)> {
    let (mut units, mut place, mut colons) = ([0; 3], 0, false);
    for index in 0..3 {
        units[index] = digits(text, place, 2)?;
        let next = at(text, place + 2);
        place += 3;
        if index == 0 {
            colons = next == b':';
        }
        match next {
            _ if place >= end => return Some(((units, 0), next == 0)),
            b':' if colons => {}
            b'.' | b',' => break,
            _ if colons => return None,
            _ => place -= 1,
        }
    }
    // Digits beyond the sixth are cut off.
    let length = (end - place).min(6);
    let fraction = digits(text, place, length)?;
    let microseconds = fraction * 10_u32.pow(6 - length as u32);
    place += length;
    while at(text, place).is_ascii_digit() {
        place += 1;
    }
    Some(((units, microseconds), at(text, place) == 0))
}

/// The byte at a position; 0 beyond the end, as in C.
fn at(text: &[u8], place: usize) -> u8 {
    text.get(place).copied().unwrap_or(0)
}

fn digits(text: &[u8], place: usize, length: usize) -> Option<u32> {
    let digits = text.get(place..place + length)?;
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}
