//! Requests for one session at the same time.

use super::*;

const REQUESTS: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_requests_at_once_each_one_counts() {
    let sites = Sites::start().await;
    let mut browser = Browser::new();
    browser.post(sites.django("/login"), credentials()).await.ok();

    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (mut browser, url) = (browser.clone(), sites.axum(&format!("/count/{number}")));
            tokio::spawn(async move { browser.get(url).await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }

    for whoami_url in [sites.django("/whoami"), sites.axum("/whoami")] {
        let (user, session) = whoami(&mut browser, whoami_url).await;
        assert_eq!(user.as_deref(), Some(USERNAME));
        let session: serde_json::Map<String, Value> = serde_json::from_str(&session).unwrap();
        assert_eq!(session["counter"], REQUESTS);
        let kept = (0..REQUESTS).filter(|number| session[&format!("key {number}")] == *number).count();
        assert_eq!(kept, REQUESTS as usize);
    }
    println!("{REQUESTS} of {REQUESTS} changes to one session kept, by requests at the same time");
}
