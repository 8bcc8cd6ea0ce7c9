//! `cloakroom create-table`: the table of Django's session migration.

use clap::Args;
use cloakroom::store::table::{CreateTable, MigrationRecord};

use crate::Ending;
use crate::lines::say;
use crate::site::SiteOptions;
use crate::store_url::{sqlite_path, without_password};

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
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let url = site.url()?;
    // Says so when the URL lacks its file.
    sqlite_path(url)?;
    let record = if options.record_migration { MigrationRecord::Always } else { MigrationRecord::default() };
    let shown = without_password(url);
    // The table of a `cached_db:` is its database's.
    let database = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|'));
    say(&match cloakroom::store::create_table(database.map_or(url, |(url, _)| url), record).await? {
        CreateTable::Created => format!("{shown}: made the table django_session"),
        CreateTable::AlreadyThere => {
            format!("{shown}: the table django_session is there already; left as it is")
        }
    });
    Ok(Ending::Well)
}
