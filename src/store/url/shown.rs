//! Shows store URLs without their secrets.

use super::divide::{self, Divided};

/// The URL without its secrets. Ambiguous parts are hidden.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "moving" => match divide::divided(&format!("moving:{rest}")) {
            Some(Divided { stores: [old, new], bar, .. }) => {
                format!("{scheme}:{}{bar}{}", shown(old), shown(new))
            }
            None => format!("{scheme}:{HIDDEN}"),
        },
        "cached_db" => match divide::cached_db(rest) {
            Some((database, cache)) => format!("{scheme}:{}|{}", one_shown(database), one_shown(cache)),
            None => one_shown(url),
        },
        _ => one_shown(url),
    }
}

/// The part of an address after the login: after the last `@`, as passwords may contain some.
pub(in crate::store) fn without_login(text: &str) -> &str {
    text.rsplit('@').next().unwrap_or_default()
}

/// The name of a database, for messages. Given a malformed URL, drivers may pass other text as the name: the
/// rest of a password with a slash, or parameters after another character than `?`.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(in crate::store) fn database_shown(name: &str) -> &str {
    let name = without_login(name);
    name.split(['?', '#', '&', ';', '=']).next().unwrap_or_default()
}

/// A server's message, with the user and the database that it may quote hidden.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(in crate::store) fn said_by_server(message: &str, user: Option<&str>, database: Option<&str>) -> String {
    let user = user.map(|user| (user, user.split(':').next().unwrap_or_default()));
    let names = user.into_iter().chain(database.map(|name| (name, database_shown(name))));
    names
        .filter(|(name, shown)| name != shown)
        .fold(message.to_owned(), |text, (name, shown)| text.replace(name, shown))
}

/// Replaces hidden text.
const HIDDEN: &str = "…";

/// Parameters that hold no secrets. `options` is left out on purpose: it can set anything.
const SHOWN: [&str; 55] = [
    "application_name",
    "cache",
    "cache_table",
    "channel_binding",
    "charset",
    "compressor",
    "connect_timeout",
    "db",
    "dbname",
    "engine",
    "entry_prefix",
    "host",
    "hostaddr",
    "keepalives",
    "key_prefix",
    "max_connections",
    "mode",
    "pgbouncer",
    "pooler",
    "port",
    "prefer_socket",
    "protocol",
    "require_ssl",
    "schema",
    "serializer",
    "service",
    "socket",
    "socket_connect_timeout",
    "socket_timeout",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl_ca",
    "ssl_ca_certs",
    "ssl_cert",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_key",
    "ssl_keyfile",
    "ssl_mode",
    "sslaccept",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "table",
    "target_session_attrs",
    "timeout",
    "unix_socket",
    "user",
    "user_session_table",
    "username",
    "version",
];

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-%".contains(&byte))
}

/// The URL of one store, or any other text.
fn one_shown(url: &str) -> String {
    let Some((scheme, rest)) = divide::scheme_of(url) else {
        let is_libpq = url.split_once('=').is_some_and(|(name, _)| is_name(name.trim()));
        return if is_libpq { libpq(url) } else { without_user(url) };
    };
    let authority = rest.strip_prefix("//");
    let may_have_login = |rest: &str| rest.contains('@') && !rest.starts_with('/');
    match (scheme.to_ascii_lowercase().as_str(), authority) {
        ("sqlite" | "file" | "filecache", authority) if !authority.is_some_and(may_have_login) => {
            let Some((path, query)) = rest.split_once('?') else { return url.to_owned() };
            format!(
                "{scheme}:{path}?{}",
                query.split('&').map(parameter_of_path).collect::<Vec<_>>().join("&")
            )
        }
        // A login without a colon is known to be a user only for databases: Redis' own tools read it as a
        // password.
        (kind, Some(rest)) => {
            let shows_user = matches!(kind, "postgres" | "postgresql" | "mysql" | "mariadb");
            format!("{scheme}://{}{}", login(rest, shows_user), place(rest))
        }
        (_, None) if rest.is_empty() => url.to_owned(),
        // Without the slashes or the scheme, any part may be anywhere.
        (_, None) if rest.contains('@') => format!("{scheme}:{}", without_user(rest)),
        (_, None) => format!("{scheme}:{HIDDEN}"),
    }
}

/// The login of `user:password@hosts/path?query`, with its `@`.
fn login(text: &str, shows_lone_user: bool) -> String {
    let Some((login, _)) = text.rsplit_once('@') else { return String::new() };
    let user = login.split(':').next().unwrap_or_default();
    match (login.contains(':'), user.contains(['@', '/', '?', '#', '&', '=', '%', ';', ',', ' '])) {
        (true, false) => format!("{user}:{HIDDEN}@"),
        (false, false) if shows_lone_user => format!("{user}@"),
        _ => format!("{HIDDEN}@"),
    }
}

/// The part after the login.
fn place(text: &str) -> String {
    let (hosts, rest) = hosts_and_rest(without_login(text));
    format!("{hosts}{}", path_and_query(rest))
}

fn without_user(text: &str) -> String {
    if text.contains('@') { format!("{HIDDEN}@{}", place(text)) } else { place(text) }
}

/// The hosts, as displayed, and the text after them.
pub(super) fn hosts_and_rest(text: &str) -> (String, &str) {
    let (hosts, rest) = text.split_at(text.find(['/', '?', '#', '&', ';']).unwrap_or(text.len()));
    let host = |host| match <str>::rsplit_once(host, ':') {
        Some((name, port)) if !port.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}:{HIDDEN}", name.split(':').next().unwrap_or_default())
        }
        _ => host.to_owned(),
    };
    (hosts.split(',').map(host).collect::<Vec<_>>().join(","), rest)
}

fn path_and_query(text: &str) -> String {
    let is_separator = |character: char| matches!(character, '?' | '&' | '#' | ';');
    let (path, mut rest) = text.split_at(text.find(is_separator).unwrap_or(text.len()));
    let mut shown = path.to_owned();
    while let Some(separator) = rest.chars().next() {
        let part = &rest[1..];
        let (part, next) = part.split_at(part.find(is_separator).unwrap_or(part.len()));
        shown.push(separator);
        shown.push_str(&match part.split_once('=') {
            Some(pair) => parameter(pair),
            None if part.is_empty() => String::new(),
            None => HIDDEN.to_owned(),
        });
        rest = next;
    }
    shown
}

/// The part after the `?` of a path, or between two `&` there. Without a `=` it may belong to the path.
fn parameter_of_path(text: &str) -> String {
    text.split_once('=').map_or_else(|| text.to_owned(), parameter)
}

fn parameter((name, value): (&str, &str)) -> String {
    match value {
        _ if !is_name(name) => HIDDEN.to_owned(),
        "" => format!("{name}="),
        value if SHOWN.contains(&name) && !value.contains('@') => format!("{name}={value}"),
        _ => format!("{name}={HIDDEN}"),
    }
}

/// libpq's other form: `host=db user=ann password='hunter 2'`.
fn libpq(text: &str) -> String {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, next) = after.split_at(end_of_value(after));
        parts.push(parameter((name.trim(), value)));
        rest = next;
    }
    if !rest.trim().is_empty() {
        parts.push(HIDDEN.to_owned());
    }
    parts.join(" ")
}

fn end_of_value(text: &str) -> usize {
    let is_quoted = text.starts_with('\'');
    let mut is_escaped = false;
    for (place, character) in text.char_indices().skip(usize::from(is_quoted)) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' if is_quoted => return place + 1,
            character if character.is_whitespace() && !is_quoted => return place,
            _ => {}
        }
    }
    text.len()
}
