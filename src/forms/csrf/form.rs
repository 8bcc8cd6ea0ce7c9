//! Finds the token in a form while its body comes in.

use std::fmt;

use memchr::memmem;

use super::{CsrfSettings, FIELD};

/// Why a body is no form. Django answers with 400.
///
/// ```
/// use cloakroom::csrf::{BadForm, CsrfSettings, FormReader};
///
/// let mut settings = CsrfSettings::default();
/// settings.max_body_bytes = 10;
/// let mut form = FormReader::of("application/x-www-form-urlencoded", &settings).unwrap().unwrap();
/// assert_eq!(form.push(b"a=1&b=2&c=3"), Err(BadForm::TooLarge));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadForm {
    /// The limit was reached before the token. Django's `RequestDataTooBig`.
    TooLarge,
    /// Too many fields. Django's `TooManyFieldsSent`.
    TooManyFields,
    /// Another character encoding than UTF-8.
    NotUtf8,
    /// A multipart form without a usable boundary, or a broken one. Django's `MultiPartParserError`.
    Multipart,
    /// The body could not be read.
    Unreadable,
}

impl fmt::Display for BadForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BadForm::TooLarge => "The form is too large.",
            BadForm::TooManyFields => "The form has too many fields.",
            BadForm::NotUtf8 => "A form must be UTF-8 encoded.",
            BadForm::Multipart => "The multipart form is malformed.",
            BadForm::Unreadable => "The form could not be read.",
        })
    }
}

/// Reads a form's body as far as the token. The adapter keeps what it passes, for the handler.
///
/// ```
/// use cloakroom::csrf::{CsrfSettings, FormReader};
///
/// let settings = CsrfSettings::default();
/// let mut form = FormReader::of("application/x-www-form-urlencoded", &settings)?.unwrap();
/// assert!(form.push(b"name=Ada&csrfmiddle")?, "there may be more");
/// assert!(form.push(b"waretoken=abc%31")?);
/// assert_eq!(form.token()?.as_deref(), Some("abc1"));
/// assert!(FormReader::of("application/json", &settings)?.is_none());
/// # Ok::<(), cloakroom::csrf::BadForm>(())
/// ```
pub struct FormReader {
    kind: Kind,
    read: Vec<u8>,
    max_bytes: usize,
    max_fields: usize,
}

enum Kind {
    UrlEncoded,
    Multipart {
        /// `--` and the boundary.
        delimiter: Vec<u8>,
        wanted: Wanted,
        token: Option<String>,
    },
}

/// What is searched next in a multipart form, and from where on: what was searched before is not searched again when
/// the next piece comes.
#[derive(Clone, Copy)]
enum Wanted {
    /// The delimiter before a part.
    Part { from: usize },
    /// The end of a part's headers.
    HeadersEnd { part: usize, from: usize },
    /// The delimiter behind the token.
    TokenEnd { token: usize, from: usize },
}

impl FormReader {
    /// Begins a form of this content type; `None` when it is no form, as JSON is not.
    ///
    /// # Errors
    /// [`BadForm::NotUtf8`] and [`BadForm::Multipart`].
    pub fn of(content_type: &str, settings: &CsrfSettings) -> Result<Option<FormReader>, BadForm> {
        let mut parameters = content_type.split(';');
        let media_type = parameters.next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameter = |wanted: &str| {
            let mut parameters = content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
            let value = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?.1.trim();
            Some(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
        };
        let kind = match media_type.as_str() {
            "application/x-www-form-urlencoded" => {
                let is_known = |charset: &str| {
                    matches!(
                        charset,
                        "latin-1" | "latin1" | "ascii" | "us-ascii" | "utf-16" | "utf-32" | "utf-7"
                    ) || charset.starts_with("iso-8859")
                        || charset.starts_with("windows-")
                        || charset.starts_with("cp")
                };
                if parameter("charset").is_some_and(|charset| is_known(&charset.to_ascii_lowercase())) {
                    return Err(BadForm::NotUtf8);
                }
                Kind::UrlEncoded
            }
            "multipart/form-data" => {
                let boundary = parameter("boundary").filter(|boundary| {
                    (1..=200).contains(&boundary.len())
                        && boundary.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                });
                let delimiter = [b"--", boundary.ok_or(BadForm::Multipart)?.as_bytes()].concat();
                Kind::Multipart { delimiter, wanted: Wanted::Part { from: 0 }, token: None }
            }
            _ => return Ok(None),
        };
        let (max_bytes, max_fields) = (settings.max_body_bytes, settings.max_fields);
        Ok(Some(FormReader { kind, read: Vec::new(), max_bytes, max_fields }))
    }

    /// Whether it may have files, which can be large.
    pub(crate) fn is_multipart(&self) -> bool {
        matches!(self.kind, Kind::Multipart { .. })
    }

    /// Takes the next piece of the body; returns whether more is needed.
    ///
    /// # Errors
    /// [`BadForm::TooLarge`].
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, BadForm> {
        if self.read.len() + piece.len() > self.max_bytes && matches!(self.kind, Kind::UrlEncoded) {
            return Err(BadForm::TooLarge);
        }
        self.read.extend_from_slice(piece);
        if let Kind::Multipart { delimiter, wanted, token } = &mut self.kind {
            // However large the pieces are, the token must be in the first bytes.
            let first = &self.read[..self.read.len().min(self.max_bytes)];
            let is_over = search(first, delimiter, wanted, token);
            if !is_over && self.read.len() > self.max_bytes {
                return Err(BadForm::TooLarge);
            }
            return Ok(!is_over);
        }
        Ok(true)
    }

    /// The token, at the end of the body or once no more is needed. Of several fields the last counts in a
    /// URL-encoded form, as in Django, and the first in a multipart form.
    ///
    /// # Errors
    /// [`BadForm::TooManyFields`].
    pub fn token(self) -> Result<Option<String>, BadForm> {
        let read = match self.kind {
            Kind::Multipart { token, .. } => return Ok(token),
            Kind::UrlEncoded => self.read,
        };
        let fields = || read.split(|byte| *byte == b'&');
        if fields().count() > self.max_fields {
            return Err(BadForm::TooManyFields);
        }
        let mut token = None;
        for field in fields() {
            let (name, value) = match memchr::memchr(b'=', field) {
                Some(equals) => (&field[..equals], &field[equals + 1..]),
                None => (field, &[][..]),
            };
            if unquote(name) == FIELD {
                token = Some(unquote(value));
            }
        }
        Ok(token)
    }
}

/// Python's `unquote_plus`.
fn unquote(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, others @ ..] = rest {
        rest = others;
        let hex = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        match (first, others) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks at each complete part; returns whether the token or the end was found.
fn search(read: &[u8], delimiter: &[u8], wanted: &mut Wanted, token: &mut Option<String>) -> bool {
    const HEADERS_END: &[u8] = b"\r\n\r\n";
    // Where something was found, or where the search goes on with more: what is searched may be cut.
    let find = |what: &[u8], from: usize| match memmem::find(read.get(from..).unwrap_or_default(), what) {
        Some(found) => Ok(from + found),
        None => Err((read.len() + 1).saturating_sub(what.len()).max(from)),
    };
    loop {
        *wanted = match *wanted {
            Wanted::Part { from } => match find(delimiter, from) {
                Ok(found) => {
                    let part = found + delimiter.len();
                    Wanted::HeadersEnd { part, from: part }
                }
                Err(from) => {
                    *wanted = Wanted::Part { from };
                    return false;
                }
            },
            Wanted::HeadersEnd { part, .. } if read[part..].starts_with(b"--") => return true,
            Wanted::HeadersEnd { part, from } => match find(HEADERS_END, from) {
                Ok(end) => {
                    let content = end + HEADERS_END.len();
                    if is_token(&read[part..end]) {
                        Wanted::TokenEnd { token: content, from: content }
                    } else {
                        Wanted::Part { from: content }
                    }
                }
                Err(from) => {
                    *wanted = Wanted::HeadersEnd { part, from };
                    return false;
                }
            },
            Wanted::TokenEnd { token: content, from } => match find(delimiter, from) {
                Ok(end) => {
                    let value = &read[content..end];
                    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
                    *token = Some(String::from_utf8_lossy(value).into_owned());
                    return true;
                }
                Err(from) => {
                    *wanted = Wanted::TokenEnd { token: content, from };
                    return false;
                }
            },
        };
    }
}

/// Whether these are the headers of the token's field.
fn is_token(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let mut dispositions = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let disposition = dispositions.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"));
    let Some((_, disposition)) = disposition else { return false };
    let parameters = disposition.split(';').skip(1).filter_map(|part| part.split_once('='));
    let mut is_field = false;
    for (name, value) in parameters {
        match name.trim().to_ascii_lowercase().as_str() {
            "name" => is_field = value.trim().trim_matches('"') == FIELD,
            // A file.
            "filename" | "filename*" => return false,
            _ => {}
        }
    }
    is_field
}

impl fmt::Debug for FormReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FormReader").field("read", &self.read.len()).finish_non_exhaustive()
    }
}
