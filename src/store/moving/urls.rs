//! The two URLs in `moving:OLD|NEW`.

use crate::store::StoreUrl;

/// How the URL of a store may begin. A bar before anything else is part of a path or a password.
const SCHEMES: [&str; 14] = [
    "cached_db:",
    "cookie:",
    "file:",
    "mariadb:",
    "memcached:",
    "memory:",
    "moving:",
    "mysql:",
    "postgres:",
    "postgresql:",
    "redis+cluster:",
    "redis+sentinel:",
    "redis:",
    "rediss:",
];

fn begins_store(text: &str) -> bool {
    text.starts_with("sqlite:") || SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// The URLs of the old and the new store, out of what follows `moving:`; none when it is unclear where the second begins.
/// `||` always divides; `|` does where there is one, and no `cached_db:` with a bar of its own.
pub(in crate::store) fn two_urls(rest: &str) -> Option<(&str, &str)> {
    let divided_by = |bar: &'static str| {
        let mut places =
            rest.match_indices(bar).filter(|(place, _)| begins_store(&rest[place + bar.len()..]));
        let (place, _) = places.next()?;
        places.next().is_none().then(|| (&rest[..place], &rest[place + bar.len()..]))
    };
    let has_double = rest.match_indices("||").any(|(place, _)| begins_store(&rest[place + 2..]));
    if has_double {
        return divided_by("||");
    }
    divided_by("|").filter(|(old, new)| ![old, new].iter().any(|url| url.starts_with("cached_db:")))
}

/// The URL without the secrets in it. Where it is unclear what is what, nothing is shown.
pub(in crate::store) fn shown(rest: &str) -> String {
    let Some((old, new)) = two_urls(rest) else { return "…".to_owned() };
    let bar = if rest[old.len()..].starts_with("||") { "||" } else { "|" };
    format!("{}{bar}{}", StoreUrl::from(old), StoreUrl::from(new))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::two_urls;
    use crate::store::{StoreUrl, url_from_folder};

    #[test]
    fn two_stores_are_told_apart_or_refused() {
        for (rest, two) in [
            ("sqlite:a|redis://b/1", Some(("sqlite:a", "redis://b/1"))),
            ("sqlite:a||redis://b/1", Some(("sqlite:a", "redis://b/1"))),
            ("sqlite:a|b.sqlite3|redis://b/1", Some(("sqlite:a|b.sqlite3", "redis://b/1"))),
            (
                "cached_db:sqlite:a|redis://b||postgres://c/d",
                Some(("cached_db:sqlite:a|redis://b", "postgres://c/d")),
            ),
            (
                "cached_db:sqlite:a|redis://b||cached_db:postgres://c/d|redis://e",
                Some(("cached_db:sqlite:a|redis://b", "cached_db:postgres://c/d|redis://e")),
            ),
            ("cached_db:sqlite:a|redis://b|postgres://c/d", None),
            ("sqlite:a|cached_db:sqlite:b|redis://c", None),
            ("sqlite:a|cached_db:sqlite:b", None),
            ("sqlite:a|redis://b|memory:", None),
            ("sqlite:a||redis://b||memory:", None),
            ("sqlite:a", None),
            ("sqlite:a|", None),
            ("", None),
        ] {
            assert_eq!(two_urls(rest), two, "{rest}");
        }
    }

    #[test]
    fn secrets_are_hidden_and_paths_count_from_the_folder() {
        for (url, shown) in [
            (
                "moving:postgres://ann:s3cret@db/site|redis://:s3cret@cache",
                "moving:postgres://ann:…@db/site|redis://:…@cache",
            ),
            (
                "MOVING:cached_db:postgres://ann:s3cret@db/site|redis://:s3cret@cache||sqlite:new",
                "MOVING:cached_db:postgres://ann:…@db/site|redis://:…@cache||sqlite:new",
            ),
            ("moving:cached_db:sqlite:a|redis://:s3cret@b|postgres://c:s3cret@d/e", "moving:…"),
            ("moving:postgres://ann:s3cret@db/site", "moving:…"),
            ("moving:postgres://ann:s3|redis:cret@db/site|memory:", "moving:…"),
        ] {
            assert_eq!(StoreUrl::from(url).to_string(), shown);
        }
        let from = |url| url_from_folder(url, Path::new("/srv/site"));
        assert_eq!(from("moving:sqlite:a|file:b"), "moving:sqlite:/srv/site/a|file:/srv/site/b");
        assert_eq!(
            from("moving:cached_db:sqlite:a|file:c||sqlite:b"),
            "moving:cached_db:sqlite:/srv/site/a|file:/srv/site/c||sqlite:/srv/site/b"
        );
    }
}
