//! What a thread keeps between two sessions that it codes: buffers, and the state of zlib.
//!
//! Making zlib's state costs more than compressing a small session with it, and buffers let a decoded session end
//! up in one allocation of its exact size. A thread keeps one of each, taken out while in use: whoever comes
//! meanwhile works with new ones.

use std::cell::Cell;

use super::{Deflate, Inflate};

/// Larger buffers are given back.
const KEPT: usize = 1 << 18;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// The buffers keep their length, so that nobody has to fill them with zeros again: what is in them is told by the
/// slice that one gets, never by their end.
#[derive(Default)]
pub struct Scratch {
    /// What base64 carries.
    pub carried: Vec<u8>,
    /// What was compressed, or decompressed.
    pub zlib: Vec<u8>,
    /// The state of compressing.
    pub deflate: Deflate,
    /// The state of decompressing.
    pub inflate: Inflate,
}

/// Works with this thread's scratch.
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
