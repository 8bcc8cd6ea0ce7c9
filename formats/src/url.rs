//! URLs as Python takes them apart, and whether a redirect stays on the site.

pub(crate) mod parts;

use self::parts::Url;

/// The longest URL that is looked at, in characters. Django's `MAX_URL_LENGTH`.
const MAX_LENGTH: usize = 2_048;

/// Whether a URL that a client sent may be redirected to: its host is allowed, or it has none, and its scheme
/// is HTTP. Django's `url_has_allowed_host_and_scheme`.
///
/// `allowed_hosts` are hosts with their ports, as in the `Host` header. Without any, only a path of the site
/// itself is safe. `require_https` refuses `http:` URLs with a host; set it where the request came over HTTPS.
///
/// It is stricter than Django in one case: a URL that begins with a character beyond ASCII is refused, unless
/// that is a letter or a digit.
///
/// ```
/// use cloakroom::auth::is_safe_next;
///
/// assert!(is_safe_next("/orders?page=2", &[], true));
/// assert!(is_safe_next("https://shop.example/orders", &["shop.example"], true));
/// assert!(!is_safe_next("http://shop.example/orders", &["shop.example"], true));
/// for url in ["https://evil.example/", "//evil.example", "/\\\\evil.example", "javascript:alert(1)", ""] {
///     assert!(!is_safe_next(url, &["shop.example"], false), "{url}");
/// }
/// ```
pub fn is_safe_next(url: &str, allowed_hosts: &[&str], require_https: bool) -> bool {
    let url = url.trim_matches(is_python_space);
    // Chrome treats a backslash as a slash; in a user's password it may be one.
    is_safe(url, allowed_hosts, require_https)
        && (!url.contains('\\') || is_safe(&url.replace('\\', "/"), allowed_hosts, require_https))
}

fn is_safe(url: &str, allowed_hosts: &[&str], require_https: bool) -> bool {
    let Some(first) = url.chars().next() else { return false };
    // Browsers take three slashes for the beginning of a host, and skip control characters.
    let is_text = if first.is_ascii() { !first.is_ascii_control() } else { first.is_alphanumeric() };
    if !is_text || url.starts_with("///") || url.chars().nth(MAX_LENGTH).is_some() {
        return false;
    }
    let Some(Url { scheme, netloc, .. }) = Url::parse(url) else { return false };
    let is_allowed_scheme = match scheme.as_str() {
        // Chrome takes `http:///example.com` for a host.
        _ if netloc.is_empty() => scheme.is_empty(),
        "" | "http" => !require_https,
        scheme => scheme == "https",
    };
    is_allowed_scheme && (netloc.is_empty() || allowed_hosts.contains(&netloc.as_str()))
}

/// Python's `str.isspace`.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\x1c'..='\x1f')
}
