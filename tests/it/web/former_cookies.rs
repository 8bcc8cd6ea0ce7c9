//! The cookie's domain, path or partition was changed, and browsers still have the cookie of before.

use cloakroom::CookieScope;

use super::*;
use crate::support::browser::Reply;

on_every_adapter!(
    each_response_that_sets_or_deletes_the_cookie_deletes_the_former_ones,
    several_cookies_end_with_the_first_response,
    the_present_cookie_is_never_deleted_for_an_attackers,
);

const SINCE_1970: &str = "expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0";

/// A site whose cookie was the host's own, then one of `/shop`, and is now the domain's.
fn settings(reject_duplicate_cookies: bool) -> Settings {
    let mut settings = Settings::new("secret");
    settings.cookie_domain = Some("example.com".to_owned());
    settings.reject_duplicate_cookies = reject_duplicate_cookies;
    settings.former_cookies = vec![CookieScope::of_host("/"), CookieScope::of_domain("example.com", "/shop")];
    settings
}

fn removals() -> [String; 2] {
    [
        format!("sessionid=\"\"; {SINCE_1970}; Path=/; SameSite=Lax"),
        format!("sessionid=\"\"; Domain=example.com; {SINCE_1970}; Path=/shop; SameSite=Lax"),
    ]
}

async fn get_with(site: &Site, path: &str, cookies: &str) -> Reply {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Reply::of(client.get(site.url(path)).header("cookie", cookies).send().await.unwrap()).await
}

async fn visited(site: &Site) -> String {
    let reply = Browser::new().get(site.url("/visit")).await.ok();
    reply.set_cookies()[0].split(['=', ';']).nth(1).unwrap().to_owned()
}

async fn each_response_that_sets_or_deletes_the_cookie_deletes_the_former_ones(on: Adapter) {
    let site = Site::start_with(on, pages(), settings(true)).await;
    let key = visited(&site).await;
    let cookie = format!("sessionid={key}");
    let reply = get_with(&site, "/visit", &cookie).await.ok();
    assert_eq!(reply.set_cookies()[1..], removals(), "it is the former one that came, or the present one");
    assert!(reply.set_cookies()[0].starts_with(&format!("{cookie}; Domain=example.com; ")));
    for path in ["/read", "/untouched"] {
        let reply = get_with(&site, path, &cookie).await.ok();
        assert_eq!(reply.set_cookies().len(), 0, "{path}: a login under the former cookie goes on");
    }
    let reply = get_with(&site, "/logout", &cookie).await.ok();
    assert_eq!(
        (reply.set_cookies().len(), &reply.set_cookies()[1..]),
        (3, &removals().each_ref().map(String::as_str)[..])
    );
    assert!(
        reply.set_cookies()[0].starts_with("sessionid=\"\"; Domain=example.com; expires=Thu, 01 Jan 1970")
    );
}

async fn several_cookies_end_with_the_first_response(on: Adapter) {
    for reject in [true, false] {
        let mut settings = settings(reject);
        settings.send_no_store = true;
        let site = Site::start_with(on, pages(), settings).await;
        let (former, present) = (visited(&site).await, visited(&site).await);
        let cookies = format!("sessionid={former}; sessionid={present}");
        for path in ["/untouched", "/read"] {
            let reply = get_with(&site, path, &cookies).await.ok();
            assert_eq!(reply.set_cookies(), removals(), "{path}, {reject}");
            assert_eq!(reply.vary(), Some("Cookie"), "{path}");
            assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
        }
        let reply = get_with(&site, "/visit", &cookies).await.ok();
        assert_eq!((reply.set_cookies().len(), reply.body.as_str()), (3, if reject { "1" } else { "2" }));
    }
}

async fn the_present_cookie_is_never_deleted_for_an_attackers(on: Adapter) {
    let site = Site::start_with(on, pages(), settings(true)).await;
    let (own, planted) = (visited(&site).await, visited(&site).await);
    for cookies in
        [format!("sessionid={own}; sessionid={planted}"), format!("sessionid={planted}; sessionid={own}")]
    {
        for path in ["/untouched", "/read", "/logout"] {
            let reply = get_with(&site, path, &cookies).await.ok();
            assert_eq!(reply.set_cookies(), removals(), "{path}");
        }
    }
    assert_eq!(get_with(&site, "/read", &format!("sessionid={own}")).await.body, "1");
    // Without former cookies nothing is deleted, as nobody knows which of them is the user's.
    let mut settings = settings(true);
    settings.former_cookies.clear();
    let site = Site::start_with(on, pages(), settings).await;
    let reply = get_with(&site, "/read", "sessionid=a; sessionid=b").await.ok();
    assert_eq!((reply.set_cookies().len(), reply.vary()), (0, Some("Cookie")));
}
