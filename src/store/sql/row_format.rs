//! The content of a row: the signed text of Django's `db` back end, or an entry of its `DatabaseCache`.
//!
//! Both tables have a key, a text and an expiry. An entry of the cache has the session's name in the cache as its key, a
//! pickle in base64 as its text. The table may hold other entries too, which are never counted, listed or removed.
//!
//! Django cuts the expiry of an entry to whole seconds. Here it keeps its microseconds, which Django reads: otherwise a
//! session would end up to a second early.

use chrono::{DateTime, Utc};
use cloakroom_formats::private::{decode_standard, encode_standard};
use cloakroom_formats::{DecodeError, SessionCodec, ValueError};

use super::table::{self, Columns};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::site::settings::{Settings, SettingsDigest};
use crate::store::cache::{CacheCompressor, CacheEngine, CacheFormat, CacheSerializer, EntryError};
use crate::store::contract::Record;
use crate::store::listing::Listed;
use crate::store::loaded::{Content, Loaded, Version};
use crate::store::url::{Parameters, invalid};

/// How a store's rows hold sessions.
#[expect(clippy::large_enum_variant, reason = "a store has one")]
pub(super) enum RowFormat {
    /// Django's session table.
    Text(SessionCodec, SettingsDigest),
    /// Django's cache table.
    Entry {
        format: CacheFormat,
        /// The common beginning of the keys of sessions' rows, if there is one.
        prefix: Option<String>,
        /// The maximum size of a pickle.
        limit: usize,
    },
}

/// Why a row gives no session.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("{0}")]
    Text(#[from] DecodeError),
    #[error("an entry cannot be read: {0}")]
    Entry(#[from] EntryError),
    #[error("an entry cannot be read: it is not base64")]
    NotBase64,
}

impl RowError {
    /// Adds the cause to the store's error.
    pub(super) fn source_of(self, error: StoreError) -> StoreError {
        match self {
            RowError::Text(source) => error.with_source(source),
            RowError::Entry(source) => error.with_source(source),
            RowError::NotBase64 => error,
        }
    }
}

impl RowFormat {
    pub(super) fn new(cache: Option<&CacheFormat>, settings: &Settings) -> RowFormat {
        match cache {
            Some(format) => RowFormat::Entry {
                format: format.clone(),
                prefix: format.entry_prefix("").ok(),
                limit: settings.max_decompressed_bytes,
            },
            None => RowFormat::Text(SessionCodec::new(settings), SettingsDigest::of_signed_text(settings)),
        }
    }

    /// For [`SessionStore::opened_with`](crate::SessionStore::opened_with).
    pub(super) fn opened_with(&self) -> Option<&SettingsDigest> {
        match self {
            RowFormat::Text(_, digest) => Some(digest),
            RowFormat::Entry { .. } => None,
        }
    }

    /// The key of a session's row.
    pub(super) fn row_key(&self, session_key: &SessionKey) -> SessionKey {
        match self {
            RowFormat::Text(..) => session_key.clone(),
            RowFormat::Entry { format, .. } => SessionKey::from_trusted(format.entry_key(session_key)),
        }
    }

    /// The session key in the key of a session's row.
    pub(super) fn session_key(&self, row_key: String) -> SessionKey {
        match self {
            RowFormat::Text(..) => SessionKey::from_trusted(row_key),
            RowFormat::Entry { prefix, .. } => {
                let session_key = prefix.as_deref().and_then(|prefix| row_key.strip_prefix(prefix));
                SessionKey::from_trusted(session_key.unwrap_or(&row_key))
            }
        }
    }

    /// Fails where a session's row cannot be told from another entry's.
    pub(super) fn check_listable(&self, store: &'static str) -> Result<(), StoreError> {
        match self {
            RowFormat::Text(..) => Ok(()),
            RowFormat::Entry { format, .. } => format.entry_prefix(store).map(drop),
        }
    }

    /// The key after which the first session's row comes. No key is empty.
    #[cfg(feature = "sqlite")]
    pub(super) fn before_the_first(&self) -> String {
        match self {
            RowFormat::Text(..) => String::new(),
            RowFormat::Entry { prefix, .. } => prefix.clone().unwrap_or_default(),
        }
    }

    /// Encodes a session's text.
    pub(super) fn encode(&self, record: Record<'_>) -> Result<String, ValueError> {
        match self {
            RowFormat::Text(codec, _) => codec.encode(record.data, record.now),
            RowFormat::Entry { format, limit, .. } => {
                Ok(encode_standard(&format.encode(record.data, *limit)?))
            }
        }
    }

    /// Decodes a stored text; `None` for a pickled `None`, which Django's cache cannot tell from a missing entry.
    pub(super) fn decode(&self, stored: &[u8]) -> Result<Option<Content>, RowError> {
        match self {
            RowFormat::Text(codec, _) => Ok(Some(decode(codec, stored)?)),
            RowFormat::Entry { format, limit, .. } => {
                let text = std::str::from_utf8(stored).map_err(|_| RowError::NotBase64)?;
                let mut buffer = Vec::new();
                let entry = decode_standard(text, &mut buffer).ok_or(RowError::NotBase64)?;
                Ok(format.decode(entry, *limit)?.map(Content::Genuine))
            }
        }
    }
}

/// Decodes a stored text. A text that was not signed with this secret is not genuine; a warning is logged for
/// the session that results.
fn decode(codec: &SessionCodec, stored: &[u8]) -> Result<Content, DecodeError> {
    std::str::from_utf8(stored).map_or(Ok(Content::NotGenuine), |text| decode_text(codec, text))
}

fn decode_text(codec: &SessionCodec, text: &str) -> Result<Content, DecodeError> {
    match codec.decode(text) {
        Ok(data) => Ok(Content::Genuine(data)),
        Err(DecodeError::BadSignature) => Ok(Content::NotGenuine),
        Err(error) => Err(error),
    }
}

/// A row in a listing; `None` if it gives no session. `explain` creates the store's error; its argument is `None` if
/// the column holds no text.
pub(super) fn listed(
    format: &RowFormat,
    row_key: String,
    stored: Option<Vec<u8>>,
    expire_date: Option<DateTime<Utc>>,
    explain: impl Fn(Option<RowError>) -> StoreError,
) -> Option<Listed> {
    let session = match stored {
        None => Err(explain(None)),
        Some(stored) => match format.decode(&stored) {
            Ok(content) => {
                Ok(Loaded { content: content?, version: Version::from_bytes(stored), expire_date })
            }
            Err(error) => Err(explain(Some(error))),
        },
    };
    Some(Listed { session_key: format.session_key(row_key), expire_date, session })
}

/// The table's columns: those of Django's cache, unless the options name others.
pub(super) fn columns(cache: Option<&CacheFormat>, columns: &Columns) -> Columns {
    if cache.is_none() || *columns != Columns::default() {
        return columns.clone();
    }
    Columns {
        session_key: "cache_key".to_owned(),
        session_data: "value".to_owned(),
        expire_date: "expires".to_owned(),
    }
}

/// The common beginning of the keys of sessions' rows, and further text with which other entries go on.
pub(super) fn prefix(cache: &CacheFormat) -> Option<(String, Option<&'static str>)> {
    let prefix = cache.entry_prefix("").ok()?;
    // The name of one engine begins with the other's.
    let other = (cache.engine == CacheEngine::Cache).then_some("d_db");
    Some((prefix, other))
}

/// The parameters of a cache table, for an error.
pub(super) const PARAMETERS: [&str; 5] = ["cache_table", "key_prefix", "version", "entry_prefix", "engine"];

/// The tables that a URL names, or else Django's and the index' usual one.
pub(super) struct Tables {
    pub(super) table: String,
    /// Of a cache table: how its entries are named.
    pub(super) cache: Option<CacheFormat>,
    pub(super) user_session_table: String,
}

impl Tables {
    /// Takes `table` or `cache_table`, and `user_session_table`.
    pub(super) fn take_from(store: &'static str, parameters: &mut Parameters) -> Result<Tables, StoreError> {
        let (cache_table, cache) = take_cache_table(store, parameters)?.unzip();
        let table = parameters.take_name("table")?.or(cache_table);
        let user_session_table = parameters.take_name("user_session_table")?;
        Ok(Tables {
            table: table.unwrap_or_else(|| table::DJANGO_TABLE.to_owned()),
            cache,
            user_session_table: user_session_table.unwrap_or_else(|| table::USER_SESSION_TABLE.to_owned()),
        })
    }
}

/// Takes `cache_table` and the settings of the site's `CACHES`.
fn take_cache_table(
    store: &'static str,
    parameters: &mut Parameters,
) -> Result<Option<(String, CacheFormat)>, StoreError> {
    let Some(table) = parameters.take_name("cache_table")? else { return Ok(None) };
    if parameters.take("table")?.is_some() {
        return Err(invalid(store, "table", "says what `cache_table` says too", "one of the two"));
    }
    let format = CacheFormat::take_from(parameters)?;
    for (name, is_usual) in [
        ("serializer", format.serializer == CacheSerializer::Pickle),
        ("compressor", format.compressor == CacheCompressor::None),
    ] {
        if !is_usual {
            let what = "is not one of Django's DatabaseCache, which keeps pickles as they are";
            return Err(invalid(store, name, what, "nothing: leave it out"));
        }
    }
    Ok(Some((table, format)))
}
