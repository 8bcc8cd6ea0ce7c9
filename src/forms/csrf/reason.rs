//! Why a request is refused, in Django's words.

use std::fmt;

use cloakroom_formats::csrf::TokenProblem;

/// Why a request is refused. `Display` is Django's text.
///
/// ```
/// use cloakroom::csrf::{CsrfReason, TokenProblem, TokenSource};
///
/// assert_eq!(CsrfReason::NoCookie.to_string(), "CSRF cookie not set.");
/// let source = TokenSource::Header("X-CSRFToken".to_owned());
/// let reason = CsrfReason::Token(source, TokenProblem::Incorrect);
/// assert_eq!(reason.to_string(), "CSRF token from the 'X-Csrftoken' HTTP header incorrect.");
/// assert_eq!(reason.name(), "token");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsrfReason {
    /// The `Origin` is neither the site's own nor trusted.
    BadOrigin(String),
    /// Over HTTPS there is neither an `Origin` nor a `Referer`.
    NoReferer,
    /// The `Referer` is of another host.
    BadReferer(String),
    /// The `Referer` is no URL.
    MalformedReferer,
    /// The `Referer` is not HTTPS.
    InsecureReferer,
    /// `Sec-Fetch-Site` says that another site's page sent the request. Not in Django.
    OtherSite(String),
    /// The client has no secret: no cookie, or nothing in its session.
    NoCookie,
    /// The cookie holds no secret.
    Cookie(TokenProblem),
    /// There is no token, in the form or the header.
    TokenMissing,
    /// The token is not one of this secret.
    Token(TokenSource, TokenProblem),
}

/// Where a token came from.
///
/// ```
/// use cloakroom::csrf::TokenSource;
///
/// assert_eq!(TokenSource::Form.to_string(), "POST");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "Django reads these two")]
pub enum TokenSource {
    /// The form's field.
    Form,
    /// The header of this name.
    Header(String),
}

impl CsrfReason {
    /// A word for logs and metrics. The text may hold a URL of a user.
    pub fn name(&self) -> &'static str {
        match self {
            CsrfReason::BadOrigin(_) => "origin",
            CsrfReason::NoReferer => "no_referer",
            CsrfReason::BadReferer(_) => "referer",
            CsrfReason::MalformedReferer => "malformed_referer",
            CsrfReason::InsecureReferer => "insecure_referer",
            CsrfReason::OtherSite(_) => "other_site",
            CsrfReason::NoCookie => "no_cookie",
            CsrfReason::Cookie(_) => "cookie",
            CsrfReason::TokenMissing => "no_token",
            CsrfReason::Token(..) => "token",
        }
    }
}

impl fmt::Display for CsrfReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNTRUSTED: &str = "does not match any trusted origins.";
        match self {
            CsrfReason::BadOrigin(origin) => {
                write!(formatter, "Origin checking failed - {origin} {UNTRUSTED}")
            }
            CsrfReason::NoReferer => formatter.write_str("Referer checking failed - no Referer."),
            CsrfReason::BadReferer(url) => write!(formatter, "Referer checking failed - {url} {UNTRUSTED}"),
            CsrfReason::MalformedReferer => {
                formatter.write_str("Referer checking failed - Referer is malformed.")
            }
            CsrfReason::InsecureReferer => {
                formatter.write_str("Referer checking failed - Referer is insecure while host is secure.")
            }
            CsrfReason::OtherSite(site) => write!(formatter, "Sec-Fetch-Site checking failed - {site}."),
            CsrfReason::NoCookie => formatter.write_str("CSRF cookie not set."),
            CsrfReason::Cookie(problem) => write!(formatter, "CSRF cookie {problem}."),
            CsrfReason::TokenMissing => formatter.write_str("CSRF token missing."),
            CsrfReason::Token(source, problem) => write!(formatter, "CSRF token from {source} {problem}."),
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenSource::Header(name) = self else { return formatter.write_str("POST") };
        // Python's `str.title`.
        let mut name = name.to_ascii_lowercase();
        let mut begins = true;
        // ASCII alone changes, so every boundary stays.
        let title: String = name
            .drain(..)
            .map(|character| {
                let titled = if begins { character.to_ascii_uppercase() } else { character };
                begins = !character.is_ascii_alphabetic();
                titled
            })
            .collect();
        write!(formatter, "the '{title}' HTTP header")
    }
}
