use super::*;

#[test]
fn digits_are_counted_up_to_any_other_byte() {
    for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
        for place in 0..8 {
            let mut chunk = *b"90817263";
            chunk[place] = byte;
            assert_eq!(digits_of(u64::from_le_bytes(chunk)), place, "{byte} at {place}");
        }
    }
    assert_eq!(digits_of(u64::from_le_bytes(*b"12345678")), 8);
}

#[test]
fn nesting_ends_at_the_limit_and_closes_in_order() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // The session is the first level.
    assert!(value(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert!(value(nested(MAX_DEPTH).as_bytes()).is_err());
    assert!(value("[".repeat(1_000_000).as_bytes()).is_err());
    let mixed = |depth: usize| format!("{}1{}", "[{\"a\":".repeat(depth), "}]".repeat(depth));
    assert!(value(mixed(400).as_bytes()).is_ok());
    assert!(value(mixed(400).replacen("}]", "]}", 1).as_bytes()).is_err());
    for empty in ["[]", "{}", "[ ]", "{ }", "[[],{}]", "{\"a\":{},\"b\":[]}"] {
        assert!(value(empty.as_bytes()).is_ok(), "{empty}");
    }
    for wrong in
        ["[,]", "[1,]", "{,}", "{\"a\":1,}", "[}", "{]", "{\"a\"}", "{\"a\":}", "[1 2]", "{1:2}", "["]
    {
        assert!(value(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

/// Tests every length and position in the text, with a number at its end, where fewer than 8 bytes follow.
#[test]
fn numbers_and_strings_end_where_they_end() {
    let numbers =
        ["0", "-0", "7", "1234567", "12345678", "123456789012345678901", "-1.5", "0.25e-7", "1E400"];
    for number in numbers {
        for padding in 0..70 {
            let json = format!(
                "[\"{}\",{number},\"\\u00e4{}\",{number}]",
                "x".repeat(padding),
                "y".repeat(70 - padding)
            );
            assert_eq!(value(json.as_bytes()), Ok(0..json.len()), "{json}");
            let bare = format!("{}{number}", " ".repeat(padding));
            assert_eq!(value(bare.as_bytes()), Ok(padding..bare.len()), "{bare}");
        }
    }
    for wrong in ["01", "1.", ".5", "1e", "-", "+1", "1.e5", "0x1", "1,", "--1", "-I", "-infinity"] {
        assert!(value(wrong.as_bytes()).is_err(), "{wrong}");
        assert!(value(format!("[{wrong},1234567890]").as_bytes()).is_err(), "{wrong}");
    }
}
