//! The progress of long work: a bar if standard error is a terminal, otherwise a line now and then.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::lines::{complain, is_quiet};

/// The interval between lines.
const PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    /// Shows progress of this work, such as `listed`, with the total number of sessions if it is known.
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Progress {
        let bar = (io::stderr().is_terminal() && !is_quiet()).then(|| bar(what, total));
        Progress { what, total, done: 0, bar, next_line: Instant::now() + PAUSE }
    }

    pub(crate) fn add(&mut self, count: usize) {
        self.set(self.done + count as u64);
    }

    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if Instant::now() >= self.next_line && !is_quiet() {
            self.next_line = Instant::now() + PAUSE;
            let of = self.total.map(|total| format!(" of about {total}")).unwrap_or_default();
            complain(&format!("{done}{of} sessions {}", self.what));
        }
    }

    /// Prints a message above the bar.
    pub(crate) fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(message)),
            None => complain(message),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{wide_bar} {human_pos}/{human_len} sessions {msg}, {eta} left",
        None => "{spinner} {human_pos} sessions {msg}, {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    // The templates above are valid; if they were not, the default style would be better than none.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what)
}
