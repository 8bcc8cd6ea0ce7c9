//! Logins, data and logouts go from either site to the other.

use super::*;

/// What Django puts into the session: spelled as Python spells it.
const PYTHON_VALUES: &str = concat!(
    r#""text":"Zo\u00eb \ud83e\udde5","big":123456789012345678901234567890,"large":1e+16,"tenth":0.1,"#,
    r#""odd":[NaN,-Infinity,-0.0],"half":"\ud800","nested":{"b":[true,null],"a":{}}"#
);

#[tokio::test]
async fn what_django_logged_in_and_stored_goes_on_in_axum_and_back() {
    let sites = Sites::start().await;
    let mut browser = Browser::new();
    browser.post(sites.django("/login"), credentials()).await.ok();
    browser.post(sites.django("/put"), format!("{{{PYTHON_VALUES}}}")).await.ok();
    let of_django = format!("{{{PYTHON_VALUES}}}");
    assert_eq!(whoami(&mut browser, sites.axum("/whoami")).await, (Some(USERNAME.into()), of_django));

    browser.post(sites.axum("/put"), r#"{"from":"axum"}"#).await.ok();
    let old = browser.clone();
    browser.get(sites.axum("/cycle_key")).await.ok();

    assert_ne!(browser.session_key(), old.session_key());
    for whoami_url in [sites.django("/whoami"), sites.axum("/whoami")] {
        assert_eq!(whoami(&mut old.clone(), whoami_url).await, (None, "{}".into()), "the old key is dead");
    }
    assert_eq!(sites.row(old.session_key().unwrap()), None);
    let both = format!(r#"{{{PYTHON_VALUES},"from":"axum"}}"#);
    assert_eq!(whoami(&mut browser, sites.django("/whoami")).await, (Some(USERNAME.into()), both.clone()));
    assert_eq!(whoami(&mut browser, sites.axum("/whoami")).await, (Some(USERNAME.into()), both));
    assert_eq!(sites.rows(), 1);
}

#[tokio::test]
async fn what_axum_stored_and_logged_in_goes_on_in_django_and_back() {
    let sites = Sites::start().await;
    let mut browser = Browser::new();
    browser.get(sites.axum("/put_rust_values")).await.ok();
    let anonymous = browser.clone();
    let of_rust = format!("{{{}}}", axum_site::RUST_VALUES);
    assert_eq!(whoami(&mut browser, sites.django("/whoami")).await, (None, of_rust.clone()));

    browser.post(sites.axum("/login"), credentials()).await.ok();
    assert_ne!(browser.session_key(), anonymous.session_key());
    assert_eq!(sites.row(anonymous.session_key().unwrap()), None);
    assert_eq!(whoami(&mut browser, sites.django("/whoami")).await, (Some(USERNAME.into()), of_rust));
    let admin = browser.get(sites.django("/admin/")).await.ok();
    assert!(admin.body.contains("Site administration"), "{}", admin.body);

    browser.get(sites.django("/cycle_key")).await.ok();
    browser.post(sites.django("/put"), r#"{"tenth":0.2,"from":"Django"}"#).await.ok();
    let both = axum_site::RUST_VALUES.replace("0.1", "0.2");
    let both = format!(r#"{{{both},"from":"Django"}}"#);
    assert_eq!(whoami(&mut browser, sites.axum("/whoami")).await, (Some(USERNAME.into()), both));
    assert_eq!(sites.rows(), 1);
}

#[tokio::test]
async fn a_login_through_djangos_admin_counts_in_axum() {
    let sites = Sites::start().await;
    let mut browser = Browser::new();
    let form = browser.get(sites.django("/admin/login/?next=/whoami")).await.ok();
    let (_, token) = form.body.split_once(r#"name="csrfmiddlewaretoken" value=""#).unwrap();
    let (token, _) = token.split_once('"').unwrap();
    let fields = format!(
        "csrfmiddlewaretoken={token}&username={USERNAME}&password={}&next=/whoami",
        PASSWORD.replace(' ', "+")
    );
    let reply = browser.post_form(sites.django("/admin/login/"), &fields).await;
    assert_eq!((reply.status, &reply.headers["location"]), (302, &"/whoami".parse().unwrap()));
    assert_eq!(whoami(&mut browser, sites.axum("/whoami")).await.0.as_deref(), Some(USERNAME));
}

#[tokio::test]
async fn a_changed_password_ends_the_login_on_axum_too() {
    let sites = Sites::start().await;
    let mut browser = Browser::new();
    browser.post(sites.django("/login"), credentials()).await.ok();
    sites.connection().execute("UPDATE auth_user SET password = 'another hash'", []).unwrap();

    assert_eq!(whoami(&mut browser, sites.axum("/whoami")).await, (None, "{}".into()));
    assert_eq!((browser.session_key(), sites.rows()), (None, 0));
}

#[tokio::test]
async fn a_logout_on_either_site_ends_the_session_on_both() {
    let sites = Sites::start().await;
    for (login, logout) in [
        (sites.django("/login"), sites.axum("/logout")),
        (sites.axum("/login"), sites.django("/logout")),
        (sites.axum("/login"), sites.axum("/logout")),
    ] {
        let mut browser = Browser::new();
        browser.post(login, credentials()).await.ok();
        browser.post(sites.axum("/put"), r#"{"cart":[1]}"#).await.ok();
        let mut stolen = browser.clone();
        let reply = browser.get(logout).await.ok();

        assert_eq!(
            reply.set_cookies(),
            [r#"sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax"#]
        );
        assert_eq!((browser.session_key(), sites.rows()), (None, 0));
        for whoami_url in [sites.django("/whoami"), sites.axum("/whoami")] {
            assert_eq!(whoami(&mut browser, whoami_url.clone()).await, (None, "{}".into()));
            assert_eq!(whoami(&mut stolen, whoami_url).await, (None, "{}".into()), "the key is dead");
        }
        assert_eq!(sites.rows(), 0);
    }
}
