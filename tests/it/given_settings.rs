//! Settings from the environment and from files: each by its names, strict, and without a secret in a message.

use std::path::Path;
use std::time::Duration;

use cloakroom::chrono::TimeDelta;
use cloakroom::signing::{Algorithm, Compression};
use cloakroom::{
    ConcurrentChanges, CookieScope, GivenSettings, InterruptedSession, SameSite, SecretCheck, Settings,
    SettingsError, TextFormat, TimeZone, Transport,
};

use crate::support::log::Log;

fn of_variables(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let secret = [("SECRET_KEY", "secret")];
    let named = variables.iter().any(|(name, _)| name.contains("SECRET_KEY") && !name.contains("FALLBACK"));
    let secret = secret.iter().filter(|_| !named);
    GivenSettings::from_variables(secret.chain(variables).copied())?.into_settings()
}

/// The fields of `Settings`, as the source has them.
fn fields() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/site/settings.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let (_, fields) = source.split_once("pub struct Settings {").unwrap();
    let fields = fields.split("\n}\n").next().unwrap().lines();
    fields.filter_map(|line| Some(line.strip_prefix("    pub ")?.split(':').next()?.to_owned())).collect()
}

#[test]
fn every_field_can_be_given_by_its_name_and_by_a_variable() {
    let fields = fields();
    assert!(fields.len() > 25, "{fields:?}");
    for field in fields {
        // A type that no setting has.
        let error = serde_json::from_str::<GivenSettings>(&format!(r#"{{"{field}": 0.5}}"#)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{field}` is ")), "{field}: {error}");
        let name = format!("CLOAKROOM_{}", field.to_uppercase());
        if !["secret_key", "cookie_name", "cookie_domain", "cookie_path", "session_class", "time_zone"]
            .contains(&field.as_str())
            && field != "secret_key_fallbacks"
        {
            let error = of_variables(&[(&name, "[nonsense")]).unwrap_err();
            assert_eq!(error.setting(), field, "{error}");
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

/// Every setting, once by Django's names and ours in variables and once in a table.
#[test]
fn all_settings_arrive() {
    let by_variables = of_variables(&[
        ("SECRET_KEY", "the secret"),
        ("SECRET_KEY_FALLBACKS", "one, two"),
        ("SESSION_COOKIE_NAME", "ticket"),
        ("SESSION_COOKIE_AGE", "3600"),
        ("SESSION_COOKIE_DOMAIN", "example.com"),
        ("SESSION_COOKIE_PATH", "/shop"),
        ("SESSION_COOKIE_SECURE", "True"),
        ("SESSION_COOKIE_HTTPONLY", "0"),
        ("SESSION_COOKIE_SAMESITE", "None"),
        ("SESSION_SAVE_EVERY_REQUEST", "true"),
        ("SESSION_EXPIRE_AT_BROWSER_CLOSE", "1"),
        ("USE_TZ", "False"),
        ("TIME_ZONE", "Europe/Zurich"),
        ("CLOAKROOM_SECRET_CHECK", "warn"),
        ("CLOAKROOM_RENEW_AFTER", "300"),
        ("CLOAKROOM_SESSION_CLASS", "CustomStore"),
        ("CLOAKROOM_TEXT_FORMAT", "legacy"),
        ("CLOAKROOM_AUTH_HASH_ALGORITHM", "sha1"),
        ("CLOAKROOM_ACCEPT_SHA1_AUTH_HASH", "True"),
        ("CLOAKROOM_COMPRESSION", "2048"),
        ("CLOAKROOM_MAX_DECOMPRESSED_BYTES", "65536"),
        ("CLOAKROOM_SESSION_KEY_FORMAT", r#"{"min_length": 32, "extra_chars": "-"}"#),
        ("CLOAKROOM_CONCURRENT_CHANGES", "reject"),
        ("CLOAKROOM_SAVE_TIMEOUT", "5"),
        ("CLOAKROOM_INTERRUPTED", "continue_anonymously"),
        ("CLOAKROOM_ABSOLUTE_LIFETIME", "604800"),
        ("CLOAKROOM_REJECT_DUPLICATE_COOKIES", "True"),
        ("CLOAKROOM_FORMER_COOKIES", r#"[{"path": "/"}, {"domain": "example.com", "partitioned": true}]"#),
        ("CLOAKROOM_SEND_NO_STORE", "True"),
        ("CLOAKROOM_COOKIE_PARTITIONED", "True"),
        ("CLOAKROOM_FULL_REMOVAL_COOKIE", "True"),
        ("CLOAKROOM_TRANSPORT", "header:X-Session-Token"),
        // Not of this library.
        ("SESSION_MANAGER", "local/host"),
        ("SESSION_ENGINE", "django.contrib.sessions.backends.db"),
        ("SECRET_KEY_BASE", "of another framework"),
    ])
    .unwrap();
    let table = r#"{
        "SECRET_KEY": "the secret", "secret_key_fallbacks": ["one", "two"], "cookie_name": "ticket",
        "SESSION_COOKIE_AGE": 3600, "cookie_domain": "example.com", "cookie_path": "/shop", "cookie_secure": true,
        "cookie_httponly": false, "cookie_samesite": "None", "save_every_request": true,
        "expire_at_browser_close": true, "naive_time_zone": "Europe/Zurich", "secret_check": "warn",
        "renew_after": 300, "session_class": "CustomStore", "text_format": "legacy", "auth_hash_algorithm": "sha1",
        "accept_sha1_auth_hash": true, "compression": 2048, "max_decompressed_bytes": 65536,
        "session_key_format": {"min_length": 32, "extra_chars": "-"}, "concurrent_changes": "reject",
        "save_timeout": 5, "interrupted": "continue_anonymously", "absolute_lifetime": 604800,
        "reject_duplicate_cookies": true,
        "former_cookies": [{"path": "/"}, {"domain": "example.com", "partitioned": true}],
        "send_no_store": true, "cookie_partitioned": true, "full_removal_cookie": true,
        "transport": "header:X-Session-Token"
    }"#;
    for settings in [by_variables, serde_json::from_str::<Settings>(table).unwrap()] {
        assert!(settings.secret_key == "the secret".into());
        assert!(settings.secret_key_fallbacks == ["one".into(), "two".into()]);
        assert_eq!((settings.cookie_name.as_str(), settings.cookie_path.as_str()), ("ticket", "/shop"));
        assert_eq!(
            (settings.cookie_age, settings.cookie_domain.as_deref()),
            (TimeDelta::hours(1), Some("example.com"))
        );
        assert!(settings.cookie_secure && !settings.cookie_httponly && settings.save_every_request);
        assert!(settings.expire_at_browser_close && settings.accept_sha1_auth_hash);
        assert_eq!(settings.cookie_samesite, Some(SameSite::None));
        assert_eq!(settings.time_zone, TimeZone::Naive("Europe/Zurich".parse().unwrap()));
        assert_eq!(settings.secret_check, SecretCheck::Warn);
        assert_eq!(settings.renew_after, Some(TimeDelta::minutes(5)));
        assert_eq!(
            (settings.session_class.as_str(), settings.text_format),
            ("CustomStore", TextFormat::Legacy)
        );
        assert!(matches!(settings.auth_hash_algorithm, Algorithm::Sha1));
        assert_eq!(settings.compression, Compression::AtLeast(2_048));
        assert_eq!(settings.max_decompressed_bytes, 65_536);
        let format = &settings.session_key_format;
        assert_eq!((format.min_length, format.max_length, format.extra_chars.as_str()), (32, 40, "-"));
        assert_eq!(settings.concurrent_changes, ConcurrentChanges::Reject);
        assert_eq!(settings.save_timeout, Duration::from_secs(5));
        assert_eq!(settings.interrupted, InterruptedSession::ContinueAnonymously);
        assert_eq!(settings.absolute_lifetime, Some(TimeDelta::weeks(1)));
        let mut partitioned = CookieScope::of_domain("example.com", "/");
        partitioned.partitioned = true;
        assert_eq!(settings.former_cookies, [CookieScope::of_host("/"), partitioned]);
        assert!(settings.reject_duplicate_cookies && settings.send_no_store);
        assert!(settings.cookie_partitioned && settings.full_removal_cookie);
        assert_eq!(settings.transport, Transport::Header("X-Session-Token".to_owned()));
    }
}

#[test]
fn a_wrong_value_is_told_with_its_setting_and_the_range() {
    for (variable, value, part) in [
        ("SESSION_COOKIE_AGE", "0", "is `0`; give a whole number of seconds above 0, at most"),
        ("SESSION_COOKIE_AGE", "-5", "is `-5`"),
        ("SESSION_COOKIE_AGE", "1.5", "is `1.5`"),
        ("SESSION_COOKIE_AGE", "9223372036854776", "at most 9223372036854775"),
        ("CLOAKROOM_SAVE_TIMEOUT", "86401", "at most 86400"),
        ("SESSION_COOKIE_SECURE", "yes", "is `yes`; give `True` or `False`"),
        ("SESSION_COOKIE_SECURE", "TRUE", "`True` or `False`"),
        ("SESSION_COOKIE_SAMESITE", "lax", "is `lax`; give one of `Strict`, `Lax`, `None`, `False`"),
        ("CLOAKROOM_TRANSPORT", "header", "`header:X-Session-Token`"),
        ("CLOAKROOM_COMPRESSION", "sometimes", "`never`, `always`"),
        ("CLOAKROOM_COMPRESSION", "redis://:hunter2@cache", "is a text; give"),
        ("SESSION_COOKIE_AGE", "1\n2", "is `1\\n2`"),
        ("USE_TZ", "False", "TIME_ZONE is missing"),
        ("CLOAKROOM_NAIVE_TIME_ZONE", "Mars/Olympus", "no such time zone"),
    ] {
        let error = of_variables(&[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("hunter2"), "{variable}={value}: {error}");
        assert!(variable == "USE_TZ" || error.contains(variable), "{error}");
    }
    let error = of_variables(&[("USE_TZ", "0"), ("TIME_ZONE", "Mars/Olympus")]).unwrap_err();
    assert_eq!(error.setting(), "time_zone", "{error}");
    // `TIME_ZONE` alone has no meaning for sessions.
    assert!(of_variables(&[("TIME_ZONE", "Mars/Olympus")]).unwrap().time_zone.is_aware());
    assert!(of_variables(&[("SESSION_COOKIE_AGE", "")]).is_ok(), "empty is as not set");
}

#[test]
fn a_misspelt_name_is_told_with_the_nearest() {
    for (name, nearest) in [
        ("SESSION_COOKIE_AEG", "SESSION_COOKIE_AGE"),
        ("SESSION_COOKI_SECURE", "SESSION_COOKIE_SECURE"),
        ("SESSION_COOKIE_LIFETIME", "SESSION_COOKIE_SAMESITE"),
        ("SECRET_KEY_FALLBACK", "SECRET_KEY_FALLBACKS"),
        ("CLOAKROOM_SECRET_CHEK", "CLOAKROOM_SECRET_CHECK"),
    ] {
        let error = of_variables(&[(name, "1")]).unwrap_err();
        assert!(error.setting() == name && error.to_string().contains(&format!("`{nearest}`")), "{error}");
    }
    for (table, part) in [
        (
            r#"{"SECRET_KEY": "x", "cookie_agge": 1}"#,
            "unknown field `cookie_agge`; the nearest is `cookie_age`",
        ),
        (r#"{"SECRET_KEY": "x", "secret_key": "y"}"#, "`secret_key` is given twice"),
        (r#"{"cookie_age": 1}"#, "setting `secret_key`: it is missing"),
        (r#"{"SECRET_KEY": "x", "store": "memory:"}"#, "read them as `GivenSettings`"),
    ] {
        let error = serde_json::from_str::<Settings>(table).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    const SECRET: &str = "hush-hush";
    let error = of_variables(&[("SECRET_KEY_FALLBACKS", r#"["hush-hush", 7]"#)]).unwrap_err();
    assert!(
        error.setting() == "secret_key_fallbacks" && !format!("{error} {error:?}").contains(SECRET),
        "{error}"
    );
    for table in [
        r#"{"secret_key": ["hush-hush"]}"#,
        r#"{"secret_key_fallbacks": "hush-hush"}"#,
        r#"{"secret_key_fallbacks": [["hush-hush"]]}"#,
        r#"{"store": ["hush-hush"]}"#,
    ] {
        let error = serde_json::from_str::<GivenSettings>(table).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    }
    let given =
        GivenSettings::from_variables([("SECRET_KEY", SECRET), ("CLOAKROOM_STORE", "redis://:hush-hush@x")]);
    let shown = format!("{:?}", given.unwrap());
    assert!(shown.contains("secret_key") && shown.contains("store") && !shown.contains(SECRET), "{shown}");
}

/// Both names of a setting: ours counts. A secret of one source is not used with another source's file.
#[test]
fn sources_go_one_over_the_other() {
    let settings = of_variables(&[
        ("SESSION_COOKIE_NAME", "django"),
        ("CLOAKROOM_COOKIE_NAME", "ours"),
        ("SECRET_KEY", "a"),
    ]);
    assert_eq!(settings.unwrap().cookie_name, "ours");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    std::fs::write(folder.path().join("secret.txt"), "of the file\r\n").unwrap();
    std::fs::write(folder.path().join("older.txt"), "older").unwrap();
    let text = "secret_key_file = 'secret.txt'\nsecret_key_fallback_files = ['older.txt']\nnaive_time_zone = 'UTC'\n";
    std::fs::write(&path, text).unwrap();
    let file = GivenSettings::from_file(&path).unwrap();
    let settings = Settings::from_file(&path).unwrap();
    assert!(settings.secret_key == "of the file".into() && settings.secret_key_fallbacks == ["older".into()]);
    assert_eq!(settings.time_zone, TimeZone::NaiveUtc);

    let above = GivenSettings::from_variables([("SECRET_KEY", "above"), ("USE_TZ", "True")]).unwrap();
    let settings = above.over(file).into_settings().unwrap();
    assert!(settings.secret_key == "above".into() && settings.secret_key_fallbacks == ["older".into()]);
    assert!(settings.time_zone.is_aware());

    std::fs::write(folder.path().join("secret.txt"), "\n").unwrap();
    let error = Settings::from_file(&path).unwrap_err();
    assert!(error.to_string().contains("secret.txt is empty"), "{error}");
    let error = Settings::from_file(folder.path().join("nowhere.toml")).unwrap_err();
    assert!(error.to_string().contains("nowhere.toml"), "{error}");
}

/// Django's `check --deploy`: `security.W009` and `W025`. Each secret once.
#[test]
fn weak_secrets_are_warned_of_once() {
    let strong = "a-long-enough-secret-with-0123456789-and-more-of-it";
    for (secret, part) in [
        ("django-insecure-a-long-enough-secret-with-0123456789", "django-insecure-"),
        ("short-of-this-test", "less than 32 bytes"),
        ("abababababababababababababababababab", "less than 5 different characters"),
    ] {
        let log = Log::start();
        for _ in 0..2 {
            let mut settings = Settings::new(strong);
            settings.secret_key_fallbacks = vec![secret.into()];
            drop(cloakroom::Site::new(cloakroom::MemoryStore::new(), settings).unwrap());
        }
        let lines = log.lines();
        let warnings: Vec<_> = lines.iter().filter(|line| line.contains("can be guessed")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{secret}: {lines:?}");
        assert!(
            warnings[0].contains("secret_key_fallbacks") && !warnings[0].contains("this-test"),
            "{warnings:?}"
        );
    }
}
