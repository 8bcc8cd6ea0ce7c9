//! The URLs of stores: the one place that parses and displays them.

mod divide;
#[cfg(any(
    feature = "sqlite",
    feature = "file",
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached"
))]
#[allow(dead_code, reason = "each store uses a part of it")]
mod parameters;
mod path;
mod scheme;
mod shown;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use crate::site::error::{StoreError, StoreErrorKind};

#[cfg(any(
    feature = "sqlite",
    feature = "file",
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached"
))]
#[allow(unused_imports, reason = "each store uses a part of it")]
pub(super) use parameters::{Parameters, invalid};
#[cfg(any(feature = "sqlite", feature = "file"))]
pub(super) use path::PathUrl;
pub use scheme::StoreScheme;
#[cfg(any(feature = "postgres", feature = "memcached"))]
pub(super) use shown::without_login;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) use shown::{database_shown, said_by_server};

/// The URL of a store: [`connect`](super::connect()) has the table of them. `Display` and `Debug` hide its
/// secrets: passwords, and each parameter that is not known to be harmless.
///
/// Any text is accepted, so that an invalid URL can be shown too: [`parts`](StoreUrl::parts) finds the
/// mistake. Where it is unclear which part is a password, too much is hidden rather than too little:
///
/// 1. Everything before the last `@` is the login. Of that the user is shown, up to the first colon.
/// 2. A port that is not a number may be a password whose `@` is missing, and is hidden.
/// 3. Of parameters, in a query or as libpq's `host=… password=…`, the values of well-known ones are shown.
/// 4. A path in `sqlite:`, `file:` or `filecache:` is shown.
/// 5. Each part of `cached_db:DATABASE|CACHE` and of `moving:OLD|NEW` is shown like a URL of its own.
///
/// ```
/// use cloakroom::store::StoreUrl;
///
/// let url = StoreUrl::from("postgres://ann:p?hunter2@db/site?sslmode=require&sslpassword=hunter2");
/// assert_eq!(url.to_string(), "postgres://ann:…@db/site?sslmode=require&sslpassword=…");
/// assert_eq!(format!("{url:?}"), format!("StoreUrl({url})"));
/// assert!(url.expose().contains("hunter2"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Box<str>);

/// A parsed store URL.
///
/// ```
/// use cloakroom::store::{StoreScheme, StoreUrl, StoreUrlParts};
///
/// let url = StoreUrl::from("cached_db:sqlite:db.sqlite3|redis://cache/1");
/// let StoreUrlParts::CachedDb { database, cache } = url.parts()? else { panic!("it has two parts") };
/// assert_eq!(database.parts()?, StoreUrlParts::One(StoreScheme::Sqlite));
/// assert_eq!(cache.expose(), "redis://cache/1?engine=cached_db");
/// # Ok::<(), cloakroom::StoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrlParts {
    /// One store.
    One(StoreScheme),
    /// `cached_db:DATABASE|CACHE`.
    CachedDb {
        /// The database.
        database: StoreUrl,
        /// The cache in front of it. By default its entries are those of Django's engine `cached_db`: with
        /// others, Django would not see a logout.
        cache: StoreUrl,
    },
    /// `moving:OLD|NEW`.
    Moving {
        /// The store that the site leaves.
        old: StoreUrl,
        /// The store that it moves to.
        new: StoreUrl,
    },
}

impl StoreUrl {
    /// Returns the URL of a file or a folder, with every character percent-encoded that has a meaning in
    /// URLs.
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::store::{StoreScheme, StoreUrl};
    ///
    /// let of = |scheme, path| StoreUrl::of_path(scheme, Path::new(path)).to_string();
    /// assert_eq!(of(StoreScheme::Sqlite, "/srv/site/db.sqlite3"), "sqlite:/srv/site/db.sqlite3");
    /// assert_eq!(of(StoreScheme::File, "100% ours?"), "file:100%25 ours%3F");
    /// ```
    pub fn of_path(scheme: StoreScheme, path: &Path) -> StoreUrl {
        StoreUrl::from(path::encoded(scheme.as_str(), path))
    }

    /// The URL itself with its secrets, for opening the store. Never use it in a log or a message.
    ///
    /// ```
    /// use cloakroom::store::StoreUrl;
    ///
    /// let url = StoreUrl::from("redis://:hunter2@cache/1");
    /// assert_eq!(url.expose(), "redis://:hunter2@cache/1");
    /// assert_eq!(url.to_string(), "redis://:…@cache/1");
    /// ```
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Parses the URL into the store, or the two stores, that it names.
    ///
    /// ```
    /// use cloakroom::store::{StoreScheme, StoreUrl, StoreUrlParts};
    ///
    /// let parts = StoreUrl::from("postgresql://db/site").parts()?;
    /// assert_eq!(parts, StoreUrlParts::One(StoreScheme::Postgres));
    /// let error = StoreUrl::from("carrier-pigeon:").parts().unwrap_err();
    /// assert!(error.to_string().contains("names no store"));
    /// # Ok::<(), cloakroom::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`] when the scheme is unknown, or when it is unclear where the second
    /// of two stores begins. The scheme's feature need not be enabled.
    pub fn parts(&self) -> Result<StoreUrlParts, StoreError> {
        let wrong = |message: String| Err(StoreError::new("", StoreErrorKind::Misconfigured, message));
        let (scheme, rest) = self.0.split_once(':').unwrap_or((&self.0, ""));
        match scheme {
            "cached_db" => match divide::cached_db(rest) {
                Some((database, cache)) => Ok(StoreUrlParts::CachedDb {
                    database: database.into(),
                    cache: StoreUrl::from(cache).of_cached_db(),
                }),
                None => wrong("`cached_db:` takes a database and a cache: `cached_db:DATABASE|CACHE`".to_owned()),
            },
            "moving" => match divide::moving(rest) {
                Some((old, new)) => Ok(StoreUrlParts::Moving { old: old.into(), new: new.into() }),
                None => wrong(
                    "`moving:` takes the old and the new store, and it is unclear where the second begins; write \
                     `moving:OLD|NEW`, or `moving:OLD||NEW` where one of them is a `cached_db:`, and `%7C` for a `|` in a \
                     path or a password"
                        .to_owned(),
                ),
            },
            scheme => match StoreScheme::of(scheme) {
                Some(store) if self.0.contains(':') && (!store.stands_alone() || rest.is_empty()) => {
                    Ok(StoreUrlParts::One(store))
                }
                _ => wrong(scheme::names_no_store(&self.0)),
            },
        }
    }

    /// The scheme of one store; `None` if the URL names two stores or no known one.
    ///
    /// ```
    /// use cloakroom::store::{StoreScheme, StoreUrl};
    ///
    /// assert_eq!(StoreUrl::from("mariadb://db/site").scheme(), Some(StoreScheme::Mysql));
    /// assert_eq!(StoreUrl::from("cached_db:memory:|memory:").scheme(), None);
    /// ```
    pub fn scheme(&self) -> Option<StoreScheme> {
        match self.parts() {
            Ok(StoreUrlParts::One(scheme)) => Some(scheme),
            _ => None,
        }
    }

    /// The permanent store: the database of a `cached_db:`, otherwise the URL itself.
    ///
    /// ```
    /// use cloakroom::store::StoreUrl;
    ///
    /// let url = StoreUrl::from("cached_db:sqlite:db.sqlite3|redis://cache/1").without_cache();
    /// assert_eq!(url.expose(), "sqlite:db.sqlite3");
    /// ```
    pub fn without_cache(&self) -> StoreUrl {
        match self.parts() {
            Ok(StoreUrlParts::CachedDb { database, .. }) => database,
            _ => self.clone(),
        }
    }

    /// Whether the sessions are entries of a Django cache: on a cache's server, or in a database's cache table, which
    /// the parameter `cache_table` names.
    ///
    /// ```
    /// use cloakroom::store::StoreUrl;
    ///
    /// assert!(StoreUrl::from("redis://cache/1").is_cache());
    /// assert!(StoreUrl::from("postgres://db/site?cache_table=my_cache_table").is_cache());
    /// assert!(!StoreUrl::from("postgres://db/site").is_cache());
    /// ```
    pub fn is_cache(&self) -> bool {
        let names_cache_table = || {
            let query = self.0.split_once('?').unwrap_or_default().1;
            query.split('&').any(|part| part.starts_with("cache_table="))
        };
        self.scheme().is_some_and(|scheme| scheme.is_cache() || (scheme.is_database() && names_cache_table()))
    }

    /// Resolves a relative path against this folder, also inside of `cached_db:` and `moving:`. For URLs in a
    /// settings file whose paths are relative to the file.
    ///
    /// ```
    /// use std::path::Path;
    /// use cloakroom::store::StoreUrl;
    ///
    /// let from = |url| StoreUrl::from(url).from_folder(Path::new("/srv/site")).expose().to_owned();
    /// assert_eq!(from("sqlite:db.sqlite3"), "sqlite:/srv/site/db.sqlite3");
    /// assert_eq!(from("sqlite:///db.sqlite3?mode=ro"), "sqlite:/srv/site/db.sqlite3?mode=ro");
    /// assert_eq!(
    ///     from("cached_db:sqlite:db.sqlite3|file:copies"),
    ///     "cached_db:sqlite:/srv/site/db.sqlite3|file:/srv/site/copies"
    /// );
    /// for absolute in ["sqlite:/db.sqlite3", "sqlite:////db.sqlite3", "file:///sessions", "redis://cache/1"] {
    ///     assert_eq!(from(absolute), absolute);
    /// }
    /// ```
    #[must_use]
    pub fn from_folder(&self, folder: &Path) -> StoreUrl {
        match divide::divided(&self.0) {
            Some(two) => {
                let [first, second] = two.stores.map(|url| StoreUrl::from(url).from_folder(folder));
                StoreUrl::from(format!("{}:{}{}{}", two.scheme, first.0, two.bar, second.0))
            }
            None => path::from_folder(&self.0, folder).into(),
        }
    }

    /// The same cache, with the entries of Django's engine `cached_db` unless the URL names an engine.
    pub(super) fn of_cached_db(self) -> StoreUrl {
        let (address, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        if !self.is_cache() || query.split('&').any(|part| part.starts_with("engine=")) {
            return self;
        }
        let separator = if query.is_empty() { "" } else { "&" };
        StoreUrl::from(format!("{address}?{query}{separator}engine=cached_db"))
    }
}

/// Decodes percent codes; `None` if the result is not UTF-8.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    String::from_utf8(path::unquoted(text)).ok()
}

impl From<&str> for StoreUrl {
    fn from(url: &str) -> Self {
        StoreUrl(url.into())
    }
}

impl From<String> for StoreUrl {
    fn from(url: String) -> Self {
        StoreUrl(url.into())
    }
}

/// Reads it from text, for an application's configuration. There is no `Serialize`, which would write
/// passwords.
impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(StoreUrl::from)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown::shown(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests;
