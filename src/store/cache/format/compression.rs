//! django-redis' compressors.

use cloakroom_formats::private::{Effort, Scratch, with_scratch};

use super::{CacheCompressor, EntryError};

impl CacheCompressor {
    /// The length up to which the back end leaves a value as it is.
    fn shortest(self) -> usize {
        match self {
            CacheCompressor::Lzma => 100,
            _ => 15,
        }
    }

    /// Whether the value begins as this compressor's output. No pickle, JSON or MessagePack map does.
    fn has_made(self, entry: &[u8]) -> bool {
        match (self, entry) {
            (CacheCompressor::Zlib, [first, second, ..]) => {
                first & 0xf == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31)
            }
            (CacheCompressor::Gzip, _) => entry.starts_with(&[0x1f, 0x8b]),
            (CacheCompressor::Lz4, _) => entry.starts_with(&[0x04, 0x22, 0x4d, 0x18]),
            (CacheCompressor::Lzma, _) => entry.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]),
            (CacheCompressor::Zstd, _) => entry.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
            _ => false,
        }
    }

    /// Compresses a value as the back end does, even if that makes it longer.
    pub(super) fn compress(self, plain: Vec<u8>) -> Vec<u8> {
        if plain.len() <= self.shortest() {
            return plain;
        }
        let compressed = match self {
            CacheCompressor::None => None,
            CacheCompressor::Zlib => deflate(&plain),
            #[cfg(feature = "redis-formats")]
            other => others::compress(other, &plain),
            #[cfg(not(feature = "redis-formats"))]
            _ => None,
        };
        // A value that is not compressed is read too, here and by the back end.
        compressed.unwrap_or(plain)
    }

    /// Returns the value in a compressed entry; `None` for an entry that is not compressed.
    pub(super) fn decompress(self, entry: &[u8], limit: usize) -> Result<Option<Vec<u8>>, EntryError> {
        if !self.has_made(entry) {
            return Ok(None);
        }
        match self {
            CacheCompressor::None => Ok(None),
            CacheCompressor::Zlib => inflate(entry, limit).map(Some),
            #[cfg(feature = "redis-formats")]
            other => others::decompress(other, entry, limit).map(Some),
            #[cfg(not(feature = "redis-formats"))]
            _ => Ok(None),
        }
    }
}

pub(in crate::store) fn deflate(plain: &[u8]) -> Option<Vec<u8>> {
    with_scratch(|Scratch { deflate, zlib, .. }| {
        let longest = plain.len() + plain.len() / 1_000 + 64;
        deflate.run(plain, Effort::Fast, longest, zlib).map(<[u8]>::to_vec)
    })
}

pub(in crate::store) fn inflate(entry: &[u8], limit: usize) -> Result<Vec<u8>, EntryError> {
    with_scratch(|Scratch { inflate, zlib, .. }| Ok(inflate.run(entry, limit, zlib)?.to_vec()))
}

/// The compressors that need a library of their own.
#[cfg(feature = "redis-formats")]
mod others {
    use std::io::{self, Read, Write};

    use super::{CacheCompressor, EntryError};

    /// The memory that a stream of xz may ask for, in KiB. Python's presets need up to 65 MiB.
    const XZ_MEMORY: u32 = 80 << 10;
    /// The window that a frame of Zstandard may ask for. Python's levels need up to 8 MiB, the highest 128.
    const ZSTD_WINDOW: u64 = 8 << 20;

    pub(super) fn compress(compressor: CacheCompressor, plain: &[u8]) -> Option<Vec<u8>> {
        write(compressor, plain).ok()
    }

    fn write(compressor: CacheCompressor, plain: &[u8]) -> io::Result<Vec<u8>> {
        match compressor {
            CacheCompressor::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain)?;
                encoder.finish()
            }
            CacheCompressor::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(plain)?;
                Ok(encoder.finish()?)
            }
            CacheCompressor::Lzma => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options)?;
                encoder.write_all(plain)?;
                encoder.finish()
            }
            CacheCompressor::Zstd => {
                Ok(ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest))
            }
            CacheCompressor::None | CacheCompressor::Zlib => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn decompress(
        compressor: CacheCompressor,
        entry: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, EntryError> {
        let read = match compressor {
            CacheCompressor::Gzip => all(flate2::read::MultiGzDecoder::new(entry), limit),
            CacheCompressor::Lz4 => all(lz4_flex::frame::FrameDecoder::new(entry), limit),
            CacheCompressor::Lzma => all(lzma_rust2::XzReader::new_mem_limit(entry, true, XZ_MEMORY), limit),
            CacheCompressor::Zstd => {
                let decoder =
                    ruzstd::decoding::StreamingDecoder::new_with_max_window_size(entry, ZSTD_WINDOW);
                decoder.map_err(io::Error::other).and_then(|decoder| all(decoder, limit))
            }
            CacheCompressor::None | CacheCompressor::Zlib => Err(io::ErrorKind::Unsupported.into()),
        };
        match read {
            Ok(Some(plain)) => Ok(plain),
            Ok(None) => Err(EntryError::Decompressed { limit }),
            Err(error) => Err(EntryError::Compressed(error.to_string())),
        }
    }

    /// Reads to the end; `None` if there is more than the limit.
    fn all(stream: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut plain = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(most).read_to_end(&mut plain)?;
        Ok((plain.len() <= limit).then_some(plain))
    }
}
