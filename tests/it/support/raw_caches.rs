//! Plain clients of the tests' own, which know nothing of sessions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
    is_redis: bool,
}

impl Raw {
    fn connect(port: u16, is_redis: bool) -> Raw {
        Raw { stream: BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap()), is_redis }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn redis(port: u16) -> Raw {
        let mut raw = Raw::connect(port, true);
        raw.redis_command(&[b"AUTH", crate::support::servers::redis::PASSWORD.as_bytes()]);
        raw
    }

    #[cfg(feature = "memcached")]
    pub(crate) fn memcached(port: u16) -> Raw {
        Raw::connect(port, false)
    }

    pub(crate) fn set(&mut self, key: &str, value: &[u8], flags: u64) {
        if self.is_redis {
            self.redis_command(&[b"SET", key.as_bytes(), value]);
        } else {
            let command = format!("set {key} {flags} 0 {}\r\n", value.len());
            let line = self.line(&[command.as_bytes(), value, b"\r\n"].concat());
            assert_eq!(line, "STORED");
        }
    }

    pub(crate) fn delete(&mut self, key: &str) {
        if self.is_redis {
            self.redis_command(&[b"DEL", key.as_bytes()]);
        } else {
            self.line(format!("delete {key}\r\n").as_bytes());
        }
    }

    /// The value, its flags, and how many seconds it still lives; -1 for ever.
    pub(crate) fn get(&mut self, key: &str) -> Option<(Vec<u8>, u64, i64)> {
        if self.is_redis {
            let value = self.redis_command(&[b"GET", key.as_bytes()])?;
            let lives = self.redis_command(&[b"TTL", key.as_bytes()])?;
            return Some((value, 0, String::from_utf8(lives).unwrap().parse().unwrap()));
        }
        let line = self.line(format!("mg {key} f t v\r\n").as_bytes());
        let mut words = line.strip_prefix("VA ")?.split(' ');
        let mut value = vec![0; words.next().unwrap().parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut value).unwrap();
        value.truncate(value.len() - 2);
        let mut number = || words.next().unwrap()[1..].parse::<i64>().unwrap();
        Some((value, number() as u64, number()))
    }

    fn line(&mut self, command: &[u8]) -> String {
        self.stream.get_mut().write_all(command).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn redis_command(&mut self, words: &[&[u8]]) -> Option<Vec<u8>> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(&[format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
        }
        let line = self.line(&command);
        match line.split_at(1) {
            ("$", "-1") => None,
            ("$", length) => {
                let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut value).unwrap();
                value.truncate(value.len() - 2);
                Some(value)
            }
            (":" | "+", rest) => Some(rest.as_bytes().to_vec()),
            _ => panic!("{line}"),
        }
    }
}
