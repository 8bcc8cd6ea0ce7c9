//! The readings of a path.
//!
//! Proxies and back ends read one path in different ways: they decode it once, twice or in part, merge slashes, resolve
//! dots, cut parameters. `/public/..%2fadmin` is below `/public` for one of them and `/admin` for another. The gate
//! cannot know which of them will serve the request; so it takes all readings, and a rule decides only if all of them
//! fall under it.

use std::borrow::Cow;

/// More readings than any path has that a browser or an API makes.
const MOST: usize = 32;

/// The longest path that is read in more than one way.
const LONGEST: usize = 8_192;

/// All ways to read a path; the first is the path itself.
pub(crate) struct Readings<'a>(Vec<Cow<'a, [u8]>>, &'a [u8]);

/// Why a path has no readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is no path, or decodes to control characters or to no UTF-8.
    Malformed,
    /// It has more readings than are looked at.
    TooMany,
}

impl<'a> Readings<'a> {
    /// The readings of a path as it is on the wire, without its query.
    pub(crate) fn of(path: &'a str) -> Result<Readings<'a>, Unreadable> {
        let is_graphic = path.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !is_graphic || !is_well_encoded(path.as_bytes()) {
            return Err(Unreadable::Malformed);
        }
        let path = path.as_bytes();
        // Most paths are read in one way.
        if is_plain(path) {
            return Ok(Readings(Vec::new(), path));
        }
        if path.len() > LONGEST {
            return Err(Unreadable::TooMany);
        }
        let mut readings: Vec<Cow<'a, [u8]>> = vec![Cow::Borrowed(path)];
        let mut next = 0;
        while let Some(reading) = readings.get(next).cloned() {
            next += 1;
            for step in STEPS {
                let Some(other) = step(&reading) else { continue };
                if readings.iter().any(|known| **known == *other) {
                    continue;
                }
                if !is_text(&other) {
                    return Err(Unreadable::Malformed);
                }
                if readings.len() == MOST {
                    return Err(Unreadable::TooMany);
                }
                readings.push(Cow::Owned(other));
            }
        }
        Ok(Readings(readings, path))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let alone = self.0.is_empty().then_some(self.1);
        alone.into_iter().chain(self.0.iter().map(|reading| &**reading))
    }
}

/// A way to read a path on; `None` where it changes nothing.
type Step = fn(&[u8]) -> Option<Vec<u8>>;

/// The steps that programs take, in any order and number.
const STEPS: [Step; 8] = [
    decode,
    decode_keeping_slashes,
    merge_slashes,
    resolve_dots,
    cut_parameters,
    backslashes_to_slashes,
    cut_query,
    cut_authority,
];

/// Whether no step changes this path.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        match byte {
            b'%' | b';' | b'\\' | b'?' | b'#' => return false,
            // A dot segment, or one that only begins like it.
            b'/' | b'.' if before == b'/' => return false,
            _ => {}
        }
        before = byte;
    }
    true
}

/// Whether a decoder gives what the client meant: UTF-8 without control characters. Overlong forms of `/` and `.`,
/// which some decoders take, are no UTF-8.
fn is_text(path: &[u8]) -> bool {
    std::str::from_utf8(path).is_ok_and(|path| !path.contains(char::is_control))
}

/// Whether each `%` begins two hexadecimal digits.
fn is_well_encoded(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'%')
        .skip(1)
        .all(|rest| matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

fn decode(path: &[u8]) -> Option<Vec<u8>> {
    decode_but(path, &[])
}

/// RFC 3986's normalization, and that of URL parsers, which take `%2e` for a dot and leave `%2f`.
fn decode_keeping_slashes(path: &[u8]) -> Option<Vec<u8>> {
    decode_but(path, b"/\\")
}

/// Decodes once, but for these. A `%` that begins nothing stays.
fn decode_but(path: &[u8], kept: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let pair = if byte == b'%' { digit(path.get(at + 1)).zip(digit(path.get(at + 2))) } else { None };
        let value = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match value.filter(|value| !kept.contains(value)) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    changed(path, decoded)
}

fn merge_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let mut merged = path.to_vec();
    merged.dedup_by(|one, other| *one == b'/' && *other == b'/');
    changed(path, merged)
}

/// RFC 3986's `remove_dot_segments`.
fn resolve_dots(path: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push(b"");
        }
    }
    let mut resolved = Vec::with_capacity(path.len());
    for segment in &kept {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    changed(path, resolved)
}

/// Cuts each segment at its first semicolon, as Java's servers do.
fn cut_parameters(path: &[u8]) -> Option<Vec<u8>> {
    let mut cut = Vec::with_capacity(path.len());
    let mut is_kept = true;
    for &byte in path {
        is_kept = byte == b'/' || is_kept && byte != b';';
        if is_kept {
            cut.push(byte);
        }
    }
    changed(path, cut)
}

fn backslashes_to_slashes(path: &[u8]) -> Option<Vec<u8>> {
    changed(path, path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect())
}

/// A proxy that passes a decoded path on makes a query of `%3f`.
fn cut_query(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'))?;
    Some(path[..end].to_vec())
}

/// Parsers of URLs take what follows two slashes for a host.
fn cut_authority(path: &[u8]) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(b"//")?;
    let end = rest.iter().position(|byte| *byte == b'/');
    Some(end.map_or_else(|| b"/".to_vec(), |end| rest[end..].to_vec()))
}

fn changed(before: &[u8], after: Vec<u8>) -> Option<Vec<u8>> {
    (before != after).then_some(after)
}

#[cfg(test)]
mod tests;
