//! Messages that a user sees once, usually on the page after a form. Django's `contrib.messages`, which shares
//! them with this library both ways.
//!
//! A handler takes [`Messages`] as an argument, inside `MessagesLayer` (tower, axum) or `MessagesTransform`
//! (actix-web), which stand inside the session layer. For any other framework there is
//! [`MessagesMiddleware`](crate::MessagesMiddleware).
//!
//! ```
//! use std::sync::Arc;
//! use cloakroom::messages::MessageSettings;
//! use cloakroom::{MemoryStore, MessagesMiddleware, SessionMiddleware, Settings};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let settings = Settings::new("secret");
//! let sessions = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings.clone())?;
//! let middleware = MessagesMiddleware::new(&settings, MessageSettings::default());
//!
//! // The request that saves a form.
//! let lazy = middleware.begin([], Some(&sessions.begin([])));
//! lazy.load().await?.success("Saved.");
//! let set_cookie = middleware.finish(&lazy).await?.set_cookie.unwrap();
//!
//! // The next page shows the message, and takes its cookie away.
//! let cookie = set_cookie.split(';').next().unwrap();
//! let lazy = middleware.begin([cookie.as_bytes()], Some(&sessions.begin([])));
//! assert_eq!(lazy.load().await?.read()[0].text(), "Saved.");
//! assert!(middleware.finish(&lazy).await?.set_cookie.unwrap().contains("Max-Age=0"));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom_formats::Value;

use crate::session::{LazySession, Session};
use crate::site::error::Error;

pub use cloakroom_formats::messages::{
    Decoded, Keep, Level, Message, MessageList, MessageSigner, Packed, SESSION_KEY,
};

/// Where messages wait. Django's `MESSAGE_STORAGE`; both sites must have the same.
///
/// ```
/// use cloakroom::messages::{MessageSettings, MessageStorage};
///
/// assert_eq!(MessageSettings::default().storage, MessageStorage::Fallback);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageStorage {
    /// In a cookie, and what does not fit in the session: Django's default. Of two parallel responses the
    /// later cookie wins.
    #[default]
    Fallback,
    /// In a cookie alone. If it is too small, the oldest messages are dropped.
    Cookie,
    /// In the session alone. Parallel requests lose none: saving adds to what another request saved.
    Session,
}

/// Django's settings of messages.
///
/// ```
/// use cloakroom::messages::{Level, MessageSettings, MessageStorage};
///
/// let mut settings = MessageSettings::default();
/// settings.storage = MessageStorage::Session;
/// settings.level = Level::DEBUG;
/// settings.tags = vec![(Level::ERROR, "danger".to_owned())];
/// assert_eq!(settings.max_cookie_bytes, 2_048);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageSettings {
    /// `MESSAGE_STORAGE`.
    pub storage: MessageStorage,
    /// `MESSAGE_LEVEL`: lower messages are not recorded. Default: info.
    pub level: Level,
    /// `MESSAGE_TAGS`: tags in place of the levels' own. Default: none.
    pub tags: Vec<(Level, String)>,
    /// The cookie's name. Django's `CookieStorage.cookie_name`. Default: `messages`.
    pub cookie_name: String,
    /// The longest value of the cookie. Django's `CookieStorage.max_cookie_size`. Default: 2,048.
    pub max_cookie_bytes: usize,
}

impl Default for MessageSettings {
    fn default() -> MessageSettings {
        MessageSettings {
            storage: MessageStorage::default(),
            level: Level::INFO,
            tags: Vec::new(),
            cookie_name: "messages".to_owned(),
            max_cookie_bytes: 2_048,
        }
    }
}

/// A request's messages before they are loaded. The layer puts them among the request's extensions; they cost
/// nothing until [`load`](LazyMessages::load).
#[derive(Clone)]
pub struct LazyMessages {
    inner: Arc<Inner>,
}

/// A request's messages. Django's `request._messages`. Clones are the same messages.
///
/// ```
/// use axum::response::{Html, Redirect};
/// use cloakroom::messages::Messages;
///
/// async fn save(messages: Messages) -> Redirect {
///     messages.success("Saved.");
///     Redirect::to("/")
/// }
///
/// async fn front(messages: Messages) -> Html<String> {
///     let item = |message: &cloakroom::messages::Message| {
///         format!("<li class=\"{}\">{}</li>", message.tags(), message.html())
///     };
///     Html(messages.read().iter().map(item).collect())
/// }
/// ```
#[derive(Clone)]
pub struct Messages {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<MessageSettings>,
    signer: MessageSigner,
    cookie: Option<String>,
    session: Option<LazySession>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    queued: MessageList,
    /// Whether they were read, so that they go with the response.
    used: bool,
    /// Whether there is a new one.
    added: bool,
    level: Option<Level>,
}

#[derive(Clone, Default)]
struct Loaded {
    of_cookie: MessageList,
    of_session: MessageList,
    /// Those of this request that were read together with them.
    read_now: MessageList,
    /// Whether the cookie is not genuine, so that it goes.
    is_cookie_bad: bool,
}

/// What the response does to the cookie.
pub(crate) enum CookieChange {
    Set(String),
    Delete,
}

impl LazyMessages {
    /// The error of a handler without the layer.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) const MISSING: Error = Error::LayerMissing {
        argument: "Messages",
        layer: "MessagesLayer` (tower, axum) or `MessagesTransform",
    };

    pub(crate) fn new(
        settings: Arc<MessageSettings>,
        signer: MessageSigner,
        cookie: Option<String>,
        session: Option<LazySession>,
    ) -> LazyMessages {
        let state = Mutex::default();
        LazyMessages { inner: Arc::new(Inner { settings, signer, cookie, session, state }) }
    }

    /// Loads the messages, from the session only if some are there.
    ///
    /// # Errors
    /// As [`LazySession::load`]; [`Error::NoLayer`] when the session is needed and there is no session layer.
    pub async fn load(&self) -> Result<Messages, Error> {
        let messages = Messages { inner: Arc::clone(&self.inner) };
        if self.inner.state().loaded.is_some() {
            return Ok(messages);
        }
        let (mut loaded, mut goes_on) = (Loaded::default(), false);
        if self.inner.settings.storage == MessageStorage::Session {
            goes_on = true;
        } else if let Some(cookie) = self.inner.cookie.as_deref().filter(|cookie| !cookie.is_empty()) {
            match self.inner.signer.unpack(cookie) {
                Some(decoded) => {
                    goes_on = !decoded.is_complete && self.inner.settings.storage == MessageStorage::Fallback;
                    loaded.of_cookie = decoded.messages;
                }
                None => {
                    tracing::debug!("the cookie of messages is not genuine and counts as none");
                    loaded.is_cookie_bad = true;
                }
            }
        }
        if goes_on {
            let session = self.inner.session().await?;
            loaded.of_session = list_in(session.get_value(SESSION_KEY).as_ref());
        }
        let mut state = self.inner.state();
        if state.loaded.is_none() {
            // Django's `CookieStorage._decode` counts such a cookie as read; `FallbackStorage` leaves it.
            state.used |= loaded.is_cookie_bad && self.inner.settings.storage == MessageStorage::Cookie;
            state.loaded = Some(loaded);
        }
        drop(state);
        Ok(messages)
    }

    /// Stores what is not read, in the session, and returns what the cookie needs. Django's
    /// `BaseStorage.update`.
    pub(crate) async fn store(&self, now: chrono::DateTime<chrono::Utc>) -> Result<Outcome, Error> {
        let inner = &*self.inner;
        let (loaded, mut new, used) = {
            let mut state = inner.state();
            // Whatever was loaded: reading without a new message and without a reader changes nothing.
            let Some(loaded) = state.loaded.clone() else { return Ok(Outcome::default()) };
            if !state.used && !state.added {
                return Ok(Outcome { saw_cookie: inner.cookie.is_some(), ..Outcome::default() });
            }
            (loaded, std::mem::take(&mut state.queued), state.used)
        };
        let mut outcome = Outcome { saw_cookie: inner.cookie.is_some(), ..Outcome::default() };
        if inner.settings.storage == MessageStorage::Session {
            let gone = if used { loaded.of_session } else { MessageList::new() };
            store_in(&inner.session().await?, gone, new)?;
            return Ok(outcome);
        }
        if !used {
            let mut all = loaded.of_cookie.clone();
            all.append(loaded.of_session.clone());
            all.append(new);
            new = all;
        }
        let is_alone = inner.settings.storage == MessageStorage::Cookie;
        let keep = if is_alone { Keep::Newest } else { Keep::Oldest };
        let packed = inner.signer.pack(&new, now, inner.settings.max_cookie_bytes, keep);
        outcome.cookie = match packed.cookie {
            Some(cookie) => Some(CookieChange::Set(cookie)),
            None if is_alone || !loaded.of_cookie.is_empty() => Some(CookieChange::Delete),
            None => None,
        };
        if is_alone {
            if !packed.unstored.is_empty() {
                let dropped = packed.unstored.len();
                tracing::warn!(dropped, "messages dropped, because their cookie is full");
            }
        } else if !packed.unstored.is_empty() || !loaded.of_session.is_empty() {
            store_in(&inner.session().await?, loaded.of_session, packed.unstored)?;
        }
        Ok(outcome)
    }
}

/// What a response gets.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) cookie: Option<CookieChange>,
    /// Whether the page depends on the request's cookie.
    pub(crate) saw_cookie: bool,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        crate::site::lock::lock(&self.state)
    }

    async fn session(&self) -> Result<Session, Error> {
        self.session.as_ref().ok_or(Error::NoLayer)?.load().await
    }
}

/// The messages in a session. What is no list counts as none, and goes with the next change.
fn list_in(value: Option<&Value>) -> MessageList {
    value.map_or_else(MessageList::new, |value| {
        MessageList::of_session(value).unwrap_or_else(|| {
            tracing::warn!("the session's messages are not a list and count as none");
            MessageList::new()
        })
    })
}

/// Takes messages out of the session and adds others, on top of what other requests save meanwhile.
fn store_in(session: &Session, gone: MessageList, new: MessageList) -> Result<(), Error> {
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    session.modify_value(SESSION_KEY, move |value| {
        let mut list = list_in(value);
        list.subtract(&gone);
        list.append(new.clone());
        (!list.is_empty()).then(|| Value::serialize(&list.to_json())).transpose()
    })
}

impl Messages {
    /// Adds a message. Django's `messages.add_message`. An empty text, and a level below
    /// [`level`](Messages::level), is not recorded.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use cloakroom::messages::{Level, Message};
    /// # use cloakroom::{MessagesMiddleware, Settings, messages::MessageSettings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let middleware = MessagesMiddleware::new(&Settings::new("secret"), MessageSettings::default());
    /// # let messages = middleware.begin([], None).load().await?;
    /// messages.add(Message::new(Level::WARNING, "Two are left.").with_extra_tags("stock"));
    /// messages.add(Message::safe(Level::INFO, "<a href=\"/cart\">Your cart</a>"));
    /// messages.debug("below the level");
    /// assert_eq!(messages.len(), 2);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    pub fn add(&self, message: Message) {
        let level = self.level();
        if message.text().is_empty() || message.level() < level {
            return;
        }
        let mut state = self.inner.state();
        state.added = true;
        state.queued.push(message);
    }

    /// Adds a message for developers. Django's `messages.debug`.
    pub fn debug(&self, text: impl Into<String>) {
        self.add(Message::new(Level::DEBUG, text));
    }

    /// Adds a piece of information. Django's `messages.info`.
    pub fn info(&self, text: impl Into<String>) {
        self.add(Message::new(Level::INFO, text));
    }

    /// Tells of a success. Django's `messages.success`.
    pub fn success(&self, text: impl Into<String>) {
        self.add(Message::new(Level::SUCCESS, text));
    }

    /// Adds a warning. Django's `messages.warning`.
    pub fn warning(&self, text: impl Into<String>) {
        self.add(Message::new(Level::WARNING, text));
    }

    /// Tells of a failure. Django's `messages.error`.
    pub fn error(&self, text: impl Into<String>) {
        self.add(Message::new(Level::ERROR, text));
    }

    /// Returns all messages, earlier ones first, and takes them away with the response. Django's iteration
    /// over `get_messages(request)`. Messages that are added later wait for the next page.
    pub fn read(&self) -> Vec<Message> {
        let mut state = self.inner.state();
        state.used = true;
        let queued = std::mem::take(&mut state.queued);
        let loaded = state.loaded.get_or_insert_default();
        loaded.read_now.append(queued);
        self.tagged(loaded.all().messages())
    }

    /// Returns all messages and leaves them for the next page.
    pub fn peek(&self) -> Vec<Message> {
        let state = self.inner.state();
        let loaded =
            state.loaded.iter().flat_map(|loaded| [&loaded.of_cookie, &loaded.of_session, &loaded.read_now]);
        self.tagged(loaded.chain([&state.queued]).flat_map(MessageList::messages))
    }

    /// The number of messages. Django's `len`, which leaves them for the next page.
    pub fn len(&self) -> usize {
        let state = self.inner.state();
        state.loaded.as_ref().map_or(0, |loaded| loaded.all().len()) + state.queued.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lowest level that is recorded. Django's `get_level`.
    pub fn level(&self) -> Level {
        self.inner.state().level.unwrap_or(self.inner.settings.level)
    }

    /// Sets the lowest level that this request records; `None` means the setting's. Django's `set_level`.
    pub fn set_level(&self, level: Option<Level>) {
        self.inner.state().level = level;
    }

    fn tagged<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> Vec<Message> {
        let tags = &self.inner.settings.tags;
        let tagged = |message: &Message| {
            let message = message.clone();
            match tags.iter().rfind(|(level, _)| *level == message.level()) {
                Some((_, tag)) => message.with_level_tag(tag.clone()),
                None => message,
            }
        };
        messages.map(tagged).collect()
    }
}

impl Loaded {
    fn all(&self) -> MessageList {
        let mut all = self.of_cookie.clone();
        all.append(self.of_session.clone());
        all.append(self.read_now.clone());
        all
    }
}

impl fmt::Debug for LazyMessages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LazyMessages").finish_non_exhaustive()
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Messages").field("len", &self.len()).finish_non_exhaustive()
    }
}
