//! Builds the URL for an entry of `DATABASES`.

use std::path::Path;

use cloakroom::store::{StoreScheme, StoreUrl};
use serde_json::{Map, Value};

use super::{quoted, text, unknown};

/// Builds the URL for the database with this alias.
pub(super) fn url(alias: &str, database: &Map<String, Value>, folder: &Path) -> anyhow::Result<String> {
    let engine = text(database, "ENGINE");
    let setting = |name: &str| format!("DATABASES['{alias}']['{name}']");
    match engine.rsplit('.').next() {
        Some("sqlite3") => {
            let name = text(database, "NAME");
            if name.is_empty() || name.contains(":memory:") || name.contains("mode=memory") {
                return Err(unknown(&setting("NAME"), &name));
            }
            let mut query = options(alias, database, &SQLITE)?;
            // A SQLite URI, whose query belongs to it.
            let url = match name.strip_prefix("file:") {
                None => StoreUrl::of_path(StoreScheme::Sqlite, &folder.join(&name)).expose().to_owned(),
                Some(uri) => {
                    let (path, parameters) = uri.split_once('?').unwrap_or((uri, ""));
                    let path = path.strip_prefix("//localhost").or(path.strip_prefix("//")).unwrap_or(path);
                    query.extend(parameters.split('&').filter(|part| !part.is_empty()).map(str::to_owned));
                    StoreUrl::from(format!("sqlite:{path}")).from_folder(folder).expose().to_owned()
                }
            };
            Ok(if query.is_empty() { url } else { format!("{url}?{}", query.join("&")) })
        }
        Some("postgresql" | "postgresql_psycopg2" | "postgis") => {
            let query = options(alias, database, &POSTGRES)?;
            Ok(server("postgres", 5432, database, "host", &query))
        }
        Some("mysql") => {
            let query = options(alias, database, &MYSQL)?;
            Ok(server("mysql", 3306, database, "socket", &query))
        }
        _ => Err(unknown(&setting("ENGINE"), &engine)),
    }
}

/// The supported entries of `OPTIONS`: those that go into the URL, and those that do not affect sessions.
struct Options {
    passed: &'static [&'static str],
    ignored: &'static [&'static str],
}

const SQLITE: Options = Options {
    passed: &["timeout"],
    ignored: &[
        "transaction_mode",
        "init_command",
        "check_same_thread",
        "detect_types",
        "cached_statements",
        "uri",
        "isolation_level",
    ],
};

const POSTGRES: Options = Options {
    passed: &["sslmode", "options", "application_name", "connect_timeout"],
    ignored: &["pool", "isolation_level", "server_side_binding", "client_encoding"],
};

const MYSQL: Options = Options {
    passed: &[],
    ignored: &[
        "charset",
        "collation",
        "sql_mode",
        "init_command",
        "isolation_level",
        "connect_timeout",
        "use_unicode",
    ],
};

fn options(alias: &str, database: &Map<String, Value>, known: &Options) -> anyhow::Result<Vec<String>> {
    let mut query = Vec::new();
    let Some(Value::Object(options)) = database.get("OPTIONS") else { return Ok(query) };
    for name in options.keys() {
        if known.passed.contains(&name.as_str()) {
            query.push(format!("{name}={}", quoted(&text(options, name))));
        } else if !known.ignored.contains(&name.as_str()) {
            return Err(unknown(&format!("DATABASES['{alias}']['OPTIONS']['{name}']"), ""));
        }
    }
    Ok(query)
}

/// Builds `scheme://user:password@host:port/name?…`, with the folder of a socket if `HOST` is one or is
/// missing.
fn server(scheme: &str, usual: u16, database: &Map<String, Value>, socket: &str, query: &[String]) -> String {
    let part = |name: &str| quoted(&text(database, name));
    let (user, password, name) = (part("USER"), part("PASSWORD"), part("NAME"));
    let (mut host, mut query) = (text(database, "HOST"), query.to_vec());
    if host.is_empty() {
        // The socket folders of Debian's PostgreSQL and of all others; MySQL also listens on 127.0.0.1.
        let folder = if Path::new("/var/run/postgresql").is_dir() { "/var/run/postgresql" } else { "/tmp" };
        host = if scheme == "postgres" { folder.to_owned() } else { "127.0.0.1".to_owned() };
    }
    if host.starts_with('/') {
        query.push(format!("{socket}={}", quoted(&host)));
        host = if scheme == "postgres" { String::new() } else { "localhost".to_owned() };
    } else if host.contains(':') {
        host = format!("[{host}]");
    }
    let port =
        Some(text(database, "PORT")).filter(|port| !port.is_empty()).unwrap_or_else(|| usual.to_string());
    if host.is_empty() {
        query.push(format!("port={port}"));
    } else {
        host = format!("{host}:{port}");
    }
    let login = match (user.is_empty(), password.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("{user}@"),
        (false, false) => format!("{user}:{password}@"),
    };
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{scheme}://{login}{host}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url_of(database: Value) -> Result<String, String> {
        let Value::Object(database) = database else { return Err("no dictionary".to_owned()) };
        url("default", &database, Path::new("/srv/site")).map_err(|error| error.to_string())
    }

    #[test]
    fn databases_become_urls() {
        let sqlite = json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3" });
        assert_eq!(url_of(sqlite).unwrap(), "sqlite:/srv/site/db.sqlite3");
        for (name, url) in [
            ("/data/100%?.sqlite3", "sqlite:/data/100%25%3F.sqlite3"),
            ("file:db.sqlite3?mode=ro", "sqlite:/srv/site/db.sqlite3?timeout=20&mode=ro"),
            ("file:///data/a%20b", "sqlite:/data/a%20b?timeout=20"),
        ] {
            let mut sqlite = json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": name });
            if name.starts_with("file:") {
                sqlite["OPTIONS"] = json!({ "timeout": 20, "transaction_mode": "IMMEDIATE" });
            }
            assert_eq!(url_of(sqlite).unwrap(), url);
        }
        let mut postgres = json!({
            "ENGINE": "django.db.backends.postgresql", "NAME": "site", "USER": "ann", "PASSWORD": "p@ss/word",
            "HOST": "db.example", "PORT": 6432, "OPTIONS": { "sslmode": "prefer", "pool": true },
        });
        assert_eq!(
            url_of(postgres.clone()).unwrap(),
            "postgres://ann:p%40ss%2Fword@db%2Eexample:6432/site?sslmode=prefer".replace("%2E", ".")
        );
        postgres["HOST"] = json!("/run/pg");
        postgres["OPTIONS"] = json!({});
        assert_eq!(
            url_of(postgres.clone()).unwrap(),
            "postgres://ann:p%40ss%2Fword@/site?host=%2Frun%2Fpg&port=6432"
        );
        postgres["OPTIONS"] = json!({ "service": "site" });
        assert!(url_of(postgres).unwrap_err().contains("DATABASES['default']['OPTIONS']['service']"));
        let mysql =
            json!({ "ENGINE": "django.db.backends.mysql", "NAME": "site", "USER": "ann", "HOST": "::1" });
        assert_eq!(url_of(mysql).unwrap(), "mysql://ann@[::1]:3306/site");
        let oracle = json!({ "ENGINE": "django.db.backends.oracle" });
        assert!(url_of(oracle).unwrap_err().contains("DATABASES['default']['ENGINE']"));
    }
}
