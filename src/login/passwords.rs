//! Passwords of Django's users. Django's `django.contrib.auth.hashers`.

mod field;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use self::field::Field;
use crate::site::error::Error;
use crate::site::settings::SettingsError;

/// How a password is hashed, and at what cost. One of Django's default `PASSWORD_HASHERS`.
///
/// ```
/// use cloakroom::auth::PasswordAlgorithm;
///
/// let of_django_5_2 = PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000_000 };
/// assert_ne!(of_django_5_2, PasswordAlgorithm::default(), "the default is Django 6.1's");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordAlgorithm {
    /// `PBKDF2PasswordHasher`, Django's default.
    Pbkdf2Sha256 {
        /// Django 4.2: 600,000; 5.0: 720,000; 5.1: 870,000; 5.2: 1,000,000; 6.0: 1,200,000; 6.1: 1,500,000.
        iterations: u32,
    },
    /// `PBKDF2SHA1PasswordHasher`.
    Pbkdf2Sha1 {
        /// As of `Pbkdf2Sha256`.
        iterations: u32,
    },
    /// `Argon2PasswordHasher`, with Argon2id.
    Argon2 {
        /// The number of passes. Django: 2.
        time_cost: u32,
        /// The memory in KiB, at most 1 GiB. Django: 102,400.
        memory_cost: u32,
        /// The number of lanes. Django: 8.
        parallelism: u32,
    },
    /// `BCryptSHA256PasswordHasher`.
    BcryptSha256 {
        /// The binary logarithm of the number of rounds, from 4 to 31. Django: 12.
        rounds: u32,
    },
    /// `ScryptPasswordHasher`. With more than 32 MiB of memory it is refused, as by OpenSSL.
    Scrypt {
        /// A power of two. Django: 16,384.
        work_factor: u32,
        /// Django: 8.
        block_size: u32,
        /// Django: 5.
        parallelism: u32,
    },
}

/// The default of Django 6.1: PBKDF2 with 1,500,000 iterations.
impl Default for PasswordAlgorithm {
    fn default() -> PasswordAlgorithm {
        PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_500_000 }
    }
}

/// Checks and encodes passwords as Django does.
///
/// 1. It checks all of Django's default `PASSWORD_HASHERS`: PBKDF2 with SHA-256 and SHA-1, Argon2, bcrypt over SHA-256
///    and scrypt. A field of any other algorithm matches no password.
/// 2. It encodes with one algorithm, the first of the site's `PASSWORD_HASHERS`. Fields that differ from it are
///    upgraded at the next login, as in Django. **Beside a Django site, set that site's iterations**: two sides that
///    differ rewrite the field at each login in turn, and each rewrite ends the user's other logins.
/// 3. Hashing takes a good part of a second on purpose. It runs on the runtime's blocking threads, on as many at once
///    as there are processors; the other requests go on. Clones share this limit.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use cloakroom::auth::{PasswordAlgorithm, PasswordHasher};
///
/// let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000 })?;
/// // In Django: make_password("lètmein", "seasalt", PBKDF2PasswordHasher with 1,000 iterations)
/// let encoded = hasher.encode("lètmein").await?;
/// assert!(encoded.starts_with("pbkdf2_sha256$1000$"));
/// assert!(hasher.verify("lètmein", &encoded).await.matches);
/// assert!(!hasher.verify("letmein", &encoded).await.matches);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct PasswordHasher {
    preferred: PasswordAlgorithm,
    upgrades: bool,
    shared: Arc<Shared>,
}

struct Shared {
    free: Arc<Semaphore>,
    has_warned: AtomicBool,
}

/// The result of [`PasswordHasher::verify`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Whether the password is the right one.
    pub matches: bool,
    /// Whether the field should be replaced by a newly encoded one. Django's `must_update`.
    pub must_update: bool,
}

impl PasswordHasher {
    /// Creates a hasher that encodes with this algorithm.
    ///
    /// ```
    /// use cloakroom::auth::{PasswordAlgorithm, PasswordHasher};
    ///
    /// // Beside a site with Django 5.2.
    /// let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000_000 })?;
    /// let error = PasswordHasher::new(PasswordAlgorithm::BcryptSha256 { rounds: 40 }).unwrap_err();
    /// assert!(error.to_string().contains("BcryptSha256"));
    /// # Ok::<(), cloakroom::SettingsError>(())
    /// ```
    ///
    /// # Errors
    /// When the costs are impossible, such as 0 iterations.
    pub fn new(preferred: PasswordAlgorithm) -> Result<PasswordHasher, SettingsError> {
        if preferred.is_possible() {
            return Ok(PasswordHasher::of(preferred));
        }
        Err(SettingsError::new(
            preferred.variant(),
            "no password can be hashed at these costs",
            "use Django's, which the documentation of `PasswordAlgorithm` names",
        ))
    }

    fn of(preferred: PasswordAlgorithm) -> PasswordHasher {
        let processors = available_parallelism().map_or(1, usize::from);
        let free = Arc::new(Semaphore::new(processors));
        PasswordHasher {
            preferred,
            upgrades: true,
            shared: Arc::new(Shared { free, has_warned: AtomicBool::new(false) }),
        }
    }

    /// Leaves upgrades to Django: [`verify`](Self::verify) never asks for one.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use cloakroom::auth::{PasswordAlgorithm, PasswordHasher};
    ///
    /// let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000 })?;
    /// let old = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 500 })?.encode("secret").await?;
    /// assert!(hasher.verify("secret", &old).await.must_update);
    /// assert!(!hasher.without_upgrades().verify("secret", &old).await.must_update);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn without_upgrades(self) -> PasswordHasher {
        PasswordHasher { upgrades: false, ..self }
    }

    /// The algorithm that encodes.
    pub fn preferred(&self) -> PasswordAlgorithm {
        self.preferred
    }

    /// Whether a password field may match a password at all. Django's `is_password_usable`.
    ///
    /// ```
    /// use cloakroom::auth::PasswordHasher;
    ///
    /// assert!(PasswordHasher::is_usable("pbkdf2_sha256$1000$salt$hash"));
    /// assert!(!PasswordHasher::is_usable("!of-set_unusable_password"));
    /// ```
    pub fn is_usable(encoded: &str) -> bool {
        !encoded.starts_with('!')
    }

    /// Checks a password against a password field. Django's `verify_password`, with the same work for a field that is
    /// unusable, for one of an unknown algorithm, and for one that is cheaper than the preferred algorithm.
    ///
    /// Where Django raises an error, such as for a malformed field, the password does not match. The first such field is
    /// logged, without its content.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use cloakroom::auth::{PasswordAlgorithm, PasswordHasher};
    ///
    /// // In Django: make_password("lètmein", "seasalt")
    /// let encoded = "pbkdf2_sha256$1500000$seasalt$P4UiMPVduVWIL/oS1GzH+IofsccjJNM5hUTikBvi5to=";
    /// let found = PasswordHasher::default().verify("lètmein", encoded).await;
    /// assert!(found.matches);
    /// assert!(found.must_update, "this salt is shorter than today's");
    /// # });
    /// ```
    pub async fn verify(&self, password: &str, encoded: &str) -> Verified {
        let preferred = self.preferred;
        let (password, field) = (password.to_owned(), encoded.to_owned());
        let work = move || {
            let Some(field) = Field::read(&field) else {
                let _ = preferred.encode(&password);
                return None;
            };
            let (matches, must_update) = (field.matches(&password), field.must_update(preferred));
            if !matches && must_update {
                field.harden_runtime(preferred, &password);
            }
            Some(Verified { matches, must_update })
        };
        let found = self.run(work).await.flatten();
        let is_set = !encoded.is_empty() && PasswordHasher::is_usable(encoded);
        if found.is_none() && is_set && !self.shared.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a password field is malformed or of an algorithm that is not in Django's default PASSWORD_HASHERS; \
                 its user cannot log in here; this is logged once"
            );
        }
        let found = found.unwrap_or_default();
        Verified { must_update: found.must_update && self.upgrades, ..found }
    }

    /// Encodes a password with the preferred algorithm and a new salt. Django's `make_password`.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use cloakroom::auth::{PasswordAlgorithm, PasswordHasher};
    ///
    /// let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000 })?;
    /// assert_ne!(hasher.encode("secret").await?, hasher.encode("secret").await?, "each has a salt of its own");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the operating system gives no random bytes or no memory.
    pub async fn encode(&self, password: &str) -> Result<String, Error> {
        let (preferred, password) = (self.preferred, password.to_owned());
        let encoded = self.run(move || preferred.encode(&password)).await;
        encoded.unwrap_or_else(|| Err(Error::Random("the runtime is shutting down".to_owned())))
    }

    /// Runs work on a blocking thread, when one of the processors is free. `None` while the runtime shuts down.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.shared.free).acquire_owned().await.ok()?;
        let work = move || {
            // Given back when the work is done, even if its request was cancelled.
            let _permit = permit;
            work()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

/// With the default algorithm of Django 6.1.
impl Default for PasswordHasher {
    fn default() -> PasswordHasher {
        PasswordHasher::of(PasswordAlgorithm::default())
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordHasher").field("preferred", &self.preferred).finish_non_exhaustive()
    }
}

impl PasswordAlgorithm {
    fn variant(self) -> &'static str {
        match self {
            PasswordAlgorithm::Pbkdf2Sha256 { .. } => "PasswordAlgorithm::Pbkdf2Sha256",
            PasswordAlgorithm::Pbkdf2Sha1 { .. } => "PasswordAlgorithm::Pbkdf2Sha1",
            PasswordAlgorithm::Argon2 { .. } => "PasswordAlgorithm::Argon2",
            PasswordAlgorithm::BcryptSha256 { .. } => "PasswordAlgorithm::BcryptSha256",
            PasswordAlgorithm::Scrypt { .. } => "PasswordAlgorithm::Scrypt",
        }
    }
}
