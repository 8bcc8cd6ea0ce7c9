//! Pickles against Python: what it writes is read and written again, and hostile ones are refused.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloakroom::{MAX_VALUE_DEPTH, PickleError, SessionData, Value};

use crate::support::limited::processor_time;

const LIMIT: usize = 16 << 20;

/// Each line that Python sends is a pickle or a JSON text; the answer is the pickle written again and how it
/// reads as JSON. At the end Python says how many came back equal, types included.
#[test]
fn random_values_of_python_come_back_equal_in_every_protocol() {
    let mut python = Command::new("python3")
        .args(["-c", include_str!("pickles.py"), "1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = python.stdin.take().unwrap();
    let mut verdict = String::new();
    for line in BufReader::new(python.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (kind, text) = line.split_once(' ').unwrap();
        let bytes = || STANDARD.decode(text).unwrap();
        let data = match kind {
            "pickle" => {
                SessionData::from_pickle(&bytes(), LIMIT).unwrap_or_else(|error| panic!("{error}: {text}"))
            }
            "json" => SessionData::from_json(&String::from_utf8(bytes()).unwrap()).unwrap(),
            _ => {
                verdict = line;
                break;
            }
        };
        let pickle = STANDARD.encode(data.to_pickle().unwrap());
        writeln!(input, "{pickle} {}", STANDARD.encode(data.to_json())).unwrap();
    }
    drop(input);
    assert!(python.wait().unwrap().success(), "{verdict}");
    println!("{verdict}");
    assert_eq!(verdict, "equal 7000 of 7000");
}

fn refused(pickle: &[u8]) -> PickleError {
    let start = processor_time();
    let error = SessionData::from_pickle(pickle, LIMIT).expect_err("it is hostile");
    // Unoptimised; a release build needs a tenth of it.
    let taken = processor_time() - start;
    assert!(taken < Duration::from_secs(20), "{error} after {taken:?}");
    error
}

#[test]
fn whatever_would_run_code_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof");
    let touch = format!("touch {}", proof.display());
    let sized = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (format!("cos\nsystem\n(V{touch}\ntR.").into_bytes(), "os.system"),
        (format!("(V{touch}\nios\nsystem\n.").into_bytes(), "INST"),
        (format!("(cos\nsystem\nV{touch}\no.").into_bytes(), "os.system"),
        (
            [b"\x80\x04", &sized("os")[..], &sized("system"), b"\x93", &sized(&touch), b"\x85R."].concat(),
            "os.system",
        ),
        ([b"\x80\x04", &sized("builtins")[..], &sized("eval"), b"\x93."].concat(), "builtins.eval"),
        (b"cbuiltins\ngetattr\ncbuiltins\nset\n\x8c\x03__a\x86R.".to_vec(), "getattr"),
        (b"csubprocess\nPopen\n)\x81.".to_vec(), "subprocess.Popen"),
        (b"c__main__\nX\n)}\x92.".to_vec(), "__main__.X"),
        (b"}\x94(Vx\nPident\nu.".to_vec(), "PERSID"),
        (b"N\x51.".to_vec(), "BINPERSID"),
        (b"\x82\x01.".to_vec(), "EXT1"),
        (b"\x97.".to_vec(), "NEXT_BUFFER"),
        (b"}}b.".to_vec(), "state"),
        (b"ccollections\nOrderedDict\n)R.".to_vec(), "collections.OrderedDict"),
        (b"cdjango.utils.safestring\nSafeString\n\x8c\x01a\x85\x81.".to_vec(), "SafeString"),
        (b"cbuiltins\nset\n}b.".to_vec(), "state"),
        (b"cbuiltins\nset\n)\x81.".to_vec(), "builtins.set"),
    ];
    for (pickle, named) in &cases {
        let error = refused(pickle);
        assert!(error.to_string().contains(named), "{error} does not name {named}");
    }
    assert!(!proof.exists());
    // They are no straw men: Python runs each of the first four.
    for (pickle, _) in &cases[..4] {
        let mut python = Command::new("python3")
            .args(["-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(pickle).unwrap();
        assert!(python.wait().unwrap().success() && std::fs::remove_file(&proof).is_ok());
    }
    println!("t13: {} of {} refused by name", cases.len(), cases.len());
}

#[test]
fn bombs_end_within_bounds() {
    // The bombs themselves, up to 16 MiB each, and what may be made of two million opcodes.
    if !crate::support::limited::memory("pickles::bombs_end_within_bounds", 384) {
        return;
    }
    let session = |opcodes: &[u8]| [b"\x80\x04}\x8c\x01k", opcodes, b"s."].concat();
    let million_levels = session(&[vec![b']'; 1_000_000], vec![b'a'; 999_999]].concat());
    assert_eq!(refused(&million_levels), PickleError::TooLong);
    let fewer = session(&[vec![b']'; 900_000], vec![b'a'; 899_999]].concat());
    assert_eq!(refused(&fewer), PickleError::TooDeep);
    let tuples = session(&[&b")"[..], &[0x85; 1_000_000]].concat());
    assert_eq!(refused(&tuples), PickleError::TooDeep);
    // Each level holds the one below twice: 2^64 values in 200 bytes.
    let doubled = session(&[&b"K\x01"[..], &b"2\x86".repeat(64)].concat());
    assert!(matches!(refused(&doubled), PickleError::TooLong | PickleError::TooLarge(_)));
    // More values than there may be, in little text: a list of 1,500 numbers, 1,500 times.
    let numbers = [&b"]\x94("[..], &b"K\x01".repeat(1_500), b"e0"].concat();
    let squared = session(&[&numbers[..], b"](", &b"h\x00".repeat(1_500), b"e"].concat());
    assert_eq!(refused(&squared), PickleError::TooLong);
    // A text of 1 MB, a million times, under one key and under many.
    let text = [b"X\x00\x00\x10\x00", &vec![b'a'; 1 << 20][..], b"\x94"].concat();
    let repeated = session(&[&text[..], b"0](", &b"h\x00".repeat(900_000), b"e"].concat());
    assert_eq!(refused(&repeated), PickleError::TooLarge(LIMIT));
    let mut many = [b"\x80\x04", &text[..], b"0}("].concat();
    for number in 0..100_000 {
        many.extend_from_slice(&[0x8c, 6]);
        many.extend_from_slice(format!("{number:06}").as_bytes());
        many.extend_from_slice(b"h\x00\x85");
    }
    many.extend_from_slice(b"u.");
    assert_eq!(refused(&many), PickleError::TooLarge(LIMIT));
    // Lengths far beyond what is there.
    for opcodes in [
        &b"\x8d\x00\x00\x00\x00\x00\x01\x00\x00"[..],
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x96\x00\x00\x00\x00\x00\x01\x00\x00",
        b"X\xff\xff\xff\xff",
        b"B\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\xff",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(matches!(refused(&session(opcodes)), PickleError::Malformed(_)));
    }
    // A list and a dictionary that hold themselves, and a memo with a hole of four thousand million.
    assert_eq!(refused(&session(b"]\x94h\x00a")), PickleError::TooDeep);
    assert_eq!(refused(&session(b"}\x94\x8c\x01ah\x00s")), PickleError::TooDeep);
    let sparse = session(b"]r\xff\xff\xff\xff");
    assert_eq!(SessionData::from_pickle(&sparse, LIMIT).unwrap().to_json(), r#"{"k":[]}"#);
    // Opcodes without end, sets copied over and over, an integer of a million digits, one of a megabyte.
    assert_eq!(refused(&vec![b'N'; 3_000_000]), PickleError::TooLong);
    let list = [&b"]("[..], &b"N".repeat(100_000), b"e\x940"].concat();
    let sets = session(&[&list[..], &b"cbuiltins\nset\nh\x00\x85R0".repeat(50_000), b"N"].concat());
    assert_eq!(refused(&sets), PickleError::TooLong);
    assert!(matches!(
        refused(&session(&[b"L", &vec![b'9'; 1_000_000][..], b"L\n"].concat())),
        PickleError::Malformed(_)
    ));
    let long = session(&[b"\x8b\x00\x00\x10\x00", &[1; 1 << 20][..]].concat());
    let data = SessionData::from_pickle(&long, LIMIT).unwrap();
    assert!(data.get("k").is_some_and(|value| value.json().starts_with("\"0x0101")));
    assert_eq!(SessionData::from_pickle(&data.to_pickle().unwrap(), LIMIT).unwrap(), data);
    // The largest integers that are written in decimal, as often as they fit.
    let digits = [b"L", &vec![b'9'; 4_300][..], b"L\n\x94"].concat();
    let integers = session(&[&digits[..], b"0](", &b"h\x00".repeat(900_000), b"e"].concat());
    assert_eq!(refused(&integers), PickleError::TooLarge(LIMIT));
    assert_eq!(refused(&vec![b'N'; LIMIT + 1]), PickleError::TooLarge(LIMIT));
}

/// Also where the call stack is deep, as under middleware and templates: Python's readers and writers recurse.
#[test]
fn python_reads_and_writes_the_deepest_value_that_is_set() {
    const SCRIPT: &str = "
import base64, json, pickle, sys
def deep(frames, work):
    return work() if frames == 0 else deep(frames - 1, work)
for line in sys.stdin:
    data, text = (base64.b64decode(part) for part in line.split(' '))
    for loads, dumps, stored in [(pickle.loads, pickle.dumps, data), (json.loads, json.dumps, text)]:
        value = deep(300, lambda: loads(stored))
        assert deep(300, lambda: loads(deep(300, lambda: dumps(value)))) == value
print('read and written')
";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = python.stdin.take().unwrap();
    for (open, close) in [("[", "]"), (r#"{"Variant":"#, "}")] {
        let json = format!("{}1{}", open.repeat(MAX_VALUE_DEPTH), close.repeat(MAX_VALUE_DEPTH));
        let mut data = SessionData::new();
        data.insert("k", Value::from_json(&json).unwrap());
        let pickle = STANDARD.encode(data.to_pickle().unwrap());
        writeln!(input, "{pickle} {}", STANDARD.encode(data.to_json())).unwrap();
    }
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "read and written");
}
