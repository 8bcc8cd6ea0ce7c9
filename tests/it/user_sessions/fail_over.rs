//! The primary becomes one that only reads, and another server takes over under the same address.

use super::*;
use crate::support::primaries::Primaries;

/// The index has a connection of its own in PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_goes_to_the_new_primary() {
    for primaries in Primaries::all().await {
        let site = Site::connect(&primaries.address).await;
        // While it can, so that there are connections to the old one.
        site.log_in("7").await;
        primaries.only_read().await;
        // It has reached all of the server's processes when a login fails.
        let start = std::time::Instant::now();
        let login = async || site.request(None, async |session| auth::login(&session, user("7")).await).await;
        while login().await.is_ok() {
            assert!(
                start.elapsed() < std::time::Duration::from_secs(20),
                "{}: it writes on",
                primaries.address
            );
        }
        // Reading makes connections to the old one again.
        assert!(!site.ids("7").await.is_empty(), "{}", primaries.address);
        primaries.fail_over();
        let session_key = site.log_in("8").await;
        assert_eq!(site.visit(&session_key).await.as_deref(), Some("8"), "{}", primaries.address);
        assert_eq!(site.ids("8").await.len(), 1, "{}", primaries.address);
        let new = Site::connect(&primaries.of_new).await;
        assert_eq!(new.ids("8").await.len(), 1, "{}", primaries.address);
    }
}
