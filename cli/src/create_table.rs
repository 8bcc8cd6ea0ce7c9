//! `cloakroom create-table`: the table of Django's session migration.

use clap::Args;
use cloakroom::SqliteStore;
use cloakroom::store::sqlite::{CreateTable, MigrationRecord};

use crate::lines::say;
use crate::store_url::{StoreOption, sqlite_path, without_password};
use crate::{Ending, usage};

const EXAMPLES: &str = "\
Examples:
  cloakroom create-table --store sqlite:/srv/site/db.sqlite3
  # For a Django site that will use this file later, so that `migrate` knows of the table:
  cloakroom create-table --store sqlite:db.sqlite3 --record-migration

A table that is there is left as it is. In a database of Django's (one with a table django_migrations) the \
migration is always noted.";

/// Make the session table, exactly as Django's migration does, and the database file if there is none
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    store: StoreOption,
    /// Note the migration sessions.0001_initial in django_migrations, making that table if need be
    #[arg(long)]
    record_migration: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let url = options.store.url()?;
    let Some(path) = sqlite_path(url)? else {
        return Err(usage(format!(
            "{}: only sqlite:PATH has a table that is made here; elsewhere use Django's `manage.py migrate sessions`",
            without_password(url)
        )));
    };
    let record = if options.record_migration { MigrationRecord::Always } else { MigrationRecord::default() };
    let shown = path.display();
    say(&match SqliteStore::options(&path).create_table(record).await? {
        CreateTable::Created => format!("{shown}: made the table django_session"),
        CreateTable::AlreadyThere => {
            format!("{shown}: the table django_session is there already; left as it is")
        }
    });
    Ok(Ending::Well)
}
