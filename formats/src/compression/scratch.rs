//! A thread's scratch space for coding sessions: buffers, and the state of zlib.
//!
//! Creating zlib's state costs more than compressing a small session with it. The buffers let a decoded
//! session end up in one allocation of its exact size. Each thread keeps one scratch, taken out while in use;
//! a nested use creates a new one.

use std::cell::Cell;

use super::{Deflate, Inflate};

/// Larger buffers are freed.
const KEPT: usize = 1 << 18;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// The scratch buffers. They keep their length, so that they are not zeroed again: the returned slice marks
/// the valid contents, not the buffer's end.
#[derive(Default)]
#[expect(clippy::exhaustive_structs, reason = "private")]
pub struct Scratch {
    /// The bytes decoded from base64.
    pub carried: Vec<u8>,
    /// The compressed or decompressed bytes.
    pub zlib: Vec<u8>,
    /// The compressor's state.
    pub deflate: Deflate,
    /// The decompressor's state.
    pub inflate: Inflate,
}

/// Runs `work` with this thread's scratch.
pub fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
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
