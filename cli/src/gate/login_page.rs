//! The way to the login page.

use cloakroom::auth::is_safe_next;
use cloakroom::{Error, LoginRedirect, RequestHead};
use http::{HeaderMap, Uri};

/// The site's login page.
pub(crate) struct LoginPage {
    redirect: LoginRedirect,
    /// The page's host; `None` where it is on each asked host.
    host: Option<String>,
    /// The scheme of the protected hosts.
    scheme: String,
}

impl LoginPage {
    pub(crate) fn new(login_url: &str, redirect_field: &str, scheme: &str) -> LoginPage {
        let host = login_url.parse().ok().and_then(|url: Uri| url.host().map(str::to_ascii_lowercase));
        let redirect = LoginRedirect::to(login_url).with_field(redirect_field);
        LoginPage { redirect, host, scheme: scheme.to_owned() }
    }

    /// The URL of the login page, which leads back to this path and query of this host afterwards. A login page on
    /// another host gets the whole URL. If a login would refuse to go there, it is left at the site's root.
    ///
    /// The host is one that a rule names. Its port is the client's word alone, so that it is not repeated.
    pub(crate) fn location(&self, host: &str, target: &str) -> Option<String> {
        let is_elsewhere = self.host.as_ref().is_some_and(|own| *own != host);
        let start = if is_elsewhere { format!("{}://{host}", self.scheme) } else { String::new() };
        let mut next = format!("{start}{target}");
        if !is_safe_next(&next, &[host], self.scheme == "https") {
            next = format!("{start}/");
        }
        self.redirect.location(&Error::NotLoggedIn, &RequestHead::new("GET", &next, &HeaderMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::LoginPage;

    #[test]
    fn the_way_back_is_checked() {
        let own = LoginPage::new("/accounts/login/", "next", "https");
        let same = LoginPage::new("https://wiki.example.com/login?theme=dark#form", "to", "https");
        let other = LoginPage::new("https://www.example.com/login/", "next", "https");
        for (page, target, location) in [
            (&own, "/a/b?q=1&r=%2F", "/accounts/login/?next=/a/b%3Fq%3D1%26r%3D%252F"),
            (&own, "//evil.example/x", "/accounts/login/?next=/"),
            (&own, "/\\evil.example/x", "/accounts/login/?next=/"),
            (&own, "/a?", "/accounts/login/?next=/a"),
            (&same, "/a?q=1", "https://wiki.example.com/login?theme=dark&to=/a%3Fq%3D1#form"),
            (&other, "/a?q=1", "https://www.example.com/login/?next=https%3A//wiki.example.com/a%3Fq%3D1"),
            (
                &other,
                "//evil.example/",
                "https://www.example.com/login/?next=https%3A//wiki.example.com//evil.example/",
            ),
            (
                &other,
                "/a?to=https://evil.example",
                "https://www.example.com/login/?next=https%3A//wiki.example.com/a%3Fto%3Dhttps%3A//evil.example",
            ),
        ] {
            assert_eq!(page.location("wiki.example.com", target).as_deref(), Some(location), "{target}");
        }
        // Django's login refuses longer ones.
        let long = format!("/{}", "x".repeat(2_050));
        assert_eq!(own.location("wiki.example.com", &long).as_deref(), Some("/accounts/login/?next=/"));
        let location = other.location("wiki.example.com", &long);
        assert_eq!(
            location.as_deref(),
            Some("https://www.example.com/login/?next=https%3A//wiki.example.com/")
        );
    }
}
