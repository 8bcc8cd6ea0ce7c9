//! The events of logins in this process, and where they are told: in the log, to the application's listeners, and
//! to the watches of sessions.

mod watches;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::site::lock::lock;
use crate::site::session_key::SessionKey;
use crate::store::user_session_index::Client;
use crate::telemetry;

use self::watches::Watchers;

pub use self::watches::EndReason;
pub(crate) use self::watches::Watches;

/// An event of a login, for an audit trail: [`SessionMiddleware::on_event`]. Each event has happened when it
/// is told: a login is saved, and a session that ended is gone from the store.
///
/// It never holds a session key. The user's id and the address are personal data.
///
/// [`SessionMiddleware::on_event`]: crate::SessionMiddleware::on_event
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use cloakroom::{MemoryStore, SessionEventKind, SessionMiddleware, Settings, auth};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let trail = Arc::new(Mutex::new(Vec::new()));
/// let writer = Arc::clone(&trail);
/// let middleware = SessionMiddleware::new(MemoryStore::new(), Settings::new("secret"))?
///     .on_event(move |event| writer.lock().unwrap().push((event.kind(), event.user_id().to_owned())));
/// let session = middleware.begin([]).load().await?;
/// let user = auth::User { id: "7", password: "pbkdf2_sha256$...", backend: auth::MODEL_BACKEND };
/// auth::login(&session, user).await?;
/// assert!(trail.lock().unwrap().is_empty(), "nothing is saved yet");
/// session.save().await?;
/// auth::logout(&session).await?;
/// let seven = || "7".to_owned();
/// let expected = [(SessionEventKind::LoggedIn, seven()), (SessionEventKind::LoggedOut, seven())];
/// assert_eq!(*trail.lock().unwrap(), expected);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SessionEvent {
    kind: SessionEventKind,
    user_id: String,
    session: Option<String>,
    client: Client,
}

/// The kind of a [`SessionEvent`].
///
/// ```
/// use cloakroom::SessionEventKind;
///
/// let is_forced = |kind| matches!(kind, SessionEventKind::Revoked | SessionEventKind::OverLimit);
/// assert!(is_forced(SessionEventKind::Revoked) && !is_forced(SessionEventKind::LoggedOut));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// [`auth::login`](crate::auth::login), once the session was saved.
    LoggedIn,
    /// [`auth::logout`](crate::auth::logout), or a session with a user was deleted in another way by its own request.
    LoggedOut,
    /// [`auth::verify_user`](crate::auth::verify_user) ended the login, because its hash does not fit the user's
    /// password: the password was changed, or the secret is wrong.
    HashDiffers,
    /// [`UserSessions`](crate::UserSessions) revoked the session.
    Revoked,
    /// The session ended, because its user has more than
    /// [`UserSessions::with_limit`](crate::UserSessions::with_limit) allows.
    OverLimit,
    /// A login was refused for the same reason. Its session stays as it was.
    LoginRefused,
}

impl SessionEvent {
    /// The kind of event.
    pub fn kind(&self) -> SessionEventKind {
        self.kind
    }

    /// The user's id, as Django stores it in the session.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The session's [public id](crate::SessionKey::public_id); `None` for a login that was refused.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The client, as far as the application named it by [`Session::set_client`](crate::Session::set_client). For a
    /// session that was ended from elsewhere, its own last client as the index knows it.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for SessionEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionEvent")
            .field("kind", &self.kind)
            .field("user_id", &self.user_id)
            .field("session", &self.session)
            .field("client", &self.client)
            .finish()
    }
}

type Listener = Arc<dyn Fn(&SessionEvent) + Send + Sync>;

/// Shared by a site's middleware and its index.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) watchers: Watchers,
    listeners: Mutex<Vec<Listener>>,
}

impl Events {
    pub(crate) fn listen(&self, listener: impl Fn(&SessionEvent) + Send + Sync + 'static) {
        lock(&self.listeners).push(Arc::new(listener));
    }

    /// Tells this site's listeners and watchers from now on what it told its own before.
    pub(crate) fn take_over(&self, other: &Events) {
        let listeners = lock(&other.listeners).clone();
        lock(&self.listeners).extend(listeners);
        self.watchers.take_over(&other.watchers);
    }

    /// Tells the log and the listeners. Call it without a lock: listeners are application code. A listener that
    /// panics loses nothing but its own event.
    pub(crate) fn tell(
        &self,
        kind: SessionEventKind,
        session_key: Option<&SessionKey>,
        user_id: &str,
        client: &Client,
    ) {
        log(kind, session_key, user_id);
        let listeners = lock(&self.listeners).clone();
        if listeners.is_empty() {
            return;
        }
        let session = session_key.map(SessionKey::public_id);
        let event = SessionEvent { kind, user_id: user_id.to_owned(), session, client: client.clone() };
        for listener in listeners {
            if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                tracing::error!("a listener of session events panicked; the event's session stays as it is");
            }
        }
    }
}

fn log(kind: SessionEventKind, session_key: Option<&SessionKey>, user_id: &str) {
    let Some(session_key) = session_key else { return telemetry::login_refused(user_id) };
    match kind {
        SessionEventKind::LoggedIn => telemetry::logged_in(session_key, user_id),
        SessionEventKind::LoggedOut => telemetry::logged_out(session_key, user_id),
        SessionEventKind::HashDiffers => telemetry::hash_differs(session_key, user_id),
        SessionEventKind::Revoked => telemetry::revoked(session_key, user_id),
        SessionEventKind::OverLimit => telemetry::over_limit(session_key, user_id),
        SessionEventKind::LoginRefused => telemetry::login_refused(user_id),
    }
}
