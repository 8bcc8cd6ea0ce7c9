//! The access log: a line for each decision on standard output.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http::StatusCode;
use metrics::Counter;

use crate::gate::asked::Asked;
use crate::gate::decision::Decided;
use crate::gate::kind::Kind;

/// The number of lines that wait for a slow reader; later ones are lost, and counted.
const WAITING: usize = 10_000;

/// The bytes that are written at once.
const BLOCK: usize = 64 << 10;

/// How long lines are collected: waking the thread for each costs more than the line.
const COLLECTED: Duration = Duration::from_millis(20);

/// The most of a host or a path that is shown.
const LONGEST: usize = 200;

/// Writes lines in a thread of its own: a reader that stops must not stop the answers.
pub(super) struct AccessLog {
    lines: SyncSender<Message>,
    lost: Counter,
}

enum Message {
    Line(String),
    /// Answered when all lines before it are written.
    Written(tokio::sync::oneshot::Sender<()>),
}

impl AccessLog {
    pub(super) fn new(lost: Counter) -> AccessLog {
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::spawn(move || write_all(&waiting));
        AccessLog { lines, lost }
    }

    pub(super) fn write(&self, line: String) {
        match self.lines.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost.increment(1),
        }
    }

    pub(super) async fn written(&self) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        if self.lines.try_send(Message::Written(sender)).is_ok() {
            // The thread may have ended, and then nothing is left to write.
            let _ = receiver.await;
        }
    }
}

fn write_all(waiting: &Receiver<Message>) {
    let mut block = String::with_capacity(BLOCK);
    while let Ok(first) = waiting.recv() {
        if matches!(first, Message::Line(_)) {
            std::thread::sleep(COLLECTED);
        }
        let mut asked = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Line(line) => block.push_str(&line),
                Message::Written(sender) => asked.push(sender),
            }
            if block.len() < BLOCK {
                next = waiting.try_recv().ok();
            }
        }
        let mut output = io::stdout().lock();
        // A closed or full standard output loses lines; the answers go on.
        let _ = output.write_all(block.as_bytes()).and_then(|()| output.flush());
        block.clear();
        for sender in asked {
            // Who asked may be gone.
            let _ = sender.send(());
        }
    }
}

/// The line of a decision. It holds no query, cookie, key or token.
pub(super) fn line(
    kind: Kind,
    asked: Option<&Asked<'_>>,
    decided: &Decided,
    outcome: &str,
    status: StatusCode,
    seconds: f64,
) -> String {
    let (method, host, target) = asked.map_or(("", "", ""), |asked| (asked.method, asked.host, asked.target));
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut line = String::with_capacity(160 + path.len().min(LONGEST));
    line.push_str("kind=");
    line.push_str(kind.name());
    push(&mut line, " method=", method);
    push(&mut line, " host=", host);
    push(&mut line, " path=", path);
    push(&mut line, " outcome=", outcome);
    // Writing to a `String` cannot fail.
    let _ = write!(line, " status={}", status.as_u16());
    match decided.rule {
        Some(rule) => drop(write!(line, " rule={rule}")),
        None => line.push_str(" rule=-"),
    }
    push(&mut line, " user=", decided.identity.as_ref().map_or("", |user| &user.id));
    let _ = writeln!(line, " ms={:.3}", seconds * 1_000.0);
    line
}

/// Adds a field. An empty value is `-`; a character that is no printable ASCII, a space or a backslash is escaped.
fn push(line: &mut String, name: &str, value: &str) {
    line.push_str(name);
    if value.is_empty() {
        line.push('-');
    }
    let start = line.len();
    for character in value.chars() {
        if line.len() - start >= LONGEST {
            line.push('…');
            return;
        }
        match character {
            '\\' | ' ' => drop(write!(line, "\\u{:04x}", u32::from(character))),
            character if character.is_ascii_graphic() => line.push(character),
            character => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::decision::{Decision, Reason};

    #[test]
    fn a_line_is_one_line_without_secrets() {
        let cookies: [&[u8]; 1] = [b"sessionid=secret"];
        let asked = Asked {
            method: "GET",
            host: "wiki.example.com",
            target: "/a b\\\n\u{1b}[31mé?token=secret",
            cookies: &cookies,
            wants_page: true,
        };
        let decided = Decided::without_user(Decision::LoginRequired, Some(3));
        let shown = line(Kind::Nginx, Some(&asked), &decided, "login", StatusCode::UNAUTHORIZED, 0.000_042_1);
        assert_eq!(
            shown,
            "kind=nginx method=GET host=wiki.example.com path=/a\\u0020b\\u005c\\u000a\\u001b[31m\\u00e9 outcome=login \
             status=401 rule=3 user=- ms=0.042\n"
        );
        let none = Decided::without_user(Decision::Forbidden(Reason::Malformed), None);
        let shown = line(Kind::Caddy, None, &none, "malformed", StatusCode::FORBIDDEN, 0.0);
        assert_eq!(
            shown,
            "kind=caddy method=- host=- path=- outcome=malformed status=403 rule=- user=- ms=0.000\n"
        );
        let long = "/x".repeat(10_000);
        let shown =
            line(Kind::Caddy, Some(&Asked { target: &long, ..asked }), &none, "", StatusCode::OK, 0.0);
        assert!(shown.len() < 400, "{}", shown.len());
    }
}
