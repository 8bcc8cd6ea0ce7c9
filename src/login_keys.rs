//! The names that Django's login uses in a session, and the one place that reads the user's id from them.

use cloakroom_formats::{Kind, SessionData, Value, ValueError};

use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::store::listing::Listed;

/// The key of the user's id: text, as from Django's `value_to_string`.
pub const USER_ID_KEY: &str = "_auth_user_id";
/// The key of the authentication back end's dotted path.
pub const BACKEND_SESSION_KEY: &str = "_auth_user_backend";
/// The key of the session auth hash.
pub const HASH_SESSION_KEY: &str = "_auth_user_hash";

/// Returns the id of the user who is logged in in this data, as Django's `str(user.pk)`; `None` when nobody
/// is.
///
/// Django's login stores text. Sites that store `user.pk` themselves store a number, and in a cache's pickle
/// perhaps a `UUID`, a `Decimal` or `bytes`. Each becomes the text of the id that Django's `get_user` looks
/// up. Text is taken letter for letter: `07` is another user than `7`, as it is for a text primary key.
///
/// The extractors, the index of user sessions and the command all use this function.
///
/// ```
/// use cloakroom::{SessionData, auth};
///
/// for json in [r#"{"_auth_user_id":"7"}"#, r#"{"_auth_user_id":7}"#, r#"{"_auth_user_id":7.0}"#] {
///     assert_eq!(auth::user_id_in(&SessionData::from_json(json)?).unwrap().as_deref(), Some("7"));
/// }
/// assert_eq!(auth::user_id_in(&SessionData::from_json(r#"{"_auth_user_id":null}"#)?).unwrap(), None);
/// assert!(auth::user_id_in(&SessionData::from_json(r#"{"_auth_user_id":[7]}"#)?).is_err(), "nobody can tell");
/// # Ok::<(), cloakroom::ValueError>(())
/// ```
///
/// # Errors
/// [`Error::Value`] when the value is not an id: a bool, a number with a fraction, a list, a date and the
/// like. The session may then belong to any user.
pub fn user_id_in(data: &SessionData) -> Result<Option<String>, Error> {
    data.get(USER_ID_KEY).map_or(Ok(None), read)
}

impl Listed {
    /// Returns the id of the user who is logged in in it, as [`auth::user_id_in`](crate::auth::user_id_in)
    /// reads it; `None` when nobody is.
    ///
    /// ```
    /// use cloakroom::chrono::{TimeDelta, Utc};
    /// use cloakroom::store::Record;
    /// use cloakroom::{MemoryStore, SessionData, SessionKey, SessionStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (store, now) = (MemoryStore::new(), Utc::now());
    /// let data = SessionData::from_json(r#"{"_auth_user_id":7}"#)?;
    /// let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    /// store.create(&SessionKey::random()?, record).await?;
    /// let page = store.list()?.next_page(100, now).await?.unwrap();
    /// assert_eq!(page[0].user_id()?.as_deref(), Some("7"));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the session's user is unknown: it is unreadable, not signed with this secret, or its id is
    /// invalid.
    pub fn user_id(&self) -> Result<Option<String>, Error> {
        let unknown = |why: String| Err(StoreError::new("", StoreErrorKind::Unreadable, why).into());
        match &self.session {
            Ok(loaded) => match loaded.data() {
                Some(data) => user_id_in(data),
                None => unknown("the session is not signed with this secret".to_owned()),
            },
            Err(error) => unknown(error.to_string()),
        }
    }
}

/// Reads the id from the value under [`USER_ID_KEY`].
pub(crate) fn read(value: &Value) -> Result<Option<String>, Error> {
    let id = match value.kind() {
        Kind::None => return Ok(None),
        Kind::Str | Kind::Uuid => value.deserialize().ok(),
        Kind::Int | Kind::Float => whole(value.json()),
        Kind::Decimal => value.deserialize::<String>().ok().as_deref().and_then(whole),
        // Python's `int()` parses digits in bytes, too.
        Kind::Bytes | Kind::ByteArray => value.deserialize().ok().and_then(digits),
        _ => None,
    };
    id.map(Some).ok_or_else(|| Error::Value {
        key: USER_ID_KEY.to_owned(),
        source: ValueError::Mismatch {
            found: value.kind(),
            wanted: "a user's id",
            detail: "an id is text, a whole number or a UUID".to_owned(),
        },
    })
}

/// The digits of a number without a fraction, in any spelling. A float beyond 2^53 is no longer exact.
fn whole(text: &str) -> Option<String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.to_owned());
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() < EXACT).then(|| format!("{:.0}", number + 0.0))
}

fn digits(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()?.parse::<u64>().ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(json: &str) -> Result<Option<String>, Error> {
        read(&Value::from_json(json).unwrap())
    }

    /// The expected values are `str(User._meta.pk.to_python(value))` in Django 5.2.
    #[test]
    fn numbers_are_the_ids_that_django_looks_up() {
        for (json, id) in [
            ("\"7\"", "7"),
            ("7", "7"),
            ("-7", "-7"),
            ("7.0", "7"),
            ("7e0", "7"),
            ("1e+15", "1000000000000000"),
            ("-0.0", "0"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("\"07\"", "07"),
            ("\"0190b4c2-3f0e-7000-8000-000000000001\"", "0190b4c2-3f0e-7000-8000-000000000001"),
        ] {
            assert_eq!(of_json(json).unwrap().as_deref(), Some(id), "{json}");
        }
        assert_eq!(of_json("null").unwrap(), None);
    }

    /// Python's `int()` reads the first two as users 7 and 1. No login writes them, and a guess could name
    /// another user.
    #[test]
    fn what_is_no_id_is_an_error() {
        for json in ["7.5", "true", "[7]", "{}", "NaN", "Infinity", "1e+17", "\"\\ud800\""] {
            let error = of_json(json).unwrap_err();
            assert!(error.to_string().contains("cannot be read as a user's id"), "{json}: {error}");
            assert!(!error.to_string().contains("7.5"), "the value is not shown: {error}");
        }
    }

    /// The expected values are `pickle.dumps({'_auth_user_id': …}, 4)` of Python 3.11.
    #[test]
    fn pickles_are_read_alike() {
        let head = b"\x80\x04}\x94\x8c\x0d_auth_user_id\x94";
        let id = |value: &[u8]| {
            let pickle = [head.as_slice(), value, b"s."].concat();
            user_id_in(&SessionData::from_pickle(&pickle, 1 << 20).unwrap())
        };
        assert_eq!(id(b"K\x07").unwrap().as_deref(), Some("7"), "7");
        assert_eq!(id(b"\x8c\x017\x94").unwrap().as_deref(), Some("7"), "'7'");
        assert_eq!(id(b"G@\x1c\x00\x00\x00\x00\x00\x00").unwrap().as_deref(), Some("7"), "7.0");
        assert_eq!(id(b"C\x017\x94").unwrap().as_deref(), Some("7"), "b'7'");
        let decimal = b"\x8c\x07decimal\x94\x8c\x07Decimal\x94\x93\x94\x8c\x037.0\x94\x85\x94R\x94";
        assert_eq!(id(decimal).unwrap().as_deref(), Some("7"), "Decimal('7.0')");
        let uuid = b"\x8c\x04uuid\x94\x8c\x04UUID\x94\x93\x94)\x81\x94}\x94\x8c\x03int\x94K\x07sb";
        assert_eq!(id(uuid).unwrap().as_deref(), Some("00000000-0000-0000-0000-000000000007"), "UUID(int=7)");
        assert_eq!(id(b"N").unwrap(), None, "None");
        assert!(id(b"\x88").is_err(), "True");
        assert!(id(b"C\x02hi\x94").is_err(), "b'hi'");
        let date = b"\x8c\x08datetime\x94\x8c\x04date\x94\x93\x94C\x04\x07\xea\x01\x01\x94\x85\x94R\x94";
        assert!(id(date).is_err(), "date(2026, 1, 1)");
    }
}
