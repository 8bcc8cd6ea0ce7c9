//! The contents of the files, as each of Django's back ends writes them, with their expiry.

use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::private::{
    LONGEST_PICKLED_TIMESTAMP, StoredExpiry, read_pickled_timestamp, write_pickled_timestamp,
};
use cloakroom_formats::{
    DecodeError, EXPIRY_KEY, Moment, PickleError, SessionCodec, SessionData, TimeZone, ValueError,
};

use super::folder::Found;
use crate::store::cache::{CacheFormat, EntryError, deflate, inflate};
use crate::store::contract::Record;
use crate::store::loaded::Content;

/// How a session is written into its file.
pub(super) enum Contents {
    /// The engine `file`: the signed text, whose expiry follows from the file's modification time.
    Text(Box<Text>),
    /// `FileBasedCache`: a pickle of the expiry, and the session's pickle in zlib.
    Entry(Entry),
}

pub(super) struct Text {
    pub(super) codec: SessionCodec,
    pub(super) time_zone: TimeZone,
    /// The age at which a session without its own expiry ends.
    pub(super) cookie_age: TimeDelta,
}

pub(super) struct Entry {
    pub(super) format: CacheFormat,
    /// The maximum size of a session's pickle.
    pub(super) limit: usize,
}

/// A file as it was read.
pub(super) struct Read {
    /// The session; `None` where Django's cache finds nothing.
    pub(super) content: Result<Option<Content>, Unreadable>,
    /// The expiry, if it can be read.
    pub(super) expire_date: Option<DateTime<Utc>>,
}

/// Why a file gives no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Text(#[from] DecodeError),
    #[error("the file's beginning is no expiry of Django's FileBasedCache: {0}")]
    Expiry(#[from] PickleError),
    #[error("the file's value cannot be read: {0}")]
    Entry(#[from] EntryError),
}

impl Contents {
    /// The maximum size of a session's file.
    pub(super) fn longest(&self) -> usize {
        match self {
            Contents::Text(text) => text.codec.longest_text(),
            // Zlib makes it no longer than this.
            Contents::Entry(Entry { limit, .. }) => limit.saturating_add(limit / 100).saturating_add(1_024),
        }
    }

    /// The number of bytes at the file's beginning that tell its expiry; `None` if it takes the whole file.
    pub(super) fn head(&self) -> Option<usize> {
        match self {
            Contents::Text(_) => None,
            Contents::Entry(_) => Some(LONGEST_PICKLED_TIMESTAMP),
        }
    }

    pub(super) fn read(&self, found: &Found) -> Read {
        match self {
            Contents::Text(text) => text.read(found),
            Contents::Entry(entry) => match expiry(&found.text) {
                Ok((expire_date, value)) => {
                    Read { content: entry.content(value), expire_date: Some(expire_date) }
                }
                Err(error) => Read { content: Err(error.into()), expire_date: None },
            },
        }
    }

    /// The expiry, if it can be read from as much of the file as [`head`](Contents::head) says.
    pub(super) fn expire_date(&self, found: &Found) -> Option<DateTime<Utc>> {
        match self {
            Contents::Text(text) => text.read(found).expire_date,
            Contents::Entry(_) => expiry(&found.text).ok().map(|(expire_date, _)| expire_date),
        }
    }

    /// The file's content, and its modification time.
    pub(super) fn write(&self, record: Record<'_>) -> Result<(Vec<u8>, SystemTime), ValueError> {
        match self {
            Contents::Text(text) => {
                let content = text.codec.encode(record.data, record.now)?;
                Ok((content.into_bytes(), text.modified(record)))
            }
            Contents::Entry(entry) => Ok((entry.write(record)?, SystemTime::now())),
        }
    }
}

impl Text {
    fn read(&self, found: &Found) -> Read {
        match self.decode(found) {
            Ok((data, expire_date)) => {
                Read { content: Ok(Some(Content::Genuine(data))), expire_date: Some(expire_date) }
            }
            // It expires after the site's age, as in Django.
            Err(DecodeError::BadSignature) => Read {
                content: Ok(Some(Content::NotGenuine)),
                expire_date: Some(self.usual_end(found.modified)),
            },
            // It may contain its own expiry.
            Err(error) => Read { content: Err(error.into()), expire_date: None },
        }
    }

    /// Decodes the data and the expiry. None of Django's forms of expiry is an error here: a session whose
    /// expiry Django cannot read expires after the site's age, so that none stays without an expiry.
    fn decode(&self, found: &Found) -> Result<(SessionData, DateTime<Utc>), DecodeError> {
        let text = std::str::from_utf8(&found.text).map_err(|_| DecodeError::BadSignature)?;
        // Django first creates an empty file for a new session, and reads it as an empty session.
        let data = if text.is_empty() { SessionData::new() } else { self.codec.decode(text)? };
        let expire_date = self.end(&data, found.modified);
        Ok((data, expire_date))
    }

    /// The expiry of a session that was last modified at this time.
    fn end(&self, data: &SessionData, modified: DateTime<Utc>) -> DateTime<Utc> {
        let time_zone = self.time_zone;
        StoredExpiry::read(data.get(EXPIRY_KEY))
            .date(Moment::at(modified, time_zone), self.cookie_age)
            .and_then(|end| end.to_utc(time_zone))
            .unwrap_or_else(|_| self.usual_end(modified))
    }

    fn usual_end(&self, modified: DateTime<Utc>) -> DateTime<Utc> {
        modified.checked_add_signed(self.cookie_age).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The modification time that gives this expiry with the session's age: usually now.
    pub(super) fn modified(&self, record: Record<'_>) -> SystemTime {
        let age = self.end(record.data, record.now) - record.now;
        let fixed = matches!(StoredExpiry::read(record.data.get(EXPIRY_KEY)), StoredExpiry::At(_));
        let modified = if fixed { Some(record.now) } else { record.expire_date.checked_sub_signed(age) };
        modified.unwrap_or(record.now).into()
    }
}

impl Entry {
    fn content(&self, value: &[u8]) -> Result<Option<Content>, Unreadable> {
        let pickle = inflate(value, self.limit)?;
        Ok(self.format.decode(&pickle, self.limit)?.map(Content::Genuine))
    }

    fn write(&self, record: Record<'_>) -> Result<Vec<u8>, ValueError> {
        let pickle = self.format.encode(record.data, self.limit)?;
        let too_large = ValueError::TooLarge { size: pickle.len(), limit: self.limit };
        let value = deflate(&pickle).ok_or(too_large)?;
        Ok([&write_pickled_timestamp(record.expire_date)[..], &value].concat())
    }
}

/// The expiry at the beginning of a file, and the rest of it. `FileBasedCache._is_expired`.
fn expiry(file: &[u8]) -> Result<(DateTime<Utc>, &[u8]), PickleError> {
    // To Django an empty file is an expired one.
    if file.is_empty() {
        return Ok((DateTime::UNIX_EPOCH, file));
    }
    let (expire_date, length) = read_pickled_timestamp(file)?;
    let value = file.get(length..).unwrap_or_default();
    Ok((expire_date.unwrap_or(DateTime::<Utc>::MAX_UTC), value))
}
