//! The entries of Django's cache API: their names and their contents.

mod compression;
#[cfg(feature = "redis-formats")]
mod msgpack;

use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::private::{InflateError, is_pickle_of_none, write_pickle_within};
use cloakroom_formats::{PickleError, SessionData, ValueError};

#[cfg(feature = "file")]
pub(in crate::store) use compression::deflate;
#[cfg(any(feature = "memcached", feature = "file"))]
pub(in crate::store) use compression::inflate;

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::store::contract::Record;
use crate::store::url::Parameters;

/// How a Django site's cache names and writes sessions: its settings in `CACHES`.
///
/// ```
/// use cloakroom::store::cache::{CacheFormat, CacheSerializer};
///
/// let mut format = CacheFormat::default();
/// format.key_prefix = "site1".to_owned();
/// assert_eq!((format.version, format.serializer), (1, CacheSerializer::Pickle));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheFormat {
    /// `KEY_PREFIX`. Default: empty.
    pub key_prefix: String,
    /// `VERSION`. Default: 1.
    pub version: u32,
    /// `KEY_FUNCTION`, if the site has its own.
    pub key_function: Option<KeyFunction>,
    /// The session engine whose entries these are. Default: `cache`.
    pub engine: CacheEngine,
    /// The value's serialization. Default: a pickle.
    pub serializer: CacheSerializer,
    /// The value's compression. Default: none.
    pub compressor: CacheCompressor,
}

/// A site's own naming of entries, in place of `KEY_PREFIX:VERSION:key`: Django's `KEY_FUNCTION`.
///
/// ```
/// use cloakroom::store::cache::{CacheFormat, KeyFunction};
///
/// let mut format = CacheFormat::default();
/// // def make_key(key, key_prefix, version): return f"{key_prefix}|{version}|{key}"
/// let pipes = |key: &str, key_prefix: &str, version: u32| format!("{key_prefix}|{version}|{key}");
/// format.key_function = Some(KeyFunction::new(pipes));
/// assert!(format.key_function.is_some());
/// ```
#[derive(Clone)]
pub struct KeyFunction(Arc<MakeKey>);

type MakeKey = dyn Fn(&str, &str, u32) -> String + Send + Sync;

impl KeyFunction {
    /// Creates it from a function that takes the entry's own name, `KEY_PREFIX` and `VERSION`, as Django's
    /// does. The function must return a unique name for each session. Sessions can be listed if that name
    /// ends in the key.
    ///
    /// ```
    /// use cloakroom::store::cache::KeyFunction;
    ///
    /// let bare = KeyFunction::new(|key, _key_prefix, _version| key.to_owned());
    /// assert_eq!(bare, bare.clone());
    /// assert_ne!(bare, KeyFunction::new(|key, _, _| key.to_owned()), "another function");
    /// ```
    pub fn new(make_key: impl Fn(&str, &str, u32) -> String + Send + Sync + 'static) -> KeyFunction {
        KeyFunction(Arc::new(make_key))
    }
}

impl fmt::Debug for KeyFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyFunction(..)")
    }
}

/// Equal only for the same function, not for one with the same behaviour.
impl PartialEq for KeyFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyFunction {}

/// The session engine, which is part of an entry's name.
///
/// ```
/// use cloakroom::store::cache::{CacheEngine, CacheFormat};
///
/// let mut format = CacheFormat::default();
/// assert_eq!(format.engine, CacheEngine::Cache);
/// format.engine = CacheEngine::CachedDb;
/// assert_eq!("cached_db".parse(), Ok(CacheEngine::CachedDb));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheEngine {
    /// `django.contrib.sessions.backends.cache`
    #[default]
    Cache,
    /// `django.contrib.sessions.backends.cached_db`
    CachedDb,
}

/// How a cache back end serializes a session.
///
/// ```
/// use cloakroom::store::cache::CacheSerializer;
///
/// assert_eq!(CacheSerializer::default(), CacheSerializer::Pickle);
/// assert_eq!("json".parse(), Ok(CacheSerializer::Json));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheSerializer {
    /// Django's own back ends, and django-redis by default.
    #[default]
    Pickle,
    /// django-redis with `django_redis.serializers.json.JSONSerializer`.
    Json,
    /// django-redis with `django_redis.serializers.msgpack.MSGPackSerializer`; the feature `redis-formats`.
    MessagePack,
}

/// How a cache back end compresses the serialized session. An entry that is not compressed is read with each of
/// them, as by django-redis, which leaves short values as they are.
///
/// ```
/// use cloakroom::store::cache::CacheCompressor;
///
/// assert_eq!(CacheCompressor::default(), CacheCompressor::None);
/// assert_eq!("zlib".parse(), Ok(CacheCompressor::Zlib));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheCompressor {
    /// No compression.
    #[default]
    None,
    /// django-redis with `django_redis.compressors.zlib.ZlibCompressor`.
    Zlib,
    /// django-redis with `django_redis.compressors.gzip.GzipCompressor`; the feature `redis-formats`.
    Gzip,
    /// django-redis with `django_redis.compressors.lz4.Lz4Compressor`; the feature `redis-formats`.
    Lz4,
    /// django-redis with `django_redis.compressors.lzma.LzmaCompressor`; the feature `redis-formats`.
    Lzma,
    /// django-redis with `django_redis.compressors.zstd.ZStdCompressor`; the feature `redis-formats`.
    Zstd,
}

impl Default for CacheFormat {
    /// Django's defaults.
    fn default() -> Self {
        CacheFormat {
            key_prefix: String::new(),
            version: 1,
            key_function: None,
            engine: CacheEngine::default(),
            serializer: CacheSerializer::default(),
            compressor: CacheCompressor::default(),
        }
    }
}

/// Why an entry gives no session.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("{0}")]
    Pickle(#[from] PickleError),
    #[error("{0}")]
    Json(#[from] ValueError),
    #[error("it is an integer and no session")]
    Integer,
    #[cfg(feature = "memcached")]
    #[error("its flags {0} are not those of a pickle")]
    NoPickle(u32),
    #[error("it is not UTF-8, which JSON must be")]
    NotText,
    #[error("it is {0}")]
    Inflate(#[from] InflateError),
    #[cfg(feature = "redis-formats")]
    #[error("decompressed it has more than the {limit} bytes that `max_decompressed_bytes` allows")]
    Decompressed { limit: usize },
    #[cfg(feature = "redis-formats")]
    #[error("it cannot be decompressed: {0}")]
    Compressed(String),
    #[cfg(feature = "redis-formats")]
    #[error("it is no session in MessagePack: {0}")]
    MessagePack(String),
    #[cfg(not(feature = "redis-formats"))]
    #[error("its serializer is not compiled in")]
    NotCompiledIn,
}

impl EntryError {
    pub(crate) fn into_store_error(self, store: &'static str) -> StoreError {
        let message = format!("an entry cannot be read: {self}; it was left as it is");
        StoreError::new(store, StoreErrorKind::Unreadable, message).with_source(self)
    }
}

impl CacheFormat {
    /// Returns the name of a session's entry. Django's `cache_key_prefix` and `make_key`.
    pub(crate) fn entry_key(&self, session_key: &SessionKey) -> String {
        let engine = match self.engine {
            CacheEngine::Cache => "django.contrib.sessions.cache",
            CacheEngine::CachedDb => "django.contrib.sessions.cached_db",
        };
        match &self.key_function {
            Some(KeyFunction(make_key)) => {
                make_key(&[engine, session_key.as_str()].concat(), &self.key_prefix, self.version)
            }
            None => {
                let (prefix, key) = (&self.key_prefix, session_key.as_str());
                // Reserves room for the longest version.
                let mut name = String::with_capacity(prefix.len() + engine.len() + key.len() + 12);
                name.push_str(prefix);
                // Writing to a String cannot fail.
                let _ = write!(name, ":{}:", self.version);
                name.push_str(engine);
                name.push_str(key);
                name
            }
        }
    }

    /// Returns the common beginning of all sessions' entry names; the session key follows it.
    pub(crate) fn entry_prefix(&self, store: &'static str) -> Result<String, StoreError> {
        let prefix = self.entry_key(&SessionKey::from_trusted(""));
        let example = "abcdefgh";
        if self.entry_key(&SessionKey::from_trusted(example)).strip_prefix(&prefix) == Some(example) {
            return Ok(prefix);
        }
        let message = "sessions cannot be listed here: the site's KEY_FUNCTION does not end an entry's name with the \
                       session key, so that no key can be told from a name";
        Err(StoreError::new(store, StoreErrorKind::Unsupported, message))
    }

    /// Encodes a session's entry, which [`decode`](Self::decode) with the same limit can read.
    pub(crate) fn encode(&self, data: &SessionData, limit: usize) -> Result<Vec<u8>, ValueError> {
        let plain = match self.serializer {
            CacheSerializer::Pickle => write_pickle_within(data, limit)?,
            // With Python's default separators, so that unchanged data stays letter for letter.
            CacheSerializer::Json => data.json_to_store(", ", ": ")?.into_bytes(),
            #[cfg(feature = "redis-formats")]
            CacheSerializer::MessagePack => msgpack::encode(data)?,
            #[cfg(not(feature = "redis-formats"))]
            CacheSerializer::MessagePack => return Err(ValueError::Syntax("not compiled in".to_owned())),
        };
        if plain.len() > limit {
            return Err(ValueError::TooLarge { size: plain.len(), limit });
        }
        Ok(self.compressor.compress(plain))
    }

    /// Decodes the session in an entry; `None` for a pickled `None`, which Django's cache API cannot tell
    /// from a missing entry.
    pub(crate) fn decode(&self, entry: &[u8], limit: usize) -> Result<Option<SessionData>, EntryError> {
        let decompressed = self.compressor.decompress(entry, limit)?;
        let plain = decompressed.as_deref().unwrap_or(entry);
        // Django's Redis back ends store integers as their digits.
        if plain.first().is_some_and(|first| first.is_ascii_digit() || b"+- ".contains(first)) {
            return Err(EntryError::Integer);
        }
        match self.serializer {
            CacheSerializer::Pickle if is_pickle_of_none(plain) => Ok(None),
            CacheSerializer::Pickle => Ok(Some(SessionData::from_pickle(plain, limit)?)),
            CacheSerializer::Json | CacheSerializer::MessagePack if plain.len() > limit => {
                Err(ValueError::TooLarge { size: plain.len(), limit }.into())
            }
            #[cfg(feature = "redis-formats")]
            CacheSerializer::MessagePack => msgpack::decode(plain),
            #[cfg(not(feature = "redis-formats"))]
            CacheSerializer::MessagePack => Err(EntryError::NotCompiledIn),
            CacheSerializer::Json => {
                let text = std::str::from_utf8(plain).map_err(|_| EntryError::NotText)?;
                if text == "null" { Ok(None) } else { Ok(Some(SessionData::from_json(text)?)) }
            }
        }
    }

    /// Takes the parameters that are settings of the site's `CACHES`: those of
    /// [`PARAMETERS`](CacheFormat::PARAMETERS).
    pub(in crate::store) fn take_from(parameters: &mut Parameters) -> Result<CacheFormat, StoreError> {
        let mut format = CacheFormat::take_names(parameters)?;
        if let Some(serializer) = parameters.take_parsed("serializer", CacheSerializer::NAMES)? {
            format.serializer = serializer;
        }
        if let Some(compressor) = parameters.take_parsed("compressor", CacheCompressor::NAMES)? {
            format.compressor = compressor;
        }
        format.check_compiled_in()?;
        Ok(format)
    }

    /// Takes the parameters of the entries' names alone: those of [`NAMES`](CacheFormat::NAMES).
    pub(in crate::store) fn take_names(parameters: &mut Parameters) -> Result<CacheFormat, StoreError> {
        let mut format = CacheFormat::default();
        if let Some(prefix) = parameters.take("key_prefix")? {
            format.key_prefix = prefix;
        }
        if let Some(version) = parameters.take_parsed("version", "a whole number, Django's VERSION")? {
            format.version = version;
        }
        if let Some(head) = parameters.take("entry_prefix")? {
            let name = move |key: &str, _: &str, _: u32| format!("{head}{key}");
            format.key_function = Some(KeyFunction::new(name));
        }
        if let Some(engine) = parameters.take_parsed("engine", CacheEngine::NAMES)? {
            format.engine = engine;
        }
        Ok(format)
    }

    /// Refuses a format whose libraries are not compiled in.
    fn check_compiled_in(&self) -> Result<(), StoreError> {
        let is_basic = matches!(self.serializer, CacheSerializer::Pickle | CacheSerializer::Json)
            && matches!(self.compressor, CacheCompressor::None | CacheCompressor::Zlib);
        if is_basic || cfg!(feature = "redis-formats") {
            return Ok(());
        }
        let message = "msgpack, gzip, lz4, lzma and zstd are not compiled in; add the feature `redis-formats` to cloakroom \
                       in Cargo.toml";
        Err(StoreError::new("redis", StoreErrorKind::Misconfigured, message))
    }

    /// The names of the parameters about the entries' names, for an error.
    pub(crate) const NAMES: [&str; 4] = ["key_prefix", "version", "entry_prefix", "engine"];

    /// The names of the parameters, for an error.
    pub(crate) const PARAMETERS: [&str; 6] =
        ["key_prefix", "version", "entry_prefix", "engine", "serializer", "compressor"];
}

/// The error for an unknown engine, serializer or compressor.
///
/// ```
/// use cloakroom::store::cache::CacheSerializer;
///
/// let error = "yaml".parse::<CacheSerializer>().unwrap_err();
/// assert_eq!(error.to_string(), "the serializer is one of pickle, json, msgpack");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} is one of {names}")]
#[non_exhaustive]
pub struct UnknownCacheFormat {
    what: &'static str,
    names: &'static str,
}

/// Reads a setting's word.
macro_rules! from_str {
    ($type:ident, $what:literal: $($word:literal => $variant:ident),+) => {
        impl $type {
            /// The words, for an error.
            const NAMES: &str = from_str!(@list $($word),+);
        }

        impl FromStr for $type {
            type Err = UnknownCacheFormat;

            fn from_str(text: &str) -> Result<Self, UnknownCacheFormat> {
                match text {
                    $($word => Ok($type::$variant),)+
                    _ => Err(UnknownCacheFormat { what: $what, names: $type::NAMES }),
                }
            }
        }
    };
    (@list $first:literal $(, $word:literal)*) => { concat!($first $(, ", ", $word)*) };
}

from_str!(CacheEngine, "engine": "cache" => Cache, "cached_db" => CachedDb);
from_str!(CacheSerializer, "serializer": "pickle" => Pickle, "json" => Json, "msgpack" => MessagePack);
from_str!(CacheCompressor, "compressor": "none" => None, "zlib" => Zlib, "gzip" => Gzip, "lz4" => Lz4,
    "lzma" => Lzma, "zstd" => Zstd);

/// The session's remaining life; zero or negative when it has expired.
pub(crate) fn time_to_live(record: Record<'_>) -> TimeDelta {
    record.expire_date - record.now
}

/// When an entry with this remaining life expires. A negative TTL means no expiry.
pub(crate) fn ends_in(now: DateTime<Utc>, left: Option<TimeDelta>) -> DateTime<Utc> {
    let left = left.filter(|left| *left >= TimeDelta::zero());
    left.and_then(|left| now.checked_add_signed(left)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
