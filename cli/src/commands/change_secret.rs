//! `cloakroom change-secret`: removes every session's dependence on older secrets.

mod pass;
mod report;

use std::time::Duration;

use clap::Args;
use cloakroom::store::StoreUrlParts;

use self::pass::Change;
use self::report::{Report, Seen};
use crate::ending::{Ending, usage};
use crate::interrupted::asked_to_stop;
use crate::output::lines::say;
use crate::sessions::entry::hint_at_nothing;
use crate::sessions::logins::{Logins, UserOptions};
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  # 1. Deploy the new secret as a fallback everywhere, in Django and in Rust.
  # 2. Deploy the new secret first, and the old one as the fallback. Restart
  #    every server each time.
  # 3. While the site runs:
  cloakroom change-secret --from-django manage.py
  cloakroom change-secret --store postgres://site@db.example/site \\
      --secret-key-file new.txt --secret-key-fallback-file old.txt
  # 4. When it reports that the old secret may go (exit code 0), remove the
  #    fallback, and restart every server.
  # How much is left to do:
  cloakroom change-secret --from-django manage.py --dry-run

Two parts of a session depend on the secret: the signature of its text, and the session auth hash of a login, without \
which Django logs the user out. Each live session signed with an older secret is signed with the new one. Each login \
whose hash matches the user's password with an older secret gets the hash of the new one. Keys, data and expiry stay. \
Caches (Redis, memcached) keep no signatures; there only the hash is renewed.

The hashes require reading the users' password fields, which are never written. They are read by the project itself \
(--from-django, with any user model and any database), from --users, or by default from the store's database.

The command can be repeated at any time, and continues where it was stopped. It makes up to 5 passes over the store, \
because the site may write further sessions meanwhile.

With --json: one object with complete, dry_run, passes, signed_anew, logins_renewed, copies_renewed (of cached_db), \
right_already, ending (logins that Django ends anyway: user_gone, password_changed), left (sessions that still depend on an \
older secret, by reason: user_unknown, changed_meanwhile, unreadable, not_genuine, refused, cache_failed), until (their latest expiry) and old_secret_may_go.

Exit codes: 0 no session depends on an older secret, 3 some do, and the summary says until when the fallback must stay \
(or there is no session at all), 1 a store failed (the work done is reported; run it again), 2 wrong usage.";

/// Sign sessions again and renew logins, so that the old secret can be removed without logging anybody out
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Count the work to do; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
    #[command(flatten)]
    users: UserOptions,
}

/// The maximum number of passes over the store.
const PASSES: u32 = 5;
/// The pause between passes, for requests that had loaded a session before it was signed again, and save it
/// afterwards.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?.for_owners();
    let settings = site.settings()?;
    if settings.secret_key_fallbacks.is_empty() {
        return Err(usage(
            "no older secret: the site's settings have no fallback. Put the new secret first and the old one into \
             SECRET_KEY_FALLBACKS, or name them with --secret-key-file and --secret-key-fallback-file",
        ));
    }
    if settings.secret_key_fallbacks.contains(&settings.secret_key) {
        return Err(usage("the secret and a fallback are the same; give the new secret and the old one"));
    }
    if matches!(site.url()?.parts()?, StoreUrlParts::Moving { .. }) {
        return Err(usage("the site moves to another store; change the secret before or after that"));
    }
    let logins = Logins::open(&options.users, &options.site, &site).await?;
    let change = Change::begin(&site, logins, options.dry_run).await?;
    let mut report = Report::new(options.dry_run);
    let outcome = go_over(&change, &mut report).await;
    report.complete = outcome.is_ok() && asked_to_stop().is_none();
    // The work done is reported even if a part of it failed.
    let said = if options.json { say(&report.json()?) } else { say(&report.line()) };
    outcome?;
    said?;
    report.hints(change.logins());
    if report.is_empty() {
        hint_at_nothing(site.url()?, &options.site);
    }
    if let Some(code) = asked_to_stop() {
        return Ok(Ending::Interrupted(code));
    }
    Ok(if report.old_secret_may_go() { Ending::Well } else { Ending::WithFindings })
}

/// Repeats passes over the store until there is nothing to do.
async fn go_over(change: &Change, report: &mut Report) -> anyhow::Result<()> {
    for pass in 1..=PASSES {
        let mut seen = Seen::default();
        let outcome = change.pass(&mut seen).await;
        let did = seen.did;
        let is_last = pass == PASSES && did > 0 && !report.dry_run;
        report.add(pass, seen, is_last);
        outcome?;
        if did == 0 || report.dry_run || asked_to_stop().is_some() {
            break;
        }
        if pass < PASSES {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}
