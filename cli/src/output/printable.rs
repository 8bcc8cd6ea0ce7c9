//! Makes text from stores, browsers and other programs safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes all characters of a line that act on a terminal, end the line, or are invisible. They are spelled
/// as in JSON, such as `\u001b`. In JSON this keeps the meaning, because such characters occur only in
/// strings there.
///
/// Letters of all languages stay. Rejected: `char::escape_debug`, which escapes the vowel signs of several
/// languages.
pub(crate) fn printable(line: &str) -> Cow<'_, str> {
    let Some(first) = line.find(is_unsafe) else { return Cow::Borrowed(line) };
    let (start, rest) = line.split_at(first);
    let mut text = String::with_capacity(line.len() + 16);
    text.push_str(start);
    for character in rest.chars() {
        if is_unsafe(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    Cow::Owned(text)
}

/// Controls (C0, DEL, C1), line and paragraph separators, and characters that change the text's direction or
/// have no width.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_acts_on_a_terminal() {
        for (text, shown) in [
            ("plain, Zürich, ∑, 日本, हिन्दी, 😀 \\ \"", "plain, Zürich, ∑, 日本, हिन्दी, 😀 \\ \""),
            ("a\x1b[31mred", r"a\u001b[31mred"),
            ("a\r\n\tb\x7f", r"a\u000d\u000a\u0009b\u007f"),
            ("\u{9b}31m\u{85}", r"\u009b31m\u0085"),
            ("7\u{202e}8\u{2066}9\u{200b}\u{2028}", r"7\u202e8\u20669\u200b\u2028"),
            ("a\u{e0041}", r"a\udb40\udc41"),
        ] {
            assert_eq!(printable(text), shown);
        }
        // It is the same value in JSON.
        let text = "\u{9b}\x7f\u{202e}\u{e0041}\n";
        let line = serde_json::to_string(text).unwrap_or_default();
        assert_eq!(serde_json::from_str::<String>(&printable(&line)).ok().as_deref(), Some(text));
    }
}
