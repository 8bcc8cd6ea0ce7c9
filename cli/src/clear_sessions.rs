//! `cloakroom clearsessions`: Django's `manage.py clearsessions`.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use clap::Args;
use cloakroom::{Clock, Settings, SystemClock, TimeZone};

use crate::lines::say;
use crate::store_url::StoreOption;
use crate::{Ending, usage};

const EXAMPLES: &str = "\
Examples:
  cloakroom clearsessions --store sqlite:/srv/site/db.sqlite3
  # Each night from cron:
  17 3 * * *  CLOAKROOM_STORE=sqlite:/srv/site/db.sqlite3 cloakroom clearsessions
  # A site with USE_TZ = False and TIME_ZONE = 'America/Chicago':
  cloakroom clearsessions --store sqlite:db.sqlite3 --naive-time-zone America/Chicago

Rows go in small batches, so that a site in use goes on beside it; it can be stopped and started again at \
any time. No secret is needed: a session's row says when it ends.";

/// Remove the sessions that have expired, as Django's command of this name, and say how many
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    store: StoreOption,
    /// The site's TIME_ZONE, if it has USE_TZ = False: its rows hold local time. Leave it out otherwise
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    naive_time_zone: Option<TimeZone>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let url = options.store.url()?;
    if url.starts_with("memory:") {
        return Err(usage(
            "memory: keeps sessions inside of one process only; there is nothing to clear from here",
        ));
    }
    // Nothing is signed or verified here.
    let mut settings = Settings::new("");
    settings.time_zone = options.naive_time_zone.unwrap_or_default();
    let store = cloakroom::connect(url, &settings).await?;
    let terminal = io::stderr().is_terminal();
    let mut progress = |count| {
        if terminal {
            // Each line takes the place of the one before.
            let _ = write!(io::stderr(), "\r{count} removed so far");
        }
        ControlFlow::Continue(())
    };
    let cleared = store.clear_expired_with_progress(SystemClock.now(), &mut progress).await;
    if terminal {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let count = cleared?;
    say(&format!("{count} expired {} removed", if count == 1 { "session" } else { "sessions" }));
    Ok(Ending::Well)
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    name.parse::<chrono_tz::Tz>()
        .map(TimeZone::Naive)
        .map_err(|_| "no such time zone; write it as in Django's TIME_ZONE, such as Europe/Zurich".to_owned())
}
