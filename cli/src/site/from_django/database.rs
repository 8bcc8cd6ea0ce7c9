//! Builds the URL of a database from what Django passes to its driver.

use std::path::Path;

use cloakroom::store::{StoreScheme, StoreUrl};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{quoted, text, unknown};

/// A database, as Django's connection describes it.
#[derive(Deserialize)]
pub(super) struct Database {
    alias: String,
    engine: String,
    vendor: String,
    /// The driver's module, such as `MySQLdb`.
    driver: String,
    /// The arguments that Django passes to the driver.
    parameters: Map<String, Value>,
    /// The entries of `OPTIONS` that Django keeps for itself.
    apart: Vec<String>,
    /// The time zone of stored times, where the database stores none and the site's times have one.
    time_zone: Option<String>,
}

/// Builds the URL of a table in a database.
pub(super) fn url(database: &Database, table: Option<&str>, folder: &Path) -> anyhow::Result<String> {
    let mut url = Url::default();
    for (name, value) in table.into_iter().flat_map(parts_of_table) {
        url.add(name, value);
    }
    of_database(database, url, folder)
}

/// Builds the URL of a cache table in a database, with the parameters that name its entries.
pub(super) fn cache_url(
    database: &Database,
    table: &str,
    names: Vec<String>,
    folder: &Path,
) -> anyhow::Result<String> {
    let mut url = Url::default();
    match table.trim_matches('"').split_once("\".\"") {
        Some((schema, table)) => {
            url.add("schema", schema);
            url.add("cache_table", table);
        }
        None => url.add("cache_table", table),
    }
    url.query.extend(names);
    of_database(database, url, folder)
}

fn of_database(database: &Database, url: Url, folder: &Path) -> anyhow::Result<String> {
    let alias = &database.alias;
    let option = |name: &str| format!("DATABASES['{alias}']['OPTIONS']['{name}']");
    // None of these changes what is stored, or where.
    let harmless = ["isolation_level", "pool", "server_side_binding", "transaction_mode", "init_command"];
    if let Some(name) = database.apart.iter().find(|name| !harmless.contains(&name.as_str())) {
        return Err(unknown(&option(name), ""));
    }
    if let Some(zone) = database.time_zone.as_deref().filter(|zone| *zone != "UTC") {
        return Err(unknown(&format!("DATABASES['{alias}']['TIME_ZONE']"), zone));
    }
    match database.vendor.as_str() {
        "sqlite" => sqlite(database, folder, url, &option),
        "postgresql" => postgres(database, url, &option),
        "mysql" => mysql(database, url, &option),
        _ => Err(unknown(&format!("DATABASES['{alias}']['ENGINE']"), &database.engine)),
    }
}

/// The URL's parameters for Django's `db_table`, if it is not the usual one. `schema"."table` is how models name
/// a schema.
fn parts_of_table(table: &str) -> Vec<(&'static str, &str)> {
    match table.trim_matches('"').split_once("\".\"") {
        Some((schema, "django_session")) => vec![("schema", schema)],
        Some((schema, table)) => vec![("schema", schema), ("table", table)],
        None if table == "django_session" => Vec::new(),
        None => vec![("table", table)],
    }
}

/// The parameters of a URL.
#[derive(Default)]
struct Url {
    query: Vec<String>,
}

impl Url {
    fn add(&mut self, name: &str, value: &str) {
        self.query.push(format!("{name}={}", quoted(value)));
    }

    fn of(self, address: String) -> String {
        if self.query.is_empty() { address } else { format!("{address}?{}", self.query.join("&")) }
    }
}

fn sqlite(
    database: &Database,
    folder: &Path,
    mut url: Url,
    option: &dyn Fn(&str) -> String,
) -> anyhow::Result<String> {
    let name = text(&database.parameters, "database");
    if name.is_empty() || name.contains(":memory:") || name.contains("mode=memory") {
        return Err(unknown(&format!("DATABASES['{}']['NAME']", database.alias), &name));
    }
    for (parameter, value) in &database.parameters {
        match (parameter.as_str(), value) {
            // Those that Django always sets, and those that concern Python's own values.
            ("database" | "detect_types" | "check_same_thread" | "uri" | "cached_statements", _)
            | ("isolation_level" | "autocommit" | "init_command" | "transaction_mode", _)
            | (_, Value::Null) => {}
            ("timeout", _) => url.add("timeout", &text(&database.parameters, "timeout")),
            _ => return Err(unknown(&option(parameter), "")),
        }
    }
    // A SQLite URI, whose query belongs to it.
    let Some(uri) = name.strip_prefix("file:") else {
        let address = StoreUrl::of_path(StoreScheme::Sqlite, &folder.join(&name));
        return Ok(url.of(address.expose().to_owned()));
    };
    let (path, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let path = path.strip_prefix("//localhost").or(path.strip_prefix("//")).unwrap_or(path);
    url.query.extend(parameters.split('&').filter(|part| !part.is_empty()).map(str::to_owned));
    let address = StoreUrl::from(format!("sqlite:{path}")).from_folder(folder);
    Ok(url.of(address.expose().to_owned()))
}

fn postgres(database: &Database, mut url: Url, option: &dyn Fn(&str) -> String) -> anyhow::Result<String> {
    let parameters = &database.parameters;
    let of = |name: &str| text(parameters, name);
    for (name, value) in parameters {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("dbname" | "database" | "user" | "password" | "host" | "port", _) => {}
            (
                "sslmode"
                | "sslrootcert"
                | "sslcert"
                | "sslkey"
                | "channel_binding"
                | "target_session_attrs"
                | "options"
                | "application_name"
                | "connect_timeout"
                | "hostaddr"
                | "keepalives"
                | "keepalives_idle"
                | "keepalives_interval"
                | "keepalives_retries"
                | "tcp_user_timeout"
                | "load_balance_hosts",
                _,
            ) => url.add(name, &of(name)),
            ("client_encoding", Value::String(encoding))
                if matches!(encoding.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode") => {}
            // The driver's own, which change nothing on the server.
            ("context" | "cursor_factory" | "row_factory" | "prepare_threshold" | "autocommit", _)
            | ("fallback_application_name", _) => {}
            _ => return Err(unknown(&option(name), "")),
        }
    }
    let (host, port) = (of("host"), of("port"));
    let port = if port.is_empty() { "5432".to_owned() } else { port };
    let host = match host.as_str() {
        // The socket folders of Debian's PostgreSQL, and of all others.
        "" if of("hostaddr").is_empty() => {
            if Path::new("/var/run/postgresql").is_dir() {
                "/var/run/postgresql"
            } else {
                "/tmp"
            }
        }
        host => host,
    };
    let authority = if host.starts_with(['/', '@']) || host.contains(',') || host.is_empty() {
        if !host.is_empty() {
            url.add("host", host);
        }
        url.add("port", &port);
        String::new()
    } else {
        format!("{}:{port}", in_authority(host))
    };
    let login = login(&of("user"), &of("password"));
    let name = of(if parameters.contains_key("dbname") { "dbname" } else { "database" });
    Ok(url.of(format!("postgres://{login}{authority}/{}", quoted(&name))))
}

fn mysql(database: &Database, mut url: Url, option: &dyn Fn(&str) -> String) -> anyhow::Result<String> {
    let parameters = &database.parameters;
    let of = |name: &str| text(parameters, name);
    let one_of = |names: [&str; 2]| names.map(of).into_iter().find(|value| !value.is_empty());
    let is_pymysql = database.driver.starts_with("pymysql");
    let mut mode = of("ssl_mode");
    let mut files = Map::new();
    for (name, value) in parameters {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("db" | "database" | "user" | "passwd" | "password" | "host" | "port" | "unix_socket", _) => {}
            ("ssl_mode", _) => {}
            ("ssl", Value::Object(ssl)) => files.extend(ssl.clone()),
            // PyMySQL's spelling.
            ("ssl_ca" | "ssl_cert" | "ssl_key", _) => {
                files.insert(name.trim_start_matches("ssl_").to_owned(), value.clone());
            }
            ("ssl_verify_identity", Value::Bool(true)) => mode = "VERIFY_IDENTITY".to_owned(),
            ("ssl_disabled", Value::Bool(true)) => mode = "DISABLED".to_owned(),
            ("ssl_verify_identity" | "ssl_disabled", Value::Bool(false)) => {}
            ("charset", Value::String(charset)) if charset.starts_with("utf8") => {}
            ("init_command", Value::String(command)) if is_harmless(command) => {}
            // They concern Python's values, the time limit, or modes that this library sets for itself.
            (
                "use_unicode" | "client_flag" | "autocommit" | "sql_mode" | "collation" | "isolation_level",
                _,
            )
            | ("connect_timeout" | "read_timeout" | "write_timeout" | "compress" | "cursorclass", _)
            | ("program_name" | "local_infile" | "binary_prefix" | "auth_plugin_map", _) => {}
            _ => return Err(unknown(&option(name), "")),
        }
    }
    for (name, value) in &files {
        match (name.as_str(), value) {
            ("ca" | "cert" | "key", Value::String(path)) => url.add(&format!("ssl-{name}"), path),
            ("check_hostname", Value::Bool(true)) => mode = "VERIFY_IDENTITY".to_owned(),
            ("check_hostname", Value::Bool(false)) if mode.is_empty() => mode = "VERIFY_CA".to_owned(),
            ("check_hostname", Value::Bool(false)) | (_, Value::Null) => {}
            _ => return Err(unknown(&format!("{}['{name}']", option("ssl")), "")),
        }
    }
    if mode.is_empty() && files.contains_key("ca") {
        // PyMySQL compares the host with the certificate too; MySQL's own client does not.
        mode = if is_pymysql { "VERIFY_IDENTITY" } else { "VERIFY_CA" }.to_owned();
    } else if mode.is_empty() && is_pymysql {
        mode = if files.is_empty() { "DISABLED" } else { "REQUIRED" }.to_owned();
    }
    if !mode.is_empty() {
        url.add("ssl-mode", &mode);
    }
    let host = of("host");
    let mut socket = of("unix_socket");
    // Without a host, and for `localhost`, MySQL's own client takes the socket.
    if socket.is_empty() && !is_pymysql && matches!(host.as_str(), "" | "localhost") {
        let usual = ["/var/run/mysqld/mysqld.sock", "/run/mysqld/mysqld.sock", "/tmp/mysql.sock"];
        socket = usual.into_iter().find(|path| Path::new(path).exists()).unwrap_or_default().to_owned();
    }
    let authority = if socket.is_empty() {
        let host = if host.is_empty() { "127.0.0.1" } else { &host };
        let port = of("port");
        format!("{}:{}", in_authority(host), if port.is_empty() { "3306" } else { &port })
    } else {
        url.add("unix_socket", &socket);
        "localhost".to_owned()
    };
    let login = login(&of("user"), &one_of(["passwd", "password"]).unwrap_or_default());
    let name = one_of(["db", "database"]).unwrap_or_default();
    Ok(url.of(format!("mysql://{login}{authority}/{}", quoted(&name))))
}

/// Whether a statement sets only modes that this library sets for itself.
fn is_harmless(command: &str) -> bool {
    let command = command.trim().trim_end_matches(';').to_ascii_lowercase();
    let Some(assignments) = command.strip_prefix("set ") else { return command.is_empty() };
    assignments.split(", ").all(|assignment| {
        let name = assignment.split('=').next().unwrap_or_default().trim();
        let name = name.trim_start_matches("session ").trim_start_matches("@@session.").trim();
        matches!(name, "sql_mode" | "default_storage_engine" | "storage_engine" | "innodb_strict_mode")
            || name.starts_with("names ")
            || name.starts_with("transaction isolation level")
    })
}

/// A host as it is written before the port.
fn in_authority(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// `user:password@`, or nothing.
fn login(user: &str, password: &str) -> String {
    match (user.is_empty(), password.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("{}@", quoted(user)),
        (false, false) => format!("{}:{}@", quoted(user), quoted(password)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url_of(vendor: &str, parameters: Value) -> Result<String, String> {
        url_of_table(vendor, parameters, "django_session")
    }

    fn url_of_table(vendor: &str, parameters: Value, table: &str) -> Result<String, String> {
        let database = json!({ "alias": "default", "engine": "a.b", "vendor": vendor, "driver": "MySQLdb", "apart": [],
            "parameters": parameters, "time_zone": null });
        let database: Database = serde_json::from_value(database).unwrap();
        url(&database, Some(table), Path::new("/srv/site")).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_sqlite() {
        for (name, url) in [
            ("db.sqlite3", "sqlite:/srv/site/db.sqlite3?timeout=20"),
            ("/data/100%?.sqlite3", "sqlite:/data/100%25%3F.sqlite3?timeout=20"),
            ("file:db.sqlite3?mode=ro", "sqlite:/srv/site/db.sqlite3?timeout=20&mode=ro"),
            ("file:///data/a%20b", "sqlite:/data/a%20b?timeout=20"),
        ] {
            let parameters = json!({ "database": name, "timeout": 20, "uri": true, "detect_types": 3 });
            assert_eq!(url_of("sqlite", parameters).unwrap(), url);
        }
        let unknown =
            url_of("sqlite", json!({ "database": "a", "factory": { "object": "b.C" } })).unwrap_err();
        assert!(unknown.contains("DATABASES['default']['OPTIONS']['factory']"), "{unknown}");
        assert!(url_of("sqlite", json!({ "database": ":memory:" })).unwrap_err().contains("['NAME']"));
    }

    #[test]
    fn databases_of_postgresql() {
        let parameters = json!({ "dbname": "site", "user": "ann", "password": "p@ss/word", "host": "db.example",
            "port": 6432, "sslmode": "verify-full", "sslrootcert": "/srv/ca.pem", "client_encoding": "UTF8",
            "context": { "object": "a.B" }, "prepare_threshold": null });
        assert_eq!(
            url_of("postgresql", parameters.clone()).unwrap(),
            "postgres://ann:p%40ss%2Fword@db.example:6432/site?sslmode=verify-full&sslrootcert=%2Fsrv%2Fca.pem"
        );
        let mut two = parameters.clone();
        (two["host"], two["port"]) = (json!("a,b"), json!("1,2"));
        let url = url_of_table("postgresql", two, "shop\".\"session").unwrap();
        assert!(url.starts_with("postgres://ann:p%40ss%2Fword@/site?schema=shop&table=session&"), "{url}");
        assert!(url.ends_with("&host=a%2Cb&port=1%2C2"), "{url}");
        let socket = json!({ "dbname": "site", "user": "ann", "host": "/run/pg" });
        assert_eq!(url_of("postgresql", socket).unwrap(), "postgres://ann@/site?host=%2Frun%2Fpg&port=5432");
        for name in ["service", "passfile", "krbsrvname"] {
            let mut parameters = parameters.clone();
            parameters[name] = json!("x");
            assert!(
                url_of("postgresql", parameters).unwrap_err().contains(&format!("['OPTIONS']['{name}']"))
            );
        }
    }

    #[test]
    fn databases_of_mysql() {
        let parameters = json!({ "db": "site", "user": "ann", "host": "::1", "charset": "utf8mb4", "client_flag": 2,
            "init_command": "SET sql_mode='STRICT_TRANS_TABLES', default_storage_engine=InnoDB" });
        assert_eq!(url_of("mysql", parameters.clone()).unwrap(), "mysql://ann@[::1]:3306/site");
        let mut encrypted = parameters.clone();
        encrypted["ssl"] = json!({ "ca": "/srv/ca.pem" });
        let url = url_of("mysql", encrypted.clone()).unwrap();
        assert!(url.ends_with("?ssl-ca=%2Fsrv%2Fca.pem&ssl-mode=VERIFY_CA"), "{url}");
        encrypted["ssl_mode"] = json!("VERIFY_IDENTITY");
        assert!(url_of("mysql", encrypted).unwrap().ends_with("&ssl-mode=VERIFY_IDENTITY"));
        for (name, value) in [
            ("read_default_file", json!("/etc/my.cnf")),
            ("init_command", json!("SET ROLE other")),
            ("ssl", json!({ "cipher": "x" })),
        ] {
            let mut parameters = parameters.clone();
            parameters[name] = value;
            assert!(url_of("mysql", parameters).unwrap_err().contains(&format!("['OPTIONS']['{name}']")));
        }
    }

    #[test]
    fn other_databases_are_refused() {
        assert!(url_of("oracle", json!({})).unwrap_err().contains("DATABASES['default']['ENGINE']"));
    }
}
