//! The answers to questions of all sorts.

use super::running::{Gate, Site, forwarded, nginx, receive, send};

const RULES: &str = "
login_url = 'https://www.example.com/accounts/login/'
[[rule]]
host = 'wiki.example.com'
path = '/public'
methods = ['GET']
allow = 'anyone'
[[rule]]
host = 'wiki.example.com'
path = '/staff'
allow = 'staff'
[[rule]]
host = 'wiki.example.com'
path = '/root'
allow = {any = ['superuser', {group = 'nobody is in it'}]}
[[rule]]
host = 'wiki.example.com'
path = '/editors'
allow = {group = 'editors, chief'}
[[rule]]
host = 'wiki.example.com'
path = '/closed'
allow = 'nobody'
[[rule]]
host = 'wiki.example.com'
allow = 'login'
";

const IDENTITY: [&str; 7] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-groups",
    "x-user-staff",
    "x-user-superuser",
    "x-user-assertion",
];

#[test]
fn each_outcome_for_each_proxy() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    for (user, method, target, status) in [
        ("", "GET", "/public/x", 200),
        ("", "HEAD", "/public", 200),
        ("", "POST", "/public", 401),
        ("", "GET", "/", 401),
        ("", "GET", "/staff", 401),
        ("", "GET", "/closed", 403),
        ("", "GET", "/public/..%2fstaff", 403),
        ("ada", "GET", "/public", 200),
        ("ada", "BREW", "/", 200),
        ("ada", "GET", "/staff", 403),
        ("ada", "GET", "/root", 403),
        ("ada", "GET", "/editors", 200),
        ("ada", "GET", "/closed", 403),
        ("ada", "GET", "/publicity/../staff", 403),
        ("grace", "GET", "/staff/x", 200),
        ("grace", "GET", "/root", 403),
        ("grace", "GET", "/editors", 403),
        ("root", "GET", "/staff", 200),
        ("root", "GET", "/root", 200),
        ("root", "GET", "/editors", 200),
        ("root", "GET", "/closed", 403),
    ] {
        let host = "wiki.example.com";
        let cookie = if user.is_empty() { "X-Nothing: 1" } else { site.cookie(user) };
        let forged =
            ["X-User-Id: 1", "X-User-Staff: true", "Remote-User: root", "Authorization: Basic cm9vdA=="];
        let with = |own: [&'static str; 3]| [&own[..], &forged, &[cookie]].concat();
        for (kind, path, headers) in [
            ("nginx", "/auth/nginx", with(nginx(method, host, target))),
            ("haproxy", "/auth/haproxy", with(nginx(method, host, target))),
            ("traefik", "/auth/traefik", with(forwarded(method, host, target))),
            ("caddy", "/auth/caddy?q=/public", with(forwarded(method, host, target))),
        ] {
            let answer = gate.get(path, &headers);
            assert_eq!(answer.status, status, "{kind} {user} {method} {target}: {answer:?}");
            check_headers(&answer, user);
        }
        let mut stream = gate.connect();
        let headers = [&format!("Host: {host}"), cookie];
        send(&mut stream, method, &format!("/auth/envoy{target}"), &headers);
        // An answer to HEAD has no body.
        if method != "HEAD" {
            let answer = receive(&mut stream).unwrap();
            assert_eq!(answer.status, status, "envoy {user} {method} {target}: {answer:?}");
            check_headers(&answer, user);
        }
    }
}

/// Each 2xx has each header once, and no other answer has one.
fn check_headers(answer: &super::running::Answer, user: &str) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    if answer.status != 200 {
        assert!(IDENTITY.iter().all(|name| answer.header(name).is_none()), "{answer:?}");
        return;
    }
    let values = IDENTITY.map(|name| answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}")));
    let expected = match user {
        "" => [""; 6],
        "ada" => ["1", "ada", "ada@example.com", "editors%2C chief", "false", "false"],
        "grace" => ["2", "grace", "grace@example.com", "", "true", "false"],
        _ => ["3", "root", "root@example.com", "", "true", "true"],
    };
    assert_eq!(values[..6], expected);
    assert_eq!(values[6].split('.').count(), if user.is_empty() { 1 } else { 3 }, "{answer:?}");
    assert!(answer.body.is_empty());
}

#[test]
fn people_are_led_to_the_login_page_and_scripts_are_told() {
    let gate = Gate::start(Site::shared(), RULES);
    let page = "https://www.example.com/accounts/login/?next=https%3A//wiki.example.com/a%3Fq%3D1";
    let accept = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let (host, target) = ("wiki.example.com", "/a?q=1");
    for path in ["/auth/nginx", "/auth/haproxy"] {
        let answer = gate.get(path, &[&nginx("GET", host, target)[..], &[accept]].concat());
        assert_eq!((answer.status, answer.header("x-login-location")), (401, Some(page)));
        assert_eq!(answer.header("location"), None);
    }
    for path in ["/auth/traefik", "/auth/caddy"] {
        let answer = gate.get(path, &[&forwarded("GET", host, target)[..], &[accept]].concat());
        assert_eq!((answer.status, answer.header("location")), (302, Some(page)));
    }
    let answer = gate.get("/auth/envoy/a?q=1", &["Host: wiki.example.com", accept]);
    assert_eq!((answer.status, answer.header("location")), (302, Some(page)));
    for (method, accept) in [("GET", "Accept: application/json"), ("POST", accept), ("GET", "Accept: */*")] {
        let answer = gate.get("/auth/traefik", &[&forwarded(method, host, target)[..], &[accept]].concat());
        assert_eq!((answer.status, answer.header("location")), (401, None), "{method} {accept}");
    }
    // A host that no rule names gets no redirect.
    let answer = gate.get("/auth/traefik", &[&forwarded("GET", "evil.example", "/")[..], &[accept]].concat());
    assert_eq!((answer.status, answer.header("location")), (403, None));
}

#[test]
fn without_login_url_the_way_is_the_projects_own() {
    let gate = Gate::start(Site::shared(), "[[rule]]\nhost = 'wiki.example.com'\nallow = 'login'");
    let answer = gate.get(
        "/auth/traefik",
        &[&forwarded("GET", "wiki.example.com", "/a?q=1")[..], &["Accept: text/html"]].concat(),
    );
    assert_eq!((answer.status, answer.header("location")), (302, Some("/accounts/login/?next=/a%3Fq%3D1")));
}

#[test]
fn a_question_that_is_none_is_refused() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    let cookie = site.cookie("root");
    let [method, host, uri] = nginx("GET", "wiki.example.com", "/public");
    let whole = [method, host, uri, cookie];
    assert_eq!(gate.get("/auth/nginx", &whole).status, 200);
    for left_out in 0..3 {
        let mut headers = whole.to_vec();
        headers.remove(left_out);
        assert_eq!(gate.get("/auth/nginx", &headers).status, 403, "without {}", whole[left_out]);
        let doubled = [&whole[..], &[whole[left_out]]].concat();
        assert_eq!(gate.get("/auth/nginx", &doubled).status, 403, "two {}", whole[left_out]);
    }
    // Another proxy's headers are not believed.
    assert_eq!(gate.get("/auth/traefik", &whole).status, 403);
    for (method, host, target) in [
        ("GET", "wiki.example.com", "https://wiki.example.com/public"),
        ("GET", "wiki.example.com", "/public#x"),
        ("GET", "wiki.example.com", "/public%00"),
        ("GET", "wiki.example.com", "/public%0d%0aX-User-Id:%201"),
        ("GET", "wiki.example.com", "/public x"),
        ("GET", "wiki.example.com", "/%"),
        ("GET", "wiki.example.com", "/caf\u{e9}"),
        ("GET", "wiki.example.com@evil.example", "/public"),
        ("GET", "wiki.example.com/", "/public"),
        ("GET", "wiki.example.com, wiki.example.com", "/public"),
        ("GET", "", "/public"),
        ("G(T", "wiki.example.com", "/public"),
        ("", "wiki.example.com", "/public"),
    ] {
        let answer = gate.get("/auth/nginx", &[&nginx(method, host, target)[..], &[cookie]].concat());
        assert_eq!(answer.status, 403, "{method:?} {host:?} {target:?}");
    }
}

#[test]
fn two_cookies_of_the_name_are_what_they_are_to_django() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    let (ada, root) = (site.cookie("ada"), site.cookie("root"));
    // The last one counts.
    let joined = format!("{ada}; sessionid={}", site.key("root"));
    assert_eq!(gate.ask("/", &[&joined]).header("x-user-name"), Some("root"));
    let nobody = format!("{root}; sessionid=nobody");
    assert_eq!(gate.ask("/", &[&nobody]).status, 401);
}

#[test]
fn there_is_nothing_but_the_endpoints() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    for path in [
        "/",
        "/auth",
        "/auth/",
        "/auth/nginx/",
        "/auth/envoy",
        "/auth/apache",
        "//auth/nginx",
        "/AUTH/nginx",
        "http://wiki.example.com/auth/nginx",
        "/health",
        "/metrics/",
        "/.well-known/",
        "/gate.toml",
    ] {
        let headers = [&nginx("GET", "wiki.example.com", "/public")[..], &[site.cookie("root")]].concat();
        assert_eq!(gate.get(path, &headers).status, 404, "{path}");
    }
    let mut stream = gate.connect();
    send(&mut stream, "POST", "/metrics", &["Content-Length: 0"]);
    assert_eq!(receive(&mut stream).unwrap().status, 404);
}

#[test]
fn only_trusted_proxies_are_answered() {
    let site = Site::shared();
    let config = format!("trusted_proxies = ['10.0.0.0/8', '::1']\n{RULES}");
    let gate = Gate::start(site, &config);
    let headers = [&nginx("GET", "wiki.example.com", "/public")[..], &[site.cookie("root")]].concat();
    for path in ["/auth/nginx", "/auth/caddy", "/auth/traefik", "/auth/haproxy", "/auth/envoy/public"] {
        let answer = gate.get(path, &headers);
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{path}");
        assert_eq!(answer.header("x-user-id"), None);
    }
    assert_eq!(gate.logged(), "");
    // A health check of this machine.
    for path in ["/health/live", "/health/ready", "/metrics", "/.well-known/jwks.json"] {
        assert_eq!(gate.get(path, &[""; 0]).status, 200, "{path}");
    }
}
