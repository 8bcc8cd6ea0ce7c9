//! Where Django redirects to after a login, and how it redirects to the login page.

use cloakroom::auth::{Next, is_safe_next};
use cloakroom::{Error, LoginRedirect, RequestHead};
use serde_json::Value as Json;

use super::{Reproduced, Rule, Vectors, text};

#[test]
fn next() {
    let rules = [
        Rule::new("a URL that begins with a character beyond ASCII begins with a letter or digit", |case| {
            case["kind"] == "safe" && begins_oddly(case) && case["results"][""][0] == true
        }),
        Rule::new("the path of a request is passed on as the client wrote it, and not quoted anew", |case| {
            case["kind"] == "login"
                && !text(case, "field").is_empty()
                && path_of(text(case, "target")).contains([';', '='])
        }),
    ];
    Vectors::read("next").run(&rules, |case| match text(case, "kind") {
        "safe" => safe(case),
        "quoted" => {
            let url = text(case, "url");
            assert_eq!(Next::new(url).or("unsafe"), text(case, "result"), "{url:?}");
            Reproduced::Exactly
        }
        "login" => login(case),
        kind => panic!("no kind {kind}"),
    });
}

fn safe(case: &Json) -> Reproduced {
    let url = text(case, "url");
    let mut reproduced = Reproduced::Exactly;
    for (hosts, results) in case["results"].as_object().unwrap() {
        let hosts: Vec<&str> = hosts.split_whitespace().collect();
        for (require_https, result) in [(false, &results[0]), (true, &results[1])] {
            let is_safe = is_safe_next(url, &hosts, require_https);
            if is_safe != *result {
                assert!(!is_safe, "{url:?} is not safe: {hosts:?}, {require_https}");
                assert!(begins_oddly(case), "{url:?} is safe: {hosts:?}, {require_https}");
                reproduced = Reproduced::Differently;
            }
        }
    }
    let is_path = is_safe_next(url, &[], false);
    assert_eq!(Next::new(url) != Next::default(), is_path, "{url:?}");
    reproduced
}

fn begins_oddly(case: &Json) -> bool {
    let first = text(case, "url").trim().chars().next();
    first.is_some_and(|first| !first.is_ascii() && !first.is_alphanumeric())
}

fn login(case: &Json) -> Reproduced {
    let request = RequestHead::new("GET", text(case, "target"), &());
    let login = LoginRedirect::to(text(case, "login_url")).with_field(text(case, "field"));
    let location = login.location(&Error::NotLoggedIn, &request).unwrap();
    if location == text(case, "location") {
        return Reproduced::Exactly;
    }
    assert_eq!(
        location.replace("%3B", "%253B").replacen("%3D", "%253D", 1),
        text(case, "location").replace("d%3Be", "d%253Be")
    );
    Reproduced::Differently
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}
