//! The pickle of an expiry as Django's FileBasedCache writes it before an entry's value: `time.time()` plus the
//! age, or `None`.

use chrono::{DateTime, Utc};

use super::PickleError;
use super::machine::Machine;
use super::object::Object;

/// The longest pickle of a number that is read, in bytes. Python's takes 21.
pub const LONGEST: usize = 64;

const MICROSECONDS: f64 = 1e6;

/// Reads the pickle at the beginning of these bytes; returns its length too. `None` is no expiry.
///
/// # Errors
/// When it is no pickle, or not of a number or `None`.
pub fn read(bytes: &[u8]) -> Result<(Option<DateTime<Utc>>, usize), PickleError> {
    let head = bytes.get(..LONGEST).unwrap_or(bytes);
    let (objects, root, length) = Machine::new(head, LONGEST).run_first()?;
    let timestamp = match objects.get(root) {
        Object::None => None,
        Object::Float(seconds) => at(*seconds),
        Object::Int(seconds) => Some(within_time(DateTime::from_timestamp(*seconds, 0), *seconds < 0)),
        _ => return Err(PickleError::Malformed("it begins with something else than a time")),
    };
    Ok((timestamp, length))
}

/// To the nearest microsecond: a number written from microseconds is read as the same ones.
fn at(seconds: f64) -> Option<DateTime<Utc>> {
    // Python compares with it, and nothing is later than what is not a number.
    if seconds.is_nan() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and chrono refuses what is too far")]
    let microseconds = (seconds * MICROSECONDS).round() as i64;
    Some(within_time(DateTime::from_timestamp_micros(microseconds), seconds < 0.0))
}

fn within_time(time: Option<DateTime<Utc>>, is_past: bool) -> DateTime<Utc> {
    time.unwrap_or(if is_past { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC })
}

/// Writes an expiry, to the microsecond, in protocol 4.
pub fn write(expiry: DateTime<Utc>) -> [u8; 21] {
    #[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for the next 100 years")]
    let seconds = expiry.timestamp_micros() as f64 / MICROSECONDS;
    let mut pickle = *b"\x80\x04\x95\x0a\0\0\0\0\0\0\0G________.";
    if let Some(number) = pickle.get_mut(12..20) {
        number.copy_from_slice(&seconds.to_be_bytes());
    }
    pickle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_to_the_microsecond() {
        for microseconds in [0, 1, 1_764_274_000_123_457, 2_145_916_799_999_999, -1] {
            let expiry = DateTime::from_timestamp_micros(microseconds).unwrap();
            let pickle = write(expiry);
            assert_eq!(read(&pickle).unwrap(), (Some(expiry), 21));
            assert_eq!(read(&[&pickle[..], b"x\x9c"].concat()).unwrap().1, 21, "more follows it");
        }
    }

    /// `pickle.dumps` of 1764274000.25, 1764274000 and None, in the protocols 0, 2 and 5.
    #[test]
    fn each_protocol_of_python_is_read() {
        let quarter = Some(DateTime::from_timestamp_micros(1_764_274_000_250_000).unwrap());
        let whole = Some(DateTime::from_timestamp_micros(1_764_274_000_000_000).unwrap());
        for (pickle, expected) in [
            (&b"F1764274000.25\n."[..], quarter),
            (b"\x80\x02GA\xdaJ+\xd4\x10\x00\x00.", quarter),
            (b"\x80\x05\x95\x0a\0\0\0\0\0\0\0GA\xdaJ+\xd4\x10\x00\x00.", quarter),
            (b"I1764274000\n.", whole),
            (b"\x80\x05\x95\x06\0\0\0\0\0\0\0JP\xaf(i.", whole),
            (b"N.", None),
            (b"\x80\x05N.", None),
            (b"G\x7f\xf0\0\0\0\0\0\0.", Some(DateTime::<Utc>::MAX_UTC)),
            (b"G\xff\xf0\0\0\0\0\0\0.", Some(DateTime::<Utc>::MIN_UTC)),
            (b"G\x7f\xf8\0\0\0\0\0\0.", None),
        ] {
            assert_eq!(read(pickle).unwrap(), (expected, pickle.len()), "{pickle:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for pickle in
            [&b""[..], b"x", b"\x80\x05]\x94.", b"cos\nsystem\n.", b"\x80\x05\x8c\x01a.", &[b'('; 100]]
        {
            assert!(read(pickle).is_err(), "{pickle:?}");
        }
    }
}
