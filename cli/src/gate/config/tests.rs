use std::net::IpAddr;

use cloakroom::auth::Requirement;

use super::*;

const RULE: &str = "[[rule]]\nhost = 'wiki.example.com'\nallow = 'login'\n";

fn config(text: &str) -> Config {
    Config::from_toml(text).unwrap_or_else(|error| panic!("{text}: {error:#}"))
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = config(RULE);
    assert_eq!(config.listen.to_string(), "127.0.0.1:9180");
    assert!(config.listen_grpc.is_none() && config.login_url.is_none() && config.users.is_none());
    assert!(config.trusted_proxies == Networks::loopback());
    assert_eq!((config.scheme.as_str(), config.redirect_field), ("https", None));
    assert_eq!((config.time_limit, config.cache), (Duration::from_secs(2), Duration::ZERO));
    assert!(config.access_log);
}

#[test]
fn all_of_it_is_read() {
    let config = config(
        "listen = 'unix:/run/gate.sock'\nlisten_grpc = '[::1]:9181'\ntrusted_proxies = ['10.0.0.0/8']\nscheme = 'http'\n\
         login_url = 'https://www.example.com/login/'\nredirect_field = 'to'\ntime_limit = 0.5\ncache = 3\n\
         access_log = false\n[users]\ntable = 'people'\nis_staff = ''\n[[rule]]\nhost = '*.example.com'\nallow = 'nobody'",
    );
    assert_eq!(config.listen, Listen::Unix("/run/gate.sock".into()));
    assert_eq!(config.listen_grpc, Some(Listen::Tcp("[::1]:9181".parse().unwrap())));
    assert!(config.trusted_proxies.has(IpAddr::from([10, 1, 2, 3])));
    assert_eq!((config.scheme.as_str(), config.redirect_field.as_deref()), ("http", Some("to")));
    assert_eq!(config.login_url.as_deref(), Some("https://www.example.com/login/"));
    assert_eq!((config.time_limit.as_millis(), config.cache.as_secs()), (500, 3));
    assert!(!config.access_log);
    let users = config.users.unwrap();
    assert_eq!(
        (users.table.as_deref(), users.is_staff.as_deref(), users.email),
        (Some("people"), Some(""), None)
    );
}

#[test]
fn each_way_to_allow() {
    let rule = |allow: &str| format!("[[rule]]\nhost = 'wiki.example.com'\nallow = {allow}");
    let users = Access::Users;
    for (allow, access) in [
        ("'anyone'", Access::Anyone),
        ("'nobody'", Access::Nobody),
        ("'login'", users(Requirement::login())),
        ("'staff'", users(Requirement::staff())),
        ("'superuser'", users(Requirement::superuser())),
        ("{group = 'editors'}", users(Requirement::group("editors"))),
        ("{permission = 'wiki.edit'}", users(Requirement::permission("wiki.edit"))),
        (
            "{any = ['staff', {all = [{group = 'a'}, {group = 'b'}]}]}",
            users(Requirement::any_of([
                Requirement::staff(),
                Requirement::all_of([Requirement::group("a"), Requirement::group("b")]),
            ])),
        ),
    ] {
        let expected = Rules::new(vec![Rule {
            host: HostPattern::try_from("wiki.example.com".to_owned()).unwrap(),
            path: PathPrefix::default(),
            methods: None,
            access,
        }])
        .unwrap();
        assert!(config(&rule(allow)).rules == expected, "{allow}");
    }
    for (allow, said) in [
        ("'everyone'", "everyone"),
        ("['staff']", "allow ="),
        ("true", "allow ="),
        ("{}", "group"),
        ("{groups = 'a'}", "groups"),
        ("{group = ''}", "empty"),
        ("{group = 'a', permission = 'b.c'}", "second requirement"),
        ("{permission = 'edit'}", "APP.CODENAME"),
        ("{any = []}", "empty"),
        ("{all = []}", "empty"),
        ("{any = ['anyone']}", "stands alone"),
        ("{any = [{all = ['nobody']}]}", "stands alone"),
    ] {
        let error = Config::from_toml(&rule(allow)).err().unwrap().to_string();
        assert!(error.starts_with("line 3: ") && error.contains(said), "{allow}: {error}");
    }
}

#[test]
fn each_error_names_the_place() {
    for (text, said) in [
        ("", "line 1: there is no [[rule]]"),
        ("listen = 9180", "line 1"),
        ("\n\nlisten = 'localhost:9180'", "line 3: \"localhost:9180\" is no address; write"),
        ("listen = 'unix:gate.sock'", "line 1: the socket"),
        ("\nlisten_grcp = '127.0.0.1:1'", "line 2: unknown field `listen_grcp`"),
        ("trusted_proxies = ['::1', 'proxy']", "line 1: \"proxy\" is no address of a proxy"),
        ("trusted_proxies = '::1'", "line 1"),
        ("scheme = 'HTTPS'", "line 1"),
        ("login_url = 'login'", "line 1: login_url \"login\" is no URL"),
        ("login_url = '//www.example.com/login'", "line 1: login_url"),
        ("login_url = 'javascript:alert(1)'", "line 1: login_url"),
        ("login_url = 'https:///login'", "line 1: login_url"),
        ("login_url = '/login\\n'", "line 1: login_url"),
        ("login_url = \"/login\\r\\nx\"", "line 1: login_url"),
        ("redirect_field = ''", "line 1: redirect_field is empty"),
        ("time_limit = 0", "line 1: a number of seconds above 0"),
        ("time_limit = -1", "line 1: a number of seconds"),
        ("time_limit = 'long'", "line 1"),
        ("cache = nan", "line 1: a number of seconds"),
        ("cache = 1e9", "line 1: a number of seconds"),
        ("[users]\ntabel = 'x'", "line 2: unknown field `tabel`"),
        ("[[rule]]\nallow = 'login'", "line 1: missing field `host`"),
        ("[[rule]]\nhost = 'a.example'", "line 1: missing field `allow`"),
        ("[[rule]]\nhost = ''\nallow = 'login'", "line 2: host \"\" is no host"),
        ("[[rule]]\nhost = '*'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = '*.'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'a.*.example'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'a.example:443'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'A.example'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'a.example.'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'https://a.example'\nallow = 'login'", "line 2: host"),
        ("[[rule]]\nhost = 'a.example'\npath = 'x'\nallow = 'login'", "line 3: path \"x\" is no plain path"),
        ("[[rule]]\nhost = 'a.example'\npath = ''\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/a/../b'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '//a'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/a//'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/%61'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/a?b'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/a;b'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/zürich'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\npath = '/a b'\nallow = 'login'", "line 3: path"),
        ("[[rule]]\nhost = 'a.example'\nmethods = ['get']\nallow = 'login'", "line 3: \"get\" is no method"),
        (
            "[[rule]]\nhost = 'a.example'\nmethods = []\nallow = 'login'",
            "line 3: the list of methods is empty",
        ),
        (
            "[[rule]]\nhost = 'a.example'\nallow = 'login'\n[[rule]]\nhost = 'b.example'\nalow = 'login'",
            "line 6: unknown field `alow`",
        ),
        ("listen = ", "line 1"),
    ] {
        let error = Config::from_toml(text).err().unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
}
