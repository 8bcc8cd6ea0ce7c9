//! `set_expiry`, `get_expiry_age`, `get_expiry_date`, `get_expire_at_browser_close`.

use std::sync::Arc;

use cloakroom::SessionMiddleware;
use cloakroom::chrono::TimeDelta;
use cloakroom::{Clock, EXPIRY_KEY, Expiry, ExpiryError, ManualClock, MemoryStore, Moment, Session, Value};
use serde_json::Value as Json;

use super::{Reproduced, Rule, Vectors, block_on, text, time, time_zone};

#[test]
fn expiry() {
    let rules = [
        Rule::new("the time that really passes counts; Python subtracts wall clocks of one zone", |case| {
            case["real_elapsed_seconds"].is_number()
                && case["real_elapsed_seconds"] != case["get_expiry_age"]["value"]
        }),
        Rule::new("before 4.1 the session holds the date itself, which JSON cannot carry", |case| {
            case["stored"]["type"] == "datetime"
        }),
    ];
    Vectors::read("expiry").run(&rules, |case| {
        let clock = Arc::new(ManualClock::new(time(&case["frozen_time"])));
        let session = session(case, Arc::clone(&clock));
        let fields = &case["settings"];
        let zone = time_zone(fields["USE_TZ"].as_bool().unwrap(), fields["TIME_ZONE"].as_str().unwrap());
        if text(case, "kind") == "set_expiry" {
            session.set_modified(false);
            set(&session, &case["set_expiry"]);
            assert_eq!(session.modified(), case["modified"].as_bool().unwrap());
            let stored = session.get_value(EXPIRY_KEY).map(|value| value.json().to_owned());
            let expected = match text(&case["stored"], "type") {
                "absent" => None,
                // Before 4.1 the session held the date itself, which JSON could not carry.
                "datetime" => Some(format!("\"{}\"", text(&case["stored"], "iso"))),
                _ => Some(case["stored"]["value"].to_string()),
            };
            assert_eq!(stored, expected);
            let seconds: f64 = case["read_after_seconds"].to_string().parse().unwrap();
            clock.advance(TimeDelta::microseconds((seconds * 1e6) as i64));
        }
        let modification = match &case["kwargs"]["modification"] {
            Json::Null => Moment::at(clock.now(), zone),
            given => moment(given),
        };
        if let Some(expiry) = case["kwargs"].get("expiry") {
            // Django's `expiry=` argument counts instead of what is stored.
            session.remove(EXPIRY_KEY);
            set(&session, expiry);
        }
        assert_eq!(
            session.get_expire_at_browser_close(),
            // With `expiry=` given Django still answers for what is stored.
            if case["kwargs"].get("expiry").is_some() && case["kwargs"]["expiry"]["type"] == "int" {
                case["kwargs"]["expiry"]["value"] == 0
            } else {
                case["get_expire_at_browser_close"]["value"].as_bool().unwrap()
            }
        );
        compare_date(&session, modification, &case["get_expiry_date"]);
        match compare_age(&session, modification, case) {
            Reproduced::Exactly if case["stored"]["type"] == "datetime" => Reproduced::Differently,
            reproduced => reproduced,
        }
    });
}

fn session(case: &Json, clock: Arc<ManualClock>) -> Session {
    let fields = &case["settings"];
    let mut settings = cloakroom::Settings::new("secret");
    settings.cookie_age = TimeDelta::seconds(fields["SESSION_COOKIE_AGE"].as_i64().unwrap());
    settings.expire_at_browser_close = fields["SESSION_EXPIRE_AT_BROWSER_CLOSE"].as_bool().unwrap();
    settings.time_zone =
        time_zone(fields["USE_TZ"].as_bool().unwrap(), fields["TIME_ZONE"].as_str().unwrap());
    let middleware =
        SessionMiddleware::new(Arc::new(MemoryStore::new()), settings).unwrap().with_clock(clock);
    let session = block_on(middleware.begin([]).load()).unwrap();
    for (key, value) in case["session"].as_object().into_iter().flatten() {
        session.set(key, value).unwrap();
    }
    session
}

fn moment(json: &Json) -> Moment {
    Moment::from_isoformat(text(json, "iso")).unwrap()
}

fn set(session: &Session, expiry: &Json) {
    let number = |field: &str| expiry[field].as_i64().unwrap();
    let expiry = match text(expiry, "type") {
        "none" => Expiry::Default,
        "int" => number("value").into(),
        "float" => expiry["value"].to_string().parse::<f64>().unwrap().into(),
        "datetime" => match moment(expiry) {
            Moment::Aware(moment) => moment.into(),
            Moment::Naive(wall_clock) => Expiry::AtWallClock(wall_clock),
        },
        "timedelta" => (TimeDelta::days(number("days"))
            + TimeDelta::seconds(number("seconds"))
            + TimeDelta::microseconds(number("microseconds")))
        .into(),
        // No method takes these, but a session may hold them.
        "bool" | "str" => return session.set_value(EXPIRY_KEY, Value::serialize(&expiry["value"]).unwrap()),
        other => panic!("type {other}"),
    };
    session.set_expiry(expiry).unwrap();
}

fn compare_date(session: &Session, modification: Moment, expected: &Json) {
    match (session.get_expiry_date_from(modification), text(expected, "type")) {
        (Ok(date), "datetime") => assert_eq!(date.isoformat(), text(expected, "iso")),
        (Err(error), "raises") => match text(expected, "exception") {
            "builtins.ValueError" => assert_eq!(error, ExpiryError::NotADate),
            "builtins.OverflowError" => assert_eq!(error, ExpiryError::OutOfRange),
            other => panic!("{other}"),
        },
        (result, _) => panic!("get_expiry_date: {result:?}, Django: {expected}"),
    }
}

fn compare_age(session: &Session, modification: Moment, case: &Json) -> Reproduced {
    let expected = &case["get_expiry_age"];
    let age = session.get_expiry_age_from(modification);
    match (&age, text(expected, "type")) {
        (Ok(age), "int" | "float" | "bool") => {
            if let Some(elapsed) = case["real_elapsed_seconds"].as_f64() {
                assert_eq!(age.seconds(), elapsed, "the time that really passes");
                let same = case["real_elapsed_seconds"] == expected["value"];
                return if same { Reproduced::Exactly } else { Reproduced::Differently };
            }
            let value = match &expected["value"] {
                Json::Bool(value) => f64::from(u8::from(*value)),
                number => number.to_string().parse().unwrap(),
            };
            assert_eq!(age.seconds(), value);
        }
        (Err(error), "raises") => match text(expected, "exception") {
            "builtins.TypeError" => assert!(matches!(error, ExpiryError::ZoneMismatch { .. })),
            "builtins.ValueError" => assert_eq!(*error, ExpiryError::NotADate),
            other => panic!("{other}"),
        },
        _ => panic!("get_expiry_age: {age:?}, Django: {expected}"),
    }
    Reproduced::Exactly
}
