//! `cloakroom create-table`: creates the table of Django's session migration.

use clap::Args;
use cloakroom::store::table::{MigrationRecord, TableCreation};
use cloakroom::store::{StoreUrl, StoreUrlParts};
use percent_encoding::percent_decode_str;

use crate::ending::Ending;
use crate::output::lines::report;
use crate::site::SiteOptions;
use crate::site::store_url::sqlite;

const EXAMPLES: &str = "\
Examples:
  cloakroom create-table --store sqlite:/srv/site/db.sqlite3
  cloakroom create-table --store postgres://site@db.example/site
  # For a Django site that will use this file later, so that `migrate` skips the table:
  cloakroom create-table --store sqlite:db.sqlite3 --record-migration

With ?cache_table=NAME in the URL it makes the table of Django's DatabaseCache, as `manage.py createcachetable` does.

An existing table stays as it is. In a Django database (one with a table django_migrations) the \
migration is always recorded. A new SQLite file gets the permissions that Django's own would get: readable for all, less \
the umask. Anyone who can read it can use the sessions in it; run `umask 077` first to restrict it to this user.

Exit codes: 0 the table exists, 1 something failed, 2 wrong usage.";

/// Create the session table, exactly as Django's migration does, and the SQLite file if missing
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    site: SiteOptions,
    /// Record the migration sessions.0001_initial in django_migrations, creating that table if missing
    #[arg(long)]
    record_migration: bool,
    /// Create the table for the index of user sessions instead; Django does not know this table
    #[arg(long, conflicts_with = "record_migration")]
    user_sessions: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let url = site.url()?;
    // A mistake in the URL is a usage error.
    sqlite(url)?;
    if options.user_sessions {
        let made = cloakroom::store::create_user_session_table(url.expose()).await?;
        let table = parameter(&url.without_cache(), "user_session_table");
        report(false, &described(made, url, table.as_deref().unwrap_or("cloakroom_user_session")))?;
        return Ok(Ending::Well);
    }
    let record = if options.record_migration { MigrationRecord::Always } else { MigrationRecord::default() };
    let made = cloakroom::store::create_table(url.expose(), record).await?;
    let mut tables = table_of(&url.without_cache());
    if let Ok(StoreUrlParts::CachedDb { cache, .. }) = url.parts()
        && let Some(cache) = parameter(&cache, "cache_table")
    {
        tables = format!("{tables} and the cache table {cache}");
    }
    report(false, &described(made, url, &tables))?;
    Ok(Ending::Well)
}

fn table_of(url: &StoreUrl) -> String {
    let table = parameter(url, "cache_table").or_else(|| parameter(url, "table"));
    table.unwrap_or_else(|| "django_session".to_owned())
}

/// The value of a parameter of a store's URL.
fn parameter(url: &StoreUrl, name: &str) -> Option<String> {
    let (_, query) = url.expose().split_once('?')?;
    let value = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn described(made: TableCreation, place: &StoreUrl, table: &str) -> String {
    match made {
        TableCreation::Created => format!("{place}: made the table {table}"),
        TableCreation::AlreadyThere => format!("{place}: the table {table} is there already; left as it is"),
    }
}
