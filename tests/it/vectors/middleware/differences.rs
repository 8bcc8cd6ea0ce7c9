//! Where this library means to differ from Django, and what it does instead.

use serde_json::{Value as Json, json};

const KEY: &str = "abcdefgh12345678abcdefgh12345678";
const REMOVAL: &str =
    "sessionid=\"\"; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; SameSite=Lax";

/// The case with what is expected here in place of what Django did, and the reason in `declared_difference`.
pub(super) fn declared(case: &Json) -> Json {
    let mut case = case.clone();
    let id = case["id"].as_str().unwrap();
    let id = id.strip_prefix("mw-5.2.19-").or(id.strip_prefix("mw-6.1.3-")).unwrap_or(id).to_owned();
    let before = case["store_before"].clone();
    let varies_on_failure = [
        "delete-then-set",
        "interrupted",
        "cache-interrupted",
        "cached_db-interrupted",
        "file-interrupted",
        "expiry-naive",
    ];
    if varies_on_failure.contains(&id.as_str()) {
        let requests = case["requests"].as_array_mut().unwrap().iter_mut();
        requests
            .filter(|request| request["status"] != 200)
            .for_each(|request| request["vary"] = json!("Cookie"));
        case["declared_difference"] =
            json!("what is said of a session that could not be saved is for its owner");
        return case;
    }
    let refused = "what browsers refuse, or what ends at once, is refused at the start";
    match id.as_str() {
        "samesite-none" | "samesite-none-delete" => {
            case["refused_setting"] = json!("cookie_samesite");
            case["settings"]["SESSION_COOKIE_SECURE"] = json!(true);
            let cookie = case["requests"][0]["set_cookie"][0].as_str().unwrap().trim_end_matches("; Secure");
            case["requests"][0]["set_cookie"] = json!([format!("{cookie}; Secure")]);
            case["declared_difference"] = json!(refused);
            return case;
        }
        "age-0" => {
            case["refused_setting"] = json!("cookie_age");
            case["requests"] = json!([]);
            case["declared_difference"] = json!(refused);
            return case;
        }
        _ => {}
    }
    let request = &mut case["requests"][0];
    let reason = match id.as_str() {
        "clear-stale" => {
            request["status"] = json!(200);
            request["vary"] = json!("Cookie");
            request["set_cookie"] = json!([REMOVAL]);
            request["session_after"] = empty_session(true, true);
            "a session that a handler asks for is loaded, so an unknown key is known to be unknown: the cookie \
             is deleted instead of an error shown"
        }
        "cycle-key-500" => {
            request["store_after"] = before;
            "the key is cycled when the session is saved, which a 5xx prevents: the client keeps its session"
        }
        "lost-update" => {
            let row = &mut request["store_after"][0];
            row["decoded"]["other"] = json!(1);
            row["session_data"] = json!(
                "eyJhIjoxLCJjYXJ0Ijp7IngiOjF9LCJvdGhlciI6MSwiYiI6MX0:1r31eq:DRiRsHpCgcQXuLd7PGpHWUiVaGtRI6hLIcSkrYjbKjA"
            );
            "no update is lost"
        }
        "save-every-stale" => {
            request["set_cookie"] = json!([REMOVAL]);
            request["session_after"] = empty_session(false, false);
            request["store_after"] = json!([]);
            "a key that nobody knows makes no row, also with save_every_request"
        }
        "save-every-500" => {
            request["session_after"]["accessed"] = json!(false);
            "what is not going to be saved is not looked at"
        }
        "nested-save-every" => {
            let row = &mut request["store_after"][0];
            row["decoded"]["cart"]["x"] = json!(1);
            row["session_data"] =
                json!("eyJhIjoxLCJjYXJ0Ijp7IngiOjF9fQ:1r31eq:aRZek4nRAMRM3qiQWrxDBoM81nC2i_tB3vZR9FUCvxo");
            "a value that is read is a copy in Rust; a change counts when it is set"
        }
        "corrupt-row" => {
            let untouched = before[0].clone();
            let request = &mut case["requests"][1];
            let new_row = json!({
                "session_key": "newkey00000000000000000000000001", "session_data": request["store_after"][0]["session_data"],
                "decoded": {"b": 1}, "expire_date": request["store_after"][0]["expire_date"],
            });
            request["store_after"] = json!([untouched, new_row]);
            let cookie = request["set_cookie"][0].as_str().unwrap();
            request["set_cookie"] = json!([cookie.replace(KEY, "newkey00000000000000000000000001")]);
            request["session_after"]["session_key"] = json!("newkey00000000000000000000000001");
            "what could not be read is never overwritten: the write starts a new session"
        }
        "sc-bad-read" => {
            request["set_cookie"] = json!([REMOVAL]);
            request["session_after"] = empty_session(true, false);
            "a cookie that is not genuine is deleted, not replaced by a signed empty one"
        }
        "sc-expired" => {
            let request = &mut case["requests"][2];
            request["set_cookie"] = json!([REMOVAL]);
            request["session_after"] = empty_session(true, false);
            "a cookie that is too old is deleted, not replaced by a signed empty one"
        }
        _ => return case,
    };
    case["declared_difference"] = json!(reason);
    case
}

fn empty_session(accessed: bool, modified: bool) -> Json {
    json!({"session_key": null, "accessed": accessed, "modified": modified, "is_empty": true})
}
