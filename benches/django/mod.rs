//! Django's own session codec in a process of its own, asked to time itself.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Django {
    pub(crate) version: String,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Encode,
    Decode,
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Direction::Encode => "encode",
            Direction::Decode => "decode",
        })
    }
}

impl Django {
    pub(crate) fn start(python: &str) -> Django {
        let mut process = Command::new(python)
            .args(["-c", include_str!("codec.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a Python that has Django: scripts/test makes one in .venv");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let mut django = Django { version: String::new(), process, input, output };
        django.version = django.answer();
        django
    }

    /// The session that is timed from now on.
    pub(crate) fn session(&mut self, json: &str, compress: bool) {
        writeln!(self.input, "session {} {json}", u8::from(compress)).expect("Django reads");
        assert_eq!(self.answer(), "ok");
    }

    /// Nanoseconds of one call.
    pub(crate) fn time(&mut self, direction: Direction, calls: u32) -> f64 {
        writeln!(self.input, "{direction} {calls}").expect("Django reads");
        self.answer().parse().expect("nanoseconds")
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Django answers");
        line.trim().to_owned()
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
