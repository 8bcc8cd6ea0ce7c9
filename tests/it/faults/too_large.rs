//! A session larger than the server takes is refused with the name of the server's limit; the old one stays, and so does
//! the connection.

use super::*;
use crate::support::random::Random;

/// A session whose text zlib cannot make shorter than about half of this.
fn large(session_key: &SessionKey, bytes: usize) -> SessionData {
    let mut random = Random(8_731);
    let text: String = (0..bytes).map(|_| char::from(b'0' + random.below(64) as u8)).collect();
    let text = text.replace('\\', "x");
    SessionData::from_json(&format!(r#"{{"me":"{}","number":7,"text":"{text}"}}"#, session_key.as_str()))
        .unwrap()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, words: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{text}");
    for word in words.iter().chain(&["nothing was written"]) {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_names_max_allowed_packet() {
    use crate::support::servers::mariadb::{connection, start, url};
    use mysql_async::prelude::Queryable;
    let server = start().await;
    let url = url(&server, "mysql");
    cloakroom::store::create_table(&url, Default::default()).await.unwrap();
    let mut admin = connection(&url).await;
    admin.query_drop("SET GLOBAL max_allowed_packet = 65536").await.unwrap();
    let store = cloakroom::connect(&url, &settings()).await.unwrap();
    let (session_key, version) = create(&*store).await;
    let words = ["max_allowed_packet", "65536"];
    // Beyond the limit by a little, by much, and by more than the sockets hold.
    for bytes in [70_000, 400_000, 8_000_000] {
        let data = large(&session_key, bytes);
        assert_refused(store.update(&session_key, Some(&version), record(&data)).await, &words);
        assert_eq!(load(&*store, &session_key).await.unwrap(), 0, "the old one stays");
        assert_refused(store.create(&SessionKey::random().unwrap(), record(&data)).await, &words);
        let moved = store.rotate(&session_key, None, &SessionKey::random().unwrap(), record(&data)).await;
        assert_refused(moved, &words);
        assert!(matches!(update(&*store, &session_key, 0).await, Ok(Updated::Updated(_))));
    }
    // A save sends what is expected as well.
    let data = large(&session_key, 30_000);
    let Updated::Updated(version) = store.update(&session_key, None, record(&data)).await.unwrap() else {
        panic!("half of the limit is refused")
    };
    let (a_little_more, small) = (large(&session_key, 50_000), data_of(&session_key, 1));
    assert_refused(store.update(&session_key, Some(&version), record(&a_little_more)).await, &words);
    let shrunk = store.update(&session_key, Some(&version), record(&small)).await;
    assert!(matches!(shrunk, Ok(Updated::Updated(_))), "{shrunk:?}");
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_names_proto_max_bulk_len() {
    use crate::support::servers::redis::{client, start, url_of};
    let server = start().await;
    let mut admin = client(&url_of(&server)).await;
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("proto-max-bulk-len").arg(1 << 20);
    limit.query_async::<()>(&mut admin).await.unwrap();
    let store = cloakroom::connect(&url_of(&server), &settings()).await.unwrap();
    let (session_key, version) = create(&*store).await;
    let data = large(&session_key, 3_000_000);
    let updated = store.update(&session_key, Some(&version), record(&data)).await;
    assert_refused(updated, &["proto-max-bulk-len"]);
    assert_eq!(load(&*store, &session_key).await.unwrap(), 0, "the old one stays");
    assert!(matches!(update(&*store, &session_key, 1).await, Ok(Updated::Updated(_))));
}
