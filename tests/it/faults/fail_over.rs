//! The primary becomes one that only reads, and another server takes over under the same address: a proxy's, or a name's
//! in the DNS. The connections to the old one go on, and reading on them too.

use futures_util::future::join_all;

use super::*;
use crate::support::primaries::Primaries;

/// Saves with this number until that fails, as nobody tells when each of a server's processes has heard that it only
/// reads.
async fn save_until_it_fails(name: &str, store: &dyn SessionStore, session_key: &SessionKey) -> StoreError {
    let start = std::time::Instant::now();
    loop {
        match update(store, session_key, 1).await {
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(20), "{name}: it writes on"),
            Err(error) => return error,
        }
    }
}

async fn no_save_is_lost(primaries: Primaries) {
    let name = primaries.name;
    let connect = async |url: &str| cloakroom::connect(url, &settings()).await.unwrap();
    // One saves while there is no new primary yet, the other only after.
    let (early, late) = (connect(&primaries.address).await, connect(&primaries.address).await);
    let new = connect(&primaries.of_new).await;
    let (session_key, _) = create(&*early).await;
    new.create(&session_key, record(&data_of(&session_key, 0))).await.unwrap();
    // Many at once, so that each store holds several connections to the old one.
    for store in [&early, &late] {
        for updated in join_all((0..8).map(|_| update(&**store, &session_key, 0))).await {
            assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}: {updated:?}");
        }
        assert_eq!(load(&**store, &session_key).await.unwrap(), 0, "{name}");
    }
    primaries.only_read().await;
    let error = save_until_it_fails(name, &*early, &session_key).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{name}: {error}");
    assert!(error.to_string().contains("primary"), "{name}: {error}");
    primaries.fail_over();
    // The old one refused and wrote nothing, so that each may go to the new one at once.
    for store in [&early, &late] {
        for updated in join_all((0..8).map(|_| update(&**store, &session_key, 2))).await {
            assert!(matches!(updated, Ok(Updated::Updated(_))), "{name}: {updated:?}");
        }
        assert_eq!(load(&*new, &session_key).await.unwrap(), 2, "{name}");
        // Nobody reads on from the old one: it would still have who was logged out at the new one.
        for loaded in join_all((0..8).map(|_| load(&**store, &session_key))).await {
            assert_eq!(loaded.unwrap(), 2, "{name}");
        }
        update(&*new, &session_key, 3).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_is_given_up_and_no_save_is_lost() {
    for primaries in Primaries::all().await {
        no_save_is_lost(primaries).await;
    }
}
