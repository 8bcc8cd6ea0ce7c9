//! Saving ends in time, whatever others do.

use super::*;

fn settings(save_timeout: Duration) -> Settings {
    let mut settings = Settings::new("secret");
    settings.save_timeout = save_timeout;
    settings
}

/// The time of these tests goes on by itself while everybody waits.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_save_that_does_not_end_is_told_and_can_save_later() {
    let site = Site::on(Arc::new(MemoryStore::new()), settings(Duration::from_secs(5))).await;
    let (first, a, again) = (site.request().await, site.request().await, site.request().await);
    let hold = Hold::before("update");
    let (hold, leading, saves) = behind_a_held_save(&site, hold, &first, &[&a]).await;
    let start = tokio::time::Instant::now();
    for save in saves {
        let error = save.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::SaveTimedOut { attempts: 0, .. }), "{error:?}");
        assert!(error.to_string().contains("`save_timeout`") && error.to_string().contains("5s"), "{error}");
        assert_eq!(cloakroom::middleware::status_of(&error), 503);
    }
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    // Nor does the same session's save that waits for itself, in another task.
    count_one(&first);
    assert!(matches!(save(&first).await.unwrap(), Err(Error::SaveTimedOut { attempts: 0, .. })));
    site.store.hold(None);
    hold.release();
    leading.await.unwrap().unwrap();
    assert_eq!(site.counted().await, Some(1));
    for session in [&a, &first, &again] {
        session.save().await.unwrap();
    }
    assert_eq!(site.counted().await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn who_meets_the_changes_of_others_tries_until_the_time_is_over() {
    let limit = Duration::from_secs(3);
    let site = Site::on(Arc::new(MemoryStore::new()), settings(limit)).await;
    let session = site.request().await;
    site.store.always_changed();
    let start = tokio::time::Instant::now();
    let error = session.save().await.unwrap_err();
    let Error::SaveTimedOut { attempts, .. } = error else { panic!("{error:?}") };
    assert!(attempts > 100, "{attempts} attempts");
    assert!((limit..limit + Duration::from_millis(20)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

/// A limit of nothing tries once, and one beyond the end of time is none.
#[tokio::test]
async fn any_limit_is_taken() {
    for limit in [Duration::ZERO, Duration::MAX] {
        let site = Site::on(Arc::new(MemoryStore::new()), Settings::new("secret")).await;
        let key = site.session_key.clone();
        let session = Session::open(Arc::clone(&site.store) as _, settings(limit), key).await.unwrap();
        count_one(&session);
        session.save().await.unwrap();
        assert_eq!(site.counted().await, Some(1));
    }
}
