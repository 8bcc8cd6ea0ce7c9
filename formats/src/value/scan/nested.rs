//! Skips a list or dictionary without checking its contents.

use super::masks::{Block, Strings};
use super::{MAX_DEPTH, Open, SyntaxError, closing, failure};

/// Finds the end of the list or dictionary that begins here, which `outside` containers enclose. Checks only
/// that brackets match and nest no deeper than the limit, and that strings end and hold no control
/// characters.
#[inline(never)]
pub(super) fn after_container(bytes: &[u8], start: usize, outside: usize) -> Result<usize, SyntaxError> {
    let mut strings = Strings::new();
    let mut open = Open::default();
    let mut close = 0;
    let mut first = start % 64;
    for block in start / 64..bytes.len().div_ceil(64) {
        let Block { chunk, mut brackets, wrong } = strings.next(bytes, block, first);
        first = 0;
        while brackets != 0 {
            let place = brackets.trailing_zeros() as usize;
            brackets &= brackets - 1;
            let position = block * 64 + place;
            let byte = chunk[place];
            if matches!(byte, b'{' | b'[') {
                if outside + open.depth >= MAX_DEPTH {
                    return failure(bytes, position, "nested too deep");
                }
                close = closing(byte == b'{');
                open.push(byte == b'{');
                continue;
            }
            if byte != close {
                return failure(bytes, position, "expected ',' or the end of the list or dictionary");
            }
            match open.pop() {
                Some(is_dictionary) => close = closing(is_dictionary),
                None if wrong & !(u64::MAX << place) == 0 => return Ok(position + 1),
                None => break,
            }
        }
        if wrong != 0 {
            let position = block * 64 + wrong.trailing_zeros() as usize;
            return failure(bytes, position, "a control character inside a string");
        }
    }
    failure(bytes, bytes.len(), "the text ends too early")
}

#[cfg(test)]
mod tests;
