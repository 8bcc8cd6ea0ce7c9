//! `cloakroom show`: shows a session's contents.

use clap::Args;
use cloakroom::store::{Listed, encryption_key_id};
use cloakroom::{Clock, StoreErrorKind, SystemClock};

use crate::ending::Ending;
use crate::output::lines::{complain, json_on_one_line, say};
use crate::sessions::entry::Entry;
use crate::sessions::ids::{self, Found, PublicId};
use crate::sessions::keys::{self, KeyOptions};
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom show --id 3f9a0c61b2d4
  cloakroom show - < key.txt
  # For a cookie that a user sent you, without typing it:
  xclip -o | cloakroom show --from-django manage.py -

With --json each session is an object on one line, with id, state, format, user, expire_date and data. The data \
is the stored JSON, in Python's dialect: NaN, Infinity and integers of any size are possible. Of an encrypted session \
it is `_cloakroom_encrypted` and a text; without --json the key's id is shown in its place.

Exit codes: 0 each was shown, 1 one does not exist, has expired or cannot be read, 2 wrong usage.";

/// Show the contents of sessions: user, expiry and data
#[derive(Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", keys::CAREFUL))]
pub(crate) struct Options {
    #[command(flatten)]
    keys: KeyOptions,
    /// A session's public id, or its first digits, in place of keys. May be repeated
    #[arg(long, value_name = "ID", conflicts_with = "keys", long_help = format!("A session's public id, in place of keys. May be repeated\n\n{}", ids::HELP))]
    id: Vec<PublicId>,
    /// Write JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let store = options.site.read()?.connect_to_read().await?;
    let now = SystemClock.now();
    let mut ending = Ending::Well;
    let Found { keys, missing } = if options.id.is_empty() {
        Found { keys: options.keys.read()?, missing: Vec::new() }
    } else {
        ids::find(&*store, &options.id).await?
    };
    if !missing.is_empty() {
        missing.iter().for_each(|id| complain(&format!("no session has the id {id}")));
        ending = Ending::WithFailures;
    }
    for session_key in keys {
        let id = session_key.public_id();
        let mut fail = |why: &str| {
            complain(&format!("{id}: {why}"));
            ending = Ending::WithFailures;
        };
        let loaded = match store.load(&session_key, now).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => {
                fail("no such session, or it has expired");
                continue;
            }
            // The others may still be readable.
            Err(error) if error.kind() == StoreErrorKind::Unreadable => {
                fail(&error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let key_id = loaded.data().and_then(encryption_key_id);
        let data = json_on_one_line(loaded.data().map_or_else(|| "{}".to_owned(), |data| data.to_json()));
        if !loaded.is_genuine() {
            fail("not genuine: it was not signed with this secret, or for another session class");
        }
        let listed = Listed { session_key, expire_date: loaded.expire_date, session: Ok(loaded) };
        let entry = Entry::new(&listed, now, false);
        if options.json {
            let entry = serde_json::to_string(&entry)?;
            // Inserted as text: Python's JSON allows more than other parsers read.
            say(&format!("{},\"data\":{data}}}", entry.trim_end_matches('}')))?;
            continue;
        }
        let encrypted = key_id.map(|id| format!("encrypted with the key {id}"));
        for (name, value) in [
            ("id", entry.id.as_str()),
            ("state", entry.state.name()),
            ("format", entry.format.map_or("-", |format| format.name())),
            ("expires", entry.expire_date.as_deref().unwrap_or("-")),
            ("user", entry.user.as_deref().unwrap_or("-")),
            ("data", encrypted.as_deref().unwrap_or(&data)),
        ] {
            say(&format!("{name:<8} {value}"))?;
        }
    }
    Ok(ending)
}
