//! What both benchmarks measure: sessions of a given size, and the floor under coding them.

// Each benchmark is a crate of its own and uses a part.
#![allow(dead_code)]

mod floor;
mod sessions;

use std::hint::black_box;

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::signing::Compression;
use cloakroom::{SessionCodec, SessionData, Settings};

pub(crate) use floor::Floor;
pub(crate) use sessions::session_json;

/// Lengths of the JSON text.
pub(crate) const SIZES: [(usize, &str); 3] = [(100, "100 B"), (1_000, "1 kB"), (20_000, "20 kB")];

/// One session in one setting, ready to be coded both ways by us and by the floor.
pub(crate) struct Case {
    pub(crate) json: String,
    pub(crate) data: SessionData,
    pub(crate) text: String,
    codec: SessionCodec,
    now: DateTime<Utc>,
}

impl Case {
    pub(crate) fn new(size: usize, compression: Compression) -> Case {
        let mut settings = Settings::new("the benchmark's SECRET_KEY");
        settings.compression = compression;
        let codec = SessionCodec::new(&settings);
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("in range");
        let json = session_json(size);
        let data = SessionData::from_json(&json).expect("JSON");
        let text = codec.encode(&data, now).expect("JSON");
        assert_eq!(codec.decode(&text).expect("our own text").to_json(), json);
        Case { json, data, text, codec, now }
    }

    /// Whether compressing made it shorter and so is part of reading it.
    pub(crate) fn is_compressed(&self) -> bool {
        self.text.starts_with('.')
    }

    pub(crate) fn floor(&self, compression: Compression) -> Floor {
        Floor::new(&self.json, &self.text, compression)
    }

    pub(crate) fn encode(&self) {
        black_box(self.codec.encode(black_box(&self.data), self.now).expect("JSON"));
    }

    pub(crate) fn decode(&self) {
        black_box(self.codec.decode(black_box(&self.text)).is_ok());
    }
}
