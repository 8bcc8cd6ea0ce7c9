//! Changing a session's key where the old and the new key may be on different servers.

use async_trait::async_trait;

use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Record, Rotated, SessionStore};
use crate::store::loaded::Version;
use crate::store::outcome::WriteOutcome;

/// A store that changes one entry at a time.
#[async_trait]
pub(super) trait OneEntryStore: SessionStore {
    /// Deletes an entry if it still is in the expected version; without one, whatever it is.
    async fn delete_expected(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
    ) -> Result<WriteOutcome, StoreError>;
}

/// Writes the session under the new key, then deletes the old entry, which decides. Between the two steps the session is
/// under both keys; nobody knows the new one yet. When the old entry is not what was expected, the new one is deleted.
pub(super) async fn rotate_in_two_steps(
    store: &impl OneEntryStore,
    session_key: &SessionKey,
    expected: Option<&Version>,
    new_session_key: &SessionKey,
    record: Record<'_>,
) -> Result<Rotated, StoreError> {
    let Created::Created(version) = store.create(new_session_key, record).await? else {
        return Ok(Rotated::KeyTaken);
    };
    let outcome = store.delete_expected(session_key, expected).await?;
    if outcome != WriteOutcome::Done {
        store.delete_expected(new_session_key, Some(&version)).await?;
    }
    Ok(outcome.rotated(version))
}
