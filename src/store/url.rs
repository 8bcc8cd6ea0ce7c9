//! URLs of stores, shown without the secrets in them.

use std::fmt;

/// The URL of a store, whose `Display` and `Debug` hide the secrets in it: passwords, and each parameter that is not
/// known to hold none. [`connect`](super::connect) takes the text that [`expose`](StoreUrl::expose) gives.
///
/// Any text can be one. Nothing is checked here, so that a URL with a mistake in it can be shown too, and where it is
/// unclear which part is a password, too much is hidden rather than too little:
///
/// 1. Everything before the last `@` is the login. Of that the user is shown, up to the first colon.
/// 2. A port that is no number may be a password whose `@` is missing, and is hidden.
/// 3. Of parameters, in a query or as libpq's `host=… password=…`, the values of well-known ones are shown.
/// 4. A path in `sqlite:` or `file:` is shown.
/// 5. Each part of `cached_db:DATABASE|CACHE` and of `moving:OLD|NEW` is shown like a URL of its own.
///
/// ```
/// use cloakroom::store::StoreUrl;
///
/// let url = StoreUrl::from("postgres://ann:p?hunter2@db/site?sslmode=require&sslpassword=hunter2");
/// assert_eq!(url.to_string(), "postgres://ann:…@db/site?sslmode=require&sslpassword=…");
/// assert_eq!(format!("{url:?}"), format!("StoreUrl({url})"));
/// assert!(url.expose().contains("hunter2"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Box<str>);

impl StoreUrl {
    /// The URL itself with its secrets, to open the store with. Never for a log or a message.
    ///
    /// ```
    /// use cloakroom::store::StoreUrl;
    ///
    /// let url = StoreUrl::from("redis://:hunter2@cache/1");
    /// assert_eq!(url.expose(), "redis://:hunter2@cache/1");
    /// assert_eq!(url.to_string(), "redis://:…@cache/1");
    /// ```
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hosts with their ports, for messages.
    #[cfg(feature = "redis")]
    pub(crate) fn hosts(&self) -> String {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        hosts_and_rest(without_login(rest)).0
    }
}

impl From<&str> for StoreUrl {
    fn from(url: &str) -> Self {
        StoreUrl(url.into())
    }
}

impl From<String> for StoreUrl {
    fn from(url: String) -> Self {
        StoreUrl(url.into())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((scheme, rest)) = self.0.split_once(':')
            && scheme.eq_ignore_ascii_case("moving")
        {
            return write!(formatter, "{scheme}:{}", super::moving::shown(rest));
        }
        let two = self.0.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("cached_db"));
        match two.and_then(|(scheme, rest)| Some((scheme, rest.split_at(second_store(rest)?)))) {
            Some((scheme, (database, cache))) => {
                write!(formatter, "{scheme}:{}|{}", shown(database), shown(&cache[1..]))
            }
            None => formatter.write_str(&shown(&self.0)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreUrl({self})")
    }
}

/// The part behind the login of an address or of a part of one: behind the last `@`, as passwords may hold some.
pub(crate) fn without_login(text: &str) -> &str {
    text.rsplit('@').next().unwrap_or_default()
}

/// The name of a database, for messages. Drivers take for it what a URL with a mistake has in its place: the rest of a
/// password with a slash, or parameters behind another sign than `?`.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn database_shown(name: &str) -> &str {
    let name = without_login(name);
    name.split(['?', '#', '&', ';', '=']).next().unwrap_or_default()
}

/// A server's message, which may quote user and database.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn said_by_server(message: &str, user: Option<&str>, database: Option<&str>) -> String {
    let user = user.map(|user| (user, user.split(':').next().unwrap_or_default()));
    let names = user.into_iter().chain(database.map(|name| (name, database_shown(name))));
    names
        .filter(|(name, shown)| name != shown)
        .fold(message.to_owned(), |text, (name, shown)| text.replace(name, shown))
}

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// Parameters that hold no secrets. `options` is left out on purpose: it can set anything.
const SHOWN: [&str; 27] = [
    "application_name",
    "cache",
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
    "mode",
    "port",
    "prefer_socket",
    "protocol",
    "require_ssl",
    "serializer",
    "socket",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "timeout",
    "user",
    "version",
];

/// Where the bar stands between the two stores of `cached_db:`. A password may hold a bar, and so may a path: the second
/// store begins with a scheme.
fn second_store(rest: &str) -> Option<usize> {
    let bars = || rest.match_indices('|').map(|(bar, _)| bar);
    bars().find(|bar| scheme_of(&rest[bar + 1..]).is_some()).or_else(|| bars().next_back())
}

fn scheme_of(url: &str) -> Option<(&str, &str)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    url.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed)
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_%".contains(&byte))
}

fn shown(url: &str) -> String {
    let Some((scheme, rest)) = scheme_of(url) else {
        let is_libpq = url.split_once('=').is_some_and(|(name, _)| is_name(name.trim()));
        return if is_libpq { libpq(url) } else { without_user(url) };
    };
    let authority = rest.strip_prefix("//");
    let may_have_login = |rest: &str| rest.contains('@') && !rest.starts_with('/');
    match (scheme.to_ascii_lowercase().as_str(), authority) {
        ("sqlite" | "file", authority) if !authority.is_some_and(may_have_login) => {
            let Some((path, query)) = rest.split_once('?') else { return url.to_owned() };
            format!(
                "{scheme}:{path}?{}",
                query.split('&').map(parameter_of_path).collect::<Vec<_>>().join("&")
            )
        }
        // Only of databases a login without a colon is known to be a user: Redis' own tools take it for a password.
        (kind, Some(rest)) => {
            let shows_user = matches!(kind, "postgres" | "postgresql" | "mysql" | "mariadb");
            format!("{scheme}://{}{}", login(rest, shows_user), place(rest))
        }
        (_, None) if rest.is_empty() => url.to_owned(),
        // With the slashes or the scheme left out, anything may stand anywhere.
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

/// The part behind the login.
fn place(text: &str) -> String {
    let (hosts, rest) = hosts_and_rest(without_login(text));
    format!("{hosts}{}", path_and_query(rest))
}

fn without_user(text: &str) -> String {
    if text.contains('@') { format!("{HIDDEN}@{}", place(text)) } else { place(text) }
}

/// The hosts, shown, and what follows them.
fn hosts_and_rest(text: &str) -> (String, &str) {
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

/// The part behind the `?` of a path, or between two `&` there. Without a `=` it may be a part of the path.
pub(crate) fn parameter_of_path(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::StoreUrl;

    #[test]
    fn what_is_no_secret_is_shown() {
        for url in [
            "memory:",
            "cookie:",
            "sqlite:a@b:c",
            "sqlite:///srv/site/a:b@c/db.sqlite3",
            "sqlite:what?.sqlite3",
            "file:/var/lib/sessions",
            "postgres://db/site",
            "postgres://ann@db.example:5432/site?sslmode=require&application_name=site",
            "postgres://ann@/site?host=%2Frun%2Fpg&port=6432",
            "mysql://ann@[::1]:3306/site",
            "redis://cache/0?key_prefix=site&version=2&engine=cached_db&serializer=json&compressor=zlib",
            "redis+cluster://one:7000,two:7001",
            "redis+sentinel://one,two:26379/service/0",
            "memcached://one:11211,two:11211?entry_prefix=site-2-",
            "cached_db:sqlite:/srv/a|b.sqlite3|redis://cache/1",
            "host=db user=ann dbname='a b'",
            "/srv/site/db.sqlite3",
        ] {
            assert_eq!(StoreUrl::from(url).to_string(), url);
        }
    }

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        for (url, shown) in [
            ("postgres://ann:s3cret@db/site", "postgres://ann:…@db/site"),
            ("POSTGRES://ann:s3cret@db/site", "POSTGRES://ann:…@db/site"),
            ("postgres://ann:s3/cr?e#t@db/site", "postgres://ann:…@db/site"),
            ("postgres://ann:s3@cr@et@db/site", "postgres://ann:…@db/site"),
            ("postgres://ann%3As3cret@db/site", "postgres://…@db/site"),
            ("postgres://db/site?user=ann&password=s3cret", "postgres://db/site?user=ann&password=…"),
            ("postgres://db/site?user=ann&%70assword=s3cret", "postgres://db/site?user=ann&%70assword=…"),
            ("postgres://db/site?PASSWORD=s3cret", "postgres://db/site?PASSWORD=…"),
            ("postgres://db/site?password=s3cret&x=@y", "postgres://…@y"),
            ("postgres://db/site;password=s3cret#passwd=s3cret", "postgres://db/site;password=…#passwd=…"),
            ("postgres://db/site?options=-c%20own.token=s3cret", "postgres://db/site?options=…"),
            ("mysql://ann:s3cret", "mysql://ann:…"),
            ("redis://s3cret@cache", "redis://…@cache"),
            ("redis://:s3@cret@cache", "redis://:…@cache"),
            ("redis://cache/0?password=s3cret&db=1", "redis://cache/0?password=…&db=1"),
            ("redis://cache/0?s3cret", "redis://cache/0?…"),
            ("redis+cluster://:s3cret@one,:s3cret@two:7001", "redis+cluster://:…@two:7001"),
            ("carrier://ann:s3cret@pigeon", "carrier://ann:…@pigeon"),
            ("postgres:ann:s3cret", "postgres:…"),
            ("ann:s3cret@db/site", "ann:…@db/site"),
            ("ann:s3:cret@db/site", "ann:…@db/site"),
            ("postgres://s3cret@x:y@db/site", "postgres://…@db/site"),
            ("s3cret@db/site", "…@db/site"),
            ("sqlite://ann:s3cret@db/site", "sqlite://ann:…@db/site"),
            ("sqlite:db.sqlite3?mode=ro&key=s3cret", "sqlite:db.sqlite3?mode=ro&key=…"),
            ("host=db password=s3cret user = ann", "host=db password=… user=ann"),
            (r"host=db password='s3 cr\' et' user=ann", "host=db password=… user=ann"),
            ("password=two words host=db", "password=… …"),
            (
                "cached_db:postgres://ann:s3|cret@db/site|redis://:s3|cret@cache/1?password=s3cret",
                "cached_db:postgres://ann:…@db/site|redis://:…@cache/1?password=…",
            ),
            ("CACHED_DB:sqlite:x|redis://:s3|x:cret@cache", "CACHED_DB:sqlite:x|redis://:…@cache"),
            (
                "cached_db:postgres://ann:s3|x:cret@db/site|memory:",
                "cached_db:postgres://ann:…|x:…@db/site|memory:",
            ),
        ] {
            assert_eq!(StoreUrl::from(url).to_string(), shown, "{url}");
        }
    }
}
