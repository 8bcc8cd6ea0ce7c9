//! Signed assertions: who the user is, for back ends that trust no plain header.
//!
//! An assertion is a JWT of the algorithm ES256. The signature is ring's, which rustls brings already. Rejected: the
//! crate `jsonwebtoken`, whose releases since 10 need aws-lc-rs or the whole of RustCrypto with RSA, for what is two
//! calls of base64 and one of ring where a token is only signed and never read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cloakroom::{Clock, SystemClock};
use serde::Serialize;

use super::assertion_config::AssertionConfig;
use super::identity::Identity;
use super::signing_keys::SigningKeys;
use super::signing_keys::schedule::Schedule;

/// The keys that sign assertions, and what is said in each.
pub(crate) struct Assertions {
    issuer: String,
    lifetime: i64,
    keys: Arc<SigningKeys>,
    clock: Arc<dyn Clock>,
    signed: Mutex<Signed>,
}

/// The most assertions that are kept.
const MOST: usize = 4_096;

/// The assertions of the current second, by their claims. A page and its images ask at once, and a signature takes tens
/// of microseconds.
#[derive(Default)]
struct Signed {
    second: i64,
    kid: String,
    tokens: HashMap<Vec<u8>, String>,
}

impl Signed {
    /// The assertions of this second and this key.
    fn of(&mut self, second: i64, kid: &str) -> &mut HashMap<Vec<u8>, String> {
        if self.second != second || self.kid != kid {
            *self = Signed { second, kid: kid.to_owned(), tokens: HashMap::new() };
        }
        &mut self.tokens
    }
}

/// The claims of an assertion, with the names of RFC 7519 and OpenID Connect where they have one.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    preferred_username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
    groups: &'a [String],
    is_staff: bool,
    is_superuser: bool,
}

impl Assertions {
    /// Reads the keys, or makes the first one. A task of the current runtime keeps them up to date as long as this
    /// value lives.
    ///
    /// # Errors
    /// When the configuration is wrong, or the keys cannot be read or made.
    pub(crate) fn open(config: &AssertionConfig) -> anyhow::Result<Assertions> {
        Assertions::open_with(config, Arc::new(SystemClock))
    }

    fn open_with(config: &AssertionConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Assertions> {
        config.check()?;
        let now = clock.now().timestamp();
        let keys = SigningKeys::open(config.folder(), schedule(config), now)?;
        Ok(Assertions::with(config, keys, clock))
    }

    /// The same after a change of the configuration, and for reading the folder at once. Keys that are only in memory
    /// are taken along, so that assertions stay valid.
    pub(crate) fn reopen(&self, config: &AssertionConfig) -> anyhow::Result<Assertions> {
        config.check()?;
        let now = self.clock.now().timestamp();
        let keys = self.keys.reopen(config.folder(), schedule(config), now)?;
        Ok(Assertions::with(config, keys, Arc::clone(&self.clock)))
    }

    fn with(config: &AssertionConfig, keys: SigningKeys, clock: Arc<dyn Clock>) -> Assertions {
        let keys = Arc::new(keys);
        tokio::spawn(keep_up_to_date(Arc::downgrade(&keys), schedule(config), Arc::clone(&clock)));
        let (issuer, signed) = (config.issuer.clone(), Mutex::default());
        Assertions { issuer, lifetime: config.lifetime.into(), keys, clock, signed }
    }

    /// Signs who this user is, for the service at this host, as a JWT.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(crate) fn sign(&self, identity: &Identity, audience: &str) -> anyhow::Result<String> {
        let now = self.clock.now().timestamp();
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            sub: &identity.id,
            iat: now,
            exp: now.saturating_add(self.lifetime),
            preferred_username: &identity.username,
            email: &identity.email,
            groups: &identity.groups,
            is_staff: identity.is_staff,
            is_superuser: identity.is_superuser,
        };
        let (key, claims) = (self.keys.signing(now)?, serde_json::to_vec(&claims)?);
        if let Some(token) = self.signed().of(now, &key.public_key.kid).get(&claims) {
            return Ok(token.clone());
        }
        let token = key.sign(&claims)?;
        let mut signed = self.signed();
        let tokens = signed.of(now, &key.public_key.kid);
        if tokens.len() < MOST {
            tokens.insert(claims, token.clone());
        }
        Ok(token)
    }

    /// Each entry is complete after each step.
    fn signed(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The public keys as a JSON Web Key Set.
    pub(crate) fn public_keys(&self) -> String {
        self.keys.public_keys()
    }
}

fn schedule(config: &AssertionConfig) -> Schedule {
    Schedule { rotate: config.rotate, publish_ahead: config.publish_ahead, lifetime: config.lifetime }
}

/// Reads the keys again from time to time, until they are gone.
async fn keep_up_to_date(keys: Weak<SigningKeys>, schedule: Schedule, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(schedule.reading_interval()).await;
        let Some(keys) = keys.upgrade() else { return };
        let now = clock.now().timestamp();
        let updated = tokio::task::spawn_blocking(move || keys.update(now)).await;
        if let Err(error) = updated.map_err(anyhow::Error::from).flatten() {
            tracing::error!(error = format!("{error:#}"), "the signing keys stay as they were");
        }
    }
}

#[cfg(test)]
mod tests;
