//! Checks at the start whether the secret matches the stored sessions.

use std::time::Duration;

use chrono::Utc;

use crate::site::error::{StoreError, StoreErrorKind};
use crate::site::settings::{SecretCheck, Settings};
use crate::store::contract::SessionStore;

/// The number of entries that one statement reads.
const PAGE: usize = 100;
/// No further page is read once this many entries count.
const ENOUGH: u32 = 20;
/// The maximum number of pages, in case most entries have expired.
const PAGES: u32 = 10;
/// The maximum time that a start waits for the sample.
const LIMIT: Duration = Duration::from_secs(2);
/// Fewer entries prove nothing: they may be another program's leftovers.
const FEWEST: u32 = 3;

/// The sample's live, readable entries, by kind.
#[derive(Default)]
struct Sample {
    genuine: u32,
    not_genuine: u32,
}

/// Fails when most of the stored sessions are not signed with the secret of the settings; see [`SecretCheck`].
pub(crate) async fn check_secret(store: &dyn SessionStore, settings: &Settings) -> Result<(), StoreError> {
    let signs = !matches!(store.name(), "memory" | "redis" | "memcached" | "filecache")
        && !store.keeps_data_in_cookie();
    if settings.secret_check == SecretCheck::Skip || !signs {
        return Ok(());
    }
    let sampled = tokio::time::timeout(LIMIT, sample(store)).await.unwrap_or_else(|_| {
        let message = format!("the store did not list its sessions within {} seconds", LIMIT.as_secs());
        Err(StoreError::new(store.name(), StoreErrorKind::Unavailable, message))
    });
    let Sample { genuine, not_genuine } = match sampled {
        Ok(sample) => sample,
        Err(error) if error.kind() == StoreErrorKind::Unsupported => return Ok(()),
        Err(error) => {
            tracing::warn!(
                store = store.name(),
                error = &error as &dyn std::error::Error,
                "the secret was not compared with the stored sessions"
            );
            return Ok(());
        }
    };
    if not_genuine == 0 {
        if genuine > 0 {
            tracing::debug!(store = store.name(), genuine, "the secret fits the stored sessions");
        }
        return Ok(());
    }
    let is_wrong = not_genuine >= FEWEST && not_genuine > genuine;
    if is_wrong && settings.secret_check != SecretCheck::Warn {
        return Err(StoreError::new(
            store.name(),
            StoreErrorKind::Misconfigured,
            refusal(genuine, not_genuine),
        ));
    }
    tracing::warn!(
        store = store.name(),
        genuine,
        not_genuine,
        "stored sessions are not signed with this secret, and their users are not logged in here; compare SECRET_KEY, \
         SECRET_KEY_FALLBACKS and the session class with those of the site that wrote them"
    );
    Ok(())
}

fn refusal(genuine: u32, not_genuine: u32) -> String {
    let sampled = genuine + not_genuine;
    format!(
        "{not_genuine} of {sampled} stored sessions were not signed with this secret, so the service was not started. \
         Compare SECRET_KEY, SECRET_KEY_FALLBACKS and the session class (`session_class`) with those of the site that \
         wrote them. If the secret was replaced on purpose, set `Settings::secret_check` to `SecretCheck::Warn`, or \
         CLOAKROOM_SECRET_CHECK=warn where the settings come from `Settings::from_env`: the users of those sessions \
         then have to log in again"
    )
}

async fn sample(store: &dyn SessionStore) -> Result<Sample, StoreError> {
    let (mut sample, mut listing, now) = (Sample::default(), store.list()?, Utc::now());
    for _ in 0..PAGES {
        let Some(page) = listing.next_page(PAGE, now).await? else { break };
        for listed in page.iter().filter(|listed| !listed.is_expired(now)) {
            match &listed.session {
                Ok(loaded) if loaded.is_genuine() => sample.genuine += 1,
                Ok(_) => sample.not_genuine += 1,
                // Another serializer, or damage: it says nothing about the secret.
                Err(_) => {}
            }
        }
        if sample.genuine + sample.not_genuine >= ENOUGH {
            break;
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::session_key::SessionKey;
    use crate::store::contract::{Created, Progress, Record, Rotated, Updated};
    use crate::store::listing::{Listed, Listing, Paged, Pages};
    use crate::store::loaded::Loaded;
    use crate::store::loaded::Version;

    /// A server that accepts the request and then fails, or never answers.
    #[derive(Debug)]
    struct Silent(bool);

    type Result<T> = std::result::Result<T, StoreError>;
    type Now = chrono::DateTime<Utc>;

    #[async_trait::async_trait]
    impl Paged<Listed> for Silent {
        type Place = ();

        async fn page(&self, _: Option<&()>, _: usize, _: Now) -> Result<(Vec<Listed>, Option<()>)> {
            if self.0 {
                std::future::pending::<()>().await;
            }
            Err(StoreError::new("silent", StoreErrorKind::Misconfigured, "no table"))
        }
    }

    #[async_trait::async_trait]
    impl SessionStore for Silent {
        fn name(&self) -> &'static str {
            "silent"
        }
        fn list(&self) -> Result<Box<dyn Listing<Listed> + '_>> {
            Ok(Box::new(Pages::<_, Listed>::of(self)))
        }
        async fn load(&self, _: &SessionKey, _: Now) -> Result<Option<Loaded>> {
            Ok(None)
        }
        async fn create(&self, _: &SessionKey, _: Record<'_>) -> Result<Created> {
            Ok(Created::KeyTaken)
        }
        async fn update(&self, _: &SessionKey, _: Option<&Version>, _: Record<'_>) -> Result<Updated> {
            Ok(Updated::Missing)
        }
        async fn rotate(
            &self,
            _: &SessionKey,
            _: Option<&Version>,
            _: &SessionKey,
            _: Record<'_>,
        ) -> Result<Rotated> {
            Ok(Rotated::Missing)
        }
        async fn delete(&self, _: &SessionKey) -> Result<bool> {
            Ok(false)
        }
        async fn exists(&self, _: &SessionKey, _: Now) -> Result<bool> {
            Ok(false)
        }
        async fn clear_expired_with_progress(&self, _: Now, _: &mut Progress<'_>) -> Result<u64> {
            Ok(0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_holds_the_start_up_for_two_seconds() {
        let (start, settings) = (tokio::time::Instant::now(), Settings::new("secret"));
        check_secret(&Silent(true), &settings).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 2);
        check_secret(&Silent(false), &settings).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
