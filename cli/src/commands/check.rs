//! `cloakroom check`: whether this secret and these settings read the stored sessions, and whether an older
//! secret can be removed.

mod secrets;

use clap::Args;
use cloakroom::store::{Listed, StoreUrl, StoreUrlParts};
use cloakroom::{Clock, SessionData, SystemClock};
use serde::Serialize;

use self::secrets::Secrets;
use crate::ending::Ending;
use crate::interrupted::asked_to_stop;
use crate::output::lines::{complain, say};
use crate::sessions::entry::{Format, State, hint_at_nothing};
use crate::sessions::logins::{Logins, UserOptions};
use crate::sessions::walk::Walk;
use crate::site::{Site, SiteOptions};

const EXAMPLES: &str = "\
Examples:
  cloakroom check --from-django manage.py
  cloakroom check --store postgres://site@db.example/site --secret-key-file secret.txt
  # May the old secret go? Counts the sessions and logins that depend on each.
  cloakroom check --secret-key-file new.txt --secret-key-fallback-file old.txt

Counts the sessions by state, and by the secret that they depend on. Changes nothing. A secret from an option \
is used alone, without fallbacks of the settings file or of the project. With fallbacks, or with \
--users, the users of logins are looked up: a login also depends on the secret of its session auth hash.

With --json: one object with live, modern, legacy, cache, expired, not_genuine, unreadable, examples of unreadable \
sessions, complete (false when it was stopped), and secrets: for each its name, source, sessions that it signed, logins \
that depend on it (null if not checked), until (their latest expiry) and may_go (for fallbacks; null if \
unknown). logins_unknown are those whose user cannot be read, logins_ending those that Django ends anyway.

Exit codes: 0 all live sessions can be read, 3 some cannot or there is no session at all, 1 the store failed, 2 wrong usage.";

/// Check whether this secret and these settings read the stored sessions, and whether an older secret can be
/// removed
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
    #[command(flatten)]
    users: UserOptions,
}

/// The findings.
#[derive(Default, Serialize)]
struct Report {
    /// The readable sessions: modern, legacy and cache together.
    live: u64,
    modern: u64,
    legacy: u64,
    cache: u64,
    expired: u64,
    not_genuine: u64,
    unreadable: u64,
    examples: Vec<Example>,
    complete: bool,
    #[serde(flatten)]
    secrets: Secrets,
}

#[derive(Serialize)]
struct Example {
    id: String,
    error: String,
}

const EXAMPLE_COUNT: usize = 5;

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let store = site.connect_to_read().await?;
    let settings = site.settings_without_secret();
    let logins = if settings.secret_key_fallbacks.is_empty() && options.users.is_empty() {
        None
    } else {
        Some(Logins::open(&options.users, &options.site, &site).await?)
    };
    let now = SystemClock.now();
    let mut report =
        Report { secrets: Secrets::new(settings, site.sources(), logins.is_some()), ..Report::default() };
    let mut walk = Walk::begin(&*store, now, "checked").await?;
    let outcome = async {
        while let Some(page) = walk.next().await? {
            let live: Vec<&Listed> = page.iter().filter(|listed| report.is_live(listed, now)).collect();
            let data: Vec<&SessionData> =
                live.iter().filter_map(|listed| listed.session.as_ref().ok()?.data()).collect();
            let found = match &logins {
                Some(logins) => logins.look(&data).await?,
                None => Vec::new(),
            };
            report.secrets.add(&live, &found);
        }
        anyhow::Ok(())
    }
    .await;
    drop(walk);
    report.complete = outcome.is_ok() && asked_to_stop().is_none();
    report.secrets.judge(report.complete && report.unreadable == 0);
    // The findings are reported even if a part of the store could not be read.
    if options.json {
        say(&serde_json::to_string(&report)?)?;
    } else {
        report.lines().iter().try_for_each(|line| say(line))?;
    }
    outcome?;
    let is_empty = report.live + report.expired + report.not_genuine + report.unreadable == 0;
    if is_empty && report.complete {
        hint_at_nothing(site.url()?, &options.site);
    } else {
        report.hints(&site);
        if let Some(logins) = &logins {
            logins.complain_of_unknown(report.secrets.logins_unknown());
        }
    }
    if let Some(code) = asked_to_stop() {
        return Ok(Ending::Interrupted(code));
    }
    let is_well = report.not_genuine + report.unreadable == 0 && !is_empty;
    Ok(if is_well { Ending::Well } else { Ending::WithFindings })
}

impl Report {
    /// Counts a session; returns true if it is readable.
    fn is_live(&mut self, listed: &Listed, now: cloakroom::chrono::DateTime<cloakroom::chrono::Utc>) -> bool {
        match (State::of(listed, now), &listed.session) {
            (State::Expired, _) => self.expired += 1,
            (State::NotGenuine, _) => self.not_genuine += 1,
            (_, Ok(loaded)) => {
                self.live += 1;
                *match Format::of(loaded) {
                    Format::Modern => &mut self.modern,
                    Format::Legacy => &mut self.legacy,
                    Format::Cache => &mut self.cache,
                } += 1;
                return true;
            }
            (_, Err(error)) => {
                self.unreadable += 1;
                if self.examples.len() < EXAMPLE_COUNT {
                    self.examples
                        .push(Example { id: listed.session_key.public_id(), error: error.to_string() });
                }
            }
        }
        false
    }

    fn lines(&self) -> Vec<String> {
        let Report { live, modern, legacy, cache, expired, not_genuine, unreadable, examples, .. } = self;
        let mut lines = Vec::new();
        if !self.complete {
            lines.push("stopped before the end; so far:".to_owned());
        } else if live + expired + not_genuine + unreadable == 0 {
            return vec!["no sessions found".to_owned()];
        }
        lines.extend([
            format!("{live:>9} can be read ({modern} modern, {legacy} legacy, {cache} in caches' formats)"),
            format!("{expired:>9} expired"),
            format!("{not_genuine:>9} not genuine"),
            format!("{unreadable:>9} unreadable"),
        ]);
        lines.extend(examples.iter().map(|Example { id, error }| format!("  {id}: {error}")));
        lines.extend(self.secrets.lines());
        if *not_genuine > 0 {
            let advice = if *live == 0 {
                "None can be read: SECRET_KEY is another one, or the session class has another name."
            } else if not_genuine > live {
                "Most are not genuine: SECRET_KEY is another one, or the session class has another name."
            } else {
                "Some were signed with another secret: add it as --secret-key-fallback-file until they have ended."
            };
            lines.push(advice.to_owned());
        }
        lines
    }

    fn hints(&self, site: &Site) {
        if logins_of_copies(site) {
            complain(
                "the copies in the cache, from which Django answers, were not checked; `cloakroom change-secret --dry-run` \
                 checks them too",
            );
        }
        let is_cache = site.url().is_ok_and(StoreUrl::is_cache);
        if self.unreadable > self.live && is_cache {
            complain(
                "most cannot be read: the site may have another serializer, compressor or cache back end than the URL \
                 says; --from-django takes them from the project",
            );
        }
    }
}

/// Whether a copy in a cache may contain an older hash.
fn logins_of_copies(site: &Site) -> bool {
    let has_copies = site.url().is_ok_and(|url| matches!(url.parts(), Ok(StoreUrlParts::CachedDb { .. })));
    has_copies && !site.settings_without_secret().secret_key_fallbacks.is_empty()
}
