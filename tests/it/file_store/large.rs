//! Files larger than any session: whoever may write to the folder can put one there.

use std::fs::File;

use cloakroom::StoreErrorKind;
use cloakroom::store::Updated;

use super::*;

/// Three gigabytes under a session's name are not read, by no call, and stay where they are; a logout removes them.
#[test]
fn a_planted_file_of_three_gigabytes_is_not_read() {
    if !crate::support::limited::memory(
        "file_store::large::a_planted_file_of_three_gigabytes_is_not_read",
        256,
    ) {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let file = path(folder.path(), &session_key());
        File::create(&file).unwrap().set_len(3 << 30).unwrap();
        let refused = |error: cloakroom::StoreError| {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
            assert!(
                error.to_string().contains("3221225472")
                    && error.to_string().contains("max_decompressed_bytes"),
                "{error}"
            );
        };
        refused(store.load(&session_key(), now()).await.unwrap_err());
        refused(store.exists(&session_key(), now()).await.unwrap_err());
        refused(store.update(&session_key(), None, record(&data("{}"))).await.unwrap_err());
        let page = store.list().unwrap().next_page(10, now()).await.unwrap().unwrap();
        assert_eq!(page.len(), 1);
        refused(page.into_iter().next().unwrap().session.unwrap_err());
        assert_eq!(store.clear_expired(now() + TimeDelta::days(4_000)).await.unwrap(), 0);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 3 << 30);
        assert!(store.delete(&session_key()).await.unwrap() && !file.exists());
    });
}

/// The largest session that is saved is loaded, in either format and compressed or not; one byte more is refused,
/// and the session before it stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_session_that_is_saved_is_loaded() {
    use cloakroom::TextFormat::{Legacy, Modern};
    use cloakroom::signing::Compression::{Always, Never};
    for (text_format, compression) in [(Modern, Always), (Modern, Never), (Legacy, Never)] {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.max_decompressed_bytes = 10_000;
        (settings.text_format, settings.compression) = (text_format, compression);
        let store: Arc<dyn SessionStore> =
            Arc::new(FileStore::at(folder.path()).open(&settings).await.unwrap());
        let of_size = |size: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(size - 8));
        create(&store, &session_key(), &of_size(10_000)).await;
        assert_eq!(load(&store, &session_key()).await, Some(of_size(10_000)));
        let larger = data(&of_size(10_001));
        let error = store.update(&session_key(), None, record(&larger)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("10001") && error.to_string().contains("10000"), "{error}");
        assert_eq!(load(&store, &session_key()).await, Some(of_size(10_000)));
        let updated = store.update(&session_key(), None, record(&data("{}"))).await.unwrap();
        assert!(matches!(updated, Updated::Updated(_)));
    }
}
