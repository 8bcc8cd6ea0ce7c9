//! Python itself as the judge of its dialect of JSON (release test T20).

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use cloakroom::SessionData;

use crate::vectors::python::Python;

/// Writes random dictionaries as Django's serializer does, then reads back what it is given and compares.
const PYTHON: &str = r#"
import json, math, os, random, sys
seed, count = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
ALPHABET = list('ab"\\/\b\f\n\r\t\x00\x1f\x7f\x80\xff') + ['\u20ac', '\U0001f980', '\ud83e', '\udd80', '\u2028']
def text(): return ''.join(rng.choice(ALPHABET) for _ in range(rng.randrange(6)))
def number():
    kind = rng.randrange(5)
    if kind == 0: return rng.randrange(-10, 10)
    if kind == 1: return rng.randrange(-10 ** 40, 10 ** 40)
    if kind == 2: return rng.uniform(-1e3, 1e3)
    if kind == 3: return math.ldexp(rng.random() - .5, rng.randrange(-1070, 1024))
    return rng.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 1e15, 1e16, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308])
def value(depth):
    kind = rng.randrange(7 if depth else 5)
    if kind < 2: return number()
    if kind == 2: return text()
    if kind == 3: return rng.choice([None, True, False])
    if kind == 4: return rng.choice([[], {}, ''])
    if kind == 5: return [value(depth - 1) for _ in range(rng.randrange(4))]
    return {text(): value(depth - 1) for _ in range(rng.randrange(4))}
dump = lambda obj: json.dumps(obj, separators=(',', ':'))
expected = []
for _ in range(count):
    line = dump({text(): value(3) for _ in range(rng.randrange(5))})
    expected.append(line)
    print(line)
sys.stdout.flush()
os.close(1)
wrong = 0
for line, answer in zip(expected, sys.stdin):
    # What came back must be the same text, and the same value.
    if answer.rstrip('\n') != line or dump(json.loads(answer)) != line: wrong += 1
sys.exit(1 if wrong else 0)
"#;

#[test]
fn t20_python_and_rust_write_the_same_json() {
    let count = 20_000;
    let mut python = Command::new("python3")
        .args(["-c", PYTHON, "20", &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed; install it and run again");
    let lines: Vec<String> =
        BufReader::new(python.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), count);
    let mut input = python.stdin.take().unwrap();
    let mut typed = 0;
    for line in &lines {
        let data = SessionData::from_json(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut written = SessionData::new();
        for (key, value) in data.iter() {
            // Through Rust values where Rust has them, so that the writer is compared as well.
            match value.to::<Python>() {
                Ok(rust) => {
                    typed += 1;
                    written.write(&key, &rust).unwrap();
                }
                // An integer beyond 128 bits, half a surrogate pair.
                Err(_) => _ = written.insert(&key, value.clone()),
            }
        }
        // A key with half a surrogate pair cannot be named in Rust.
        let answer = if written.len() == data.len() && !line.contains("\\ud") { written } else { data };
        writeln!(input, "{}", answer.to_json()).unwrap();
    }
    drop(input);
    assert!(python.wait().unwrap().success(), "Python read or wrote something else");
    assert!(typed > count / 2, "{typed} values went through Rust types");
    println!(
        "T20: {count} dictionaries of Python's read and written alike, {typed} values through Rust types"
    );
}
