//! The URL's `options`: what libpq passes to the server as its command line.

/// The parsed `options`. A direct connection passes them on as they are. A connection pooler refuses or ignores
/// them, so behind one the settings apply to each transaction instead.
#[derive(Clone, Default)]
pub(super) struct ServerOptions {
    /// The text as it was given.
    pub(super) text: String,
    /// The names and values of `-c name=value`.
    pub(super) settings: Vec<(String, String)>,
    /// The other words, such as Neon's `endpoint=…`, which the pooler itself reads.
    pub(super) rest: String,
}

impl ServerOptions {
    /// Parses as the server does: words are separated by white space, and a backslash keeps the next character.
    pub(super) fn of(text: &str) -> ServerOptions {
        let mut parsed = ServerOptions { text: text.to_owned(), ..ServerOptions::default() };
        let mut words = words(text).into_iter();
        while let Some(word) = words.next() {
            let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
                (Some(""), _) => words.next(),
                (Some(setting), _) | (_, Some(setting)) => Some(setting.to_owned()),
                _ => None,
            };
            match setting.as_deref().and_then(|setting| setting.split_once('=')) {
                Some((name, value)) => parsed.settings.push((name.replace('-', "_"), value.to_owned())),
                None => {
                    let separator = if parsed.rest.is_empty() { "" } else { " " };
                    parsed.rest += separator;
                    parsed.rest += &setting.map_or_else(|| escaped(&word), |setting| escaped(&setting));
                }
            }
        }
        parsed
    }
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut characters) = (Vec::new(), None::<String>, text.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

fn escaped(word: &str) -> String {
    let mut escaped = String::new();
    for character in word.chars() {
        if character == '\\' || character.is_ascii_whitespace() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::ServerOptions;

    #[test]
    fn settings_and_other_words_are_told_apart() {
        for (text, settings, rest) in [
            ("", &[][..], ""),
            ("-csearch_path=shop,public", &[("search_path", "shop,public")], ""),
            ("-c search_path=shop -c work_mem=1MB", &[("search_path", "shop"), ("work_mem", "1MB")], ""),
            ("--search-path=shop", &[("search_path", "shop")], ""),
            ("endpoint=ep-cool-1", &[], "endpoint=ep-cool-1"),
            ("endpoint=ep -c geqo=off", &[("geqo", "off")], "endpoint=ep"),
            (r"-c application_name=a\ b\\c", &[("application_name", r"a b\c")], ""),
            (r"project=a\ b  x", &[], r"project=a\ b x"),
        ] {
            let parsed = ServerOptions::of(text);
            let found: Vec<_> =
                parsed.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((&found[..], parsed.rest.as_str()), (settings, rest), "{text}");
        }
    }
}
