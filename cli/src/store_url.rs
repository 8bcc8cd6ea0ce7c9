//! Where the sessions are: the option that all commands with a store share.

use std::path::PathBuf;

use clap::Args;

use crate::usage;

/// The option that names the store.
#[derive(Args)]
pub(crate) struct StoreOption {
    /// Where the sessions are, such as sqlite:/srv/site/db.sqlite3
    // The URL may hold a password, so that help does not show the variable's value.
    #[arg(long = "store", value_name = "URL", env = "CLOAKROOM_STORE", hide_env_values = true)]
    url: Option<String>,
}

impl StoreOption {
    pub(crate) fn url_or(&self, default: &'static str) -> &str {
        self.url.as_deref().unwrap_or(default)
    }

    pub(crate) fn url(&self) -> anyhow::Result<&str> {
        self.url.as_deref().ok_or_else(|| {
            usage("no store. Say where the sessions are: --store sqlite:PATH, or CLOAKROOM_STORE=sqlite:PATH")
        })
    }
}

/// The file of a `sqlite:` URL.
pub(crate) fn sqlite_path(url: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(usage("the store sqlite: lacks its file; write --store sqlite:PATH"));
    }
    Ok(Some(PathBuf::from(path)))
}

/// The URL for people to read, without the password it may hold.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        None => url.to_owned(),
        Some(at) => {
            let user = rest[..at].split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:…@{}", &rest[at + 1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("sqlite:a@b:c"), "sqlite:a@b:c");
        assert_eq!(without_password("postgres://ann:s3cret@db/site"), "postgres://ann:…@db/site");
        assert_eq!(without_password("redis://:p@ss@cache"), "redis://:…@cache");
        assert_eq!(without_password("redis://cache/0"), "redis://cache/0");
    }
}
