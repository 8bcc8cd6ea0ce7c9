//! The session cookie, read and written letter for letter as in Django.

use std::borrow::Cow;
use std::fmt::Write;

use chrono::{DateTime, Datelike, Timelike, Utc};
use cloakroom_formats::ExpiryAge;
use memchr::{memchr, memchr_iter};

use crate::site::settings::{CookieScope, NamePrefix, SameSite, Settings};

/// Finds the value of a cookie in these `Cookie` headers; of several with one name the last counts. Django's
/// `parse_cookie`, with one difference: only spaces and tabs are stripped from names. A name after other
/// white space is another name, for browsers too, which let any page set such a cookie. Takes linear time.
///
/// ```
/// use cloakroom::middleware::find_cookie;
///
/// let headers = [r#"a=1; sessionid="abc\"def" ; a=2"#.as_bytes()];
/// assert_eq!(find_cookie(headers, "sessionid").as_deref(), Some("abc\"def"));
/// assert_eq!(find_cookie(headers, "a").as_deref(), Some("2"));
/// assert_eq!(find_cookie(headers, "A"), None);
/// assert_eq!(find_cookie(["a=b=c".as_bytes()], "a=b"), None);
/// assert_eq!(find_cookie(["\u{2000}__Host-sessionid=planted".as_bytes()], "__Host-sessionid"), None);
/// ```
pub fn find_cookie<'a>(headers: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Option<Cow<'a, str>> {
    find_cookies(headers, name).0
}

/// Like [`find_cookie`], and returns how many cookies of the name there are.
pub(super) fn find_cookies<'a>(
    headers: impl IntoIterator<Item = &'a [u8]>,
    name: &str,
) -> (Option<Cow<'a, str>>, usize) {
    let (mut found, mut count) = (None, 0);
    let is_ascii = name.is_ascii();
    for header in headers {
        let mut start = 0;
        for end in memchr_iter(b';', header).chain([header.len()]) {
            if let Some(value) = value_of(&header[start..end], name, is_ascii) {
                found = Some(value);
                count += 1;
            }
            start = end + 1;
        }
    }
    (found.map(read_value), count)
}

/// Returns the value in this pair, if it has this name. As in browsers, only spaces and tabs around a name
/// are ignored. Python strips all Unicode white space. A page over plain HTTP, which cannot set a cookie
/// whose name begins with `__Host-`, could then set one that Python reads as such.
#[inline]
fn value_of<'a>(pair: &'a [u8], name: &str, is_ascii: bool) -> Option<&'a [u8]> {
    let begin = pair.iter().position(|byte| !is_blank(byte))?;
    // Most pairs are other cookies, which a look at their beginning shows.
    if is_ascii {
        let rest = pair[begin..].strip_prefix(name.as_bytes())?;
        if let [b'=', value @ ..] = rest
            && !name.contains('=')
        {
            return Some(value);
        }
    }
    let equals = memchr(b'=', pair)?;
    let key = &pair[begin..equals.max(begin)];
    let end = key.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    // Invalid UTF-8 is read as U+FFFD, as in Django.
    let is_named =
        &key[..end] == name.as_bytes() || !is_ascii && String::from_utf8_lossy(&key[..end]) == name;
    is_named.then_some(&pair[equals + 1..])
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Decodes a cookie's value as Python does.
#[inline]
fn read_value(value: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(value) {
        Ok(value) => unquote(strip(value)),
        Err(_) => Cow::Owned(unquote(strip(&String::from_utf8_lossy(value))).into_owned()),
    }
}

/// Python's `str.strip()`.
fn strip(text: &str) -> &str {
    if let [first, .., last] = text.as_bytes()
        && first.is_ascii_graphic()
        && last.is_ascii_graphic()
    {
        return text;
    }
    text.trim_matches(|character: char| character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}'))
}

/// Python's `http.cookies._unquote`: removes the double quotes and decodes `\"` and `\012`. A backslash
/// before the end of a line stands for itself.
fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(position) = rest.find('\\') {
        out.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        let octal = rest.get(..3).filter(|digits| {
            digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) && digits.as_bytes()[0] <= b'3'
        });
        if let Some(code) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(char::from(code));
            rest = &rest[3..];
        } else if let Some(character) = rest.chars().next().filter(|character| *character != '\n') {
            out.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            out.push('\\');
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The header that sets the cookie; without an expiry the cookie ends with the browser.
pub(super) fn set(settings: &Settings, value: &str, expiry: Option<(ExpiryAge, DateTime<Utc>)>) -> String {
    let expiry = expiry.map(|(age, end)| (age.whole_seconds(), end));
    let (httponly, secure) = (settings.cookie_httponly, settings.cookie_secure);
    write(settings, &Scope::of(settings), value, expiry, httponly, secure)
}

/// The header that deletes the cookie. Like Django's `delete_cookie`, without `HttpOnly` and `Secure`, unless
/// the settings ask for all attributes or browsers would refuse it otherwise.
pub(super) fn delete(settings: &Settings) -> String {
    delete_from(settings, &Scope::of(settings))
}

/// The headers that delete the cookies that were set before the settings changed.
pub(super) fn delete_former(settings: &Settings) -> Vec<String> {
    let scopes = settings.former_cookies.iter();
    scopes.map(|scope| delete_from(settings, &Scope::from(scope))).collect()
}

fn delete_from(settings: &Settings, scope: &Scope<'_>) -> String {
    let prefix = NamePrefix::of(&settings.cookie_name);
    let needs_secure =
        prefix.needs_secure() || settings.cookie_samesite == Some(SameSite::None) || scope.partitioned;
    let all = settings.full_removal_cookie;
    let httponly = prefix.needs_httponly() || all && settings.cookie_httponly;
    let secure = needs_secure || all && settings.cookie_secure;
    write(settings, scope, "\"\"", Some((0, DateTime::UNIX_EPOCH)), httponly, secure)
}

/// The attributes that distinguish a cookie from others of its name.
struct Scope<'a> {
    domain: Option<&'a str>,
    path: &'a str,
    partitioned: bool,
}

impl<'a> Scope<'a> {
    fn of(settings: &'a Settings) -> Scope<'a> {
        Scope {
            domain: settings.cookie_domain.as_deref(),
            path: &settings.cookie_path,
            partitioned: settings.cookie_partitioned,
        }
    }
}

impl<'a> From<&'a CookieScope> for Scope<'a> {
    fn from(scope: &'a CookieScope) -> Scope<'a> {
        Scope { domain: scope.domain.as_deref(), path: &scope.path, partitioned: scope.partitioned }
    }
}

/// Appends a date. Built from bytes, because formatting numbers takes several times as long, and parsing
/// chrono's pattern each time takes even longer.
fn write_http_date(out: &mut String, moment: DateTime<Utc>) {
    const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let moment = moment.naive_utc();
    let mut date = *b"Mon, 00 Jan 0000 00:00:00 GMT";
    let mut put = |place: usize, bytes: &[u8]| date[place..place + bytes.len()].copy_from_slice(bytes);
    let two_digits = |number: u32| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let year = moment.year().unsigned_abs();
    put(0, DAYS[moment.weekday().num_days_from_monday() as usize]);
    put(5, &two_digits(moment.day()));
    put(8, MONTHS[moment.month0() as usize]);
    put(12, &two_digits(year / 100));
    put(14, &two_digits(year));
    put(17, &two_digits(moment.hour()));
    put(20, &two_digits(moment.minute()));
    put(23, &two_digits(moment.second()));
    out.extend(str::from_utf8(&date));
}

/// Writes the session's cookie. The expiry is the age in seconds and the end.
fn write(
    settings: &Settings,
    scope: &Scope<'_>,
    value: &str,
    expiry: Option<(i64, DateTime<Utc>)>,
    httponly: bool,
    secure: bool,
) -> String {
    let Scope { domain, path, partitioned } = *scope;
    let (name, same_site) = (settings.cookie_name.as_str(), settings.cookie_samesite);
    Cookie { name, value, domain, path, expiry, httponly, partitioned, same_site, secure }.header()
}

/// A cookie to set.
pub(crate) struct Cookie<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    pub(crate) domain: Option<&'a str>,
    pub(crate) path: &'a str,
    /// The age in seconds and the end; without it the cookie ends with the browser.
    pub(crate) expiry: Option<(i64, DateTime<Utc>)>,
    pub(crate) httponly: bool,
    pub(crate) partitioned: bool,
    pub(crate) same_site: Option<SameSite>,
    pub(crate) secure: bool,
}

impl Cookie<'_> {
    /// The header that deletes it. Django's `delete_cookie`: `Secure` only where browsers want it.
    pub(crate) fn deletion(self) -> String {
        let secure = NamePrefix::of(self.name).needs_secure() || self.same_site == Some(SameSite::None);
        let expiry = Some((0, DateTime::UNIX_EPOCH));
        Cookie { value: "\"\"", expiry, httponly: false, secure, ..self }.header()
    }

    /// Writes the attributes in Django's order.
    pub(crate) fn header(&self) -> String {
        let mut header = String::with_capacity(self.name.len() + self.value.len() + 160);
        header.push_str(self.name);
        header.push('=');
        header.push_str(self.value);
        if let Some(domain) = self.domain {
            header.push_str("; Domain=");
            header.push_str(domain);
        }
        if let Some((_, end)) = self.expiry {
            header.push_str("; expires=");
            write_http_date(&mut header, end);
        }
        if self.httponly {
            header.push_str("; HttpOnly");
        }
        if let Some((max_age, _)) = self.expiry {
            // Writing to a String cannot fail.
            let _ = write!(header, "; Max-Age={max_age}");
        }
        // As Python 3.14 writes it. Browsers keep a partitioned cookie separately, so its removal needs the
        // attribute too.
        if self.partitioned {
            header.push_str("; Partitioned");
        }
        header.push_str("; Path=");
        header.push_str(self.path);
        if let Some(same_site) = self.same_site {
            header.push_str("; SameSite=");
            header.push_str(same_site.as_str());
        }
        if self.secure {
            header.push_str("; Secure");
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_chrono() {
        for seconds in (-62_135_596_800..253_402_300_800).step_by(86_399 * 97) {
            let moment = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
            let mut date = String::new();
            write_http_date(&mut date, moment);
            assert_eq!(date, moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        }
    }

    fn find(header: &str) -> Option<Cow<'_, str>> {
        find_cookie([header.as_bytes()], "s")
    }

    #[test]
    fn values_are_unquoted_as_python_does() {
        for (header, value) in [
            ("s=plain", "plain"),
            ("s=", ""),
            ("s=\"", "\""),
            ("s=\"\"", ""),
            (r#"s="a\"b""#, "a\"b"),
            (r#"s="a\\b""#, r"a\b"),
            (r#"s="\141\400\08""#, "a40008"),
            (r#"s="\000""#, "\0"),
            ("s=\"a\\\nb\"", "a\\\nb"),
            (r#"s="tail\""#, "tail\\"),
            (r"s=a\141", r"a\141"),
            (r#"s="\+12\1+2""#, "+121+2"),
            ("s=\u{a0}nbsp\u{1f}", "nbsp"),
            ("s==x=", "=x="),
        ] {
            assert_eq!(find(header).as_deref(), Some(value), "{header:?}");
        }
        assert_eq!(find("s"), None);
        assert_eq!(find("=s"), None);
        for header in ["\t s =1", "s\t=1", "ss=2; s=1; S=3; s s=4", "s; s=1;;=s;"] {
            assert_eq!(find(header).as_deref(), Some("1"), "{header:?}");
        }
        for header in
            ["ss=1", " =1", "\u{a0}=1", "xs=1", "s\u{200b}=1", "\u{a0}s=1", "s\u{2003}=1", "\u{1c}s=1"]
        {
            assert_eq!(find(header), None, "{header:?}");
        }
        assert_eq!(find_cookie([b"s=1".as_slice(), b"s=2".as_slice()], "s").as_deref(), Some("2"));
        assert_eq!(find_cookie([b"s=\xff\xfe".as_slice()], "s").as_deref(), Some("\u{fffd}\u{fffd}"));
    }
}
