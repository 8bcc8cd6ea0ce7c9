use super::*;

fn user() -> Identity {
    Identity {
        id: "7".to_owned(),
        username: "ada lovelace%é\r\nX-User-Id: 1".to_owned(),
        email: String::new(),
        groups: vec![" editors, chief  ".to_owned(), "Zürich".to_owned()],
        is_staff: true,
        is_superuser: false,
        ..Identity::default()
    }
}

fn shown(answer: &Answer) -> Vec<String> {
    let line = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    answer.headers.iter().map(line).collect()
}

#[test]
fn each_success_has_all_headers() {
    let allowed = Answer::allowed(&user(), "a.b.c".to_owned());
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(
        shown(&allowed),
        [
            "x-user-id: 7",
            "x-user-name: ada lovelace%25%C3%A9%0D%0AX-User-Id: 1",
            "x-user-email: ",
            "x-user-groups: %20editors%2C chief%20%20,Z%C3%BCrich",
            "x-user-staff: true",
            "x-user-superuser: false",
            "x-user-assertion: a.b.c",
            "cache-control: no-store",
        ]
    );
    let anyone = Answer::allowed_to_anyone();
    assert_eq!(anyone.status, StatusCode::OK);
    for answer in [&allowed, &anyone] {
        let names: Vec<&HeaderName> = answer.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names[..7], IDENTITY_HEADERS.iter().collect::<Vec<_>>());
        assert!(answer.body.is_empty());
    }
    assert!(anyone.headers[..7].iter().all(|(_, value)| value.is_empty()));
}

#[test]
fn no_two_names_have_one_value() {
    let names =
        ["", " ", "  ", "a", " a", "a ", "a b", "%20a", "%", "%25", "é", "\u{a0}", "\t", "\0", "a\u{202e}"];
    let values: std::collections::BTreeSet<_> = names.iter().map(|name| quoted(name, QUOTED)).collect();
    assert_eq!(values.len(), names.len());
    assert!(values.iter().all(|value| value.trim() == value && HeaderValue::from_str(value).is_ok()));
}

#[test]
fn the_way_to_the_login_is_what_the_proxy_can_take() {
    for kind in Kind::ALL {
        let page = Answer::log_in(kind, Some("/login?next=/a".to_owned()));
        let (status, location) = match kind {
            Kind::Nginx | Kind::Haproxy => (401, "x-login-location: /login?next=/a"),
            _ => (302, "location: /login?next=/a"),
        };
        assert_eq!(
            (page.status.as_u16(), shown(&page)),
            (status, vec!["cache-control: no-store".to_owned(), location.to_owned()])
        );
        let script = Answer::log_in(kind, None);
        assert_eq!(
            (script.status.as_u16(), shown(&script)),
            (401, vec!["cache-control: no-store".to_owned()])
        );
    }
    assert_eq!(Answer::forbidden().status, 403);
    assert_eq!(Answer::unavailable().status, 503);
    assert_eq!(shown(&Answer::unavailable()), ["cache-control: no-store"]);
}
