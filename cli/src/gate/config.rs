//! The gate's configuration: a file in TOML, read at the start and on SIGHUP.

mod duration;
mod listen;
mod networks;

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::access::Access;
use super::assertion_config::AssertionConfig;
use super::rules::{HostPattern, Method, PathPrefix, Rule, Rules};
use super::users_config::UsersConfig;
use crate::ending::usage;

pub(crate) use self::listen::Listen;
pub(crate) use self::networks::Networks;

/// The configuration, checked.
#[derive(PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// The address of the gRPC endpoint; without one there is none.
    pub(crate) listen_grpc: Option<Listen>,
    /// The peers whose questions are answered.
    pub(crate) trusted_proxies: Networks,
    /// The scheme of the protected hosts: `https` or `http`.
    pub(crate) scheme: String,
    /// Without one, the project's.
    pub(crate) login_url: Option<String>,
    /// Without one, the project's.
    pub(crate) redirect_field: Option<String>,
    /// The time for one answer.
    pub(crate) time_limit: Duration,
    /// How long a verified user is remembered; zero for not at all.
    pub(crate) cache: Duration,
    pub(crate) access_log: bool,
    pub(crate) assertion: AssertionConfig,
    pub(crate) users: Option<UsersConfig>,
    pub(crate) rules: Rules,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    listen: Listen,
    listen_grpc: Option<Listen>,
    trusted_proxies: Networks,
    scheme: Scheme,
    login_url: Option<LoginUrl>,
    redirect_field: Option<String>,
    #[serde(deserialize_with = "duration::positive")]
    time_limit: Duration,
    #[serde(deserialize_with = "duration::seconds")]
    cache: Duration,
    access_log: bool,
    assertion: AssertionConfig,
    users: Option<UsersConfig>,
    rule: Vec<GivenRule>,
}

impl Default for Given {
    fn default() -> Given {
        Given {
            listen: Listen::default(),
            listen_grpc: None,
            trusted_proxies: Networks::loopback(),
            scheme: Scheme::Https,
            login_url: None,
            redirect_field: None,
            time_limit: Duration::from_secs(2),
            cache: Duration::ZERO,
            access_log: true,
            assertion: AssertionConfig::default(),
            users: None,
            rule: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRule {
    host: HostPattern,
    #[serde(default)]
    path: PathPrefix,
    #[serde(default, deserialize_with = "methods")]
    methods: Option<Vec<Method>>,
    allow: Access,
}

/// A list of methods that is not empty.
fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Method>>, D::Error> {
    let methods = Vec::deserialize(deserializer)?;
    if methods.is_empty() {
        return Err(D::Error::custom("the list of methods is empty; leave it out for all methods"));
    }
    Ok(Some(methods))
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Http,
    Https,
}

/// An absolute URL over HTTP, or a path of the asked host.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct LoginUrl(String);

impl TryFrom<String> for LoginUrl {
    type Error = String;

    fn try_from(url: String) -> Result<LoginUrl, String> {
        let is_path = url.starts_with('/') && !url.starts_with("//");
        let is_absolute = url.parse().is_ok_and(|url: http::Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        });
        if !(is_path || is_absolute) || !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(format!(
                "login_url {url:?} is no URL; write https://HOST/PATH, or /PATH for a page of the asked host"
            ));
        }
        Ok(LoginUrl(url))
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            usage(format!("cannot read the gate's configuration {}: {error}; check --config", path.display()))
        })?;
        let config = Config::from_toml(&text);
        let mut config = config.map_err(|error| usage(format!("{}, {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.assertion.keys = config.assertion.keys.map(|keys| folder.join(keys));
        config.users = config.users.map(|users| users.in_folder(folder));
        Ok(config)
    }

    /// The setting that differs from another configuration and cannot change while the gate runs.
    pub(crate) fn differs_for_good(&self, other: &Config) -> Option<&'static str> {
        let fixed = [
            ("listen", self.listen != other.listen),
            ("listen_grpc", self.listen_grpc != other.listen_grpc),
            ("cache", self.cache != other.cache),
            ("[users]", self.users != other.users),
        ];
        fixed.into_iter().find_map(|(name, differs)| differs.then_some(name))
    }

    /// Reads the text of a file. No message quotes more of it than the value that is wrong.
    pub(crate) fn from_toml(text: &str) -> anyhow::Result<Config> {
        let given: Given = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            usage(format!("line {line}: {}", error.message()))
        })?;
        if given.redirect_field.as_deref() == Some("") {
            return Err(usage("line 1: redirect_field is empty; leave it out for the project's, or `next`"));
        }
        if given.rule.is_empty() {
            return Err(usage(
                "line 1: there is no [[rule]], so every request would be refused; write at least one",
            ));
        }
        given.assertion.check()?;
        let rules = given.rule.into_iter().map(|rule| Rule {
            host: rule.host,
            path: rule.path,
            methods: rule.methods,
            access: rule.allow,
        });
        let rules = Rules::new(rules.collect()).map_err(usage)?;
        Ok(Config {
            listen: given.listen,
            listen_grpc: given.listen_grpc,
            trusted_proxies: given.trusted_proxies,
            scheme: match given.scheme {
                Scheme::Http => "http".to_owned(),
                Scheme::Https => "https".to_owned(),
            },
            login_url: given.login_url.map(|LoginUrl(url)| url),
            redirect_field: given.redirect_field,
            time_limit: given.time_limit,
            cache: given.cache,
            access_log: given.access_log,
            assertion: given.assertion,
            users: given.users,
            rules,
        })
    }
}

#[cfg(test)]
mod tests;
