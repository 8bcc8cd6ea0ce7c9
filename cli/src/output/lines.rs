//! Line-based input and output, one line at a time, so that files of any size can be processed.
//!
//! All output of the command goes through here. A text given by a caller stays one line: its line ends and
//! other characters that act on a terminal are escaped ([`printable`]). A closed standard output, such as by
//! `head`, is not an error; a failing one is.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::ending::Ending;
use crate::output::printable::printable;

/// The maximum length of a line. A longer line is not a session: it is reported and skipped.
const MAX_LINE: usize = 64 << 20;

/// The conversion of a line.
pub(crate) struct Converted {
    /// The text to print, without a line end.
    pub(crate) output: String,
    /// A message about the line, if any.
    pub(crate) remark: Option<Remark>,
}

/// A message about a line.
pub(crate) enum Remark {
    /// The line was not converted, which also affects the command's exit code.
    Failed(String),
    /// The line was converted, but deserves a look.
    Warning(String),
}

/// Prints one line for each line of standard input. `instead` replaces lines that could not even be read as
/// text.
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
        // A file or another program gets the stored text letter for letter.
        let converted: Cow<'_, str> =
            if is_terminal { printable(&converted.output) } else { converted.output.as_str().into() };
        let written = writeln!(output, "{converted}").and_then(|()| {
            // Interactive input is answered at once; a long file is written in blocks.
            if input.buffer().is_empty() { output.flush() } else { Ok(()) }
        });
        if !still_read(written)? {
            return Ok(ending);
        }
    }
    still_read(output.flush())?;
    Ok(ending)
}

/// Buffered lines on standard output; on a terminal each line is flushed.
pub(crate) struct Output {
    lines: BufWriter<io::Stdout>,
    is_watched: bool,
}

impl Output {
    pub(crate) fn new() -> Output {
        let output = io::stdout();
        Output { is_watched: output.is_terminal(), lines: BufWriter::with_capacity(1 << 16, output) }
    }

    /// Writes a line; breaks when the reader is gone.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<ControlFlow<()>> {
        let written = writeln!(self.lines, "{}", printable(line))
            .and_then(|()| if self.is_watched { self.lines.flush() } else { Ok(()) });
        Ok(if still_read(written)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        still_read(self.lines.flush()).map(|_| ())
    }
}

/// Puts JSON on one line. Line ends inside strings are escaped, so the remaining ones are white space.
pub(crate) fn json_on_one_line(json: String) -> String {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json }
}

/// Prints one line on standard error. Continues if nobody reads it.
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

/// Prints a note on standard error.
pub(crate) fn note(line: &str) {
    if !is_quiet() {
        complain(line);
    }
}

/// Prints the work done on standard output, as the last line of a command. Requested JSON is printed even
/// with `--quiet`.
pub(crate) fn report(is_json: bool, line: &str) -> anyhow::Result<()> {
    if is_json || !is_quiet() { say(line) } else { Ok(()) }
}

/// The same for a command that cron runs each night: it reports that there was nothing to do only on a
/// terminal.
pub(crate) fn report_work(is_json: bool, has_worked: bool, line: &str) -> anyhow::Result<()> {
    if is_json || has_worked || io::stdout().is_terminal() { report(is_json, line) } else { Ok(()) }
}

/// Prints one line on standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    print(format!("{}\n", printable(line)).as_bytes())
}

/// Writes one of this program's own texts to standard output, such as its manual.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    still_read(output.write_all(text).and_then(|()| output.flush())).map(drop)
}

/// Standard error for the log: each event is one line.
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

/// Whether standard output still has a reader: `cloakroom decode | head` is not an error.
pub(crate) fn still_read(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Reads a line without its end; returns false at the end of the input. Of a line that is too long, only one
/// byte more than the limit is kept.
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
        return Err("longer than 64 MiB; this is not a session");
    }
    std::str::from_utf8(line)
        .map_err(|_| "not UTF-8; this is not a session, or the file has another encoding")
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
