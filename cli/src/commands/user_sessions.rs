//! `cloakroom user-sessions`: lists where users are logged in, from the index of user sessions.

use std::ops::ControlFlow;

use anyhow::Context;
use clap::{Args, Subcommand};
use cloakroom::user_sessions::{UserSession, UserSessions};
use cloakroom::{Clock, Settings, SystemClock};
use serde_json::json;

use crate::ending::{Ending, usage};
use crate::interrupted::asked_to_stop;
use crate::output::lines::{Output, complain, report, report_work, say};
use crate::output::progress::Progress;
use crate::sessions::entry::time;
use crate::sessions::ids::PublicId;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom create-table --user-sessions --store sqlite:/srv/site/db.sqlite3
  cloakroom user-sessions rebuild --from-django manage.py
  cloakroom user-sessions list --user 7
  cloakroom user-sessions revoke --user 7 --id 3f9a0c61b2d4
  cloakroom user-sessions clean

The index belongs to a Rust service that keeps one. These commands look sessions up in it, while `cloakroom revoke` reads \
all sessions. Sessions missing in the index, such as those that only Django served, are added by rebuild.

Exit codes: 0 all went well, 1 something failed or was not there, 2 wrong usage, 3 sessions could not be read (rebuild), or \
some of the user's are not signed with this secret (list, revoke).";

/// List and end a user's sessions through the index of user sessions; rebuild and clean the index
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List where a user is logged in, the last seen first
    List(UserOptions),
    /// End one session of a user, or all of them
    Revoke(RevokeOptions),
    /// Add all logins to the index, including those that Django made, and remove entries whose session is
    /// gone
    Rebuild(IndexOptions),
    /// Remove entries whose session is gone
    Clean(CleanOptions),
}

#[derive(Args)]
struct UserOptions {
    /// The user's primary key, as Django stores it in _auth_user_id
    #[arg(long, value_name = "ID")]
    user: String,
    #[command(flatten)]
    index: IndexOptions,
}

#[derive(Args)]
struct RevokeOptions {
    #[command(flatten)]
    of: UserOptions,
    /// Only the session with this public id, as `list` shows it, or its first digits
    #[arg(long, value_name = "ID")]
    id: Option<PublicId>,
    /// End nothing; print how many there are
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct CleanOptions {
    /// Remove nothing; print how many there are
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    index: IndexOptions,
}

#[derive(Args)]
struct IndexOptions {
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// The index's store, if it is not the store of the sessions
    #[arg(long, value_name = "URL")]
    index: Option<String>,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.command {
        Command::List(options) => list(options).await,
        Command::Revoke(options) => revoke(options).await,
        Command::Rebuild(options) => rebuild(&options).await,
        Command::Clean(options) => clean(&options).await,
    }
}

impl IndexOptions {
    async fn connect(&self) -> anyhow::Result<(UserSessions, Settings)> {
        let site = self.site.read()?.for_owners();
        // Reports a missing secret that is needed for reading.
        site.connect_to_read().await?;
        let settings = site.settings_without_secret().clone();
        let user_sessions = match &self.index {
            Some(index) => UserSessions::connect_with_index(site.url()?.expose(), index, &settings).await?,
            None => UserSessions::connect(site.url()?.expose(), &settings).await?,
        };
        Ok((user_sessions, settings))
    }
}

async fn list(options: UserOptions) -> anyhow::Result<Ending> {
    let (user_sessions, _) = options.index.connect().await?;
    let mut output = Output::new();
    for session in user_sessions.list(&options.user).await? {
        let line = if options.index.json { as_json(&session) } else { as_line(&session) };
        if output.line(&line)?.is_break() {
            break;
        }
    }
    output.end()?;
    complain_of_not_genuine(&user_sessions, &options.user).await
}

/// Reports sessions that are signed with another secret. Only the index says that they are the user's, and a
/// server with their secret still serves them.
async fn complain_of_not_genuine(user_sessions: &UserSessions, user: &str) -> anyhow::Result<Ending> {
    let count = user_sessions.not_genuine(user).await?;
    if count == 0 {
        return Ok(Ending::Well);
    }
    complain(&format!(
        "{count} sessions of this user in the index are not signed with this secret, and were passed by; `cloakroom \
         check` tells more"
    ));
    Ok(Ending::WithFindings)
}

/// The public id, as every command prints it.
fn public_id(session: &UserSession) -> &str {
    let id = session.id().as_str();
    id.get(..12).unwrap_or(id)
}

fn as_json(session: &UserSession) -> String {
    json!({
        "id": public_id(session),
        "user": session.user_id(),
        "first_seen": time(session.first_seen()),
        "last_seen": time(session.last_seen()),
        "expire_date": session.expire_date().map(time),
        "address": session.address(),
        "user_agent": session.user_agent(),
    })
    .to_string()
}

fn as_line(session: &UserSession) -> String {
    format!(
        "{}  {}  {}  {:<15}  {}",
        public_id(session),
        time(session.first_seen()),
        time(session.last_seen()),
        session.address().unwrap_or("-"),
        session.user_agent().unwrap_or("-")
    )
}

async fn revoke(options: RevokeOptions) -> anyhow::Result<Ending> {
    let (user_sessions, _) = options.of.index.connect().await?;
    let user = &options.of.user;
    let of_user = user_sessions.list(user).await?;
    let wanted = of_user
        .iter()
        .filter(|session| options.id.as_ref().is_none_or(|id| id.begins(session.id().as_str())))
        .collect::<Vec<_>>();
    if let (Some(id), [_, _, ..]) = (&options.id, wanted.as_slice()) {
        let ids: Vec<&str> = wanted.iter().map(|session| public_id(session)).collect();
        return Err(usage(format!(
            "{} sessions of this user have an id that begins with {id}: {}; give more digits. Nothing was changed",
            ids.len(),
            ids.join(", ")
        )));
    }
    if options.dry_run {
        let found = wanted.len();
        say(&if options.of.index.json {
            json!({ "revoked": 0, "found": found }).to_string()
        } else {
            format!("{found} sessions of user {user} found; nothing was revoked")
        })?;
        let ending = complain_of_not_genuine(&user_sessions, user).await?;
        return Ok(if options.id.is_some() && found == 0 { Ending::WithFailures } else { ending });
    }
    let revoked = match (&options.id, wanted.first()) {
        (None, _) => user_sessions.revoke_all(user).await?,
        (Some(_), Some(session)) => u64::from(user_sessions.revoke(user, session.id().as_str()).await?),
        (Some(_), None) => 0,
    };
    let sessions = if revoked == 1 { "session" } else { "sessions" };
    let said = report(
        options.of.index.json,
        &if options.of.index.json {
            json!({ "revoked": revoked }).to_string()
        } else {
            format!("{revoked} {sessions} of user {user} revoked")
        },
    );
    let ending = complain_of_not_genuine(&user_sessions, user).await;
    said?;
    let ending = ending?;
    Ok(if options.id.is_some() && revoked == 0 { Ending::WithFailures } else { ending })
}

async fn rebuild(options: &IndexOptions) -> anyhow::Result<Ending> {
    let (user_sessions, settings) = options.connect().await?;
    let count = user_sessions.store().count(SystemClock.now()).await?;
    let mut progress = Progress::new("looked at", Some(count.live + count.expired));
    let rebuilt = user_sessions.rebuild(&settings, &mut told(&mut progress)).await;
    drop(progress);
    let rebuilt = rebuilt?;
    let mut progress = Progress::new("checked", None);
    let cleaned = user_sessions.clean(&mut told(&mut progress)).await;
    drop(progress);
    let cleaned =
        cleaned.context("all logins are in the index, and entries whose session is gone stay in it")?;
    let said = report(
        options.json,
        &if options.json {
            json!({
                "sessions": rebuilt.sessions,
                "logged_in": rebuilt.logged_in,
                "unread": rebuilt.unread,
                "removed": cleaned.removed,
            })
            .to_string()
        } else {
            format!(
                "{} sessions looked at, {} with a user are in the index, {} entries removed",
                rebuilt.sessions, rebuilt.logged_in, cleaned.removed
            )
        },
    );
    if rebuilt.unread > 0 {
        complain(&format!(
            "{} sessions could not be read, and may be missing in the index; `cloakroom check` and `cloakroom list` tell \
             why",
            rebuilt.unread
        ));
        return said.map(|()| Ending::WithFindings);
    }
    said.map(|()| Ending::Well)
}

async fn clean(CleanOptions { dry_run, index: options }: &CleanOptions) -> anyhow::Result<Ending> {
    let (user_sessions, _) = options.connect().await?;
    let mut progress = Progress::new("checked", None);
    let cleaned = if *dry_run {
        user_sessions.count_stale(&mut told(&mut progress)).await
    } else {
        user_sessions.clean(&mut told(&mut progress)).await
    };
    drop(progress);
    let cleaned = cleaned?;
    let line = if options.json && *dry_run {
        json!({ "entries": cleaned.entries, "removed": 0, "found": cleaned.removed }).to_string()
    } else if options.json {
        json!({ "entries": cleaned.entries, "removed": cleaned.removed }).to_string()
    } else if *dry_run {
        format!("{} entries checked, {} found; nothing was removed", cleaned.entries, cleaned.removed)
    } else {
        format!("{} entries checked, {} removed", cleaned.entries, cleaned.removed)
    };
    report_work(options.json, cleaned.removed > 0, &line)?;
    Ok(Ending::Well)
}

fn told(progress: &mut Progress) -> impl FnMut(u64) -> ControlFlow<()> + Send {
    |done| {
        progress.set(done);
        if asked_to_stop().is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
