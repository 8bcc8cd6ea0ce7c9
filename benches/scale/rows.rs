//! The sessions: made from their numbers, so that ten million need no memory and each can be found again.

use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::{SessionCodec, SessionData, SessionKey, Settings};

/// Sessions with the numbers 0 to `total`. The even ones have expired, the odd ones live: in the order in which they
/// are stored each page of the table has some of both, which is the hardest case for who cleans.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) total: u64,
    pub(crate) now: DateTime<Utc>,
}

/// Two weeks in microseconds: expiries lie so far before and after now.
const COOKIE_AGE: u64 = 14 * 24 * 60 * 60 * 1_000_000;

pub(crate) fn settings() -> Settings {
    Settings::new("the benchmark's SECRET_KEY")
}

impl Rows {
    pub(crate) fn session_key(&self, number: u64) -> SessionKey {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(32);
        for part in 0..4 {
            let mut random = mix(number * 8 + part);
            for _ in 0..8 {
                text.push(char::from(ALPHABET[(random % 36) as usize]));
                random /= 36;
            }
        }
        SessionKey::from_trusted(text)
    }

    /// What Django keeps for a user who is logged in, and a little of the site's own.
    pub(crate) fn data(&self, number: u64) -> SessionData {
        let parts: Vec<u64> = (4..8).map(|part| mix(number * 8 + part)).collect();
        let json = format!(
            "{{\"_auth_user_id\":\"{}\",\"_auth_user_backend\":\"django.contrib.auth.backends.ModelBackend\",\
             \"_auth_user_hash\":\"{:016x}{:016x}{:016x}{:016x}\",\"visits\":{},\"_language\":\"de\"}}",
            number,
            parts[0],
            parts[1],
            parts[2],
            parts[3],
            parts[0] % 1_000,
        );
        SessionData::from_json(&json).expect("JSON")
    }

    pub(crate) fn text(&self, codec: &SessionCodec, number: u64) -> String {
        codec.encode(&self.data(number), self.now).expect("JSON")
    }

    pub(crate) fn expire_date(&self, number: u64) -> DateTime<Utc> {
        let distance = TimeDelta::microseconds((1 + mix(number * 8 + 5) % COOKIE_AGE) as i64);
        if number.is_multiple_of(2) { self.now - distance } else { self.now + TimeDelta::days(1) + distance }
    }

    /// Some live session.
    pub(crate) fn live(&self, random: u64) -> u64 {
        mix(random) % (self.total / 2) * 2 + 1
    }

    pub(crate) fn expired(&self) -> u64 {
        self.total.div_ceil(2)
    }
}

/// SplitMix64: neighbours give numbers that have nothing to do with each other.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
