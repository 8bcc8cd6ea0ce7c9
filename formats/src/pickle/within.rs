//! Writes only pickles that can be read again: input that exceeds the reader's limits is refused.

use super::{MAX_STEPS, PickleError, read};
use crate::session_data::SessionData;
use crate::value::ValueError;

/// The largest factor from a byte of a pickle, or of its JSON text, to the bytes and steps that reading
/// costs. A control character is `\u0001` in JSON, beside the opcodes that are kept, and a value is walked at
/// most three times.
const MOST_PER_BYTE: usize = 8;

/// Writes the pickle of a session that `read` with this limit takes.
///
/// A pickle that could come near a limit is read once: the reader itself is the rule. Rejected: counting
/// while writing, which would duplicate the reader's arithmetic and sooner or later differ from it.
pub fn write_within(data: &SessionData, limit: usize) -> Result<Vec<u8>, ValueError> {
    let pickle = data.to_pickle()?;
    if pickle.len() + data.json_length() > limit.min(MAX_STEPS) / MOST_PER_BYTE {
        read(&pickle, limit).map_err(|error| match error {
            PickleError::TooLong => ValueError::TooManyValues { limit: MAX_STEPS },
            _ => ValueError::TooLarge { size: pickle.len().max(data.json_length()), limit },
        })?;
    }
    Ok(pickle)
}
