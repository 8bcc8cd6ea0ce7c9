//! Formats JSON for people, in tokens that a page can colour. The stored spelling is preserved.

/// A token of JSON text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// `key`, `string`, `word` (numbers, `true`, `null`, `NaN`) or `mark` (braces, commas, line ends).
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// Splits JSON text that was validated before; other text is split in some way too.
pub(super) fn tokens(json: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut depth = 0usize;
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest.find(|end| "{}[],:\" \n\r\t".contains(end)).unwrap_or(rest.len()).max(1),
        };
        let (text, after) = rest.split_at(length.min(rest.len()));
        rest = after.trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                push_mark(&mut out, &format!("{text}{}", &rest[..1]));
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                push_mark(&mut out, &format!("{text}{}", line_end(depth)));
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                push_mark(&mut out, &format!("{}{text}", line_end(depth)));
            }
            ',' => push_mark(&mut out, &format!(",{}", line_end(depth))),
            ':' => push_mark(&mut out, ": "),
            '"' if rest.starts_with(':') => out.push(Token { class: "key", text: text.to_owned() }),
            '"' => out.push(Token { class: "string", text: text.to_owned() }),
            _ => out.push(Token { class: "word", text: text.to_owned() }),
        }
    }
    out
}

fn line_end(depth: usize) -> String {
    // Otherwise deep nesting would produce pages of spaces.
    format!("\n{}", "  ".repeat(depth.min(40)))
}

fn push_mark(out: &mut Vec<Token>, text: &str) {
    match out.last_mut() {
        Some(Token { class: "mark", text: last }) => last.push_str(text),
        _ => out.push(Token { class: "mark", text: text.to_owned() }),
    }
}

/// The length of the string at the start of this text, including its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return position + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::tokens;

    fn laid_out(json: &str) -> String {
        tokens(json).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn laid_out_for_people() {
        let json = r#"{"a\"}": [1,{ "b" : NaN},[],{ }],"c":"x\\"}"#;
        let expected = "{\n  \"a\\\"}\": [\n    1,\n    {\n      \"b\": NaN\n    },\n    [],\n    {}\n  ],\n  \"c\": \"x\\\\\"\n}";
        assert_eq!(laid_out(json), expected);
        assert_eq!(laid_out("{}"), "{}");
        let classes: Vec<_> = tokens(r#"{"k":"v"}"#).iter().map(|token| token.class).collect();
        assert_eq!(classes, ["mark", "key", "mark", "string", "mark"]);
    }

    #[test]
    fn what_is_no_json_ends_too() {
        for text in ["\"open", "{]", "\\", "é\"é", ""] {
            laid_out(text);
        }
    }
}
