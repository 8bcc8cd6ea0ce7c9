//! The store option, shared by all commands with a store.

use clap::Args;
use cloakroom::SqliteStore;
use cloakroom::store::sqlite::SqliteOptions;
use cloakroom::store::{StoreScheme, StoreUrl};

use crate::ending::usage;

const VARIABLE: &str = "CLOAKROOM_STORE";

/// The option that names the store.
#[derive(Args)]
pub(crate) struct StoreOption {
    /// The sessions' store, such as sqlite:/srv/site/db.sqlite3. Use $CLOAKROOM_STORE to keep a password in
    /// the URL out of the process list
    #[arg(long = "store", value_name = "URL")]
    url: Option<String>,
}

impl StoreOption {
    /// The URL of the option itself.
    pub(crate) fn given(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The URL of the option or of the environment.
    pub(crate) fn url_or(&self, default: &'static str) -> String {
        self.url.clone().or_else(from_environment).unwrap_or_else(|| default.to_owned())
    }
}

pub(crate) fn from_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())
}

/// The options of a `sqlite:` URL, even inside of `cached_db:`.
pub(crate) fn sqlite(url: &StoreUrl) -> anyhow::Result<Option<SqliteOptions>> {
    let url = url.without_cache();
    if url.scheme() != Some(StoreScheme::Sqlite) {
        return Ok(None);
    }
    SqliteStore::options(url.expose()).map(Some).map_err(|error| usage(error.to_string()))
}
