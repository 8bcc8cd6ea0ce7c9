//! Django's own messages_tests, as they ran: what each storage was told, and what it gave and stored.

use std::sync::Arc;

use cloakroom::messages::{
    Keep, Level, Message, MessageList, MessageSettings, MessageSigner, MessageStorage, SESSION_KEY,
};
use cloakroom::signing::{SecretKey, base62};
use cloakroom::{ManualClock, MemoryStore, MessagesMiddleware, SameSite, SessionMiddleware, Settings, Value};
use serde_json::{Value as Json, json};

use super::{Reproduced, Rule, Vectors, block_on, text};

/// The secret of the recorder.
const SECRET: &str = "django-insecure-one-secret-for-both-sites";

#[test]
fn messages() {
    let rules = [Rule::new("the case's note says why Rust has no counterpart", |case| {
        case["kind"] == "not_transferable"
    })];
    Vectors::read("messages").run(&rules, |case| match text(case, "kind") {
        "storage" => block_on(storage(case)),
        "encode" => encode(case),
        "decode" => decode(case),
        "not_transferable" => Reproduced::Differently,
        kind => panic!("no kind {kind}"),
    });
}

/// One storage of one request, from its messages to the response.
async fn storage(case: &Json) -> Reproduced {
    let (site, settings) = settings_of(case);
    let clock = Arc::new(ManualClock::at_unix_seconds(signed_at(case)));
    let middleware = MessagesMiddleware::new(&site, settings.clone()).with_clock(clock);
    let sessions = SessionMiddleware::new(Arc::new(MemoryStore::new()), site.clone()).unwrap();
    let session = sessions.begin([]);
    let request = &case["request"];
    let (mut cookie, mut of_session) =
        (request["cookie"].as_str().map(str::to_owned), request["session"].as_str());
    // What a test put into the storage itself.
    if let Some(preset) = request["preset"].as_str().filter(|preset| *preset != "[]") {
        match settings.storage {
            MessageStorage::Session => of_session = Some(preset),
            _ => cookie = pack(&MessageList::from_json(preset).unwrap(), 0),
        }
    }
    if let Some(of_session) = of_session {
        session.load().await.unwrap().set(SESSION_KEY, of_session).unwrap();
    }
    let header = cookie.map(|cookie| format!("messages={cookie}"));
    let lazy = middleware.begin(header.iter().map(String::as_bytes), Some(&session));
    let messages = lazy.load().await.unwrap();
    for operation in case["operations"].as_array().unwrap() {
        let (name, operand) = operation.as_object().unwrap().iter().next().unwrap();
        match name.as_str() {
            "add" => messages.add(message(operand)),
            "level" => messages.set_level(operand.as_i64().map(Level::from)),
            "len" => assert_eq!(json!(messages.len()), *operand),
            "read" => {
                let read: Vec<_> =
                    messages.read().iter().zip(operand.as_array().unwrap()).map(shown).collect();
                assert_eq!(json!(read), *operand);
            }
            "update" => {
                let finished = middleware.finish(&lazy).await.unwrap();
                let set_cookie: Vec<_> =
                    finished.set_cookie.iter().map(|header| without_value(header)).collect();
                let expected = operand["set_cookie"].as_array().unwrap().iter();
                let expected: Vec<_> =
                    expected.map(|header| without_value(header.as_str().unwrap())).collect();
                let is_preset = request["preset"].as_str().is_some_and(|preset| preset != "[]");
                if !(is_preset && settings.storage == MessageStorage::Fallback && expected.is_empty()) {
                    assert_eq!(set_cookie, expected, "Set-Cookie");
                }
                let value = finished.set_cookie.filter(|header| !header.contains("Max-Age=0"));
                let value =
                    value.as_ref().map(|header| header["messages=".len()..].split(';').next().unwrap());
                let decoded = value.map(|value| signer().unpack(value).unwrap());
                let decoded = decoded.map(|decoded| {
                    let mut items: Vec<Json> = serde_json::from_str(&decoded.messages.to_json()).unwrap();
                    if !decoded.is_complete {
                        items.push(json!("__messagesnotfinished__"));
                    }
                    items
                });
                let in_cookie = operand["in_cookie"].as_str();
                let in_cookie = in_cookie.map(|text| serde_json::from_str::<Vec<Json>>(text).unwrap());
                assert_eq!(decoded, in_cookie, "the cookie's messages");
                let in_session = session.load().await.unwrap().get::<String>(SESSION_KEY).unwrap();
                assert_eq!(json!(in_session), operand["in_session"], "the session's messages");
            }
            name => panic!("no operation {name}"),
        }
    }
    Reproduced::Exactly
}

fn encode(case: &Json) -> Reproduced {
    let list = MessageList::from_json(text(case, "messages")).unwrap();
    let cookie = text(case, "cookie");
    let seconds = timestamp(cookie);
    // A test may encode the mark itself.
    if !text(case, "messages").contains("__messagesnotfinished__") {
        assert_eq!(pack(&list, seconds).unwrap(), cookie);
    }
    let decoded = signer().unpack(cookie).unwrap();
    let items: Vec<Json> = serde_json::from_str(text(case, "messages")).unwrap();
    assert_eq!(decoded.messages.len() + usize::from(!decoded.is_complete), items.len());
    Reproduced::Exactly
}

fn decode(case: &Json) -> Reproduced {
    let decoded = signer().unpack(text(case, "cookie"));
    assert_eq!(decoded.is_some(), case["messages"].is_string());
    let Some(decoded) = decoded else { return Reproduced::Exactly };
    let of_django: Vec<Json> = case["shown"].as_array().unwrap().clone();
    let read: Vec<_> = decoded.messages.messages().zip(&of_django).map(shown).collect();
    assert_eq!(read, of_django[..read.len()]);
    assert_eq!(read.len() + usize::from(!decoded.is_complete), of_django.len());
    Reproduced::Exactly
}

fn signer() -> MessageSigner {
    MessageSigner::new(&SecretKey::from(SECRET), [])
}

fn pack(list: &MessageList, seconds: i64) -> Option<String> {
    let now = cloakroom::chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    signer().pack(list, now, usize::MAX, Keep::Newest).cookie
}

fn timestamp(cookie: &str) -> i64 {
    let timestamp = cookie.rsplit(':').nth(1).unwrap();
    base62::decode(timestamp).unwrap().try_into().unwrap()
}

/// When Django signed the response's cookie.
fn signed_at(case: &Json) -> i64 {
    let updates = case["operations"].as_array().unwrap().iter();
    let mut set = updates.filter_map(|operation| operation["update"]["set_cookie"][0].as_str());
    set.find(|header| !header.contains("Max-Age=0"))
        .map_or(0, |header| timestamp(header.split(';').next().unwrap()))
}

/// Compressed text may differ, as it is another zlib; plain text is compared letter for letter.
fn without_value(header: &str) -> String {
    match header.strip_prefix("messages=.").and_then(|rest| rest.split_once(';')) {
        Some((_, attributes)) => format!("messages=.;{attributes}"),
        None => header.to_owned(),
    }
}

fn message(case: &Json) -> Message {
    let (level, text) = (Level::from(case["level"].as_i64().unwrap()), text(case, "text"));
    let message = if case["safe"] == true { Message::safe(level, text) } else { Message::new(level, text) };
    match case["extra_tags"].as_str() {
        Some(extra_tags) => message.with_extra_tags(extra_tags),
        // Rust's API has no `extra_tags=None`, which is shown as no extra tags.
        None => message,
    }
}

/// A message in the form of the vectors.
fn shown((message, expected): (&Message, &Json)) -> Json {
    if expected.get("bare").is_some() {
        assert_eq!((message.tags().as_str(), message.is_safe()), ("", false));
        return json!({ "bare": message.text() });
    }
    let extra_tags = if expected["extra_tags"].is_null() && message.extra_tags() == Some("") {
        None
    } else {
        message.extra_tags()
    };
    json!({
        "level": message.level().number(), "text": message.text(), "safe": message.is_safe(),
        "extra_tags": extra_tags, "tags": message.tags(),
    })
}

fn settings_of(case: &Json) -> (Settings, MessageSettings) {
    let (mut site, mut settings) = (Settings::new(SECRET), MessageSettings::default());
    settings.storage = match text(case, "storage") {
        "CookieStorage" => MessageStorage::Cookie,
        "SessionStorage" => MessageStorage::Session,
        "FallbackStorage" => MessageStorage::Fallback,
        name => panic!("no storage {name}"),
    };
    for (name, value) in case["settings"].as_object().unwrap() {
        match name.as_str() {
            "MESSAGE_LEVEL" => settings.level = value.as_i64().unwrap().into(),
            "MESSAGE_TAGS" => {
                let tags = value.as_array().unwrap().iter();
                let tag = |tag: &Json| (tag[0].as_i64().unwrap().into(), tag[1].as_str().unwrap().to_owned());
                settings.tags = tags.map(tag).collect();
            }
            "SESSION_COOKIE_DOMAIN" => site.cookie_domain = value.as_str().map(str::to_owned),
            "SESSION_COOKIE_SECURE" => site.cookie_secure = value == true,
            "SESSION_COOKIE_HTTPONLY" => site.cookie_httponly = value == true,
            "SESSION_COOKIE_SAMESITE" => {
                assert_eq!(value, "Strict");
                site.cookie_samesite = Some(SameSite::Strict);
            }
            name => panic!("no setting {name}"),
        }
    }
    (site, settings)
}

/// Values that Django's encoder never writes, and that a session or a genuine cookie may have.
#[test]
fn odd_items_stay_and_break_nothing() {
    for (json, shown) in [
        (r#"[["__json_message"]]"#, 0),
        (r#"[["__json_message", 0, 20]]"#, 0),
        (r#"[["__json_message", 0, "20", "text"]]"#, 0),
        (r#"[["__json_message", 0, 99999999999999999999, "text"]]"#, 0),
        (r#"[["__json_message", 0, 20, "text", "tag", "more"]]"#, 0),
        (r#"[["__json_message", 0, 20, "text", 7]]"#, 0),
        (r#"[["__json_message", 0, 20, 7]]"#, 1),
        (r#"[["__json_message", 0, 20, "half \ud800", ""]]"#, 1),
        (r#"[null, 1.50, {"a": ["b"]}, [[]], "text"]"#, 1),
        ("[]", 0),
    ] {
        let list = MessageList::from_json(json).unwrap_or_else(|| panic!("{json}"));
        assert_eq!(list.messages().count(), shown, "{json}");
        assert_eq!(list.to_json(), json);
    }
    for json in ["", "[", "{}", "7", "[1]x", "null"] {
        assert_eq!(MessageList::from_json(json), None, "{json}");
    }
    assert_eq!(MessageList::of_session(&Value::from_json("7").unwrap()), None);
}
