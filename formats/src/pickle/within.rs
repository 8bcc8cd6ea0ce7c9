//! A pickle that can be read again: what the reader's limits would refuse is not written.

use super::{MAX_STEPS, PickleError, read};
use crate::session_data::SessionData;
use crate::value::ValueError;

/// How many bytes a byte of a pickle, or of what it reads as, may become when it is read, and how many steps it may cost:
/// a control character is `\u0001` in JSON, beside the opcodes that are kept, and a value is gone through three times at
/// the most.
const MOST_PER_BYTE: usize = 8;

/// The pickle of a session that [`read`] with this limit takes.
///
/// A pickle that could come near a limit is read once: the reader itself is the rule. Rejected: counting while writing,
/// which would be the reader's arithmetic a second time, and different in one case sooner or later.
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
