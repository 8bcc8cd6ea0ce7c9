//! The table `[assertion]` of the gate's configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::ending::usage;

/// How assertions are signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AssertionConfig {
    /// The claim `iss`.
    pub(crate) issuer: String,
    /// Seconds from `iat` to `exp`.
    pub(crate) lifetime: u32,
    /// The folder of the keys. Without it, they are in `$STATE_DIRECTORY/gate-keys`, or where systemd sets none, in
    /// memory until the process ends.
    pub(crate) keys: Option<PathBuf>,
    /// Seconds after which a new key is made.
    pub(crate) rotate: u32,
    /// Seconds for which a new key is published before it signs, so that caches of the key set have it by then.
    pub(crate) publish_ahead: u32,
}

impl Default for AssertionConfig {
    fn default() -> Self {
        AssertionConfig {
            issuer: "cloakroom".to_owned(),
            lifetime: 60,
            keys: None,
            rotate: 30 * 24 * 60 * 60,
            publish_ahead: 600,
        }
    }
}

impl AssertionConfig {
    /// # Errors
    /// When a value is out of its range; the message names it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.issuer.is_empty() {
            return Err(usage("assertion.issuer is empty; leave it out, or give the site's URL"));
        }
        if self.keys.as_ref().is_some_and(|keys| keys.as_os_str().is_empty()) {
            return Err(usage("assertion.keys is empty; leave it out, or give a folder"));
        }
        if !(1..=3600).contains(&self.lifetime) {
            return Err(usage("assertion.lifetime must be between 1 and 3600 seconds"));
        }
        if self.publish_ahead < 4 {
            return Err(usage("assertion.publish_ahead must be at least 4 seconds"));
        }
        if u64::from(self.rotate) < u64::from(self.publish_ahead) + u64::from(self.lifetime) {
            return Err(usage(
                "assertion.rotate must be at least assertion.publish_ahead and assertion.lifetime together, in seconds",
            ));
        }
        Ok(())
    }

    /// The folder of the keys; `None` where they stay in memory.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        // Of several, systemd separates them by colons.
        let of_the_service = || {
            let folders = std::env::var_os("STATE_DIRECTORY")?;
            let first = std::env::split_paths(&folders).next()?;
            (!first.as_os_str().is_empty()).then(|| first.join("gate-keys"))
        };
        self.keys.clone().or_else(of_the_service)
    }
}

#[cfg(test)]
mod tests {
    use super::AssertionConfig;

    #[test]
    fn values_out_of_range_are_named() {
        let config = AssertionConfig::default();
        assert!(config.check().is_ok());
        for (wrong, name) in [
            (AssertionConfig { issuer: String::new(), ..config.clone() }, "assertion.issuer"),
            (AssertionConfig { keys: Some("".into()), ..config.clone() }, "assertion.keys"),
            (AssertionConfig { lifetime: 0, ..config.clone() }, "assertion.lifetime"),
            (AssertionConfig { lifetime: 3601, ..config.clone() }, "assertion.lifetime"),
            (AssertionConfig { publish_ahead: 3, ..config.clone() }, "assertion.publish_ahead"),
            (AssertionConfig { rotate: 659, ..config.clone() }, "assertion.rotate"),
        ] {
            let error = wrong.check().err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.starts_with(name)), "{name}: {error:?}");
        }
        assert!(AssertionConfig { rotate: 660, ..config }.check().is_ok());
    }
}
