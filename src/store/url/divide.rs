//! Finds the start of the second store in `cached_db:DATABASE|CACHE` and `moving:OLD|NEW`.

use super::scheme::begins_store;

/// A URL of two stores.
pub(super) struct Divided<'a> {
    pub(super) scheme: &'a str,
    pub(super) stores: [&'a str; 2],
    /// The separator between them.
    pub(super) bar: &'static str,
}

/// Returns the two stores of a URL that names two.
pub(super) fn divided(url: &str) -> Option<Divided<'_>> {
    let (scheme, rest) = url.split_once(':')?;
    let (first, second) = match scheme {
        "cached_db" => cached_db(rest),
        "moving" => moving(rest),
        _ => None,
    }?;
    let bar = if rest.len() - first.len() - second.len() == 2 { "||" } else { "|" };
    Some(Divided { scheme, stores: [first, second], bar })
}

/// Returns the database and the cache. A password or a path may contain a bar: the second store begins with a
/// scheme.
pub(super) fn cached_db(rest: &str) -> Option<(&str, &str)> {
    let bars = || rest.match_indices('|').map(|(bar, _)| bar);
    let bar = bars()
        .rfind(|bar| begins_store(&rest[bar + 1..]))
        .or_else(|| bars().find(|bar| scheme_of(&rest[bar + 1..]).is_some()))
        .or_else(|| bars().next_back())?;
    Some((&rest[..bar], &rest[bar + 1..]))
}

/// Returns the old and the new store; `None` when it is unclear where the second begins. `||` always divides.
/// `|` divides if there is only one, and no `cached_db:` with a bar of its own.
pub(super) fn moving(rest: &str) -> Option<(&str, &str)> {
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

/// Splits a URL into its scheme, known or not, and the text after its colon.
pub(super) fn scheme_of(url: &str) -> Option<(&str, &str)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    url.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed)
    })
}
