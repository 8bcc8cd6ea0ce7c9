//! `cloakroom create-table`: creates the table of Django's session migration.

use clap::Args;
use cloakroom::store::StoreUrl;
use cloakroom::store::table::{MigrationRecord, TableCreation};

use crate::ending::Ending;
use crate::output::lines::report;
use crate::site::SiteOptions;
use crate::site::store_url::sqlite;

const EXAMPLES: &str = "\
Examples:
  cloakroom create-table --store sqlite:/srv/site/db.sqlite3
  cloakroom create-table --store postgres://site@db.example/site
  # For a Django site that will use this file later, so that `migrate` knows of the table:
  cloakroom create-table --store sqlite:db.sqlite3 --record-migration

A table that is there is left as it is. In a database of Django's (one with a table django_migrations) the \
migration is always noted. A new SQLite file gets the permissions that Django's own would get: readable for all, less \
the umask. Whoever can read it can use the sessions in it; `umask 077` before makes it this user's alone.

Exit codes: 0 the table is there, 1 something failed, 2 wrong usage.";

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
    // A mistake in the URL is a usage error.
    sqlite(url)?;
    if options.user_sessions {
        let made = cloakroom::store::create_user_session_table(url.expose()).await?;
        report(false, &described(made, url, "cloakroom_user_session"))?;
        return Ok(Ending::Well);
    }
    let record = if options.record_migration { MigrationRecord::Always } else { MigrationRecord::default() };
    let made = cloakroom::store::create_table(url.expose(), record).await?;
    report(false, &described(made, url, "django_session"))?;
    Ok(Ending::Well)
}

fn described(made: TableCreation, place: &StoreUrl, table: &str) -> String {
    match made {
        TableCreation::Created => format!("{place}: made the table {table}"),
        TableCreation::AlreadyThere => format!("{place}: the table {table} is there already; left as it is"),
    }
}
