//! The example that logs Django's users in, beside a real Django with its admin.

use super::*;
use crate::support::browser::Reply;

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../../examples/django_login.rs"]
mod example;

const NEW_PASSWORD: &str = "another horse";

/// The example and Django on one file of SQLite.
async fn start() -> Sites {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite3");
    let django = Project::with_user(Django::V5_2, &database).serve();
    let site = example::site(database.clone(), Settings::new(SECRET)).await.unwrap();
    Sites { django, axum: crate::support::browser::serve(site).await, database, _folder: folder }
}

fn form(fields: &[(&str, &str)]) -> String {
    // No field of these tests has another letter that forms write otherwise.
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
    fields.join("&")
}

impl Sites {
    async fn log_in_to_axum(&self, browser: &mut Browser, username: &str, password: &str) -> Reply {
        let fields = [("username", username), ("password", password)];
        self.fill(browser, &self.axum("/"), &self.axum("/login"), &fields).await
    }

    /// Fills the form of a page, with the token that stands in it.
    async fn fill(&self, browser: &mut Browser, page: &str, action: &str, fields: &[(&str, &str)]) -> Reply {
        let page = browser.get(page).await.ok();
        let (_, token) = page.body.split_once(r#"name="csrfmiddlewaretoken" value=""#).unwrap();
        let (token, _) = token.split_once('"').unwrap();
        let fields = form(&[&[("csrfmiddlewaretoken", token)], fields].concat());
        browser.post_form(action, &fields).await
    }

    async fn fill_in_django(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) {
        let reply = self.fill(browser, &self.django(path), &self.django(path), fields).await;
        assert_eq!(reply.status, 302, "{}", reply.body);
    }

    async fn log_in_to_django(&self, browser: &mut Browser) {
        self.fill_in_django(browser, "/admin/login/", &[("username", USERNAME), ("password", PASSWORD)])
            .await;
    }

    /// Whether the example greets the user; otherwise it must show the form.
    async fn axum_knows_the_user(&self, browser: &mut Browser) -> bool {
        let page = browser.get(self.axum("/")).await.ok();
        let knows = page.body.contains(&format!("Hello, {USERNAME}"));
        assert_ne!(knows, page.body.contains("password"), "{}", page.body);
        knows
    }

    /// Whether Django's admin is open, with the user's name on it; otherwise it must send to its login.
    async fn admin_is_open(&self, browser: &mut Browser) -> bool {
        let page = browser.get(self.django("/admin/")).await;
        if page.status == 200 {
            assert!(page.body.contains(&format!("<strong>{USERNAME}</strong>")), "{}", page.body);
            return true;
        }
        let to = page.headers["location"].to_str().unwrap();
        assert_eq!((page.status, to), (302, "/admin/login/?next=/admin/"));
        false
    }
}

#[tokio::test]
async fn a_login_in_the_example_opens_djangos_admin_and_a_logout_closes_it() {
    let sites = start().await;
    let mut browser = Browser::new();
    let sql = "SELECT last_login IS NOT NULL FROM auth_user";
    let has_logged_in = || sites.connection().query_row::<bool, _, _>(sql, [], |row| row.get(0)).unwrap();
    assert!(!sites.axum_knows_the_user(&mut browser).await);
    assert!(!sites.admin_is_open(&mut browser).await);

    let reply = sites.log_in_to_axum(&mut browser, USERNAME, PASSWORD).await;
    assert_eq!((reply.status, reply.headers["location"].to_str().unwrap()), (303, "/"));
    let session_key = browser.session_key().unwrap().to_owned();
    assert!(sites.admin_is_open(&mut browser).await);
    assert!(sites.axum_knows_the_user(&mut browser).await);
    assert_eq!(
        (browser.session_key(), sites.rows()),
        (Some(session_key.as_str()), 1),
        "one session for both"
    );
    assert!(has_logged_in());
    assert_eq!(browser.post(sites.axum("/logout"), "").await.status, 403, "without a token");

    let mut stolen = browser.clone();
    let reply = sites.fill(&mut browser, &sites.axum("/"), &sites.axum("/logout"), &[]).await;
    assert_eq!((reply.status, browser.session_key(), sites.rows()), (303, None, 0));
    for browser in [&mut browser, &mut stolen] {
        assert!(!sites.admin_is_open(browser).await);
        assert!(!sites.axum_knows_the_user(browser).await);
    }
}

#[tokio::test]
async fn a_login_in_django_counts_in_the_example() {
    let sites = start().await;
    let mut browser = Browser::new();
    sites.log_in_to_django(&mut browser).await;
    assert!(sites.axum_knows_the_user(&mut browser).await);
    assert!(sites.admin_is_open(&mut browser).await);

    sites.connection().execute("UPDATE auth_user SET username = '<b>&amp;'", []).unwrap();
    let page = browser.get(sites.axum("/")).await.ok();
    assert!(page.body.contains("<p>Hello, &lt;b>&amp;amp;</p>"), "{}", page.body);

    sites.connection().execute("UPDATE auth_user SET is_active = 0, username = ?1", [USERNAME]).unwrap();
    assert!(!sites.axum_knows_the_user(&mut browser).await, "who is not active is nobody, as in Django");
    assert!(!sites.admin_is_open(&mut browser).await);
}

#[tokio::test]
async fn a_password_changed_in_django_ends_the_login_in_the_example() {
    let sites = start().await;
    let (mut here, mut elsewhere) = (Browser::new(), Browser::new());
    sites.log_in_to_axum(&mut here, USERNAME, PASSWORD).await;
    sites.log_in_to_django(&mut elsewhere).await;
    assert!(sites.axum_knows_the_user(&mut here).await);
    let passwords =
        [("old_password", PASSWORD), ("new_password1", NEW_PASSWORD), ("new_password2", NEW_PASSWORD)];
    sites.fill_in_django(&mut elsewhere, "/admin/password_change/", &passwords).await;

    assert!(!sites.axum_knows_the_user(&mut here).await);
    assert_eq!((here.session_key(), sites.rows()), (None, 1));
    assert!(sites.axum_knows_the_user(&mut elsewhere).await, "where it was changed the login goes on");

    assert_eq!(sites.log_in_to_axum(&mut here, USERNAME, PASSWORD).await.status, 401);
    assert_eq!(sites.log_in_to_axum(&mut here, USERNAME, NEW_PASSWORD).await.status, 303);
    assert!(sites.admin_is_open(&mut here).await);
}

#[tokio::test]
async fn who_may_not_log_in_gets_no_session() {
    let sites = start().await;
    let mut browser = Browser::new();
    assert_eq!(sites.log_in_to_axum(&mut browser, USERNAME, "wrong").await.status, 401);
    assert_eq!(sites.log_in_to_axum(&mut browser, "nobody", PASSWORD).await.status, 401);
    for change in ["is_active = 0", "is_active = 1, password = '!unusable'", "password = ''"] {
        sites.connection().execute(&format!("UPDATE auth_user SET {change}"), []).unwrap();
        assert_eq!(sites.log_in_to_axum(&mut browser, USERNAME, PASSWORD).await.status, 401, "{change}");
    }
    assert_eq!((browser.session_key(), sites.rows()), (None, 0));
}
