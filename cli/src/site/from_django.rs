//! `--from-django`: the store and the settings of a Django project, as its own Python reports them. A setting
//! that has no counterpart in this library is an error that names it.

mod cache;
mod database;
mod user_model;
mod users;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use cloakroom::chrono::TimeDelta;
use cloakroom::signing::SecretKey;
use cloakroom::store::{StoreScheme, StoreUrl};
use cloakroom::{SameSite, Settings, TextFormat};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ending::usage;
use crate::output::lines::note;
use crate::site;

use self::cache::{Cache, Unreachable};
use self::database::Database;
use self::user_model::Users;
pub(crate) use self::user_model::{DjangoLogin, UsersOptions};
pub(crate) use self::users::{DjangoUsers, Hashes};

const SCRIPT: &str = include_str!("from_django/settings.py");
const MARK: &str = "cloakroom-settings ";

/// The project's store and settings in this library's terms.
pub(crate) struct DjangoSite {
    pub(crate) url: StoreUrl,
    pub(crate) settings: Settings,
}

/// The output of the script.
#[derive(Deserialize)]
struct Found {
    secret_key: Secret,
    secret_key_fallbacks: Vec<Secret>,
    session_engine: String,
    engine: Option<String>,
    session_class: String,
    serializer: String,
    file_path: String,
    /// `modern` or `legacy`: the text format that the project's Django writes.
    text_format: String,
    time_zone: Option<String>,
    save_every_request: bool,
    expire_at_browser_close: bool,
    cookie: Cookie,
    table: Option<String>,
    database: Option<Database>,
    cache: Option<Cache>,
    users: Option<Users>,
}

#[derive(Deserialize)]
struct Cookie {
    name: String,
    age: i64,
    domain: Option<String>,
    path: String,
    secure: bool,
    httponly: bool,
    samesite: Value,
}

/// A secret, as text or bytes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Secret {
    Text(String),
    Bytes { hex: String },
}

/// Asks the project's own Python.
pub(crate) fn read(manage_py: &Path, python: Option<&Path>) -> anyhow::Result<DjangoSite> {
    let (manage_py, folder) = located(manage_py)?;
    site_of(ask(&manage_py, &folder, python, "")?, &folder)
}

/// Asks the project's own Python for its users and its login page. The project needs `django.contrib.auth`.
pub(crate) fn read_users(manage_py: &Path, python: Option<&Path>) -> anyhow::Result<DjangoLogin> {
    let (manage_py, folder) = located(manage_py)?;
    let users = ask(&manage_py, &folder, python, "users")?.users;
    users.ok_or_else(|| unknown("AUTH_USER_MODEL", ""))?.login(&folder)
}

/// Locates the project's `manage.py` and its folder.
fn located(manage_py: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let manage_py = std::path::absolute(manage_py).context("cannot tell the working folder")?;
    let manage_py = if manage_py.is_dir() { manage_py.join("manage.py") } else { manage_py };
    if !manage_py.is_file() {
        let shown = manage_py.display();
        return Err(usage(format!(
            "no file {shown}; give --from-django the path of the project's manage.py"
        )));
    }
    let folder = manage_py.parent().unwrap_or(Path::new("/")).to_owned();
    Ok((manage_py, folder))
}

/// Runs `manage.py shell -c`. The secrets are returned through a pipe; the command line contains none.
fn ask(manage_py: &Path, folder: &Path, python: Option<&Path>, asks_for: &str) -> anyhow::Result<Found> {
    let python = python.map_or_else(|| usual_python(folder), Path::to_owned);
    let ran = Command::new(&python)
        .arg(manage_py)
        .args(["shell", "-c", SCRIPT])
        .current_dir(folder)
        .env("PYTHONIOENCODING", "utf-8")
        .env("CLOAKROOM_ASKS_FOR", asks_for)
        .stdin(Stdio::null())
        .output();
    let shown = python.display();
    let ran = ran.map_err(|error| {
        usage(format!("cannot run {shown}: {error}; name the Python that has Django with --python PATH"))
    })?;
    let output = String::from_utf8_lossy(&ran.stdout);
    let found = output.lines().find_map(|line| line.strip_prefix(MARK));
    let Some(found) = found.filter(|_| ran.status.success()) else {
        let said = String::from_utf8_lossy(&ran.stderr);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last =
            last.into_iter().rev().map(|line| format!("\n{}", without_passwords(line))).collect::<String>();
        let manage_py = manage_py.display();
        anyhow::bail!(
            "{shown} {manage_py} shell does not run; run it yourself, in the project's environment, or name its \
             Python with --python PATH. It said last:{last}"
        );
    };
    // The parser's error would contain no values, and neither does this one.
    serde_json::from_str(found).map_err(|error| {
        anyhow::anyhow!("the project has a setting of a type that Django does not document: {error}")
    })
}

/// Hides passwords in a traceback's line, which may quote settings.
fn without_passwords(line: &str) -> String {
    let shown = |word: &str| {
        if word.contains("://") { StoreUrl::from(word).to_string() } else { word.to_owned() }
    };
    line.split_inclusive(' ').map(shown).collect()
}

/// The usual location of the project's Python.
fn usual_python(folder: &Path) -> PathBuf {
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let beside = [".venv", "venv", "env"].map(|name| folder.join(name));
    let found = active.into_iter().chain(beside).map(|folder| folder.join("bin/python"));
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from("python3"))
}

fn site_of(found: Found, folder: &Path) -> anyhow::Result<DjangoSite> {
    let mut settings = Settings::new(found.secret_key.into_key()?);
    for fallback in found.secret_key_fallbacks {
        settings.secret_key_fallbacks.push(fallback.into_key()?);
    }
    let cookie = found.cookie;
    settings.cookie_name = cookie.name;
    settings.cookie_age =
        TimeDelta::try_seconds(cookie.age).ok_or_else(|| unknown("SESSION_COOKIE_AGE", ""))?;
    settings.cookie_domain = cookie.domain;
    settings.cookie_path = cookie.path;
    settings.cookie_secure = cookie.secure;
    settings.cookie_httponly = cookie.httponly;
    settings.cookie_samesite = same_site(&cookie.samesite)?;
    settings.save_every_request = found.save_every_request;
    settings.expire_at_browser_close = found.expire_at_browser_close;
    settings.session_class = found.session_class;
    if found.text_format == "legacy" {
        settings.text_format = TextFormat::Legacy;
    }
    if let Some(name) = &found.time_zone {
        settings.time_zone = site::time_zone(name).map_err(|_| unknown("TIME_ZONE", name))?;
    }
    let engine =
        found.engine.as_deref().and_then(|engine| engine.strip_prefix("django.contrib.sessions.backends."));
    // What is stored in a cache is serialized by the cache alone.
    if engine != Some("cache") && !found.serializer.ends_with("JSONSerializer") {
        return Err(unknown("SESSION_SERIALIZER", &found.serializer).context("sessions are read as JSON"));
    }
    let no_description = || unknown("SESSION_ENGINE", &found.session_engine);
    let database = || {
        let database = found.database.as_ref().ok_or_else(no_description)?;
        database::url(database, found.table.as_deref(), folder)
    };
    let url = match engine {
        Some("db") => database()?.into(),
        Some("cache") => {
            let cache = found.cache.as_ref().ok_or_else(no_description)?;
            if let Some(why) = cache.is_unreachable().map(no_other_process_reads) {
                let (setting, class) = cache.backend();
                return Err(usage(format!("the Django setting {setting} = {class}: {why}")));
            }
            cache.note().iter().chain(&cache.note_of_culling()).for_each(|line| note(line));
            cache.url_from(folder)?.into()
        }
        Some("cached_db") => {
            let cache = found.cache.as_ref().ok_or_else(no_description)?;
            match cache.is_unreachable() {
                None => {
                    cache.note().iter().for_each(|line| note(line));
                    format!("cached_db:{}|{}", database()?, cache.url_from(folder)?).into()
                }
                // The rows have all sessions.
                Some(unreachable) => {
                    copies_of_one_process(&unreachable).into_iter().for_each(note);
                    database()?.into()
                }
            }
        }
        Some("file") => StoreUrl::of_path(StoreScheme::File, &folder.join(&found.file_path)),
        Some("signed_cookies") => "cookie:".into(),
        _ => return Err(no_description()),
    };
    Ok(DjangoSite { url, settings })
}

/// Why sessions in such a cache are nobody else's.
fn no_other_process_reads(cache: Unreachable) -> &'static str {
    match cache {
        Unreachable::OfOneProcess => {
            "each process of Django keeps its own sessions in its memory, which no other process can read. Use a database, \
             or a cache on a server"
        }
        Unreachable::Empty => "it keeps nothing, so that there are no sessions",
    }
}

/// The warning about copies in front of the rows that this command cannot reach.
fn copies_of_one_process(cache: &Unreachable) -> Option<&'static str> {
    match cache {
        Unreachable::OfOneProcess => Some(
            "Django's cached_db keeps copies in the memory of each of its processes (LocMemCache). This command uses the \
             rows of the database. Django may answer from such a copy until it expires, also for a session that is \
             ended here; restart Django's processes to drop them, or use a cache on a server",
        ),
        Unreachable::Empty => None,
    }
}

impl Secret {
    fn into_key(self) -> anyhow::Result<SecretKey> {
        match self {
            Secret::Text(text) => Ok(SecretKey::from(text)),
            Secret::Bytes { hex } => {
                let pairs = hex
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
                let bytes: Option<Vec<u8>> = pairs.collect();
                let bytes = bytes.ok_or_else(|| unknown("SECRET_KEY", "its bytes"))?;
                Ok(SecretKey::from(bytes.as_slice()))
            }
        }
    }
}

fn same_site(value: &Value) -> anyhow::Result<Option<SameSite>> {
    Ok(match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => None,
        Some("strict") => Some(SameSite::Strict),
        Some("lax") => Some(SameSite::Lax),
        Some("none") => Some(SameSite::None),
        Some(other) => return Err(unknown("SESSION_COOKIE_SAMESITE", other)),
    })
}

/// The error for a setting without a counterpart here.
fn unknown(setting: &str, value: &str) -> anyhow::Error {
    let value = if value.is_empty() { String::new() } else { format!(" = {value}") };
    usage(format!(
        "the Django setting {setting}{value} has no counterpart here; give --store and the other options yourself, \
         instead of --from-django"
    ))
}

/// The text of an entry; empty if it is missing.
fn text(settings: &Map<String, Value>, name: &str) -> String {
    match settings.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The characters with a meaning in URLs, and all beyond ASCII.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes a part of a URL.
fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string()
}
