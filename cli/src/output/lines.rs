//! Lines in, lines out: one at a time, so that a file of any size passes through.
//!
//! All that the command writes goes through here. What a caller gives is one line, whatever is in it: its line ends and
//! all else that acts on a terminal are spelled out ([`printable`]). That somebody closed standard output, such as
//! `head`, is nothing to report; that it cannot be written is an error.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::ending::Ending;
use crate::output::printable::printable;

/// How long one line may be. What is longer is no session: it is reported and skipped.
const MAX_LINE: usize = 64 << 20;

/// What became of a line.
pub(crate) struct Converted {
    /// What to print, without a line end.
    pub(crate) output: String,
    /// What to say about it, if anything.
    pub(crate) remark: Option<Remark>,
}

/// Something to tell about a line.
pub(crate) enum Remark {
    /// The line was not converted; the command's exit code tells so, too.
    Failed(String),
    /// The line was converted, but deserves a look.
    Warning(String),
}

/// Prints one line for each line of standard input. `instead` takes the place of lines that could not even
/// be read as text.
pub(crate) fn convert_lines(
    instead: &str,
    mut convert: impl FnMut(&str) -> Converted,
) -> anyhow::Result<Ending> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let is_terminal = io::stdout().is_terminal();
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut ending = Ending::Well;
    while read_line(&mut input, &mut line).context("cannot read standard input")? {
        number += 1;
        let converted = match text_of(&line) {
            Ok(text) => convert(text),
            Err(why) => {
                Converted { output: instead.to_owned(), remark: Some(Remark::Failed(why.to_owned())) }
            }
        };
        match converted.remark {
            None => {}
            Some(Remark::Warning(what)) => complain(&format!("line {number}: {what}")),
            Some(Remark::Failed(why)) => {
                ending = Ending::WithFailures;
                complain(&format!("line {number}: {why}"));
            }
        }
        // A file or another program gets the text letter for letter, as it is stored.
        let converted: Cow<'_, str> =
            if is_terminal { printable(&converted.output) } else { converted.output.as_str().into() };
        let written = writeln!(output, "{converted}").and_then(|()| {
            // Whoever types, or waits for each answer, gets it at once; a long file is written in blocks.
            if input.buffer().is_empty() { output.flush() } else { Ok(()) }
        });
        if !still_read(written)? {
            return Ok(ending);
        }
    }
    still_read(output.flush())?;
    Ok(ending)
}

/// Many lines on standard output, written in blocks unless somebody watches.
pub(crate) struct Output {
    lines: BufWriter<io::Stdout>,
    is_watched: bool,
}

impl Output {
    pub(crate) fn new() -> Output {
        let output = io::stdout();
        Output { is_watched: output.is_terminal(), lines: BufWriter::with_capacity(1 << 16, output) }
    }

    /// Writes a line; breaks when nobody reads on.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        let written = writeln!(self.lines, "{}", printable(line))
            .and_then(|()| if self.is_watched { self.lines.flush() } else { Ok(()) });
        Ok(if still_read(written)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        still_read(self.lines.flush()).map(|_| ())
    }
}

/// JSON on one line. Inside of strings line ends are escaped: what is left of them is white space.
pub(crate) fn json_on_one_line(json: String) -> String {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json }
}

/// Says one line on standard error. That nobody reads it is no reason to stop.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

/// Whether `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says on standard error what is good to know and no error.
pub(crate) fn note(line: &str) {
    if !is_quiet() {
        complain(line);
    }
}

/// Says on standard output what was done, as the last line of a command. JSON was asked for, also with `--quiet`.
pub(crate) fn report(is_json: bool, line: &str) -> anyhow::Result<()> {
    if is_json || !is_quiet() { say(line) } else { Ok(()) }
}

/// The same for a command that cron runs each night: that there was nothing to do is said to people alone.
pub(crate) fn report_work(is_json: bool, has_worked: bool, line: &str) -> anyhow::Result<()> {
    if is_json || has_worked || io::stdout().is_terminal() { report(is_json, line) } else { Ok(()) }
}

/// Says one line on standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    print(format!("{}\n", printable(line)).as_bytes())
}

/// Writes a text of this program's own to standard output, such as its manual.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    still_read(output.write_all(text).and_then(|()| output.flush())).map(drop)
}

/// Standard error for the log, an event at a time: each is one line.
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        complain(String::from_utf8_lossy(event).trim_end_matches('\n'));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the reader of standard output is still there: `cloakroom decode | head` is nothing to report.
pub(crate) fn still_read(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Reads a line without its end; false at the end of the input. Of a line that is too long, one byte more
/// than allowed is kept.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

fn text_of(line: &[u8]) -> Result<&str, &'static str> {
    if line.len() > MAX_LINE {
        return Err("longer than 64 MiB; this is no session");
    }
    std::str::from_utf8(line).map_err(|_| "not UTF-8; this is no session, or the file has another encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_sorts() {
        let mut long = vec![b'x'; MAX_LINE + 5];
        long.extend(b"\nlast");
        let text = [b"one\r\n\ntwo\n".as_slice(), &long].concat();
        let (mut input, mut line, mut lengths) = (text.as_slice(), Vec::new(), Vec::new());
        while read_line(&mut input, &mut line).is_ok_and(|more| more) {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, 3, MAX_LINE + 1, 4]);
        assert!(text_of(&[b'x'; 3]).is_ok() && text_of(&[0xff]).is_err());
    }
}
