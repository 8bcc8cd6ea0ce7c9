//! The head of a request, in terms of no web framework.

use std::fmt;

use crate::forms::csrf::RequestHeaders;

/// The head of a request: its method, path, query and headers. The hook for errors of each framework's layer gets it.
///
/// ```
/// use cloakroom::RequestHead;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("accept", "text/html,*/*;q=0.8".parse()?);
/// let request = RequestHead::new("GET", "/orders?page=2", &headers);
/// assert_eq!((request.method(), request.path(), request.query()), ("GET", "/orders", Some("page=2")));
/// assert!(request.accepts_html(), "a person looks at it, not a script");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a (dyn RequestHeaders + Sync),
}

impl<'a> RequestHead<'a> {
    /// Creates the head of a request for this path, which may have a query.
    pub fn new(
        method: &'a str,
        target: &'a str,
        headers: &'a (dyn RequestHeaders + Sync),
    ) -> RequestHead<'a> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        RequestHead { method, path, query, headers }
    }

    /// The method, in upper case.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path, as the client wrote it, without the query.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The query, without its `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The path with its query. Django's `get_full_path`.
    pub fn full_path(&self) -> String {
        match self.query {
            Some(query) if !query.is_empty() => format!("{}?{query}", self.path),
            _ => self.path.to_owned(),
        }
    }

    /// The first header of this name, in any case; `None` also when it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.headers.get(name)?).ok()
    }

    /// Whether the client wants a page: its `Accept` names `text/html`, as browsers' does when a person opens a
    /// page. Scripts ask for JSON or for anything.
    pub fn accepts_html(&self) -> bool {
        let accept = self.header("accept").unwrap_or_default();
        let is_html = |part: &str| {
            let media_type = part.split(';').next().unwrap_or_default().trim();
            ["text/html", "application/xhtml+xml"].iter().any(|html| media_type.eq_ignore_ascii_case(html))
        };
        accept.split(',').any(is_html)
    }
}

/// Shows the method alone: a query or a header may hold what opens an account.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestHead").field("method", &self.method).finish_non_exhaustive()
    }
}
