//! An expiry that one site sets is the same on the other.

use super::*;

#[tokio::test]
async fn expiries_agree_with_use_tz() {
    let sites = Sites::start().await;
    agree(&sites, "2031-05-06T07:08:09.123456+00:00", "2031-05-01T00:00:00+00:00").await;
    agree(&sites, "2031-05-06T07:08:09-03:30", "2031-05-06T00:00:00.000001+05:45").await;
}

#[tokio::test]
async fn expiries_agree_without_use_tz() {
    let sites = Sites::start_in("America/Chicago", TimeZone::Naive("America/Chicago".parse().unwrap())).await;
    agree(&sites, "2031-05-06T07:08:09.123456", "2031-05-01T00:00:00").await;
}

/// Sets each kind of expiry on each site in turn, and asks both.
async fn agree(sites: &Sites, end: &str, modification: &str) {
    let forms = [
        json!({ "kind": "seconds", "value": 300 }),
        json!({ "kind": "seconds", "value": 0 }),
        json!({ "kind": "datetime", "value": end }),
        json!({ "kind": "timedelta", "value": 86_400 }),
        json!({ "kind": "default" }),
    ];
    for set_expiry in [sites.django("/set_expiry"), sites.axum("/set_expiry")] {
        for form in &forms {
            let mut browser = Browser::new();
            browser.post(sites.django("/put"), r#"{"visits":1}"#).await.ok();
            browser.post(&set_expiry, form).await.ok();

            let query = format!("/expiry?modification={}", modification.replace('+', "%2B"));
            let of_django = browser.get(sites.django(&query)).await.json();
            let of_axum = browser.get(sites.axum(&query)).await.json();
            assert_eq!(of_axum, of_django, "{form} set at {set_expiry}");
            match form["kind"].as_str().unwrap() {
                "datetime" => {
                    let date = of_django["expire_date"].as_str().unwrap();
                    assert_eq!(utc(date), utc(end), "{form} set at {set_expiry}");
                }
                "seconds" if form["value"] == 300 => assert_eq!(of_django["age"], 300),
                _ => {}
            }
            assert_eq!(of_django["at_browser_close"], form["value"] == 0);
        }
    }
}

fn utc(text: &str) -> chrono::NaiveDateTime {
    match cloakroom::Moment::from_isoformat(text).unwrap() {
        cloakroom::Moment::Aware(moment) => moment.naive_utc(),
        cloakroom::Moment::Naive(wall_clock) => wall_clock,
    }
}

#[tokio::test]
async fn cookies_of_both_sites_end_alike() {
    let sites = Sites::start().await;
    let form = json!({ "kind": "seconds", "value": 300 });
    let close = json!({ "kind": "seconds", "value": 0 });
    for set_expiry in [sites.django("/set_expiry"), sites.axum("/set_expiry")] {
        let mut browser = Browser::new();
        let reply = browser.post(&set_expiry, &form).await.ok();
        assert!(reply.set_cookies()[0].ends_with("; HttpOnly; Max-Age=300; Path=/; SameSite=Lax"));
        let reply = browser.post(&set_expiry, &close).await.ok();
        let key = browser.session_key().unwrap();
        assert_eq!(reply.set_cookies(), [format!("sessionid={key}; HttpOnly; Path=/; SameSite=Lax")]);
    }
}

/// Seconds that are over already: the session is gone, and each site tells so in its own way.
#[tokio::test]
async fn a_session_that_is_over_is_gone_on_both_sites() {
    let sites = Sites::start().await;
    for set_expiry in [sites.django("/set_expiry"), sites.axum("/set_expiry")] {
        let mut browser = Browser::new();
        browser.post(sites.django("/put"), r#"{"visits":1}"#).await.ok();
        let before = browser.clone();
        browser.post(&set_expiry, json!({ "kind": "seconds", "value": -5 })).await.ok();
        for whoami_url in [sites.django("/whoami"), sites.axum("/whoami")] {
            assert_eq!(whoami(&mut before.clone(), whoami_url).await, (None, "{}".into()));
        }
    }
}
