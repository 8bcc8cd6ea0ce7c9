//! The parts of a URL, and their quoting, as Python's `urllib.parse` has them.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// Python's `urllib.parse.quote` of UTF-8: all but letters, digits, `_.-~` and what is safe becomes `%XX`.
pub fn quote(text: &str, safe: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        let character = char::from(byte);
        if byte.is_ascii_alphanumeric() || "_.-~".contains(character) || safe.contains(character) {
            quoted.push(character);
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(quoted, "%{byte:02X}");
        }
    }
    quoted
}

/// The parts that Python's `urlsplit` finds.
pub struct Url {
    /// In lower case; empty without one.
    pub scheme: String,
    /// The host, with the user and the port.
    pub netloc: String,
    rest: String,
}

impl Url {
    /// `None` where Python raises `ValueError`.
    pub fn parse(text: &str) -> Option<Url> {
        let text = text.trim_start_matches(|character: char| character <= ' ');
        let text: String =
            text.chars().filter(|character| !matches!(character, '\t' | '\r' | '\n')).collect();
        let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest))
                if scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                    && scheme.bytes().all(is_of_scheme) =>
            {
                (scheme.to_lowercase(), rest)
            }
            _ => (String::new(), text.as_str()),
        };
        let (netloc, rest) = match rest.strip_prefix("//") {
            None => ("", rest),
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        };
        match (netloc.contains('['), netloc.contains(']')) {
            (false, false) => {}
            (true, true) => {
                let address = netloc.split_once('[')?.1;
                let address = address.split_once(']').map_or(address, |(address, _)| address);
                if !is_bracketed(address) {
                    return None;
                }
            }
            _ => return None,
        }
        Some(Url { scheme, netloc: netloc.to_owned(), rest: rest.to_owned() })
    }

    /// Python's `geturl`, for a URL with a host.
    pub fn text(&self) -> String {
        let slash = if self.rest.is_empty() || self.rest.starts_with(['/', '?', '#']) { "" } else { "/" };
        format!("{}://{}{slash}{}", self.scheme, self.netloc, self.rest)
    }
}

/// Whether this may stand in brackets: an IPv6 address, or one of a future version.
fn is_bracketed(address: &str) -> bool {
    if let Some(future) = address.strip_prefix(['v', 'V']) {
        let is_version =
            |version: &str| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        return future.split_once('.').is_some_and(|(version, rest)| is_version(version) && !rest.is_empty());
    }
    address.split('%').next().unwrap_or_default().parse::<Ipv6Addr>().is_ok()
}
