//! The logins in sessions, and which secret their session auth hash depends on.

use std::collections::HashMap;
use std::sync::Mutex;

use clap::Args;
use cloakroom::auth::{self, UserTable};
use cloakroom::signing::{Algorithm, SecretKey, constant_time_equal};
use cloakroom::store::{StoreScheme, StoreUrl};
use cloakroom::{SessionData, Settings, StoreErrorKind};

use crate::output::lines::complain;
use crate::site::from_django::{DjangoUsers, Hashes};
use crate::site::{Site, SiteOptions};

/// The options that tell where the users are.
#[derive(Args)]
#[command(next_help_heading = "The site's users (with --from-django the project itself reads them)")]
pub(crate) struct UserOptions {
    /// The database with the users, such as postgres://site@db.example/site; it is only read [default: the
    /// store's, if that is a database]
    #[arg(long, value_name = "URL")]
    pub(crate) users: Option<String>,
    /// The users' table, with the columns id and password [default: auth_user]
    #[arg(long, value_name = "NAME")]
    pub(crate) users_table: Option<String>,
}

impl UserOptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_none() && self.users_table.is_none()
    }
}

/// Reads the users of logins.
pub(crate) struct Logins {
    secrets: Vec<SecretKey>,
    algorithm: Algorithm,
    source: Source,
}

enum Source {
    Django(Mutex<DjangoUsers>),
    Table(UserTable),
    /// Users cannot be read, for this reason.
    Nothing(String),
}

/// A session's login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Nobody is logged in.
    Nobody,
    /// Its hash was made with this secret, 0 for the current one. `now` is the hash with the current secret.
    Under { secret: usize, now: String },
    /// It depends on no secret: the user model creates no hashes.
    WithoutHash,
    /// Its hash matches no secret: the user's password was changed. Django ends the login.
    NoSecret,
    /// The user does not exist.
    UserGone,
    /// The user cannot be read.
    Unknown,
}

/// The user of a login.
struct Who {
    user: (String, String),
    hash: String,
}

impl Logins {
    /// Opens the users' source from the options; by default the store's own database, if it has users.
    pub(crate) async fn open(options: &UserOptions, of: &SiteOptions, site: &Site) -> anyhow::Result<Logins> {
        let settings = site.settings_without_secret();
        let secrets = secrets(settings);
        let table = options.users_table.as_deref().unwrap_or(UserTable::DJANGO_TABLE);
        let source = match (&options.users, &of.settings.from_django) {
            (Some(url), _) => Source::Table(UserTable::open(url, table).await?),
            (None, Some(manage_py)) if options.users_table.is_none() => {
                let python = of.settings.python.as_deref();
                Source::Django(Mutex::new(DjangoUsers::start(manage_py, python, &secrets)?))
            }
            _ => beside(site.url()?, table, options.users_table.is_some()).await?,
        };
        Ok(Logins { secrets, algorithm: settings.auth_hash_algorithm, source })
    }

    /// Reports why some logins could not be checked, and what to do.
    pub(crate) fn complain_of_unknown(&self, unknown: u64) {
        if unknown == 0 {
            return;
        }
        complain(&match &self.source {
            Source::Nothing(why) => format!(
                "{} of users who cannot be read ({why}); give --from-django MANAGE.PY, or --users URL and \
                 --users-table NAME",
                counted(unknown, "login")
            ),
            _ => format!("{} of a user whose id is invalid", counted(unknown, "login")),
        });
    }

    /// Determines the login in each of these sessions.
    pub(crate) async fn look(&self, sessions: &[&SessionData]) -> anyhow::Result<Vec<Login>> {
        let found: Vec<Result<Option<Who>, ()>> = sessions.iter().map(|data| who(data)).collect();
        let mut users: Vec<(String, String)> =
            found.iter().flatten().flatten().map(|who| who.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        let hashes = if users.is_empty() { Some(HashMap::new()) } else { self.hashes(users).await? };
        let login = |who: &Result<Option<Who>, ()>| match (who, &hashes) {
            (Ok(None), _) => Login::Nobody,
            (Err(()), _) | (Ok(Some(_)), None) => Login::Unknown,
            (Ok(Some(who)), Some(hashes)) => {
                hashes.get(&who.user).map_or(Login::UserGone, |hashes| who.login(hashes))
            }
        };
        Ok(found.iter().map(login).collect())
    }

    /// The hashes of existing users; `None` when users cannot be read.
    async fn hashes(
        &self,
        users: Vec<(String, String)>,
    ) -> anyhow::Result<Option<HashMap<(String, String), Hashes>>> {
        match &self.source {
            Source::Nothing(_) => Ok(None),
            Source::Django(django) => {
                let hashes = tokio::task::block_in_place(|| {
                    let mut django = django.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    django.hashes(&users)
                })?;
                let there = users.into_iter().zip(hashes).filter_map(|(user, hashes)| Some((user, hashes?)));
                Ok(Some(there.collect()))
            }
            Source::Table(table) => {
                let ids: Vec<&str> = users.iter().map(|(id, _)| id.as_str()).collect();
                let passwords = table.passwords(&ids).await?;
                let hashes = |password: &String| {
                    let under = |secret: &SecretKey| {
                        [self.algorithm, Algorithm::Sha1]
                            .map(|algorithm| auth::session_auth_hash_with(password, secret, algorithm))
                            .to_vec()
                    };
                    self.secrets.iter().map(under).collect::<Hashes>()
                };
                let there = users.into_iter().filter_map(|user| {
                    let hashes = hashes(passwords.get(&user.0)?);
                    Some((user, hashes))
                });
                Ok(Some(there.collect()))
            }
        }
    }
}

/// Opens the users in the store's own database.
async fn beside(url: &StoreUrl, table: &str, is_named: bool) -> anyhow::Result<Source> {
    let url = url.without_cache();
    let why = if url.scheme().is_some_and(StoreScheme::is_database) {
        match UserTable::open(url.expose(), table).await {
            Ok(table) => return Ok(Source::Table(table)),
            Err(error) if error.kind() == StoreErrorKind::Misconfigured && !is_named => error.to_string(),
            Err(error) => return Err(error.into()),
        }
    } else {
        "the store has no table of users".to_owned()
    };
    Ok(Source::Nothing(why))
}

/// The current secret, then the older ones.
pub(crate) fn secrets(settings: &Settings) -> Vec<SecretKey> {
    std::iter::once(&settings.secret_key).chain(&settings.secret_key_fallbacks).cloned().collect()
}

/// A count with its noun.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The login in a session; an error when its user is unknown.
fn who(data: &SessionData) -> Result<Option<Who>, ()> {
    let Some(id) = auth::user_id_in(data).map_err(drop)? else { return Ok(None) };
    let text = |key: &str| data.read::<String>(key).ok().flatten().unwrap_or_default();
    Ok(Some(Who { user: (id, text(auth::BACKEND_SESSION_KEY)), hash: text(auth::HASH_SESSION_KEY) }))
}

impl Who {
    fn login(&self, hashes: &Hashes) -> Login {
        let Some(now) = hashes.first().and_then(|hashes| hashes.first()) else { return Login::WithoutHash };
        let is_own = |hash: &String| constant_time_equal(hash.as_bytes(), self.hash.as_bytes());
        match hashes.iter().position(|hashes| hashes.iter().any(is_own)) {
            Some(secret) => Login::Under { secret, now: now.clone() },
            None => Login::NoSecret,
        }
    }
}
