//! The Python that is asked: one process for as long as this one lives.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

struct Oracle {
    input: ChildStdin,
    output: ChildStdout,
    _process: Child,
}

static ORACLE: Mutex<Option<Oracle>> = Mutex::new(None);

/// What `fuzz/oracle.py` answers to a question of this kind. `scripts/test` makes the Python with Django.
pub(super) fn ask(kind: u8, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut oracle = ORACLE.lock().unwrap_or_else(PoisonError::into_inner);
    let Oracle { input, output, .. } = oracle.get_or_insert_with(start);
    let mut question = vec![kind, parts.len() as u8];
    for part in parts {
        question.extend_from_slice(&(part.len() as u32).to_le_bytes());
        question.extend_from_slice(part);
    }
    input.write_all(&question).and_then(|()| input.flush()).expect("the oracle reads");
    let mut number = || {
        let mut length = [0; 4];
        output.read_exact(&mut length).expect("the oracle answers");
        u32::from_le_bytes(length) as usize
    };
    let lengths: Vec<usize> = (0..number()).map(|_| number()).collect();
    let mut part = |length| {
        let mut part = vec![0; length];
        output.read_exact(&mut part).expect("the oracle answers");
        part
    };
    lengths.into_iter().map(&mut part).collect()
}

fn start() -> Oracle {
    // The crate's folder is the repository or `fuzz` in it.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if here.ends_with("fuzz") { here.parent().unwrap_or(here) } else { here };
    let mut process = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("fuzz/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a Python with Django in .venv; run scripts/test once");
    Oracle {
        input: process.stdin.take().expect("it is piped"),
        output: process.stdout.take().expect("it is piped"),
        _process: process,
    }
}
