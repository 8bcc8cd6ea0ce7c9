//! The formats of Django's sessions: bytes and text on one side, data on the other.
//!
//! This crate has no runtime, no I/O and no clock: a function that needs the time takes it as an argument.
//! The crate `cloakroom` builds on it and re-exports all of it. Use it alone to read or write data that a
//! Django site has stored or signed:
//!
//! - [`signing`]: `django.core.signing`, text with a signature and a time.
//! - [`SessionCodec`]: the signed text of a session, old and new, as the stores `db`, `file` and
//!   `signed_cookies` keep it.
//! - [`SessionData`] and [`Value`]: the dictionary in that text, without loss; from and to JSON and Python's
//!   pickle.
//! - [`csrf`]: the tokens of Django's forms.
//! - [`messages`]: `django.contrib.messages`, as a session or a signed cookie keeps it.
//! - [`url`]: whether a URL that a client sent may be redirected to.
//! - [`Expiry`], [`Moment`] and [`TimeZone`]: when a session expires, as Django writes it.
//!
//! ```
//! use chrono::DateTime;
//! use cloakroom_formats::{SessionCodec, SessionCodecConfig, SessionData};
//!
//! let codec = SessionCodec::new(SessionCodecConfig::new("django-insecure-x"));
//! let text = codec.encode(&SessionData::from_json(r#"{"visits":7}"#)?, DateTime::UNIX_EPOCH)?;
//! assert_eq!(codec.decode(&text)?.read("visits")?, Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compression;
pub mod csrf;
mod expiry;
pub mod messages;
mod pickle;
mod session_data;
mod session_text;
pub mod signing;
mod time_zone;
pub mod url;
mod value;

pub use chrono;

pub use expiry::{EXPIRY_KEY, Expiry, ExpiryAge, ExpiryError, IntoTimeDelta, Moment};
pub use pickle::{OpcodeName, PickleError};
pub use session_data::SessionData;
pub use session_text::{DecodeError, SessionCodec, SessionCodecConfig, TextFormat};
pub use time_zone::TimeZone;
#[cfg(feature = "time-zones")]
pub use time_zone::{NamedTimeZone, UnknownTimeZone};
pub use value::{Kind, MAX_DEPTH, MAX_VALUE_DEPTH, Value, ValueError};

/// Internals for the crate `cloakroom` of the same version. They may change in any release.
#[doc(hidden)]
pub mod private {
    pub use crate::compression::scratch::{Scratch, with as with_scratch};
    pub use crate::compression::{Effort, InflateError};
    pub use crate::expiry::StoredExpiry;
    pub use crate::pickle::timestamp::{
        LONGEST as LONGEST_PICKLED_TIMESTAMP, read as read_pickled_timestamp,
        write as write_pickled_timestamp,
    };
    pub use crate::pickle::{is_none as is_pickle_of_none, write_within as write_pickle_within};
    pub use crate::signing::{decode_standard, encode_standard, hex};
    pub use crate::url::parts::{Url, quote};
    pub use crate::value::{Text, unescape_key};
}
