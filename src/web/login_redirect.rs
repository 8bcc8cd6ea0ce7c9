//! The redirect to the login page.

use cloakroom_formats::private::quote;

use super::request_head::RequestHead;
use crate::site::error::Error;

/// Sends requests without a logged-in user to the login page, which gets the page that was asked for as `next`.
/// Django's `LOGIN_URL` and `redirect_to_login`.
///
/// Give it to `SessionLayer::redirect_to_login` or `SessionTransform::redirect_to_login`. The login page reads `next`
/// with [`auth::Next`](crate::auth::Next), which checks it.
///
/// ```
/// use cloakroom::{Error, LoginRedirect, RequestHead};
/// use http::HeaderMap;
///
/// let headers = HeaderMap::new();
/// let request = RequestHead::new("GET", "/orders?page=2", &headers);
/// let login = LoginRedirect::to("/login");
/// let location = login.location(&Error::NotLoggedIn, &request);
/// assert_eq!(location.as_deref(), Some("/login?next=/orders%3Fpage%3D2"));
/// assert_eq!(login.location(&Error::Forbidden, &request), None, "another login changes nothing");
/// ```
#[derive(Clone, Debug)]
pub struct LoginRedirect {
    /// The login URL without its fragment and without the field.
    before: String,
    fragment: String,
    field: String,
    is_for_pages_only: bool,
}

impl LoginRedirect {
    /// Redirects to this path of the site, which may have a query and a fragment. Django's `LOGIN_URL`.
    pub fn to(login_url: &str) -> LoginRedirect {
        let (before, fragment) = login_url.split_at(login_url.find('#').unwrap_or(login_url.len()));
        LoginRedirect {
            before: before.to_owned(),
            fragment: fragment.to_owned(),
            field: "next".to_owned(),
            is_for_pages_only: false,
        }
    }

    /// Names the field of the query. Django's `REDIRECT_FIELD_NAME`. Default: `next`. Empty, nothing is passed on.
    ///
    /// ```
    /// use cloakroom::{Error, LoginRedirect, RequestHead};
    /// use http::HeaderMap;
    ///
    /// let headers = HeaderMap::new();
    /// let request = RequestHead::new("GET", "/orders", &headers);
    /// let login = LoginRedirect::to("/login?theme=dark#form").with_field("to");
    /// let location = login.location(&Error::NotLoggedIn, &request);
    /// assert_eq!(location.as_deref(), Some("/login?theme=dark&to=/orders#form"));
    /// ```
    #[must_use]
    pub fn with_field(self, field: &str) -> LoginRedirect {
        LoginRedirect { field: field.to_owned(), ..self }
    }

    /// Redirects only requests for pages ([`RequestHead::accepts_html`]). All others get their 401, as an API's
    /// clients expect it.
    #[must_use]
    pub fn for_pages_only(self) -> LoginRedirect {
        LoginRedirect { is_for_pages_only: true, ..self }
    }

    /// Returns the value of the header `Location`; `None` if this error or request is not to be redirected.
    pub fn location(&self, error: &Error, request: &RequestHead<'_>) -> Option<String> {
        if !matches!(error, Error::NotLoggedIn) || self.is_for_pages_only && !request.accepts_html() {
            return None;
        }
        let LoginRedirect { before, fragment, field, .. } = self;
        if field.is_empty() {
            return Some(format!("{before}{fragment}"));
        }
        let separator = if before.contains('?') { '&' } else { '?' };
        let (field, next) = (quote(field, "/"), quote(&request.full_path(), "/"));
        Some(format!("{before}{separator}{field}={next}{fragment}"))
    }
}
