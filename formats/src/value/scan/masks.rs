//! Bit masks that mark bytes of a kind in 64 bytes; the lowest bit is the first byte.

use wide::u8x16;

/// The n-th 64 bytes of the text, padded with zeros, which JSON never contains.
#[inline(always)]
fn block_of(bytes: &[u8], block: usize) -> [u8; 64] {
    let rest = bytes.get(block * 64..).unwrap_or_default();
    if let Some(chunk) = rest.first_chunk() {
        return *chunk;
    }
    let mut chunk = [0; 64];
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}

/// Marks the bytes in the text's n-th block of 64 that cannot stand unescaped in a string: `"`, `\`, control
/// characters and non-ASCII bytes. Bytes beyond the end of the text are marked too.
#[inline(never)]
pub(super) fn special_bytes(bytes: &[u8], block: usize) -> u64 {
    special_bytes_of(&block_of(bytes, block))
}

#[inline(always)]
fn special_bytes_of(chunk: &[u8; 64]) -> u64 {
    mask(chunk, special)
}

/// [`special_bytes`] for 16 bytes. These are also the bytes that Python escapes in a string.
#[inline(always)]
pub(in crate::value) fn special_of_16(chunk: &[u8; 16]) -> u32 {
    special(u8x16::new(*chunk)).to_bitmask()
}

#[inline(always)]
fn special(bytes: u8x16) -> u8x16 {
    // Bytes above `~` and below the space are at least this far from the space.
    let from_space = bytes - u8x16::splat(b' ');
    let not_printable = from_space.max(u8x16::splat(b'~' - b' ' + 1)).simd_eq(from_space);
    equal(bytes, b'"') | equal(bytes, b'\\') | not_printable
}

#[inline(always)]
fn mask(chunk: &[u8; 64], is: impl Fn(u8x16) -> u8x16) -> u64 {
    let lanes = chunk.as_chunks::<16>().0.iter().enumerate();
    lanes.fold(0, |mask, (lane, bytes)| mask | u64::from(is(u8x16::new(*bytes)).to_bitmask()) << (16 * lane))
}

#[inline(always)]
fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

#[inline(always)]
fn any_control(chunk: &[u8; 64]) -> bool {
    let lanes = chunk.as_chunks::<16>().0.iter();
    let lowest = lanes.fold(u8x16::splat(u8::MAX), |lowest, bytes| lowest.min(u8x16::new(*bytes)));
    control(lowest).to_bitmask() != 0
}

#[inline(always)]
fn control(bytes: u8x16) -> u8x16 {
    bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes)
}

/// Reads a text block by block and tracks which parts are strings.
pub(super) struct Strings {
    /// All ones inside a string.
    inside: u64,
    /// 1 if the first byte of the next block is escaped.
    escaped: u64,
}

/// A block with masks of its bytes outside of strings.
pub(super) struct Block {
    pub(super) chunk: [u8; 64],
    /// Brackets outside of strings.
    pub(super) brackets: u64,
    /// Misplaced bytes: control characters in strings, backslashes outside of them.
    pub(super) wrong: u64,
}

impl Strings {
    /// Starts outside of a string.
    pub(super) fn new() -> Strings {
        Strings { inside: 0, escaped: 0 }
    }

    /// Reads the text's n-th block of 64, starting at its byte `first`.
    #[inline(always)]
    pub(super) fn next(&mut self, bytes: &[u8], block: usize, first: usize) -> Block {
        let chunk = block_of(bytes, block);
        let from = u64::MAX << first;
        let mut quotes = mask(&chunk, |bytes| equal(bytes, b'"')) & from;
        let backslashes = mask(&chunk, |bytes| equal(bytes, b'\\')) & from;
        if (backslashes | self.escaped) != 0 {
            quotes &= !self.escaped(backslashes);
        }
        // Compact JSON has no control characters at all.
        let controls = if any_control(&chunk) { mask(&chunk, control) & from } else { 0 };
        let strings = up_to_each(quotes) ^ self.inside;
        // The highest bit is the state at the start of the next block.
        self.inside = (strings as i64 >> 63) as u64;
        // `[` and `{`, `]` and `}` differ in one bit.
        let brackets = mask(&chunk, |bytes| {
            let bytes = bytes | u8x16::splat(0x20);
            equal(bytes, b'{') | equal(bytes, b'}')
        });
        let brackets = brackets & from & !strings;
        Block { chunk, brackets, wrong: controls & strings | backslashes & !strings }
    }

    /// Marks the bytes after an odd number of backslashes.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = u64::MAX / 3;
        // An escaped backslash escapes nothing.
        let backslashes = backslashes & !self.escaped;
        let follows = backslashes << 1 | self.escaped;
        // Adding the first bit of a run clears the run and sets the bit behind it. That byte is escaped if
        // its position and the run's start differ in parity.
        let begins_odd = backslashes & !EVEN & !follows;
        let (sum, carry) = begins_odd.overflowing_add(backslashes);
        self.escaped = u64::from(carry);
        (EVEN ^ (sum << 1)) & follows
    }
}

/// For each position, whether an odd number of bits is set up to and including it.
#[inline(always)]
fn up_to_each(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_at_every_place() {
        for byte in 0..=255u8 {
            let plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for place in 0..64 {
                let mut chunk = [b'a'; 64];
                chunk[place] = byte;
                assert_eq!(special_bytes_of(&chunk), if plain { 0 } else { 1 << place }, "{byte} at {place}");
            }
        }
        assert_eq!(special_bytes(b"ab\"", 0), u64::MAX << 2);
        assert_eq!(special_bytes(b"ab\"", 1), u64::MAX);
    }

    #[test]
    fn strings_are_told_from_what_is_around_them() {
        // Compares with the simple byte-by-byte way, on blocks with all kinds of runs of backslashes and
        // quotes.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2_000 {
            let text: Vec<u8> = (0..256)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    b"\\\\\\\\\"\"[]{}a\n"[(random % 12) as usize]
                })
                .collect();
            let first = (random >> 32) as usize % 64;
            let (mut strings, mut inside, mut escaped) = (Strings::new(), false, false);
            for block in 0..4 {
                let first = if block == 0 { first } else { 0 };
                let found = strings.next(&text, block, first);
                for place in first..64 {
                    let byte = text[block * 64 + place];
                    let quote = byte == b'"' && !escaped;
                    let (now, was) = (inside ^ quote, inside);
                    escaped = byte == b'\\' && !escaped;
                    inside = now;
                    let bit = |mask: u64| mask >> place & 1 == 1;
                    assert_eq!(bit(found.brackets), b"[]{}".contains(&byte) && !was, "bracket");
                    let wrong = byte == b'\n' && was || byte == b'\\' && !was;
                    assert_eq!(bit(found.wrong), wrong, "wrong");
                }
            }
        }
    }
}
