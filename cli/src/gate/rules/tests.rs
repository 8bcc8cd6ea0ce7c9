use super::*;
use crate::gate::config::Config;

fn rules(text: &str) -> Rules {
    Config::from_toml(text).unwrap().rules
}

/// The number of the rule, or why there is none.
fn judge(rules: &Rules, method: &str, host: &str, target: &str) -> Result<usize, Reason> {
    let asked = Asked { method, host, target, cookies: &[], wants_page: false };
    rules.judge(&asked).map(|judged| judged.number)
}

const SITE: &str = r#"
[[rule]]
host = "wiki.example.com"
path = "/public"
methods = ["GET", "POST"]
allow = "anyone"

[[rule]]
host = "wiki.example.com"
path = "/Admin/"
allow = "superuser"

[[rule]]
host = "wiki.example.com"
methods = ["DELETE"]
allow = "staff"

[[rule]]
host = "wiki.example.com"
allow = "login"

[[rule]]
host = "*.apps.example.com"
allow = "login"
"#;

#[test]
fn the_first_rule_that_fits_decides() {
    use Reason::{Ambiguous, Malformed, NoRule};
    let rules = rules(SITE);
    for (method, host, target, expected) in [
        ("GET", "wiki.example.com", "/public", Ok(1)),
        ("GET", "wiki.example.com", "/public/", Ok(1)),
        ("GET", "wiki.example.com", "/public/x?y=/../Admin", Ok(1)),
        ("HEAD", "wiki.example.com", "/public/x", Ok(1)),
        ("POST", "wiki.example.com", "/public/x", Ok(1)),
        ("PUT", "wiki.example.com", "/public/x", Ok(4)),
        ("DELETE", "wiki.example.com", "/public/x", Ok(3)),
        ("BREW", "wiki.example.com", "/public/x", Ok(4)),
        ("GET", "wiki.example.com", "/publicity", Ok(4)),
        ("GET", "wiki.example.com", "/publi", Ok(4)),
        ("GET", "wiki.example.com", "/", Ok(4)),
        ("GET", "wiki.example.com", "/Admin", Ok(2)),
        ("GET", "wiki.example.com", "/Admin/x", Ok(2)),
        ("GET", "wiki.example.com", "/public/%41", Ok(1)),
        ("GET", "wiki.example.com", "/public/Z%C3%BCrich", Ok(1)),
        ("GET", "wiki.example.com", "/a//b/./c;d", Ok(4)),
        // Programs that ignore the case of letters, and those that do not.
        ("GET", "wiki.example.com", "/PUBLIC/x", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/admin", Err(Ambiguous)),
        ("delete", "wiki.example.com", "/x", Err(Ambiguous)),
        ("get", "wiki.example.com", "/x", Ok(4)),
        // Readings that differ.
        ("GET", "wiki.example.com", "/public/../Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/public/..%2fAdmin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/public/%2e%2e/Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/public/%252e%252e/Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/public/..;/Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/public\\..\\Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "//Admin/x", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/%41dmin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "/x%2fy/%2e%2e/Admin", Err(Ambiguous)),
        ("GET", "wiki.example.com", "//evil.example/public", Err(Ambiguous)),
        // Hosts.
        ("GET", "WIKI.Example.com:8443", "/public", Ok(1)),
        ("GET", "wiki.example.com.", "/public", Ok(1)),
        ("GET", "wiki.example.com.:80", "/public", Ok(1)),
        ("GET", "a.apps.example.com", "/", Ok(5)),
        ("GET", "a.b.apps.example.com", "/", Ok(5)),
        ("GET", "apps.example.com", "/", Err(NoRule)),
        ("GET", "xapps.example.com", "/", Err(NoRule)),
        ("GET", "www.example.com", "/", Err(NoRule)),
        ("GET", "127.0.0.1", "/", Err(NoRule)),
        ("GET", "[::1]:80", "/", Err(NoRule)),
        ("GET", "", "/", Err(Malformed)),
        ("GET", ":80", "/", Err(Malformed)),
        ("GET", ".", "/", Err(Malformed)),
        ("GET", ".apps.example.com", "/", Err(Malformed)),
        ("GET", "wiki.example.com:", "/", Err(Malformed)),
        ("GET", "wiki.example.com:+80", "/", Err(Malformed)),
        ("GET", "wiki.example.com:80:80", "/", Err(Malformed)),
        ("GET", "ada@wiki.example.com", "/", Err(Malformed)),
        ("GET", "wiki.example.com/x", "/", Err(Malformed)),
        ("GET", "wiki.example.com, evil.example", "/", Err(Malformed)),
        ("GET", "wiki.example.com..", "/", Err(Malformed)),
        ("GET", "[::1", "/", Err(Malformed)),
        ("GET", "[x]", "/", Err(Malformed)),
        // Methods and targets that are none.
        ("", "wiki.example.com", "/", Err(Malformed)),
        ("GET /", "wiki.example.com", "/", Err(Malformed)),
        ("GET", "wiki.example.com", "", Err(Malformed)),
        ("GET", "wiki.example.com", "?q", Err(Malformed)),
        ("GET", "wiki.example.com", "*", Err(Malformed)),
        ("GET", "wiki.example.com", "https://wiki.example.com/public", Err(Malformed)),
        ("GET", "wiki.example.com", "/public#x", Err(Malformed)),
        ("GET", "wiki.example.com", "/public?x#y", Err(Malformed)),
        ("GET", "wiki.example.com", "/public x", Err(Malformed)),
        ("GET", "wiki.example.com", "/public?x y", Err(Malformed)),
        ("GET", "wiki.example.com", "/public%00", Err(Malformed)),
        ("GET", "wiki.example.com", "/public%", Err(Malformed)),
    ] {
        assert_eq!(judge(&rules, method, host, target), expected, "{method} {host} {target}");
    }
}

#[test]
fn a_rule_that_can_never_decide_is_refused() {
    for (first, second, is_useless) in [
        ("host='a.example'", "host='a.example'", true),
        ("host='a.example'", "host='b.example'", false),
        ("host='*.example'", "host='a.example'", true),
        ("host='*.example'", "host='*.a.example'", true),
        ("host='*.a.example'", "host='*.example'", false),
        ("host='a.example'", "host='*.a.example'", false),
        ("host='*.a.example'", "host='a.example'", false),
        ("host='a.example'", "host='a.example'\npath='/x'", true),
        ("host='a.example'\npath='/x'", "host='a.example'\npath='/x/'", true),
        ("host='a.example'\npath='/x'", "host='a.example'\npath='/xy'", false),
        ("host='a.example'\npath='/x'", "host='a.example'", false),
        ("host='a.example'", "host='a.example'\nmethods=['PUT']", true),
        ("host='a.example'\nmethods=['GET', 'PUT']", "host='a.example'\nmethods=['HEAD']", true),
        ("host='a.example'\nmethods=['HEAD']", "host='a.example'\nmethods=['GET']", false),
        ("host='a.example'\nmethods=['GET']", "host='a.example'", false),
    ] {
        let text = format!(
            "[[rule]]\n{first}\nallow='login'\n[[rule]]\nhost='z'\nallow='login'\n[[rule]]\n{second}\nallow='anyone'"
        );
        let error = Config::from_toml(&text).err().map(|error| error.to_string());
        let said = "rule 3 can never decide, because rule 1 fits";
        assert_eq!(error.is_some_and(|error| error.starts_with(said)), is_useless, "{first} | {second}");
    }
}

/// Spells a path in a way that some program takes for the same one.
struct Spelling(u64);

impl Spelling {
    fn below(&mut self, end: u64) -> u64 {
        // Xorshift: reproducible, and good enough to choose spellings.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of(&mut self, path: &str) -> String {
        let mut spelled = String::new();
        for character in path.chars() {
            let letter = match self.below(6) {
                0 => character.to_ascii_uppercase(),
                _ => character,
            };
            match (self.below(12), letter) {
                (0, '/') => spelled.push_str("//"),
                (1, '/') => spelled.push_str("/./"),
                (2, '/') => spelled.push_str("/x/../"),
                (3, '/') => spelled.push_str("/x/%2e%2E/"),
                (4, '/') => spelled.push_str("/x%2fy/%2e%2e/"),
                (5, '/') => spelled.push_str(";a=b/"),
                (6, '/') => spelled.push_str("%2f"),
                (7, '/') => spelled.push('\\'),
                (8, '/') => spelled.push_str("/public/..;/"),
                (9, '/') => spelled.push_str("//host.example/"),
                (0, other) => spelled.push_str(&format!("%{:02x}", u32::from(other))),
                (1, other) => spelled.push_str(&format!("%25{:02X}", u32::from(other))),
                (_, other) => spelled.push(other),
            }
        }
        if self.below(8) == 0 {
            spelled.push_str(["/", "/.", ";x", "%3fy", "?y=/public", "/x/..", "%23"][self.below(7) as usize]);
        }
        spelled
    }
}

/// Programs disagree about paths. Whatever the spelling, a request for a path that one of them takes for a guarded one
/// never falls under a laxer rule.
#[test]
fn no_spelling_of_a_path_falls_under_a_laxer_rule() {
    // The guarded paths have their own rule first; or the public one is first.
    let guarded_first = rules(
        "[[rule]]\nhost='a.example'\npath='/admin'\nallow='superuser'\n[[rule]]\nhost='a.example'\nallow='anyone'",
    );
    let public_first = rules(
        "[[rule]]\nhost='a.example'\npath='/public'\nallow='anyone'\n[[rule]]\nhost='a.example'\nallow='superuser'",
    );
    let mut spelling = Spelling(0x2545_f491_4f6c_dd1d);
    let (mut refused, mut same) = (0, 0);
    for _ in 0..30_000 {
        let path = ["/admin", "/admin/users", "/admin/users/1"][spelling.below(3) as usize];
        let target = spelling.of(path);
        for (rules, strict) in [(&guarded_first, 1), (&public_first, 2)] {
            match judge(rules, "GET", "a.example", &target) {
                Ok(rule) => {
                    assert_eq!(rule, strict, "{target}");
                    same += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    // Both happen, so that the test looks at something.
    assert!(refused > 1_000 && same > 1_000, "{refused} {same}");
}
