//! The floor: the least that any implementation of the format must do, with the same crates.
//!
//! One HMAC-SHA256 over the bytes that are signed, one base64 of the payload, one zlib of the JSON where the
//! text is compressed. The key is prepared, all buffers and the zlib state are there already, and nothing is
//! allocated, copied, escaped, parsed or put together.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::signing::Compression;
use hmac::{Hmac, KeyInit, Mac};
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The levels of `Compression::AtLeast` and of `Compression::Always`: see `src/zlib.rs`.
fn level(compression: Compression) -> CompressionLvl {
    let level = if compression == Compression::Always { 6 } else { 1 };
    CompressionLvl::new(level).expect("from 0 to 12")
}

pub(crate) struct Floor {
    key: Hmac<Sha256>,
    json: Vec<u8>,
    /// What is signed: payload, separator, timestamp.
    signed: Vec<u8>,
    /// The payload in base64, without the mark of compression.
    payload: Vec<u8>,
    /// What the base64 holds: JSON or zlib.
    carried: Vec<u8>,
    mac: [u8; 32],
    /// Whether writing tries zlib.
    deflates: bool,
    /// Whether what was written is zlib.
    inflates: bool,
    compressor: Compressor,
    decompressor: Decompressor,
    /// How long what was compressed or decompressed is.
    length: usize,
    base64: Vec<u8>,
    zlib: Vec<u8>,
}

impl Floor {
    pub(crate) fn new(json: &str, text: &str, compression: Compression) -> Floor {
        let secret = Sha256::new()
            .chain_update("django.contrib.sessions.SessionStoresigner")
            .chain_update("the benchmark's SECRET_KEY")
            .finalize();
        let key = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        let (signed, signature) = text.rsplit_once(':').expect("signed text");
        let (payload, _) = signed.rsplit_once(':').expect("with a time");
        let (inflates, payload) = payload.strip_prefix('.').map_or((false, payload), |text| (true, text));
        let carried = URL_SAFE_NO_PAD.decode(payload).expect("base64");
        let mut mac = [0; 32];
        mac.copy_from_slice(&URL_SAFE_NO_PAD.decode(signature).expect("base64"));
        let mut floor = Floor {
            key,
            json: json.into(),
            signed: signed.into(),
            payload: payload.into(),
            carried,
            mac,
            deflates: compression != Compression::Never,
            inflates,
            compressor: Compressor::new(level(compression)),
            decompressor: Decompressor::new(),
            length: 0,
            base64: vec![0; 2 * json.len() + 64],
            zlib: vec![0; 2 * json.len() + 64],
        };
        floor.assert_same_bytes();
        floor
    }

    /// That the floor computes what is in the text, and not something cheaper.
    fn assert_same_bytes(&mut self) {
        self.encode();
        assert!(self.base64.starts_with(&self.payload));
        assert_eq!(
            self.zlib[..self.length] == self.carried,
            self.inflates,
            "are the levels those of src/zlib.rs?"
        );
        assert!(self.decode());
        assert!(self.base64.starts_with(&self.carried));
        assert_eq!(self.zlib[..self.length] == self.json, self.inflates);
    }

    pub(crate) fn encode(&mut self) {
        if self.deflates {
            let length = self.compressor.zlib_compress(black_box(&self.json), &mut self.zlib);
            self.length = black_box(length.expect("room"));
        }
        let _ = black_box(URL_SAFE_NO_PAD.encode_slice(&self.carried, &mut self.base64));
        black_box(&self.base64);
        black_box(self.key.clone().chain_update(black_box(&self.signed)).finalize());
    }

    pub(crate) fn decode(&mut self) -> bool {
        let mac = self.key.clone().chain_update(black_box(&self.signed)).finalize().into_bytes();
        let genuine = bool::from(mac.as_slice().ct_eq(black_box(&self.mac)));
        let _ = black_box(URL_SAFE_NO_PAD.decode_slice(black_box(&self.payload), &mut self.base64));
        if self.inflates {
            let carried = &self.base64[..self.carried.len()];
            let length = self.decompressor.zlib_decompress(black_box(carried), &mut self.zlib);
            self.length = black_box(length.expect("room"));
        }
        black_box(genuine)
    }
}
