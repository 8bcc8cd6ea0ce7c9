//! What a thread keeps between two sessions that it codes: buffers, and the state of zlib.
//!
//! Making zlib's state (300 kB for writing) costs more than compressing a small session with it, and buffers
//! let a decoded session end up in one allocation of its exact size. A thread keeps one of each, taken out
//! while in use: whoever comes meanwhile works with new ones.

use std::cell::Cell;

/// As small as Django's level 6 on sessions, and no slower. Level 1 is faster and leaves longer texts, as it
/// does not fit its code to the text.
const LEVEL: flate2::Compression = flate2::Compression::new(3);

use flate2::{Compress, Decompress};

/// Larger buffers are given back.
const KEPT: usize = 1 << 18;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

#[derive(Default)]
pub(crate) struct Scratch {
    /// What base64 carries.
    pub(crate) carried: Vec<u8>,
    /// What was compressed, or decompressed.
    pub(crate) zlib: Vec<u8>,
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

/// Works with this thread's scratch.
pub(crate) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    // While a thread ends, its scratch may be gone already.
    let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = work(&mut scratch);
    for buffer in [&mut scratch.carried, &mut scratch.zlib] {
        if buffer.capacity() > KEPT {
            *buffer = Vec::new();
        }
    }
    let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    result
}

impl Scratch {
    /// A compressor at its beginning, at [`LEVEL`].
    pub(crate) fn compressor(&mut self) -> (&mut Compress, &mut Vec<u8>) {
        self.zlib.clear();
        let compress = self.compress.get_or_insert_with(|| Compress::new(LEVEL, true));
        compress.reset();
        (compress, &mut self.zlib)
    }

    /// A decompressor at its beginning, what to decompress, and where to.
    pub(crate) fn decompressor(&mut self) -> (&mut Decompress, &[u8], &mut Vec<u8>) {
        self.zlib.clear();
        let decompress = self.decompress.get_or_insert_with(|| Decompress::new(true));
        decompress.reset(true);
        (decompress, &self.carried, &mut self.zlib)
    }
}
