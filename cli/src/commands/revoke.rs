//! `cloakroom revoke`: ends all sessions of a user, or sessions by their ids.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use cloakroom::store::{Listed, StoreUrl};
use cloakroom::{Clock, SessionKey, SessionStore, StoreErrorKind, SystemClock};
use serde_json::json;

use crate::ending::Ending;
use crate::interrupted::asked_to_stop;
use crate::output::lines::{complain, report};
use crate::sessions::cache_in_front;
use crate::sessions::end::Ended;
use crate::sessions::entry::{complain_of_unread, may_be_anybodys};
use crate::sessions::ids::{self, Found, PublicId};
use crate::sessions::walk::Walk;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom revoke --user 7 --from-django manage.py
  cloakroom revoke --user 7 --dry-run      # how many are there?
  cloakroom revoke --id 3f9a0c61b2d4       # one session, as list, logs and traces name it

Reads all sessions, and deletes those in which this user is logged in. Repeats until none is left, \
because a session that moves to a new key meanwhile can be missed once. A request in progress does not restore a deleted \
session. The user can log in again: first deactivate the user or set another password.

For a cached_db site the cache is read too: Django answers from it even when the row is gone.

Exit codes: 0 none is left, 1 something failed, the user keeps logging in, or no session has the id, 2 wrong usage, 3 some \
sessions could not be read, or the cache cannot list its copies, and may be this user's.";

/// Delete all sessions in which a user is logged in, or sessions by their ids
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The user's primary key, as Django stores it in _auth_user_id
    #[arg(long, value_name = "ID", required_unless_present = "id", conflicts_with = "id")]
    user: Option<String>,
    /// A session's public id, or its first digits. May be repeated
    #[arg(long, value_name = "ID", long_help = format!("A session's public id. May be repeated\n\n{}", ids::HELP))]
    id: Vec<PublicId>,
    /// Delete nothing; print how many there are
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

/// The outcome of one pass.
#[derive(Default)]
struct Pass {
    found: u64,
    unread: u64,
    ended: Ended,
    /// The rows' keys, if the cache cannot list its copies.
    blind: Option<Vec<SessionKey>>,
}

/// The limit for a user who logs in faster than this command ends sessions.
const PASSES: usize = 5;

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?.for_owners();
    let store = site.connect_to_read().await?;
    let Some(user) = &options.user else {
        let found = ids::find(&*store, &options.id).await?;
        let keys = &found.keys;
        let outcome = end_by_id(&*store, &found, options.dry_run, ("revoked", options.json)).await;
        if !options.dry_run {
            cache_in_front::end_again(&*store, &cache_in_front::open(&site).await?, keys).await?;
        }
        cache_note(&options, site.url()?, !keys.is_empty());
        return outcome;
    };
    let front = cache_in_front::open(&site).await?;
    let cache = front.cache();
    let (mut found, mut is_told, mut last, mut rows) = (0, false, Pass::default(), Vec::new());
    let mut outcome = Ok(());
    for _ in 0..PASSES {
        last = Pass::default();
        outcome = pass(&store, cache, user, options.dry_run, &mut last).await;
        found += if options.dry_run { last.found } else { last.ended.gone };
        rows.extend(last.blind.iter().flatten().cloned());
        is_told |= last.ended.complain();
        let is_last = last.found == 0 || last.ended.failed > 0 || options.dry_run;
        if is_last || outcome.is_err() || asked_to_stop().is_some() {
            break;
        }
        if cache.is_some() {
            cache_in_front::wait().await;
        }
    }
    let is_blind = last.blind.is_some();
    if is_blind && !options.dry_run {
        cache_in_front::end_again(&*store, &front, &rows).await?;
    }
    let is_whole = outcome.is_ok() && asked_to_stop().is_none();
    let is_done = is_whole && (options.dry_run || last.found == 0);
    let said = report(
        options.json,
        &if options.json {
            json!({ "revoked": if options.dry_run { 0 } else { found }, "found": found, "unread": last.unread })
            .to_string()
        } else {
            let sessions = if found == 1 { "session" } else { "sessions" };
            let done = if options.dry_run { "found" } else { "revoked" };
            let end = if is_whole { "" } else { " before it ended in the middle; more may be left" };
            format!("{found} {sessions} of user {user} {done}{end}")
        },
    );
    cache_note(&options, site.url()?, found > 0);
    outcome?;
    let is_unread = complain_of_unread(last.unread) | is_blind;
    if is_blind {
        complain(
            "the cache cannot list its copies, so that those without a row were not looked at: with such a copy the user is \
             still logged in. Empty the cache to be sure",
        );
    }
    if is_whole && !is_done && last.ended.failed == 0 {
        complain("the user keeps logging in; deactivate the user first, then revoke again");
    }
    said.with_context(|| format!("{found} sessions were ended before this"))?;
    Ok(match (is_done && !is_told, is_unread) {
        (false, _) => Ending::WithFailures,
        (true, true) => Ending::WithFindings,
        (true, false) => Ending::Well,
    })
}

fn cache_note(options: &Options, url: &StoreUrl, has_ended: bool) {
    if has_ended && !options.dry_run {
        cache_in_front::note(&options.site, url);
    }
}

/// Ends these sessions, reports ids without a session, and reports the outcome.
pub(crate) async fn end_by_id(
    store: &dyn SessionStore,
    Found { keys, missing }: &Found,
    dry_run: bool,
    (done, json): (&str, bool),
) -> anyhow::Result<Ending> {
    if asked_to_stop().is_some() {
        report(json, &format!("stopped before the sessions were found; nothing was {done}"))?;
        return Ok(Ending::Well);
    }
    for id in missing {
        complain(&format!("no session has the id {id}"));
    }
    let mut ended = Ended::default();
    if !dry_run {
        ended.end(store, keys).await;
    }
    let missing = missing.len() as u64 + ended.missing;
    let said = report(
        json,
        &if json {
            json!({ done: ended.gone, "found": keys.len(), "missing": missing }).to_string()
        } else if dry_run {
            format!("{} found, {missing} not there; nothing was {done}", keys.len())
        } else if missing == 0 {
            format!("{} {done}", ended.gone)
        } else {
            format!("{} {done}, {missing} not there", ended.gone)
        },
    );
    let is_told = ended.complain();
    said.with_context(|| format!("{} sessions were ended before this", ended.gone))?;
    Ok(if is_told || missing > 0 { Ending::WithFailures } else { Ending::Well })
}

/// Reads all sessions, and the cache's copies of sessions without a row.
async fn pass(
    store: &Arc<dyn SessionStore>,
    cache: Option<&Arc<dyn SessionStore>>,
    user: &str,
    dry_run: bool,
    pass: &mut Pass,
) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let mut walk = Walk::begin(&**store, now, "looked at").await?;
    let mut found = std::collections::HashSet::new();
    while let Some(page) = walk.next().await? {
        pass.unread += page.iter().filter(|listed| may_be_anybodys(listed, now)).count() as u64;
        let keys = keys_of(page, user);
        pass.found += keys.len() as u64;
        if !dry_run {
            pass.ended.end(&**store, &keys).await;
        }
        found.extend(keys);
    }
    drop(walk);
    let Some(cache) = cache else { return Ok(()) };
    if cache.list().is_err_and(|error| error.kind() == StoreErrorKind::Unsupported) {
        pass.blind = Some(found.into_iter().collect());
        return Ok(());
    }
    let mut walk = Walk::begin(&**cache, now, "looked at in the cache").await?;
    while let Some(page) = walk.next().await? {
        for listed in page.iter().filter(|listed| listed.session.is_err()) {
            // If there is a row, it has been read already.
            pass.unread += u64::from(!store.exists(&listed.session_key, now).await?);
        }
        let mut keys = keys_of(page, user);
        keys.retain(|key| !dry_run || !found.contains(key));
        pass.found += keys.len() as u64;
        if !dry_run {
            pass.ended.end_copies(&**store, &keys).await;
        }
    }
    Ok(())
}

fn keys_of(page: Vec<Listed>, user: &str) -> Vec<SessionKey> {
    let is_users = |listed: &Listed| listed.user_id().is_ok_and(|of| of.as_deref() == Some(user));
    page.into_iter().filter(is_users).map(|listed| listed.session_key).collect()
}
