//! The names of the files in a folder, as each of Django's back ends makes them.

use md5::{Digest, Md5};

use crate::site::session_key::SessionKey;
use crate::store::cache::CacheFormat;

/// The longest file name on all common file systems.
const MAX_NAME_LENGTH: usize = 255;
/// Django's `FileBasedCache.cache_suffix`.
const SUFFIX: &str = ".djcache";

/// How a file's name follows from a session key.
#[derive(Debug)]
pub(super) enum Names {
    /// The engine `file`: this prefix, the cookie's name, and the session key.
    Prefixed(String),
    /// `FileBasedCache`: a hash of the entry's name.
    Hashed(CacheFormat),
}

/// The name of a session's file. It never leaves this folder's code, except one that is a hash.
#[derive(Clone, Debug)]
pub(super) struct FileName(pub(super) String);

impl Names {
    /// The store's name, in errors and logs.
    pub(super) fn store(&self) -> &'static str {
        match self {
            Names::Prefixed(_) => "file",
            Names::Hashed(_) => "filecache",
        }
    }

    /// The name of this session's file; `None` when the key cannot be part of a file name, so that no session
    /// has it.
    pub(super) fn of(&self, session_key: &SessionKey) -> Option<FileName> {
        match self {
            Names::Prefixed(prefix) => self.parse(&format!("{prefix}{}", session_key.as_str())),
            Names::Hashed(format) => {
                let hash = Md5::digest(format.entry_key(session_key));
                Some(FileName(cloakroom_formats::private::hex(&hash) + SUFFIX))
            }
        }
    }

    /// Parses a file's name. Allows the same characters as Django's `_key_to_file`; in a cache, the files of
    /// all its entries.
    pub(super) fn parse(&self, name: &str) -> Option<FileName> {
        let is_one = match self {
            Names::Prefixed(prefix) => {
                let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                let key = name.strip_prefix(prefix.as_str())?;
                !key.is_empty() && name.len() <= MAX_NAME_LENGTH && key.bytes().all(allowed)
            }
            Names::Hashed(_) => {
                let allowed = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let hash = name.strip_suffix(SUFFIX)?;
                hash.len() == 32 && hash.bytes().all(allowed)
            }
        };
        is_one.then(|| FileName(name.to_owned()))
    }

    /// The session key in a file's name; `None` in a cache, where a name has none.
    pub(super) fn session_key<'a>(&self, name: &'a FileName) -> Option<&'a str> {
        match self {
            Names::Prefixed(prefix) => name.0.strip_prefix(prefix.as_str()),
            Names::Hashed(_) => None,
        }
    }

    /// The file's name, if it tells no session key.
    pub(super) fn shown(&self, name: &FileName) -> Option<String> {
        matches!(self, Names::Hashed(_)).then(|| name.0.clone())
    }

    /// Whether Django creates such a file on the way to a session's: `<its name>_out_<8 characters>`. Those of
    /// `FileBasedCache` look like every temporary file of Python's, and may be another program's.
    pub(super) fn is_temporary_of_django(&self, name: &str) -> bool {
        let parts = name.rsplit_once("_out_").filter(|_| matches!(self, Names::Prefixed(_)));
        parts.is_some_and(|(session, random)| random.len() == 8 && self.parse(session).is_some())
    }

    /// Whether Django creates a missing folder whenever it writes: a cache may be removed as a whole.
    pub(super) fn come_with_folder(&self) -> bool {
        matches!(self, Names::Hashed(_))
    }

    /// Whether Django may write into a file in place, and not another over it: `FileBasedCache.touch`.
    pub(super) fn may_change_in_place(&self) -> bool {
        matches!(self, Names::Hashed(_))
    }
}
