//! `cloakroom create-table`: the table of Django's session migration.

use clap::Args;
use cloakroom::store::table::{CreateTable, MigrationRecord};

use crate::Ending;
use crate::lines::say;
use crate::site::SiteOptions;
use crate::store_url::{sqlite, without_password};

const EXAMPLES: &str = "\
Examples:
  cloakroom create-table --store sqlite:/srv/site/db.sqlite3
  cloakroom create-table --store postgres://site@db.example/site
  # For a Django site that will use this file later, so that `migrate` knows of the table:
  cloakroom create-table --store sqlite:db.sqlite3 --record-migration

A table that is there is left as it is. In a database of Django's (one with a table django_migrations) the \
migration is always noted.";

/// Make the session table, exactly as Django's migration does, and a SQLite file if there is none
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    site: SiteOptions,
    /// Note the migration sessions.0001_initial in django_migrations, making that table if need be
    #[arg(long)]
    record_migration: bool,
    /// Make the table for the index of user sessions, of which Django knows nothing, instead
    #[arg(long, conflicts_with = "record_migration")]
    user_sessions: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let url = site.url()?;
    // A mistake in the URL is wrong usage.
    sqlite(url)?;
    if options.user_sessions {
        let made = cloakroom::store::create_user_session_table(url).await?;
        say(&described(made, &without_password(url), "cloakroom_user_session"));
        return Ok(Ending::Well);
    }
    let record = if options.record_migration { MigrationRecord::Always } else { MigrationRecord::default() };
    // The table of a `cached_db:` is its database's.
    let database = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|'));
    let made = cloakroom::store::create_table(database.map_or(url, |(url, _)| url), record).await?;
    say(&described(made, &without_password(url), "django_session"));
    Ok(Ending::Well)
}

fn described(made: CreateTable, place: &str, table: &str) -> String {
    match made {
        CreateTable::Created => format!("{place}: made the table {table}"),
        CreateTable::AlreadyThere => format!("{place}: the table {table} is there already; left as it is"),
    }
}
