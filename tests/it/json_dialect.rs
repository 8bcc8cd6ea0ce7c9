//! Python itself as the judge of its dialect of JSON, each way. `CLOAKROOM_JSON_VALUES=1000000` is the
//! long form.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};

use cloakroom::SessionData;

use crate::fuzz_corpus::corpus::Numbers;
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
    # What came back must be the same value, and the same text, unless two keys of Python's are one in JSON: both halves
    # of a pair, and the character.
    read = dump(json.loads(line))
    if dump(json.loads(answer)) != read or read == line and answer.rstrip('\n') != line:
        wrong += 1
        print(line, 'came back as', answer, file=sys.stderr)
sys.exit(1 if wrong else 0)
"#;

/// How many dictionaries go each way.
fn count() -> usize {
    let named = std::env::var("CLOAKROOM_JSON_VALUES").ok();
    named.map_or(20_000, |count| count.parse().expect("CLOAKROOM_JSON_VALUES is a number"))
}

#[test]
fn what_python_writes_is_read_and_written_alike() {
    let count = count();
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
            match value.deserialize::<Python>() {
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
        "t20: {count} dictionaries of Python's read and written alike, {typed} values through Rust types"
    );
}

/// Reads each line's JSON, and compares with its floats bit by bit, its other leaves as text, and how Python writes it.
const READER: &str = r#"
import json, struct, sys
wrong = 0
def leaves(value):
    if isinstance(value, dict):
        for key, part in value.items():
            yield 's' + key.encode('utf-16-be', 'surrogatepass').hex()
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value: yield from leaves(part)
    elif isinstance(value, bool) or value is None: yield str(value)
    elif isinstance(value, int): yield 'i' + str(value)
    elif isinstance(value, float): yield 'f' + ('nan' if value != value else struct.pack('>d', value).hex())
    else: yield 's' + value.encode('utf-16-be', 'surrogatepass').hex()
for line in sys.stdin:
    text, expected = line.rstrip('\n').split('\t')
    value = json.loads(text)
    if ' '.join(leaves(value)) != expected or json.dumps(value, separators=(',', ':')) != text:
        wrong += 1
        print(ascii(line), file=sys.stderr)
sys.exit(1 if wrong else 0)
"#;

#[test]
fn what_rust_writes_python_reads_as_equal_and_writes_alike() {
    let count = count();
    let mut python = Command::new("python3").args(["-c", READER]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = BufWriter::new(python.stdin.take().unwrap());
    let mut numbers = Numbers::new();
    for _ in 0..count {
        let Python::Dict(entries) = dictionary(&mut numbers, 3) else {
            unreachable!("a dictionary was made")
        };
        let (mut data, mut expected) = (SessionData::new(), Vec::new());
        for (key, value) in &entries {
            data.write(key, value).unwrap();
            assert_eq!(data.read::<Python>(key).unwrap().as_ref(), Some(value), "read back");
        }
        leaves(&Python::Dict(entries), &mut expected);
        writeln!(input, "{}\t{}", data.to_json(), expected.join(" ")).unwrap();
    }
    drop(input);
    assert!(python.wait().unwrap().success(), "Python read or wrote something else");
    println!("t20: {count} of {count} dictionaries of Rust's read as equal by Python, and written alike");
}

fn dictionary(numbers: &mut Numbers, depth: usize) -> Python {
    let mut entries: Vec<(String, Python)> = Vec::new();
    for _ in 0..numbers.below(5) {
        let key = text(numbers);
        if entries.iter().all(|(taken, _)| *taken != key) {
            entries.push((key, value(numbers, depth)));
        }
    }
    Python::Dict(entries)
}

fn value(numbers: &mut Numbers, depth: usize) -> Python {
    match numbers.below(if depth > 0 { 9 } else { 7 }) {
        0 => Python::None,
        1 => Python::Bool(numbers.below(2) == 0),
        2 => {
            let wide = i128::from(numbers.next() as i64) << 64 | i128::from(numbers.next());
            Python::Int((wide >> numbers.below(128)).to_string())
        }
        // Any 64 bits are a float, and most are far from 1.
        3 => Python::Float(format!("{:?}", f64::from_bits(numbers.next()))),
        4 => Python::Float(format!("{:?}", (numbers.next() as i32) as f64 / 1000.0)),
        5 | 6 => Python::Str(text(numbers)),
        7 => Python::List((0..numbers.below(4)).map(|_| value(numbers, depth - 1)).collect()),
        _ => dictionary(numbers, depth - 1),
    }
}

fn text(numbers: &mut Numbers) -> String {
    let character = |numbers: &mut Numbers| match numbers.below(4) {
        0 => char::from(numbers.below(128) as u8),
        1 => ['"', '\\', '/', '\u{8}', '\u{7f}', '\u{80}', '\u{2028}'][numbers.below(7)],
        2 => char::from_u32(numbers.below(0x800) as u32).unwrap_or('a'),
        _ => char::from_u32(numbers.below(0x11_0000) as u32).unwrap_or('🦀'),
    };
    (0..numbers.below(6)).map(|_| character(numbers)).collect()
}

fn leaves(value: &Python, out: &mut Vec<String>) {
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("{unit:04x}")).collect();
        format!("s{units}")
    };
    match value {
        Python::None => out.push("None".to_owned()),
        Python::Bool(value) => out.push(if *value { "True" } else { "False" }.to_owned()),
        Python::Int(number) => out.push(format!("i{number}")),
        Python::Float(number) if number.contains("NaN") => out.push("fnan".to_owned()),
        Python::Float(number) => out.push(format!("f{:016x}", number.parse::<f64>().unwrap().to_bits())),
        Python::Str(value) => out.push(text(value)),
        Python::List(list) => list.iter().for_each(|value| leaves(value, out)),
        Python::Dict(entries) => entries.iter().for_each(|(key, value)| {
            out.push(text(key));
            leaves(value, out);
        }),
    }
}
