//! Sessions as a shop on Django has them, made to a size.

use std::fmt::Write;

/// The JSON text of a session, exactly `size` bytes: what `django.contrib.auth` and `csrf` keep, then a cart,
/// messages, floats and names with umlauts, as many as fit. The same text each time.
pub(crate) fn session_json(size: usize) -> String {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut json = format!(
        "{{\"_auth_user_id\":\"{}\",\"_auth_user_backend\":\"django.contrib.auth.backends.ModelBackend\"",
        random.below(100),
    );
    if size >= 500 {
        let _ = write!(
            json,
            ",\"_csrftoken\":\"{}\",\"_auth_user_hash\":\"{}\",\"last_seen\":1790000000.{:06},\"_language\":\"de\",\
             \"_messages\":\"[[\\\"__json_message\\\",0,25,\\\"Ihr Warenkorb wurde ge\\u00e4ndert.\\\",\\\"\\\"]]\"",
            random.text(32),
            random.hex(64),
            random.below(1_000_000),
        );
        json.push_str(",\"cart\":{");
        let mut first = true;
        while first || json.len() + 260 < size - size / 10 {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            let _ = write!(
                json,
                "{comma}\"{}\":{{\"name\":\"K\\u00e4se {}\",\"quantity\":{},\"price\":\"{}.{:02}\",\"weight\":{}.{},\"gift\":{}}}",
                random.below(1_000_000),
                random.text(9),
                1 + random.below(9),
                random.below(100),
                random.below(100),
                random.below(5),
                1 + random.below(9_999),
                if random.below(2) == 0 { "false" } else { "true" },
            );
        }
        json.push_str("},\"recently_viewed\":[");
        let mut first = true;
        while first || json.len() + 60 < size {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            let _ = write!(json, "{comma}{}", random.below(1_000_000));
        }
        json.push(']');
    }
    json.push_str(",\"n\":\"/");
    let rest = size.checked_sub(json.len() + 2).expect("a size of 100 or more");
    json.push_str(&random.text(rest));
    json.push_str("\"}");
    assert_eq!(json.len(), size);
    json
}

/// Marsaglia's xorshift: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize])).collect()
    }

    fn text(&mut self, length: usize) -> String {
        self.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", length)
    }

    fn hex(&mut self, length: usize) -> String {
        self.of(b"0123456789abcdef", length)
    }
}
