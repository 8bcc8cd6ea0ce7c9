//! The signed cookie of messages, which may be too small for all of them.

use chrono::{DateTime, Utc};

use super::{Item, MessageList};
use crate::compression::scratch;
use crate::signing::{
    Compression, DEFAULT_MAX_DECOMPRESSED_BYTES, SecretKey, TimestampSigner, decode_payload,
    encode_payload_into,
};
use crate::value::{Kind, Value, normalize_latin1};

/// Django's `CookieStorage.key_salt`.
const SALT: &str = "django.contrib.messages";
/// The last item when not all messages fitted. Django's `CookieStorage.not_finished`.
const NOT_FINISHED: &str = "\"__messagesnotfinished__\"";

/// Which messages stay when a cookie is too small for all of them.
///
/// ```
/// use cloakroom::chrono::Utc;
/// use cloakroom::messages::{Keep, Level, Message, MessageList, MessageSigner};
/// use cloakroom::signing::SecretKey;
///
/// let signer = MessageSigner::new(&SecretKey::from("secret"), []);
/// let words = |seed: u64| (0..40).map(|n| format!("{:x} ", seed.wrapping_mul(n * n + 7919))).collect::<String>();
/// let list: MessageList = (1..=9).map(|n| Message::new(Level::INFO, words(n * 7_777_777_777))).collect();
/// let packed = signer.pack(&list, Utc::now(), 2_048, Keep::Newest);
/// assert!(packed.cookie.as_ref().unwrap().len() <= 2_048);
/// let decoded = signer.unpack(&packed.cookie.unwrap()).unwrap();
/// assert!(!decoded.is_complete);
/// assert_eq!(decoded.messages.len() + packed.unstored.len(), 9);
/// assert_eq!(decoded.messages.messages().last(), list.messages().last());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a list has two ends")]
pub enum Keep {
    /// Drops from the beginning: Django's `CookieStorage` alone.
    Newest,
    /// Drops from the end: Django's `FallbackStorage`, whose rest goes into the session.
    Oldest,
}

/// Messages as a cookie's value, and the rest.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Packed {
    /// The signed text; `None` for no message at all, for which the cookie is deleted.
    pub cookie: Option<String>,
    /// What did not fit.
    pub unstored: MessageList,
}

/// What a cookie had.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decoded {
    /// The messages.
    pub messages: MessageList,
    /// Whether they are all. If not, Django's `FallbackStorage` has the rest in the session.
    pub is_complete: bool,
}

/// Signs and reads the cookie `messages`. Django's `CookieStorage`.
///
/// ```
/// use cloakroom::chrono::DateTime;
/// use cloakroom::messages::{Keep, Level, Message, MessageList, MessageSigner};
/// use cloakroom::signing::SecretKey;
///
/// let signer = MessageSigner::new(&SecretKey::from("secret"), []);
/// let list: MessageList = [Message::new(Level::INFO, "Hello")].into_iter().collect();
/// let cookie = signer.pack(&list, DateTime::UNIX_EPOCH, 2_048, Keep::Newest).cookie.unwrap();
/// assert_eq!(signer.unpack(&cookie).unwrap().messages, list);
/// assert!(signer.unpack(&cookie.to_lowercase()).is_none(), "tampered");
/// ```
#[derive(Clone, Debug)]
pub struct MessageSigner {
    signer: TimestampSigner,
}

impl MessageSigner {
    /// Creates the signer of a site with these `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
    pub fn new<'a>(secret: &SecretKey, fallbacks: impl IntoIterator<Item = &'a SecretKey>) -> MessageSigner {
        let of = |secret| TimestampSigner::for_cookies(secret, SALT);
        let signer =
            fallbacks.into_iter().fold(of(secret), |signer, fallback| signer.also_accepting(&of(fallback)));
        MessageSigner { signer }
    }

    /// Signs as many messages as fit into this many bytes. Django's `CookieStorage._store`.
    pub fn pack(&self, list: &MessageList, now: DateTime<Utc>, max_bytes: usize, keep: Keep) -> Packed {
        if list.is_empty() {
            return Packed::default();
        }
        let all = self.sign(&list.items, false, now);
        if all.len() <= max_bytes {
            return Packed { cookie: Some(all), unstored: MessageList::new() };
        }
        let items = &list.items;
        let is_too_large = |items: &[Item]| self.sign(items, true, now).len() > max_bytes;
        // Django's `bisect_keep_right` and `bisect_keep_left`.
        let (mut low, mut high) = (0, items.len());
        while low < high {
            let middle = low.midpoint(high);
            let too_large = match keep {
                Keep::Newest => is_too_large(&items[middle..]),
                Keep::Oldest => is_too_large(&items[..=middle]),
            };
            if too_large == (keep == Keep::Newest) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (stored, unstored) = match keep {
            Keep::Newest => (&items[low..], &items[..low]),
            Keep::Oldest => (&items[..low], &items[low..]),
        };
        Packed {
            cookie: Some(self.sign(stored, true, now)),
            unstored: MessageList { items: unstored.to_vec() },
        }
    }

    fn sign(&self, items: &[Item], is_rest_elsewhere: bool, now: DateTime<Utc>) -> String {
        let mut json = MessageList { items: items.to_vec() }.write(",");
        if is_rest_elsewhere {
            json.pop();
            let comma = if items.is_empty() { "" } else { "," };
            json.extend([comma, NOT_FINISHED, "]"]);
        }
        let mut out = String::new();
        encode_payload_into(&mut out, &json, Compression::Always);
        self.signer.append(&mut out, now);
        out
    }

    /// Reads a cookie; `None` when it is not signed with these secrets, or not a list. Its age does not
    /// count, as in Django.
    pub fn unpack(&self, cookie: &str) -> Option<Decoded> {
        let payload = self.signer.unsign(cookie, DateTime::UNIX_EPOCH, None).ok()?;
        let value = scratch::with(|scratch| {
            let json = decode_payload(payload, DEFAULT_MAX_DECOMPRESSED_BYTES, scratch).ok()?;
            Value::from_stored_json(&normalize_latin1(json).ok()?).ok()
        })?;
        if value.kind() == Kind::None {
            return Some(Decoded { messages: MessageList::new(), is_complete: true });
        }
        let mut messages = MessageList::from_value(&value)?;
        let is_mark = |item: &Item| matches!(item, Item::Other(value, _) if value.json() == NOT_FINISHED);
        let is_complete = !messages.items.last().is_some_and(is_mark);
        if !is_complete {
            messages.items.pop();
        }
        Some(Decoded { messages, is_complete })
    }
}
