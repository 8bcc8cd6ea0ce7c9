//! `django.contrib.messages`: the messages that a page shows once, as a session or a signed cookie keeps them.
//!
//! A message is the JSON list `["__json_message", safe, level, text, extra_tags]`. The session has a text of
//! such lists under [`SESSION_KEY`]; the cookie has them compact and signed: [`MessageSigner`].
//!
//! ```
//! use cloakroom::messages::{Level, Message, MessageList};
//!
//! let mut list = MessageList::new();
//! list.push(Message::new(Level::SUCCESS, "Saved."));
//! assert_eq!(list.to_json(), r#"[["__json_message", 0, 25, "Saved.", ""]]"#);
//! assert_eq!(MessageList::from_json(&list.to_json()), Some(list));
//! ```

mod cookie;

use std::borrow::Cow;
use std::fmt;

use crate::value::{Kind, Value, unescape_key, write_string};

pub use cookie::{Decoded, Keep, MessageSigner, Packed};

/// The session key of the messages. Django's `SessionStorage.session_key`.
///
/// ```
/// assert_eq!(cloakroom::messages::SESSION_KEY, "_messages");
/// ```
pub const SESSION_KEY: &str = "_messages";

/// The first item of an encoded message. Django's `MessageEncoder.message_key`.
const MESSAGE_KEY: &str = "\"__json_message\"";

/// How important a message is. Django's levels are integers, and a site may have more of them.
///
/// ```
/// use cloakroom::messages::Level;
///
/// assert!(Level::SUCCESS < Level::WARNING);
/// assert_eq!(Level::from(25), Level::SUCCESS);
/// assert_eq!((Level::ERROR.number(), Level::ERROR.tag(), Level::from(29).tag()), (40, "error", ""));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(i64);

impl Level {
    /// For developers; not recorded by default.
    pub const DEBUG: Level = Level(10);
    /// Information.
    pub const INFO: Level = Level(20);
    /// An action succeeded.
    pub const SUCCESS: Level = Level(25);
    /// Something may need attention.
    pub const WARNING: Level = Level(30);
    /// An action failed.
    pub const ERROR: Level = Level(40);

    /// Django's number.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Django's default tag: the level's name in lower case, empty for a level of the site's own.
    pub const fn tag(self) -> &'static str {
        match self {
            Level::DEBUG => "debug",
            Level::INFO => "info",
            Level::SUCCESS => "success",
            Level::WARNING => "warning",
            Level::ERROR => "error",
            _ => "",
        }
    }
}

impl From<i64> for Level {
    fn from(number: i64) -> Level {
        Level(number)
    }
}

/// One message. Django's `Message`. `Debug` does not show its text.
///
/// ```
/// use cloakroom::messages::{Level, Message};
///
/// let message = Message::new(Level::WARNING, "Tea & milk").with_extra_tags("stock");
/// assert_eq!((message.text(), message.tags().as_str()), ("Tea & milk", "stock warning"));
/// assert_eq!(message.html(), "Tea &amp; milk");
/// assert_eq!(Message::safe(Level::INFO, "<b>New</b>").html(), "<b>New</b>");
/// assert!(!format!("{message:?}").contains("Tea"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    level: Level,
    text: String,
    extra_tags: Option<String>,
    safe: bool,
    level_tag: Cow<'static, str>,
}

impl Message {
    /// Creates a message of plain text.
    pub fn new(level: Level, text: impl Into<String>) -> Message {
        Message {
            level,
            text: text.into(),
            extra_tags: Some(String::new()),
            safe: false,
            level_tag: Cow::Borrowed(level.tag()),
        }
    }

    /// Creates a message of HTML that pages show unescaped. Django's `mark_safe`. Never pass text of a user.
    pub fn safe(level: Level, html: impl Into<String>) -> Message {
        Message { safe: true, ..Message::new(level, html) }
    }

    /// Sets the extra tags: words for the CSS class, separated by spaces.
    #[must_use]
    pub fn with_extra_tags(self, extra_tags: impl Into<String>) -> Message {
        Message { extra_tags: Some(extra_tags.into()), ..self }
    }

    /// Sets what [`level_tag`](Message::level_tag) gives, for a site with `MESSAGE_TAGS`. It is not stored.
    #[must_use]
    pub fn with_level_tag(self, level_tag: impl Into<Cow<'static, str>>) -> Message {
        Message { level_tag: level_tag.into(), ..self }
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The text as it was written: HTML if [`is_safe`](Message::is_safe).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The extra tags; `None` when Django was told `extra_tags=None`.
    pub fn extra_tags(&self) -> Option<&str> {
        self.extra_tags.as_deref()
    }

    /// Whether the text is HTML.
    pub fn is_safe(&self) -> bool {
        self.safe
    }

    /// The level's tag.
    pub fn level_tag(&self) -> &str {
        &self.level_tag
    }

    /// The extra tags and the level's tag, for the CSS class. Django's `message.tags`.
    pub fn tags(&self) -> String {
        match (self.extra_tags.as_deref().unwrap_or_default(), self.level_tag()) {
            ("", tag) => tag.to_owned(),
            (extra, "") => extra.to_owned(),
            (extra, tag) => format!("{extra} {tag}"),
        }
    }

    /// The text as HTML: escaped as Django's templates do, unless it is HTML already.
    pub fn html(&self) -> Cow<'_, str> {
        if self.safe || !self.text.contains(['&', '<', '>', '"', '\'']) {
            return Cow::Borrowed(&self.text);
        }
        let mut html = String::with_capacity(self.text.len() + 16);
        for character in self.text.chars() {
            match character {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#x27;"),
                other => html.push(other),
            }
        }
        Cow::Owned(html)
    }

    /// Reads an encoded message, and whether it would be written again without loss. `None` when it is
    /// another value, which only Python could show.
    fn read(value: &Value) -> Option<(Message, bool)> {
        if value.kind() == Kind::Str {
            // Not written by Django's API; its templates show such a text without a tag.
            let bare = Message { extra_tags: None, ..Message::new(Level(0), text_of(value).0) };
            return Some((bare, false));
        }
        let fields = value.items()?;
        let ([key, safe, level, text] | [key, safe, level, text, _]) = &fields[..] else { return None };
        if key.json() != MESSAGE_KEY || level.kind() != Kind::Int {
            return None;
        }
        let (text, mut lossless) = text_of(text);
        let extra_tags = match fields.get(4).map(|tags| (tags.kind(), tags)) {
            None | Some((Kind::None, _)) => None,
            Some((Kind::Str, tags)) => {
                let (tags, is_exact) = text_of(tags);
                lossless &= is_exact;
                Some(tags)
            }
            Some(_) => return None,
        };
        let safe = !matches!(safe.json(), "0" | "false" | "null" | "\"\"" | "[]" | "{}" | "0.0" | "-0.0");
        let level = Level(level.json().parse().ok()?);
        Some((Message { safe, extra_tags, ..Message::new(level, text) }, lossless))
    }

    fn write(&self, out: &mut String, comma: &str) {
        let safe = if self.safe { "1" } else { "0" };
        let level = self.level.0.to_string();
        out.push('[');
        for part in [MESSAGE_KEY, comma, safe, comma, &level, comma] {
            out.push_str(part);
        }
        write_string(out, &self.text);
        if let Some(extra_tags) = &self.extra_tags {
            out.push_str(comma);
            write_string(out, extra_tags);
        }
        out.push(']');
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Message").field("level", &self.level.0).finish_non_exhaustive()
    }
}

/// The text of a value as Python shows it, and whether Rust can hold it without loss.
fn text_of(value: &Value) -> (String, bool) {
    let json = value.json();
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        // A lone surrogate becomes U+FFFD.
        Some(inside) => (unescape_key(inside), value.deserialize::<String>().is_ok()),
        None => (json.to_owned(), false),
    }
}

/// A list of messages, in order. What only Python can read stays in it as it is.
///
/// ```
/// use cloakroom::messages::MessageList;
///
/// let list = MessageList::from_json(r#"[["__json_message", 1, 40, "<b>Full</b>"], {"of": "another"}]"#).unwrap();
/// assert_eq!(list.len(), 2);
/// assert_eq!(list.messages().map(|message| message.text().to_owned()).collect::<Vec<_>>(), ["<b>Full</b>"]);
/// assert!(list.to_json().ends_with(r#"{"of": "another"}]"#));
/// assert_eq!(MessageList::from_json("[1,"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageList {
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Message(Message),
    /// Written back as it was, and shown if it can be.
    Other(Value, Option<Message>),
}

impl Item {
    fn of(value: Value) -> Item {
        match Message::read(&value) {
            Some((message, true)) => Item::Message(message),
            shown => Item::Other(value, shown.map(|(message, _)| message)),
        }
    }

    fn write(&self, out: &mut String, comma: &str) {
        match self {
            Item::Message(message) => message.write(out, comma),
            Item::Other(value, _) => out.push_str(value.json()),
        }
    }
}

impl MessageList {
    /// Creates an empty list.
    pub fn new() -> MessageList {
        MessageList::default()
    }

    /// Reads the text that a session has under [`SESSION_KEY`]; `None` when it is not a list in JSON.
    pub fn from_json(json: &str) -> Option<MessageList> {
        MessageList::from_value(&Value::from_stored_json(json).ok()?)
    }

    /// Reads the value that a session has under [`SESSION_KEY`]: usually a text, of a site's own storage
    /// perhaps a list. An empty text and null are an empty list, as in Django.
    ///
    /// ```
    /// use cloakroom::{Value, messages::MessageList};
    ///
    /// let of_json = |json| MessageList::of_session(&Value::from_json(json).unwrap());
    /// assert_eq!(of_json(r#""[\"__json_message\"]""#).unwrap().len(), 1);
    /// assert_eq!(of_json("null").unwrap().len(), 0);
    /// assert_eq!(of_json(r#""[""#), None);
    /// ```
    pub fn of_session(value: &Value) -> Option<MessageList> {
        match value.kind() {
            Kind::None => Some(MessageList::new()),
            Kind::Str => match text_of(value).0.as_str() {
                "" => Some(MessageList::new()),
                json => MessageList::from_json(json),
            },
            _ => MessageList::from_value(value),
        }
    }

    fn from_value(value: &Value) -> Option<MessageList> {
        Some(MessageList { items: value.items()?.into_iter().map(Item::of).collect() })
    }

    /// The text for a session, spelled as Python spells it.
    pub fn to_json(&self) -> String {
        self.write(", ")
    }

    fn write(&self, comma: &str) -> String {
        let mut out = String::from("[");
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push_str(comma);
            }
            item.write(&mut out, comma);
        }
        out.push(']');
        out
    }

    /// Appends a message.
    pub fn push(&mut self, message: Message) {
        self.items.push(Item::Message(message));
    }

    /// Appends all of another list.
    pub fn append(&mut self, other: MessageList) {
        self.items.extend(other.items);
    }

    /// Removes each of these messages once, where it is there.
    ///
    /// ```
    /// use cloakroom::messages::{Level, Message, MessageList};
    ///
    /// let mut list: MessageList = ["a", "b", "a"].map(|text| Message::new(Level::INFO, text)).into_iter().collect();
    /// list.subtract(&["a", "c"].map(|text| Message::new(Level::INFO, text)).into_iter().collect());
    /// assert_eq!(list.messages().map(|message| message.text().to_owned()).collect::<Vec<_>>(), ["b", "a"]);
    /// ```
    pub fn subtract(&mut self, other: &MessageList) {
        for item in &other.items {
            if let Some(position) = self.items.iter().position(|own| own == item) {
                self.items.remove(position);
            }
        }
    }

    /// The messages, without what only Python can show.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.items.iter().filter_map(|item| match item {
            Item::Message(message) => Some(message),
            Item::Other(_, shown) => shown.as_ref(),
        })
    }

    /// The number of items, also of those that only Python can show.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl FromIterator<Message> for MessageList {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> MessageList {
        MessageList { items: messages.into_iter().map(Item::Message).collect() }
    }
}
