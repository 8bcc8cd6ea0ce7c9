//! Passwords that change while the program runs.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

type BoxedError = Box<dyn Error + Send + Sync>;
type NextPassword = Pin<Box<dyn Future<Output = Result<String, BoxedError>> + Send>>;

/// Gives the password for each new connection, for passwords that expire: an IAM token of RDS or ElastiCache,
/// a password that Vault rotates, a file that an orchestrator replaces.
///
/// 1. It is asked once for each new connection, and not for a connection that exists: servers check a password
///    only at the login.
/// 2. Its time counts towards the store's time limit for connecting. A source whose answer takes long keeps it
///    and answers from memory.
/// 3. If it fails, the connection fails, as unavailable, and the next request asks again. The error's text is
///    shown in the store's error, so it must not contain the password.
///
/// ```
/// use cloakroom::store::PasswordSource;
///
/// let source = PasswordSource::new(|| async { std::fs::read_to_string("/run/secrets/database") });
/// assert_eq!(format!("{source:?}"), "PasswordSource(..)");
/// ```
#[derive(Clone)]
pub struct PasswordSource(Arc<dyn Fn() -> NextPassword + Send + Sync>);

impl PasswordSource {
    /// Creates a source from an asynchronous function.
    ///
    /// ```
    /// use cloakroom::store::PasswordSource;
    ///
    /// async fn token() -> Result<String, std::io::Error> {
    ///     Ok("a token that is valid for 15 minutes".to_owned())
    /// }
    ///
    /// let source = PasswordSource::new(token);
    /// assert!(!format!("{source:?}").contains("token"));
    /// ```
    pub fn new<Next, Answer, Password, Failed>(next: Next) -> PasswordSource
    where
        Next: Fn() -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<Password, Failed>> + Send + 'static,
        Password: Into<String>,
        Failed: Into<BoxedError>,
    {
        PasswordSource(Arc::new(move || {
            let answer = next();
            Box::pin(async move { answer.await.map(Into::into).map_err(Into::into) })
        }))
    }

    /// Returns the password for the next connection, or the text of the source's error.
    pub(in crate::store) async fn next(&self) -> Result<String, String> {
        (self.0)().await.map_err(|error| error.to_string())
    }
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordSource(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::PasswordSource;

    #[tokio::test]
    async fn each_call_asks_again() {
        let calls = AtomicU32::new(0);
        let source = PasswordSource::new(move || {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            async move { if call == 1 { Err("the vault is sealed") } else { Ok(format!("password {call}")) } }
        });
        assert_eq!(source.next().await.as_deref(), Ok("password 0"));
        assert_eq!(source.clone().next().await, Err("the vault is sealed".to_owned()));
        assert_eq!(source.next().await.as_deref(), Ok("password 2"));
        assert_eq!(format!("{source:?}"), "PasswordSource(..)");
    }
}
