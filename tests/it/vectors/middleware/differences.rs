//! Where this library means to differ from Django: what kind of request that is, why, and what happens here instead.
//!
//! Each rule looks at what a request does and at what was stored before it.

use cloakroom::SessionCodec;
use cloakroom::signing::base62;
use serde_json::{Value as Json, json};

use super::{data_of, scenario_settings};
use crate::vectors::{Rule, signature, time};

/// A scenario with what is expected here in place of what Django did.
pub(super) struct Declared {
    pub(super) case: Json,
    pub(super) reasons: Vec<&'static str>,
    /// The setting with which no site starts here.
    pub(super) refused_setting: Option<&'static str>,
}

/// A setting that is refused at the start.
struct Refusal {
    setting: &'static str,
    reason: &'static str,
    applies: fn(&Json) -> bool,
    /// Makes the nearest scenario that is taken.
    instead: fn(&mut Json),
}

const REFUSALS: [Refusal; 2] = [
    Refusal {
        setting: "cookie_samesite",
        reason: "browsers refuse SameSite=None without Secure, so the setting is refused at the start",
        applies: |settings| {
            settings["SESSION_COOKIE_SAMESITE"] == "None" && settings["SESSION_COOKIE_SECURE"] != true
        },
        instead: |case| {
            case["settings"]["SESSION_COOKIE_SECURE"] = json!(true);
            for request in case["requests"].as_array_mut().unwrap() {
                for cookie in request["set_cookie"].as_array_mut().unwrap() {
                    *cookie =
                        json!(format!("{}; Secure", cookie.as_str().unwrap().trim_end_matches("; Secure")));
                }
            }
        },
    },
    Refusal {
        setting: "cookie_age",
        reason: "a session that ends at once is of no use, so the setting is refused at the start",
        applies: |settings| settings["SESSION_COOKIE_AGE"].as_i64().is_some_and(|age| age <= 0),
        instead: |case| case["requests"] = json!([]),
    },
];

/// A request for which this library does something else.
struct Difference {
    reason: &'static str,
    applies: fn(&Request<'_>) -> bool,
    instead: fn(&Request<'_>, &mut Json),
}

const DIFFERENCES: [Difference; 9] = [
    Difference {
        reason: "a session that a handler asks for is loaded, so an unknown key is known to be unknown: the cookie is \
                 deleted instead of an error shown",
        applies: |request| {
            request.could_not_save()
                && request.stored().is_none()
                && request.actions().all(|action| action[0] == "clear")
        },
        instead: |request, expected| {
            expected["status"] = json!(200);
            expected["vary"] = json!("Cookie");
            expected["set_cookie"] = json!([request.removal()]);
            expected["session_after"] = empty_session(true, true);
        },
    },
    Difference {
        reason: "what is said of a session that could not be saved is for its owner",
        applies: |request| request.could_not_save(),
        instead: |_, expected| expected["vary"] = json!("Cookie"),
    },
    Difference {
        reason: "the key is cycled when the session is saved, which a 5xx prevents: the client keeps its session",
        applies: |request| {
            request.is_server_error()
                && request.does("cycle_key")
                && request.stored().is_some()
                && request.django["store_after"] != *request.before
        },
        instead: |request, expected| expected["store_after"] = request.before.clone(),
    },
    Difference {
        reason: "no update is lost",
        applies: |request| {
            let lost = |(key, value): (&str, &Json)| {
                request.row(request.django).is_some_and(|row| row["decoded"][key] != *value)
            };
            request.changes_by_others().any(lost)
        },
        instead: |request, expected| {
            let mut decoded = request.stored().unwrap()["decoded"].clone();
            request.changes_by_others().for_each(|(key, value)| decoded[key] = value.clone());
            for action in request.actions().filter(|action| action[0] == "set") {
                decoded[action[1].as_str().unwrap()] = action[2].clone();
            }
            request.hold(expected, decoded);
        },
    },
    Difference {
        reason: "a key that nobody knows makes no row, also with save_every_request",
        applies: |request| {
            let is_set = format!("{}=newkey", request.cookie_name());
            request.saves_always()
                && request.stored().is_none()
                && request.leaves_the_session_alone()
                && request.cookies().any(|cookie| cookie.starts_with(&is_set))
        },
        instead: |request, expected| {
            expected["set_cookie"] = json!([request.removal()]);
            expected["session_after"] = empty_session(false, false);
            expected["store_after"] = request.before.clone();
        },
    },
    Difference {
        reason: "what is not going to be saved is not looked at",
        applies: |request| {
            request.saves_always()
                && request.is_server_error()
                && request.leaves_the_session_alone()
                && request.django["session_after"]["accessed"] == true
        },
        instead: |_, expected| expected["session_after"]["accessed"] = json!(false),
    },
    Difference {
        reason: "a value that is read is a copy in Rust; a change counts when it is set",
        applies: |request| !request.does("set_modified") && request.nested_changes_that_django_kept() > 0,
        instead: |request, expected| {
            let mut decoded = request.row(request.django).unwrap()["decoded"].clone();
            for action in request.actions().filter(|action| action[0] == "nested_set") {
                let key = action[1].as_str().unwrap();
                decoded[key] = request.stored().unwrap()["decoded"][key].clone();
            }
            request.hold(expected, decoded);
        },
    },
    Difference {
        reason: "what could not be read is never overwritten: the write starts a new session",
        applies: |request| {
            let is_kept = |stored: &Json| request.row(request.django).is_none_or(|row| row == stored);
            let is_genuine = |text: &str| {
                let (salt, class) = ("django.contrib.sessions.SessionStore", Some("SessionStore"));
                signature::signed(request.case, text, salt, class).is_some()
            };
            request.stored().is_some_and(|stored| {
                stored["session_data"].as_str().is_some_and(|text| !is_genuine(text)) && !is_kept(stored)
            })
        },
        instead: |request, expected| {
            let (old, new) = (request.session_key().unwrap(), "newkey00000000000000000000000001");
            let mut row = request.row(request.django).unwrap().clone();
            row["session_key"] = json!(new);
            let rows = expected["store_after"].as_array_mut().unwrap();
            let place = rows.iter().position(|row| row["session_key"] == old).unwrap();
            rows[place] = request.stored().unwrap().clone();
            rows.push(row);
            rows.sort_by_key(|row| row["session_key"].to_string());
            let cookies = request.cookies().map(|cookie| cookie.replace(old, new));
            expected["set_cookie"] = cookies.collect();
            expected["session_after"]["session_key"] = json!(new);
        },
    },
    Difference {
        reason: "a cookie that is not genuine or too old is deleted, not replaced by a signed empty one",
        applies: |request| {
            let is_usable = |cookie| {
                let salt = "django.contrib.sessions.backends.signed_cookies";
                signature::signed(request.case, cookie, salt, None).is_some() && !request.is_too_old(cookie)
            };
            // `e30` is the base64 of an empty dictionary.
            let is_empty = format!("{}=e30:", request.cookie_name());
            request.case["engine"] == "signed_cookies"
                && request.session_key().is_some_and(|cookie| !is_usable(cookie))
                && request.cookies().any(|cookie| cookie.starts_with(&is_empty))
        },
        instead: |request, expected| {
            expected["set_cookie"] = json!([request.removal()]);
            expected["session_after"] = empty_session(true, false);
        },
    },
];

/// A rule for each.
pub(super) fn rules() -> Vec<Rule> {
    let reasons = REFUSALS.iter().map(|refusal| refusal.reason);
    let reasons = reasons.chain(DIFFERENCES.iter().map(|difference| difference.reason));
    reasons.map(|reason| Rule::new(reason, move |case| declared(case).reasons.contains(&reason))).collect()
}

pub(super) fn declared(case: &Json) -> Declared {
    let mut declared = Declared { case: case.clone(), reasons: Vec::new(), refused_setting: None };
    if let Some(refusal) = REFUSALS.iter().find(|refusal| (refusal.applies)(&case["settings"])) {
        declared.refused_setting = Some(refusal.setting);
        declared.reasons.push(refusal.reason);
        (refusal.instead)(&mut declared.case);
    }
    let mut before = case["store_before"].clone();
    let taken = declared.case.clone();
    for (number, django) in taken["requests"].as_array().unwrap().iter().enumerate() {
        let request = Request { case: &taken, django, before: &before };
        let expected = &mut declared.case["requests"][number];
        if let Some(difference) = DIFFERENCES.iter().find(|difference| (difference.applies)(&request)) {
            (difference.instead)(&request, expected);
            assert_ne!(expected, django, "what is declared as a difference is none: {}", difference.reason);
            declared.reasons.push(difference.reason);
        }
        before = expected["store_after"].clone();
    }
    declared
}

/// One request of a scenario.
struct Request<'a> {
    case: &'a Json,
    /// With what Django did.
    django: &'a Json,
    /// What was stored before it.
    before: &'a Json,
}

impl<'a> Request<'a> {
    fn actions(&self) -> impl Iterator<Item = &'a Json> {
        self.django["actions"].as_array().unwrap().iter()
    }

    fn does(&self, name: &str) -> bool {
        self.actions().any(|action| action[0] == name)
    }

    /// Whether no action asks for the session.
    fn leaves_the_session_alone(&self) -> bool {
        let others = ["status", "vary", "response_cookie", "raise", "stream"];
        self.actions().all(|action| others.contains(&action[0].as_str().unwrap()))
    }

    fn is_server_error(&self) -> bool {
        self.django["status"].as_u64().unwrap() >= 500
    }

    /// Whether the view did all it had to do without a failure, and Django's middleware failed afterwards.
    fn could_not_save(&self) -> bool {
        let is_done = self.actions().count() == self.django["action_results"].as_array().unwrap().len();
        let is_failure = self.django["status"].as_u64().unwrap() >= 400 && self.django["vary"].is_null();
        is_failure
            && is_done
            && !self.leaves_the_session_alone()
            && !self.does("status")
            && !self.does("raise")
    }

    fn saves_always(&self) -> bool {
        self.case["settings"]["SESSION_SAVE_EVERY_REQUEST"] == true
    }

    fn cookie_name(&self) -> &'a str {
        self.case["settings"]["SESSION_COOKIE_NAME"].as_str().unwrap_or("sessionid")
    }

    /// The cookies that Django sends.
    fn cookies(&self) -> impl Iterator<Item = &'a str> {
        self.django["set_cookie"].as_array().unwrap().iter().map(|cookie| cookie.as_str().unwrap())
    }

    /// The key that the client sends.
    fn session_key(&self) -> Option<&'a str> {
        let pairs = self.django["cookie_header"].as_str()?.split(';').map(str::trim);
        pairs.filter_map(|pair| pair.strip_prefix(self.cookie_name())?.strip_prefix('=')).next_back()
    }

    /// Whether a signed cookie has reached its age.
    fn is_too_old(&self, cookie: &str) -> bool {
        let signed = cookie.rsplit(':').nth(1).and_then(base62::decode);
        let age = self.case["settings"]["SESSION_COOKIE_AGE"].as_f64().unwrap_or(1_209_600.0);
        signed.is_some_and(|signed| self.django["time"].as_f64().unwrap() - signed as f64 > age)
    }

    /// What was stored for that key; of a database and its cache, the row.
    fn stored(&self) -> Option<&'a Json> {
        entry_of(self.before, self.session_key()?)
    }

    /// The row of that key after a request.
    fn row(&self, request: &'a Json) -> Option<&'a Json> {
        entry_of(&request["store_after"], self.session_key()?)
    }

    /// What other requests put into this session in the meantime, and this one leaves alone.
    fn changes_by_others(&self) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let own_key = self.session_key();
        let own: Vec<&Json> =
            self.actions().filter(|action| action[0] == "set").map(|action| &action[1]).collect();
        let others = self.actions().filter(move |action| {
            action[0] == "other_request_sets" && action[1].as_str() == own_key && !own.contains(&&action[2])
        });
        others.map(|action| (action[2].as_str().unwrap(), &action[3]))
    }

    /// How many changes inside of a value Django stored.
    fn nested_changes_that_django_kept(&self) -> usize {
        let Some(row) = self.row(self.django) else { return 0 };
        let nested = self.actions().filter(|action| action[0] == "nested_set");
        let is_kept = |action: &&Json| {
            let (key, inner) = (action[1].as_str().unwrap(), action[2].as_str().unwrap());
            row["decoded"][key][inner] == action[3]
        };
        nested.filter(is_kept).count()
    }

    /// Expects this session under the client's key.
    fn hold(&self, expected: &mut Json, decoded: Json) {
        let key = self.session_key();
        let rows = expected["store_after"].as_array_mut().unwrap();
        let row = rows.iter_mut().find(|row| row["session_key"].as_str() == key).unwrap();
        row["decoded"] = decoded;
        let codec = SessionCodec::new(&scenario_settings(self.case));
        row["session_data"] = json!(codec.encode(&data_of(row), time(&self.django["time"])).unwrap());
    }

    /// The cookie that deletes the client's.
    fn removal(&self) -> String {
        let (name, settings) = (self.cookie_name(), &self.case["settings"]);
        let domain = settings["SESSION_COOKIE_DOMAIN"].as_str();
        let path = settings["SESSION_COOKIE_PATH"].as_str().unwrap_or("/");
        let same_site = settings.get("SESSION_COOKIE_SAMESITE").map_or(Some("Lax"), Json::as_str);
        // Browsers take these only with it.
        let is_secure =
            same_site == Some("None") || name.starts_with("__Secure-") || name.starts_with("__Host-");
        let attributes = [
            domain.map(|domain| format!("Domain={domain}")),
            Some("expires=Thu, 01 Jan 1970 00:00:00 GMT".to_owned()),
            Some("Max-Age=0".to_owned()),
            Some(format!("Path={path}")),
            same_site.map(|same_site| format!("SameSite={same_site}")),
            is_secure.then(|| "Secure".to_owned()),
        ];
        let attributes: Vec<String> = attributes.into_iter().flatten().collect();
        format!("{name}=\"\"; {}", attributes.join("; "))
    }
}

/// What is stored under this key; of a database and its cache, the row.
fn entry_of<'a>(entries: &'a Json, session_key: &str) -> Option<&'a Json> {
    let entries = entries.as_array().into_iter().flatten();
    let names = ["session_key", "cache_key", "file_name"];
    let has_key = |entry: &&Json| {
        let name = names.iter().find_map(|name| entry[name].as_str());
        name.is_some_and(|name| name.ends_with(session_key))
    };
    entries.filter(has_key).max_by_key(|entry| entry["session_key"].is_string())
}

fn empty_session(accessed: bool, modified: bool) -> Json {
    json!({"session_key": null, "accessed": accessed, "modified": modified, "is_empty": true})
}
