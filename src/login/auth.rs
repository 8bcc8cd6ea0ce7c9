//! The login that `django.contrib.auth` keeps in the session.

mod freshness;
mod user_id;

use cloakroom_formats::signing::{Algorithm, SecretKey, constant_time_equal, salted_hmac_hex};

use crate::events::SessionEventKind;
use crate::login::csrf_secret;
use crate::login_keys;
use crate::session::Session;
use crate::site::error::Error;
use crate::site::settings::Settings;

pub use self::freshness::AUTHENTICATED_KEY;
pub use self::user_id::UserId;
pub use crate::login::credentials::CredentialSource;
#[cfg(feature = "passwords")]
pub use crate::login::credentials::authenticate;
pub use crate::login::current_user::{CurrentUser, LazyUser};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use crate::login::django_users::{DjangoUser, DjangoUsers, PermissionTables, UserModel};
pub use crate::login::next::Next;
#[cfg(feature = "passwords")]
pub use crate::login::passwords::{PasswordAlgorithm, PasswordHasher, Verified};
pub use crate::login::requirement::Requirement;
pub use crate::login::users::{AuthUser, Grants, UserSource};
pub use crate::login_keys::{BACKEND_SESSION_KEY, HASH_SESSION_KEY, USER_ID_KEY, user_id_in};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use crate::store::user_table::UserTable;
pub use cloakroom_formats::url::is_safe_next;

/// Django's default back end.
pub const MODEL_BACKEND: &str = "django.contrib.auth.backends.ModelBackend";

const HASH_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// Returns the hash that ties a login to the user's password: when the password changes, the login ends.
///
/// `password` is the password *field*, the encoded hash in `auth_user.password`. Django's
/// `AbstractBaseUser.get_session_auth_hash`.
///
/// ```
/// use cloakroom::{Settings, auth};
///
/// let settings = Settings::new("secret");
/// let hash = auth::session_auth_hash("pbkdf2_sha256$...", &settings);
/// assert_eq!(hash.len(), 64);
/// assert!(auth::verify_session_auth_hash(&hash, "pbkdf2_sha256$...", &settings));
/// assert!(!auth::verify_session_auth_hash(&hash, "another password", &settings));
/// ```
pub fn session_auth_hash(password: &str, settings: &Settings) -> String {
    session_auth_hash_with(password, &settings.secret_key, settings.auth_hash_algorithm)
}

/// Returns the session auth hash with a given secret and algorithm. Django's `get_session_auth_fallback_hash`
/// is this function for each of `SECRET_KEY_FALLBACKS`.
///
/// ```
/// use cloakroom::auth::{session_auth_hash, session_auth_hash_with};
/// use cloakroom::signing::{Algorithm, SecretKey};
///
/// // Before 3.1 Django hashed with SHA-1.
/// let hash = session_auth_hash_with("pbkdf2_sha256$...", &SecretKey::from("secret"), Algorithm::Sha1);
/// assert_eq!(hash.len(), 40);
/// ```
pub fn session_auth_hash_with(password: &str, secret: &SecretKey, algorithm: Algorithm) -> String {
    salted_hmac_hex(HASH_SALT, password.as_bytes(), secret, algorithm)
}

/// Whether a login's hash matches the user's password field, with this secret or a fallback. In constant
/// time.
///
/// ```
/// use cloakroom::{Settings, auth};
///
/// let before = Settings::new("old secret");
/// let hash = auth::session_auth_hash("pbkdf2_sha256$...", &before);
/// let mut settings = Settings::new("new secret");
/// assert!(!auth::verify_session_auth_hash(&hash, "pbkdf2_sha256$...", &settings));
/// settings.secret_key_fallbacks = vec!["old secret".into()];
/// assert!(auth::verify_session_auth_hash(&hash, "pbkdf2_sha256$...", &settings));
/// ```
pub fn verify_session_auth_hash(hash: &str, password: &str, settings: &Settings) -> bool {
    fits(hash, password, &settings.secret_key, settings) || fits_fallback(hash, password, settings)
}

fn fits_fallback(hash: &str, password: &str, settings: &Settings) -> bool {
    settings.secret_key_fallbacks.iter().any(|secret| fits(hash, password, secret, settings))
}

fn fits(hash: &str, password: &str, secret: &SecretKey, settings: &Settings) -> bool {
    let legacy = settings.accept_sha1_auth_hash.then_some(Algorithm::Sha1);
    std::iter::once(settings.auth_hash_algorithm).chain(legacy).any(|algorithm| {
        constant_time_equal(session_auth_hash_with(password, secret, algorithm).as_bytes(), hash.as_bytes())
    })
}

/// The properties of a user that the session needs.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers write it as a literal")]
pub struct User<'a> {
    /// The primary key, as text.
    pub id: &'a str,
    /// The password field: the encoded hash, as in `auth_user.password`.
    pub password: &'a str,
    /// The dotted path of the authentication back end; usually [`MODEL_BACKEND`].
    pub backend: &'a str,
}

impl std::fmt::Debug for User<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns the id of the logged-in user, without checking the password. Django's `USER_ID_KEY` in the
/// session.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// assert_eq!(auth::user_id(&session)?, None);
/// session.set(auth::USER_ID_KEY, "7")?;
/// assert_eq!(auth::user_id(&session)?.as_deref(), Some("7"));
/// # Ok::<(), cloakroom::Error>(())
/// ```
///
/// # Errors
/// As [`user_id_in`], which defines valid ids.
pub fn user_id(session: &Session) -> Result<Option<String>, Error> {
    session.get_value(USER_ID_KEY).as_ref().map_or(Ok(None), login_keys::read)
}

/// Whether this user, whom the caller looked up by [`user_id`], is logged in: Django's `get_user`, with all
/// its effects on the session.
///
/// A login whose hash does not match the password ends: the session is flushed. If the hash matches with a
/// fallback secret, the login continues under a new key and with a new hash. A session of another user or
/// back end is not changed.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$old", backend: auth::MODEL_BACKEND };
/// auth::login(&session, user).await?;
/// assert!(auth::verify_user(&session, user).await?);
/// // The password was changed elsewhere: the login ends here.
/// let changed = auth::User { password: "pbkdf2_sha256$new", ..user };
/// assert!(!auth::verify_user(&session, changed).await?);
/// assert_eq!(auth::user_id(&session)?, None);
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`user_id`], [`Session::flush`] and [`Session::cycle_key`].
pub async fn verify_user(session: &Session, user: User<'_>) -> Result<bool, Error> {
    let backend = text_in(session, BACKEND_SESSION_KEY);
    if user_id(session)?.as_deref() != Some(user.id) || backend != user.backend {
        return Ok(false);
    }
    verify_hash(session, user.password).await
}

/// Whether the login's hash fits this password; if not, the session is flushed. A hash of a fallback secret is renewed.
pub(super) async fn verify_hash(session: &Session, password: &str) -> Result<bool, Error> {
    let settings = session.settings();
    let hash = text_in(session, HASH_SESSION_KEY);
    if fits(&hash, password, &settings.secret_key, settings) {
        return Ok(true);
    }
    if fits_fallback(&hash, password, settings) {
        renew_hash(session, password)?;
        return Ok(true);
    }
    session.flush_as(SessionEventKind::HashDiffers).await?;
    Ok(false)
}

/// Whether the login's hash fits this password, also with a fallback secret. The session stays as it is.
pub(super) fn hash_fits(session: &Session, password: &str) -> bool {
    verify_session_auth_hash(&text_in(session, HASH_SESSION_KEY), password, session.settings())
}

/// A text of the login. Any other value is none that Django accepts.
pub(super) fn text_in(session: &Session, key: &str) -> String {
    session.get_value(key).and_then(|value| value.deserialize().ok()).unwrap_or_default()
}

/// Logs a user in. Django's `login`: an anonymous session's data is kept under a new key. A session of
/// another user, or of this user before a change of password, is flushed. This user's own session continues
/// under its key. The secret of CSRF tokens changes, as in Django: forms that were loaded before are refused.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
/// auth::login(&session, user).await?;
/// assert_eq!(auth::user_id(&session)?.as_deref(), Some("7"));
/// auth::logout(&session).await?;
/// assert_eq!(auth::user_id(&session)?, None);
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`Session::flush`] and [`Session::cycle_key`].
pub async fn login(session: &Session, user: User<'_>) -> Result<(), Error> {
    begin_login(session, user, false).await
}

/// Like [`login`], but this user's own session gets a new key too. Use it where each login must (OWASP ASVS 7.2.4);
/// Django keeps the key. The former key is worthless afterwards.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
/// auth::login(&session, user).await?;
/// session.save().await?;
/// let key = session.session_key();
///
/// auth::login(&session, user).await?;
/// session.save().await?;
/// assert_eq!(session.session_key(), key, "as in Django");
/// auth::login_with_new_key(&session, user).await?;
/// session.save().await?;
/// assert_ne!(session.session_key(), key);
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`login`].
pub async fn login_with_new_key(session: &Session, user: User<'_>) -> Result<(), Error> {
    begin_login(session, user, true).await
}

/// [`login`] for a user of the application's own type, by [`MODEL_BACKEND`].
///
/// # Errors
/// As [`login`].
pub async fn login_user(session: &Session, user: &impl AuthUser) -> Result<(), Error> {
    let id = user.id();
    login(session, User { id: &id, password: user.password(), backend: MODEL_BACKEND }).await
}

async fn begin_login(session: &Session, user: User<'_>, needs_new_key: bool) -> Result<(), Error> {
    match user_id(session)? {
        None => session.cycle_key()?,
        Some(id) => {
            let hash = text_in(session, HASH_SESSION_KEY);
            let settings = session.settings();
            if id != user.id || !fits(&hash, user.password, &settings.secret_key, settings) {
                session.flush().await?;
            } else if needs_new_key {
                session.cycle_key()?;
            }
        }
    }
    session.restart_absolute_age()?;
    csrf_secret::rotate(session)?;
    session.set(USER_ID_KEY, user.id.to_owned())?;
    session.set(BACKEND_SESSION_KEY, user.backend.to_owned())?;
    session.set(HASH_SESSION_KEY, session_auth_hash(user.password, session.settings()))?;
    session.note_login();
    Ok(())
}

/// Logs out: deletes the session, so that its key is worthless to anyone. Django's `logout`.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set("basket", "wool")?;
/// auth::logout(&session).await?;
/// assert!(session.is_empty());
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`Session::flush`].
pub async fn logout(session: &Session) -> Result<(), Error> {
    session.flush().await
}

/// Keeps this session logged in after its user's password changed, under a new key. Django's
/// `update_session_auth_hash`. The user's other sessions end.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{MemoryStore, Session, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$old", backend: auth::MODEL_BACKEND };
/// auth::login(&session, user).await?;
/// let changed = auth::User { password: "pbkdf2_sha256$new", ..user };
/// auth::update_session_auth_hash(&session, changed)?;
/// assert!(auth::verify_user(&session, changed).await?);
/// # Ok::<(), cloakroom::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`Session::cycle_key`].
pub fn update_session_auth_hash(session: &Session, user: User<'_>) -> Result<(), Error> {
    renew_hash(session, user.password)
}

fn renew_hash(session: &Session, password: &str) -> Result<(), Error> {
    session.cycle_key()?;
    session.set(HASH_SESSION_KEY, session_auth_hash(password, session.settings()))
}
