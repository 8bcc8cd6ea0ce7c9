//! The rules: who may pass, by host, path and method. The first that fits decides.

use serde::Deserialize;

use super::access::Access;
use super::asked::Asked;
use super::decision::Reason;
use super::readings::{Readings, Unreadable};

/// One rule.
#[derive(PartialEq)]
pub(crate) struct Rule {
    pub(crate) host: HostPattern,
    pub(crate) path: PathPrefix,
    /// Without a list, all methods.
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) access: Access,
}

impl Rule {
    /// Whether it fits all requests that the other one fits.
    fn covers(&self, other: &Rule) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => {
                others.iter().all(|other| own.iter().any(|one| one.fits(&other.0, Case::Counts)))
            }
        };
        methods && self.host.covers(&other.host) && self.path.fits(other.path.path.as_bytes(), Case::Counts)
    }
}

/// The rules, in order.
#[derive(PartialEq)]
pub(crate) struct Rules(Vec<Rule>);

/// The rule that a request falls under.
pub(crate) struct Judged<'a> {
    pub(crate) rule: &'a Rule,
    /// Its place in the file, from 1.
    pub(crate) number: usize,
}

impl Rules {
    /// # Errors
    /// When a rule can never decide, as an earlier one fits all its requests: the author meant another order.
    pub(crate) fn new(rules: Vec<Rule>) -> Result<Rules, String> {
        for (index, rule) in rules.iter().enumerate() {
            if let Some(earlier) = rules[..index].iter().position(|earlier| earlier.covers(rule)) {
                return Err(format!(
                    "rule {} can never decide, because rule {} fits all its requests; move it before that one, or remove it",
                    index + 1,
                    earlier + 1
                ));
            }
        }
        Ok(Rules(rules))
    }

    /// Whether a permission decides about some request.
    pub(crate) fn need_permissions(&self) -> bool {
        let needs = |access: &Access| matches!(access, Access::Users(needed) if needed.needs_permissions());
        self.0.iter().any(|rule| needs(&rule.access))
    }

    /// Finds the rule for a request; it is the same in every [reading](super::readings) of the path.
    ///
    /// Programs differ in whether the case of letters counts in a path, and some in a method. So the rules are
    /// compared both ways, and both must lead to the same rule.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Result<Judged<'_>, Reason> {
        let host = host_of(asked.host).ok_or(Reason::Malformed)?;
        let method = asked.method;
        if !is_token(method) {
            return Err(Reason::Malformed);
        }
        let path = asked.target.split_once('?').map_or(asked.target, |(path, _)| path);
        // A query has no reading, but the proxy's question must be one line of text.
        if !asked.target.bytes().all(|byte| byte.is_ascii_graphic()) || asked.target.contains('#') {
            return Err(Reason::Malformed);
        }
        let readings = Readings::of(path).map_err(|unreadable| match unreadable {
            Unreadable::Malformed => Reason::Malformed,
            Unreadable::TooMany => Reason::Ambiguous,
        })?;
        let mut found = None;
        for reading in readings.iter() {
            for case in [Case::Counts, Case::Ignored] {
                let rule = self.first(host, method, reading, case);
                match found {
                    None => found = Some(rule),
                    Some(before) if before == rule => {}
                    Some(_) => return Err(Reason::Ambiguous),
                }
            }
        }
        let index = found.flatten().ok_or(Reason::NoRule)?;
        let rule = self.0.get(index).ok_or(Reason::NoRule)?;
        Ok(Judged { rule, number: index + 1 })
    }

    fn first(&self, host: &str, method: &str, path: &[u8], case: Case) -> Option<usize> {
        self.0.iter().position(|rule| {
            rule.host.fits(host)
                && rule.path.fits(path, case)
                && rule
                    .methods
                    .as_ref()
                    .is_none_or(|methods| methods.iter().any(|one| one.fits(method, case)))
        })
    }
}

/// Whether the case of ASCII letters counts.
#[derive(Clone, Copy)]
enum Case {
    Counts,
    Ignored,
}

impl Case {
    fn equal(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Case::Counts => one == other,
            Case::Ignored => one.eq_ignore_ascii_case(other),
        }
    }
}

/// The host of a request without its port and without a last dot; `None` if it is none. Its case is the client's.
pub(crate) fn host_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        // The last colon of an address in brackets may be a part of it.
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_none_or(is_port) {
        return None;
    }
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        return address.parse::<std::net::Ipv6Addr>().is_ok().then_some(name);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let are_labels = name.split('.').all(|label| !label.is_empty() && label.bytes().all(of_host));
    are_labels.then_some(name)
}

/// RFC 9110's token.
fn is_token(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_token)
}

/// A host, or all names below one: `*.example.com`. In lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HostPattern {
    /// The host; of a wildcard, what follows the star, such as `.example.com`.
    name: String,
    is_wildcard: bool,
}

impl HostPattern {
    fn fits(&self, host: &str) -> bool {
        if !self.is_wildcard {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let split = host.len().checked_sub(self.name.len()).filter(|start| *start > 0);
        split.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(&self.name))
    }

    fn covers(&self, other: &HostPattern) -> bool {
        if other.is_wildcard {
            self.is_wildcard && other.name.ends_with(&self.name)
        } else {
            self.fits(&other.name)
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<HostPattern, String> {
        let (name, is_wildcard) = match text.strip_prefix('*') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        let bare = if is_wildcard { name.strip_prefix('.').unwrap_or_default() } else { name };
        if host_of(bare) != Some(bare) || bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!(
                "host {text:?} is no host; write wiki.example.com or *.example.com, in lower case, without scheme, port \
                 and path"
            ));
        }
        Ok(HostPattern { name: name.to_owned(), is_wildcard })
    }
}

/// The beginning of a path: `/public` fits `/public` and `/public/x`, not `/publicity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PathPrefix {
    /// Without a slash at its end, so that `/` is empty.
    path: String,
}

impl PathPrefix {
    fn fits(&self, path: &[u8], case: Case) -> bool {
        let Some((start, rest)) = path.split_at_checked(self.path.len()) else { return false };
        case.equal(start, self.path.as_bytes()) && matches!(rest.first(), None | Some(b'/'))
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<PathPrefix, String> {
        // Others are encoded on the wire, and such a path has two readings.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte);
        let has_one_reading = Readings::of(&text).is_ok_and(|readings| readings.iter().count() == 1);
        if !text.bytes().all(is_plain) || !has_one_reading {
            return Err(format!(
                "path {text:?} is no plain path; write it from the first slash, such as /public, without `.` and `..` as \
                 segments, `//`, and characters that are encoded in URLs"
            ));
        }
        Ok(PathPrefix { path: text.strip_suffix('/').unwrap_or(&text).to_owned() })
    }
}

/// A method, such as `GET`, which includes `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Method(String);

impl Method {
    fn fits(&self, method: &str, case: Case) -> bool {
        let is = |name: &str| case.equal(method.as_bytes(), name.as_bytes());
        is(&self.0) || self.0 == "GET" && is("HEAD")
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Method, String> {
        if !is_token(&text) || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(format!("{text:?} is no method; write it in upper case, such as \"GET\""));
        }
        Ok(Method(text))
    }
}

#[cfg(test)]
mod tests;
