//! One-shot zlib: a session fits in memory.

pub(crate) mod scratch;

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "private")]
pub enum Effort {
    /// Faster than Django's level; the text is a few per cent longer.
    Fast,
    /// As hard as Django: the text is no longer than Django's.
    AsDjango,
}

/// The compressor's state for each effort, reused between calls.
#[derive(Default)]
pub struct Deflate {
    fast: Option<Compressor>,
    as_django: Option<Compressor>,
}

impl Deflate {
    /// Returns the compressed bytes, if they are fewer than `shorter_than`.
    pub fn run<'a>(
        &mut self,
        plain: &[u8],
        effort: Effort,
        shorter_than: usize,
        out: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let compressor = match effort {
            Effort::Fast => self.fast.get_or_insert_with(|| Compressor::new(level(1))),
            Effort::AsDjango => self.as_django.get_or_insert_with(|| Compressor::new(level(6))),
        };
        // libdeflate gives up as soon as there is no room left.
        let room = shorter_than.saturating_sub(1);
        make_room(out, room);
        let length = compressor.zlib_compress(plain, out.get_mut(..room)?).ok()?;
        out.get(..length)
    }
}

fn level(level: i32) -> CompressionLvl {
    CompressionLvl::new(level).unwrap_or_default()
}

/// The decompressor's state, reused between calls.
#[derive(Default)]
pub struct Inflate {
    decompressor: Option<Decompressor>,
}

/// Why something was not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "private")]
pub enum InflateError {
    /// Not a complete zlib stream.
    #[error("not zlib, or an incomplete stream of it")]
    NotZlib,
    /// Larger than the limit.
    #[error("larger than the limit of {0} bytes when decompressed")]
    TooLarge(usize),
}

impl Inflate {
    /// Returns the decompressed bytes. Bytes after the end of the stream are ignored, as in Python.
    pub fn run<'a>(
        &mut self,
        compressed: &[u8],
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], InflateError> {
        let decompressor = self.decompressor.get_or_insert_with(Decompressor::new);
        // Session JSON usually compresses to a half or a third.
        make_room(out, compressed.len().saturating_mul(4).min(limit));
        loop {
            let room = out.len().min(limit);
            match decompressor.zlib_decompress(compressed, &mut out[..room]) {
                Ok(length) => return Ok(&out[..length]),
                Err(DecompressionError::BadData) => return Err(InflateError::NotZlib),
                Err(DecompressionError::InsufficientSpace) if room == limit => {
                    return Err(InflateError::TooLarge(limit));
                }
                // Starts again with twice the room: at most twice the work in total.
                Err(DecompressionError::InsufficientSpace) => {
                    make_room(out, room.saturating_mul(2).clamp(256, limit.max(256)));
                }
            }
        }
    }
}

/// Grows a buffer to at least this length; its contents are unspecified.
pub(crate) fn make_room(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        Inflate::default().run(compressed, limit, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut deflate = Deflate::default();
        for length in [0, 1, 10, 1_000, 300_000] {
            let plain: Vec<u8> = (0..length).map(|place| (place % 7) as u8).collect();
            for effort in [Effort::Fast, Effort::AsDjango] {
                let mut out = Vec::new();
                let compressed = deflate.run(&plain, effort, length + 100, &mut out).map(<[u8]>::to_vec);
                assert_eq!(inflate(&compressed.unwrap_or_default(), 1 << 20).as_deref(), Ok(&*plain));
            }
        }
    }

    #[test]
    fn what_does_not_become_shorter_is_left() {
        let mut out = Vec::new();
        assert_eq!(Deflate::default().run(b"abc", Effort::Fast, 3, &mut out), None);
        assert_eq!(Deflate::default().run(b"", Effort::Fast, 0, &mut out), None);
    }

    #[test]
    fn a_limit_is_kept_to_the_byte() {
        let (mut deflate, mut out) = (Deflate::default(), Vec::new());
        let zeros = deflate.run(&[0; 1_000_000], Effort::Fast, 1_000_000, &mut out).map(<[u8]>::to_vec);
        let zeros = zeros.unwrap_or_default();
        assert_eq!(inflate(&zeros, 1_000_000).map(|plain| plain.len()), Ok(1_000_000));
        for limit in [0, 1, 255, 256, 999_999] {
            assert_eq!(inflate(&zeros, limit), Err(InflateError::TooLarge(limit)), "limit {limit}");
            // A buffer left longer by the last call does not raise the limit either.
            let (mut inflate, mut kept) = (Inflate::default(), vec![0; 2_000_000]);
            assert_eq!(
                inflate.run(&zeros, limit, &mut kept),
                Err(InflateError::TooLarge(limit)),
                "limit {limit}"
            );
        }
        let trailing = [&*zeros, b"whatever"].concat();
        assert_eq!(inflate(&trailing, 1 << 24).map(|plain| plain.len()), Ok(1_000_000));
    }

    #[test]
    fn what_is_no_zlib_or_breaks_off_is_an_error() {
        let (mut deflate, mut out) = (Deflate::default(), Vec::new());
        let zeros = deflate.run(&[0; 1_000], Effort::AsDjango, 1_000, &mut out).map(<[u8]>::to_vec);
        let zeros = zeros.unwrap_or_default();
        for length in 0..zeros.len() {
            for limit in [0, 1, 1_000, 1 << 24] {
                assert!(inflate(&zeros[..length], limit).is_err(), "{length} bytes, limit {limit}");
            }
        }
        for text in [&b""[..], b"x", b"not zlib", &[0x78, 0x9c]] {
            assert_eq!(inflate(text, 1 << 24), Err(InflateError::NotZlib));
        }
    }
}
