//! Where to go after a login.

use std::borrow::Cow;
use std::fmt;

use cloakroom_formats::private::quote;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::auth::is_safe_next;

/// The characters that a URL may have as they are. Django's `iri_to_uri`.
const OF_URLS: &str = "/#%[]=:;$&()+,!?*@'~";

/// Where to go after a login: the field `next` of a query or a form, checked. Only a path of the site itself counts;
/// anything else is as if there were no `next`, as in Django's `LoginView`. [`is_safe_next`] has the rules.
///
/// It is a field of the application's own form, under any name:
///
/// ```
/// use cloakroom::auth::Next;
///
/// #[derive(serde::Deserialize)]
/// struct Form {
///     username: String,
///     #[serde(default)]
///     next: Next,
/// }
///
/// let form: Form = serde_json::from_str(r#"{"username":"ada","next":"/orders?page=2"}"#)?;
/// assert_eq!(form.next.or("/"), "/orders?page=2");
/// let form: Form = serde_json::from_str(r#"{"username":"ada","next":"//evil.example/"}"#)?;
/// assert_eq!(form.next.or("/"), "/");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Next {
    url: Option<String>,
}

impl Next {
    /// Checks a URL that a client sent. Letters beyond ASCII, spaces and control characters are encoded, so that it
    /// can be the value of a header.
    ///
    /// ```
    /// use cloakroom::auth::Next;
    ///
    /// assert_eq!(Next::new("/tea & milk/é").or("/"), "/tea%20&%20milk/%C3%A9");
    /// assert_eq!(Next::new("https://evil.example/").or("/account"), "/account");
    /// ```
    pub fn new(url: &str) -> Next {
        Next { url: is_safe_next(url, &[], false).then(|| quote(url.trim(), OF_URLS)) }
    }

    /// The URL, or this one if there is none that is safe. Django's `LOGIN_REDIRECT_URL` is such a default.
    pub fn or<'a>(&'a self, default: &'a str) -> &'a str {
        self.url.as_deref().unwrap_or(default)
    }

    /// A hidden field of this name for the login form, which keeps the URL; nothing if there is none.
    ///
    /// ```
    /// use cloakroom::auth::Next;
    ///
    /// assert_eq!(Next::new("/a?b=1&c").field("next"), r#"<input type="hidden" name="next" value="/a?b=1&amp;c">"#);
    /// assert_eq!(Next::default().field("next"), "");
    /// ```
    pub fn field(&self, name: &str) -> String {
        let value = self.url.as_deref().map(escape);
        value.map_or(String::new(), |value| {
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
        })
    }
}

/// Escapes what an encoded URL can have of HTML's.
fn escape(url: &str) -> String {
    url.replace('&', "&amp;").replace('\'', "&#x27;")
}

/// Reads text; a null is no URL.
impl<'de> Deserialize<'de> for Next {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Next, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Next;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a URL")
            }

            fn visit_str<E>(self, url: &str) -> Result<Next, E> {
                Ok(Next::new(url))
            }

            fn visit_unit<E>(self) -> Result<Next, E> {
                Ok(Next::default())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// Does not show the URL, which may hold a token of a password reset.
impl fmt::Debug for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Cow<'_, str> = if self.url.is_some() { "Next(..)".into() } else { "Next(none)".into() };
        formatter.write_str(&shown)
    }
}
