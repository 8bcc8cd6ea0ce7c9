//! The replies in the bytes that a server sent: the second version of Redis' protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use redis::{ErrorKind, RedisError, Value};
use tokio::io::{AsyncRead, ReadBuf};

/// How much is read at once, at least.
const READ_SIZE: usize = 16 << 10;

/// The buffer's size above which it is not kept for later replies.
const KEPT_SIZE: usize = 64 << 10;

/// The longest line of a reply: of an error, or of a length.
const LONGEST_LINE: usize = 64 << 10;

/// The bytes that were read and not yet taken.
#[derive(Default)]
pub(super) struct ReplyBuffer {
    /// Its length is what may be filled.
    bytes: Vec<u8>,
    /// The bytes before it were taken.
    start: usize,
    /// The bytes from here on are room for reading.
    end: usize,
    next: Scan,
}

/// How far the next reply was looked at.
#[derive(Clone, Copy)]
struct Scan {
    /// How many bytes of it were seen.
    seen: usize,
    /// How many values are missing: more than one in an array.
    missing: usize,
    /// How many more bytes it needs at least.
    needed: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Scan { seen: 0, missing: 1, needed: 0 }
    }
}

impl ReplyBuffer {
    /// Reads what is there; 0 bytes are the end.
    pub(super) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(stream.poll_read(context, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_SIZE {
                self.bytes = Vec::new();
            }
        }
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            // It grows with what has come, not with what a length says.
            let room = self.next.needed.clamp(READ_SIZE, self.end.max(READ_SIZE));
            self.bytes.resize(self.end + room, 0);
        }
    }

    /// Takes the next reply, if all of it was read.
    pub(super) fn take(&mut self) -> Result<Option<Value>, RedisError> {
        let rest = &self.bytes[self.start..self.end];
        if !self.next.go_on(rest)? {
            return Ok(None);
        }
        let length = std::mem::take(&mut self.next).seen;
        let value = value(&rest[..length])?;
        self.start += length;
        Ok(Some(value))
    }
}

impl Scan {
    /// Returns whether all of the reply is among these bytes, of which those that were seen are the same as before.
    fn go_on(&mut self, bytes: &[u8]) -> Result<bool, RedisError> {
        while self.missing > 0 {
            let rest = bytes.get(self.seen..).unwrap_or_default();
            let Some(line) = line(rest)? else {
                self.needed = 1;
                return Ok(false);
            };
            let mut length = line.len() + 2;
            let mut values = 0;
            match line.split_first() {
                Some((b'$', digits)) => {
                    if let Some(text) = size(digits)? {
                        length = text.checked_add(length + 2).ok_or_else(invalid)?;
                    }
                }
                Some((b'*', digits)) => values = size(digits)?.unwrap_or_default(),
                Some((b'+' | b'-' | b':', _)) => {}
                _ => return Err(invalid()),
            }
            if rest.len() < length {
                self.needed = length - rest.len();
                return Ok(false);
            }
            self.seen += length;
            self.missing = (self.missing - 1).checked_add(values).ok_or_else(invalid)?;
        }
        Ok(true)
    }
}

/// The line that begins here, without its end.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, RedisError> {
    let Some(length) = memchr(b'\r', bytes) else {
        return if bytes.len() > LONGEST_LINE { Err(invalid()) } else { Ok(None) };
    };
    match bytes.get(length + 1) {
        Some(b'\n') => Ok(Some(&bytes[..length])),
        Some(_) => Err(invalid()),
        None => Ok(None),
    }
}

/// A length; `None` for that of nothing, -1.
fn size(digits: &[u8]) -> Result<Option<usize>, RedisError> {
    match number(digits)? {
        -1 => Ok(None),
        size => usize::try_from(size).map(Some).map_err(|_| invalid()),
    }
}

fn number(digits: &[u8]) -> Result<i64, RedisError> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(invalid)
}

/// The value of a whole reply. The library reads arrays and errors.
fn value(reply: &[u8]) -> Result<Value, RedisError> {
    let Some(line) = line(reply)? else { return Err(invalid()) };
    match line.split_first() {
        Some((b'$', digits)) => {
            let start = line.len() + 2;
            let text = |length| reply.get(start..start + length).map(<[u8]>::to_vec).ok_or_else(invalid);
            size(digits)?.map_or(Ok(Value::Nil), |length| text(length).map(Value::BulkString))
        }
        Some((b':', digits)) => number(digits).map(Value::Int),
        Some((b'+', b"OK")) => Ok(Value::Okay),
        _ => redis::parse_redis_value(reply),
    }
}

fn invalid() -> RedisError {
    (ErrorKind::Parse, "this is no reply of a Redis server").into()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// The replies in these bytes when they come in pieces of this size.
    fn replies(mut bytes: &[u8], piece: usize) -> Result<Vec<Value>, RedisError> {
        let (mut buffer, mut replies) = (ReplyBuffer::default(), Vec::new());
        let mut context = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            let (mut now, later) = bytes.split_at(piece.min(bytes.len()));
            while !now.is_empty() {
                let read = buffer.poll_read(pin!(&mut now), &mut context);
                assert!(matches!(read, Poll::Ready(Ok(1..))));
                while let Some(reply) = buffer.take()? {
                    replies.push(reply);
                }
            }
            bytes = later;
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_the_same_in_whatever_pieces_they_come() {
        let long = vec![b'x'; 100_000];
        let mut bytes = b"+OK\r\n$-1\r\n:-7\r\n$0\r\n\r\n+PONG\r\n*-1\r\n*0\r\n".to_vec();
        bytes.extend_from_slice(b"*3\r\n*2\r\n:1\r\n$4\r\na\r\nb\r\n$-1\r\n+OK\r\n-MOVED 7 127.0.0.1:1\r\n");
        bytes.extend_from_slice(b"$100000\r\n");
        bytes.extend_from_slice(&long);
        bytes.extend_from_slice(b"\r\n$2\r\n\r\n\r\n");
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        for piece in [1, 2, 3, 5, 7, 64, 1000, 20_000, 1_000_000] {
            let replies = replies(&bytes, piece).unwrap();
            assert_eq!(replies.len(), 11, "in pieces of {piece}");
            let (error, others) = (&replies[8], [&replies[..8], &replies[9..]].concat());
            assert_eq!(error.clone().extract_error().unwrap_err().code(), Some("MOVED"));
            let inner = Value::Array(vec![Value::Int(1), text(b"a\r\nb")]);
            let expected = [
                Value::Okay,
                Value::Nil,
                Value::Int(-7),
                text(b""),
                Value::SimpleString("PONG".to_owned()),
                Value::Nil,
                Value::Array(Vec::new()),
                Value::Array(vec![inner, Value::Nil, Value::Okay]),
                text(&long),
                text(b"\r\n"),
            ];
            assert_eq!(others, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn other_bytes_are_an_error() {
        for bytes in
            ["HTTP/1.1 400 Bad Request\r\n", "$x\r\n", "$-2\r\n", ":\r\n", "\r\n", "+a\rb\r\n", "*-5\r\n"]
        {
            assert!(replies(bytes.as_bytes(), 100).is_err(), "{bytes:?}");
        }
        let counts = "*9223372036854775807\r\n".repeat(3);
        assert!(replies(counts.as_bytes(), 1000).is_err(), "more values than can be counted");
        assert!(replies(&[b'+'; 70_000], 1000).is_err(), "a line without an end");
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut buffer = ReplyBuffer::default();
        let mut context = Context::from_waker(Waker::noop());
        // The first read fills the buffer, so that the second one makes room.
        let mut bytes = b"$4000000000\r\n".to_vec();
        bytes.resize(READ_SIZE, b'x');
        assert!(buffer.poll_read(pin!(&bytes[..]), &mut context).is_ready());
        assert!(matches!(buffer.take(), Ok(None)));
        let _ = buffer.poll_read(pin!(tokio::io::empty()), &mut context);
        assert!(buffer.bytes.len() <= 2 * READ_SIZE, "{}", buffer.bytes.len());
    }

    #[test]
    fn a_long_reply_leaves_no_long_buffer() {
        let mut bytes = format!("${}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20)).into_bytes();
        bytes.extend_from_slice(b":1\r\n");
        let mut buffer = ReplyBuffer::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut bytes = &bytes[..];
        let mut replies = 0;
        while !bytes.is_empty() {
            assert!(buffer.poll_read(pin!(&mut bytes), &mut context).is_ready());
            while buffer.take().unwrap().is_some() {
                replies += 1;
            }
        }
        let _ = buffer.poll_read(pin!(tokio::io::empty()), &mut context);
        assert_eq!((replies, buffer.bytes.len()), (2, READ_SIZE));
    }
}
