//! A request that a proxy asks about.

/// A request that a proxy asks about: what the proxy will serve, in the proxy's own words. None of it is believed
/// beyond that; identity never comes from here, but for the cookies.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The method, as the client wrote it.
    pub(crate) method: &'a str,
    /// The host with its port, if the client gave one.
    pub(crate) host: &'a str,
    /// The path with its query, as the client wrote it.
    pub(crate) target: &'a str,
    /// The values of the request's `Cookie` headers.
    pub(crate) cookies: &'a [&'a [u8]],
    /// Whether a person looks at the answer: the client accepts HTML.
    pub(crate) wants_page: bool,
}
