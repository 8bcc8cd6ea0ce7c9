//! A protected service in a real browser.

use super::demo::Demo;
use crate::support::chromium::Chromium;

struct Visitor<'a> {
    chromium: Chromium,
    demo: &'a Demo,
}

impl Visitor<'_> {
    fn go(&self, path: &str) {
        self.chromium.go(&format!("{}{path}", self.demo.address));
    }

    fn log_in(&self, name: &str, password: &str) {
        self.chromium.fill("#id_username", name);
        self.chromium.fill("#id_password", password);
        self.chromium.click("form button, form input[type=submit]");
    }

    /// Opens the protected service: this user is told to it.
    fn is_known_as(&self, name: &str) {
        self.go("/app/");
        self.chromium.wait_until_says("#who", &format!("verified: {name}"));
    }

    /// Opens the protected service: the login page is there in its place.
    fn is_asked_to_log_in(&self) {
        self.go("/app/page?q=1");
        self.chromium.wait_until_finds("#id_password");
        let query = self.chromium.run("return location.pathname + location.search");
        assert_eq!(query, "/accounts/login/?next=/app/page%3Fq%3D1");
    }
}

#[test]
fn a_login_to_djangos_admin_opens_the_service_until_it_ends() {
    let demo = Demo::start();
    let visitor = Visitor { chromium: Chromium::start(), demo: &demo };
    visitor.is_asked_to_log_in();

    visitor.go("/admin/");
    visitor.log_in("grace", demo.password("grace"));
    visitor.chromium.wait_until_finds("#logout-form");
    visitor.is_known_as("grace");
    visitor.go("/staff/");
    visitor.chromium.wait_until_says("#claims", "\"is_staff\": true");

    visitor.go("/admin/");
    visitor.chromium.click("#logout-form button");
    visitor.chromium.wait_until_says("#who", "nobody is logged in");
    visitor.is_asked_to_log_in();
}

#[test]
fn a_changed_password_and_an_inactive_user_end_it_at_once() {
    let demo = Demo::start();
    let visitor = Visitor { chromium: Chromium::start(), demo: &demo };
    visitor.is_asked_to_log_in();
    visitor.log_in("ada", demo.password("ada"));
    // The login leads back to the page.
    visitor.chromium.wait_until_says("#headers", "GET /app/page?q=1");
    visitor.is_known_as("ada");
    demo.change("ada", "user.set_password('another')");
    visitor.is_asked_to_log_in();

    visitor.log_in("ada", "another");
    visitor.chromium.wait_until_says("#who", "verified: ada");
    demo.change("ada", "user.is_active = False");
    visitor.is_asked_to_log_in();
    demo.change("ada", "user.is_active = True");
    visitor.is_known_as("ada");
}
